// Arrays of Python as libvtr takes them: looked at where they lie, never copied.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "vtr/vtr.h"

namespace vtr::python {

// A NumPy array, or anything that speaks DLPack or the buffer protocol, held while it is looked at.
class Array {
  public:
    // Raises UsageError unless it is a contiguous, aligned array in main memory; the message names the fix.
    Array(nanobind::handle object, const std::string& name);

    vtr_array floats() const;                   // float32, float16 or bfloat16, else UsageError
    std::span<const int64_t> integers() const;  // int64 [n], else UsageError
    // The numbers of float32 of exactly this shape, else UsageError.
    const float* floats_of(std::initializer_list<int64_t> shape) const;

    int64_t rows() const;  // the first size; raises UsageError if there is none
    const std::string name;

  private:
    [[noreturn]] void refuse(const std::string& expected, const std::string& fix) const;
    std::string description() const;

    nanobind::object owner_;  // what was viewed, if that is not the object itself
    nanobind::ndarray<nanobind::ro> array_;
    bool bfloat_ = false;
};

// Tensors by name, as libvtr takes them. They must outlive the views.
std::vector<Array> arrays_of(const nanobind::dict& tensors, const std::string& what);
std::vector<vtr_array> views_of(const std::vector<Array>& arrays);

// Room for a result, and the NumPy array that it becomes.
template <class T, size_t N>
class Result {
  public:
    // Throws std::bad_alloc.
    explicit Result(std::array<size_t, N> shape) : shape_(shape) {
        size_t count = 1;
        for (const size_t size : shape)
            if (__builtin_mul_overflow(count, size, &count)) throw std::bad_alloc();
        numbers_ = std::make_unique_for_overwrite<T[]>(count);
    }
    T* data() { return numbers_.get(); }

    nanobind::ndarray<nanobind::numpy, T, nanobind::ndim<N>> take() {
        const nanobind::capsule owner(numbers_.get(),
                                      [](void* memory) noexcept { delete[] static_cast<T*>(memory); });
        return {numbers_.release(), N, shape_.data(), owner};
    }

  private:
    std::array<size_t, N> shape_;
    std::unique_ptr<T[]> numbers_;
};

}  // namespace vtr::python
