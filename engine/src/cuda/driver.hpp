// The CUDA driver's library, opened at run time, and what its errors become.
#pragma once

#include <memory>
#include <string>

#include "cuda/declarations.hpp"
#include "vtr/vtr.h"

namespace vtr::cuda {

class Driver {
  public:
    // Opens libcuda.so.1, or the library that $VTR_CUDA_LIBRARY names, and initialises it.
    // Throws VTR_UNSUPPORTED: there is none, it lacks a function, or it finds no GPU.
    static std::shared_ptr<const Driver> open();
    Driver(const Driver&) = delete;

#define VTR_CUDA_MEMBER(member, symbol, parameters) Result(*member) parameters = nullptr;
    VTR_CUDA_FUNCTIONS(VTR_CUDA_MEMBER)
#undef VTR_CUDA_MEMBER

    // Throws Error with what was attempted and the driver's name for the error, unless it is SUCCESS.
    void check(Result result, const std::string& attempted) const;

    // "CUDA_ERROR_OUT_OF_MEMORY (out of memory)"
    std::string describe(Result result) const;

  private:
    explicit Driver(const char* path);
};

vtr_status status_of(Result result);

// Whether nothing works in this process any more after such an error, on the device that met it.
bool lasting(Result result);

}  // namespace vtr::cuda
