#include "arrays.hpp"

#include <nanobind/stl/string.h>

#include "status.hpp"

namespace nb = nanobind;

namespace vtr::python {
namespace {

constexpr uint8_t INT = uint8_t(nb::dlpack::dtype_code::Int), FLOAT = uint8_t(nb::dlpack::dtype_code::Float),
                  BFLOAT = uint8_t(nb::dlpack::dtype_code::Bfloat);

std::string text_of(nb::handle object) { return nb::cast<std::string>(nb::str(object)); }

// NumPy's arrays of ml_dtypes.bfloat16 speak neither protocol: their bits do.
bool is_numpy_bfloat16(nb::handle object) {
    return nb::hasattr(object, "dtype") && nb::hasattr(object, "view") &&
           text_of(object.attr("dtype")) == "bfloat16";
}

template <class Sizes>
std::string listed(const Sizes& sizes) {
    std::string text = "[";
    for (const auto size : sizes) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
    return text + "]";
}

bool is_contiguous(const nb::ndarray<nb::ro>& array) {
    if (array.size() == 0) return true;
    int64_t stride = 1;
    for (size_t axis = array.ndim(); axis-- > 0;) {
        const int64_t size = int64_t(array.shape(axis));
        if (size != 1 && array.stride(axis) != stride) return false;
        stride *= size;
    }
    return true;
}

}  // namespace

Array::Array(nb::handle object, const std::string& name) : name(name) {
    if (!nb::try_cast(object, array_, false) && is_numpy_bfloat16(object)) {
        owner_ = object.attr("view")("uint16");
        bfloat_ = nb::try_cast(owner_, array_, false);
    }
    if (!array_.is_valid())
        python::refuse(name + ": expected an array, got " + text_of(object.type().attr("__name__")) +
                       ": pass a NumPy array, or a tensor that speaks DLPack, of this machine's byte order");
    if (array_.device_type() != nb::device::cpu::value) refuse("an array in main memory", "call .cpu() on it");
    if (!is_contiguous(array_))
        refuse("a contiguous array, got one with strides", "pass numpy.ascontiguousarray of it");
    if (array_.size() != 0 && reinterpret_cast<uintptr_t>(array_.data()) % (array_.itemsize()) != 0)
        refuse("an aligned array, got one", "pass a copy of it");
}

vtr_array Array::floats() const {
    vtr_array view{name.c_str(), VTR_F32, int32_t(array_.ndim()), {}, array_.data()};
    const nb::dlpack::dtype dtype = array_.dtype();
    if (bfloat_ || (dtype.code == BFLOAT && dtype.bits == 16))
        view.dtype = VTR_BF16;
    else if (dtype.code == FLOAT && dtype.bits == 16)
        view.dtype = VTR_F16;
    else if (dtype.code != FLOAT || dtype.bits != 32)
        refuse("float32, float16 or bfloat16", "convert it with .astype");
    if (dtype.lanes != 1 || array_.ndim() > 4) refuse("at most 4 axes", "reshape it");
    for (size_t axis = 0; axis < array_.ndim(); ++axis) view.shape[axis] = int64_t(array_.shape(axis));
    return view;
}

std::span<const int64_t> Array::integers() const {
    if (bfloat_ || array_.dtype() != nb::dtype<int64_t>() || array_.ndim() != 1)
        refuse("int64 [n]", "pass numpy.asarray(…, numpy.int64)");
    return {static_cast<const int64_t*>(array_.data()), array_.size()};
}

const float* Array::floats_of(std::initializer_list<int64_t> shape) const {
    const vtr_array view = floats();
    if (view.dtype != VTR_F32 || !std::equal(shape.begin(), shape.end(), view.shape, view.shape + view.ndim))
        refuse("float32 " + listed(shape), "encode with this model, or convert with .astype");
    return static_cast<const float*>(view.data);
}

int64_t Array::rows() const {
    if (array_.ndim() == 0) refuse("an array of rows", "reshape it");
    return int64_t(array_.shape(0));
}

std::string Array::description() const {
    const nb::dlpack::dtype dtype = array_.dtype();
    const char* kind = bfloat_ || dtype.code == BFLOAT ? "bfloat"
                       : dtype.code == FLOAT           ? "float"
                       : dtype.code == INT             ? "int"
                                                       : "other ";
    std::vector<size_t> shape;
    for (size_t axis = 0; axis < array_.ndim(); ++axis) shape.push_back(array_.shape(axis));
    return kind + std::to_string(dtype.bits) + " " + listed(shape);
}

void Array::refuse(const std::string& expected, const std::string& fix) const {
    python::refuse(name + ": expected " + expected + ", got " + description() + ": " + fix);
}

std::vector<Array> arrays_of(const nb::dict& tensors, const std::string& what) {
    std::vector<Array> arrays;
    arrays.reserve(tensors.size());
    for (const auto& [key, value] : tensors) {
        if (!nb::isinstance<nb::str>(key)) refuse("expected " + what + " by name, got a key " + text_of(key));
        arrays.emplace_back(value, nb::cast<std::string>(key));
    }
    return arrays;
}

std::vector<vtr_array> views_of(const std::vector<Array>& arrays) {
    std::vector<vtr_array> views;
    views.reserve(arrays.size());
    for (const Array& array : arrays) views.push_back(array.floats());
    return views;
}

}  // namespace vtr::python
