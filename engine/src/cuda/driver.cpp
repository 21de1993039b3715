#include "cuda/driver.hpp"

#include <dlfcn.h>
#include <stdlib.h>

#include "error.hpp"

namespace vtr::cuda {
namespace {

// A library that a program with more rights than its caller loads must not be the caller's choice.
const char* library_path() {
    const char* chosen = secure_getenv("VTR_CUDA_LIBRARY");
    return chosen && *chosen ? chosen : "libcuda.so.1";
}

}  // namespace

std::shared_ptr<const Driver> Driver::open() {
    std::shared_ptr<const Driver> driver(new Driver(library_path()));
    driver->check(driver->init(0), "the CUDA driver cannot be started");
    return driver;
}

Driver::Driver(const char* path) {
    // Never closed: the driver has threads of its own, which outlive every handle.
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char* reason = dlerror();
        throw Error(VTR_UNSUPPORTED, "no CUDA driver: " + std::string(reason ? reason : path) +
                                         ": install NVIDIA's driver, or search without a GPU");
    }
#define VTR_CUDA_RESOLVE(member, symbol, parameters)                          \
    member = reinterpret_cast<Result(*) parameters>(dlsym(library, #symbol)); \
    if (!member)                                                              \
        throw Error(VTR_UNSUPPORTED,                                          \
                    std::string(path) + " has no " #symbol ": install a driver of CUDA 12 or newer");
    VTR_CUDA_FUNCTIONS(VTR_CUDA_RESOLVE)
#undef VTR_CUDA_RESOLVE
}

std::string Driver::describe(Result result) const {
    const char *name = nullptr, *text = nullptr;
    if (error_name(result, &name) != SUCCESS || !name) return "error " + std::to_string(result) + " of the driver";
    std::string described = name;
    if (error_string(result, &text) == SUCCESS && text) described += " (" + std::string(text) + ")";
    return described;
}

void Driver::check(Result result, const std::string& attempted) const {
    if (result != SUCCESS) throw Error(status_of(result), attempted + ": " + describe(result));
}

vtr_status status_of(Result result) {
    switch (result) {
        case OUT_OF_MEMORY:
            return VTR_OUT_OF_MEMORY;
        case NO_DEVICE:
        case INVALID_DEVICE:
        case NO_BINARY_FOR_GPU:
        case UNSUPPORTED_PTX_VERSION:
        case SYSTEM_DRIVER_MISMATCH:
            return VTR_UNSUPPORTED;
        case INVALID_IMAGE:
        case INVALID_PTX:
        case NOT_FOUND:
            return VTR_CORRUPT;
        default:
            return VTR_DEVICE;
    }
}

bool lasting(Result result) {
    switch (result) {
        case ECC_UNCORRECTABLE:
        case NVLINK_UNCORRECTABLE:
        case ILLEGAL_ADDRESS:
        case LAUNCH_TIMEOUT:
        case CONTEXT_IS_DESTROYED:
        case ASSERT:
            return true;
        default:
            return FIRST_TRAP <= result && result <= LAUNCH_FAILED;
    }
}

}  // namespace vtr::cuda
