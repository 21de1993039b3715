// The part of NVIDIA's driver interface that vtr uses, in our own words: building needs no CUDA header, and
// running without a GPU needs no library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vtr::cuda {

using Result = int;                  // CUresult
using DeviceNumber = int;            // CUdevice
using Address = unsigned long long;  // CUdeviceptr: of the device's memory, not to be read here
using Context = struct ContextTag*;
using ModuleHandle = struct ModuleTag*;
using FunctionHandle = struct FunctionTag*;
using StreamHandle = struct StreamTag*;
using GraphHandle = struct GraphTag*;
using GraphExecHandle = struct GraphExecTag*;

// Of CUresult: those that are told apart. status_of in driver.cpp says what the others become.
inline constexpr Result SUCCESS = 0, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
                        NO_BINARY_FOR_GPU = 209, ECC_UNCORRECTABLE = 214, INVALID_PTX = 218,
                        NVLINK_UNCORRECTABLE = 220, UNSUPPORTED_PTX_VERSION = 222, NOT_FOUND = 500,
                        ILLEGAL_ADDRESS = 700, LAUNCH_TIMEOUT = 702, CONTEXT_IS_DESTROYED = 709,
                        FIRST_TRAP = 714,  // to LAUNCH_FAILED: a kernel did what it may not
    LAUNCH_FAILED = 719, ASSERT = 710, SYSTEM_DRIVER_MISMATCH = 803;

enum DeviceAttribute : int {  // CUdevice_attribute
    COMPUTE_CAPABILITY_MAJOR = 75,
    COMPUTE_CAPABILITY_MINOR = 76,
    MAX_SHARED_MEMORY_OPTIN = 97,  // bytes of one block
};
enum FunctionAttribute : int { MAX_DYNAMIC_SHARED_MEMORY = 8 };  // CUfunction_attribute
enum CaptureMode : int { CAPTURE_THREAD_LOCAL = 1 };             // CUstreamCaptureMode
inline constexpr unsigned STREAM_NON_BLOCKING = 1;

// Member of Driver, symbol of the library, parameters. All return a Result.
#define VTR_CUDA_FUNCTIONS(X)                                                                                    \
    X(init, cuInit, (unsigned flags))                                                                            \
    X(error_name, cuGetErrorName, (Result result, const char** name))                                            \
    X(error_string, cuGetErrorString, (Result result, const char** text))                                        \
    X(device_count, cuDeviceGetCount, (int* count))                                                              \
    X(device_get, cuDeviceGet, (DeviceNumber * device, int ordinal))                                             \
    X(device_name, cuDeviceGetName, (char* name, int size, DeviceNumber device))                                 \
    X(device_attribute, cuDeviceGetAttribute, (int* value, DeviceAttribute attribute, DeviceNumber device))      \
    X(context_retain, cuDevicePrimaryCtxRetain, (Context * context, DeviceNumber device))                        \
    X(context_release, cuDevicePrimaryCtxRelease_v2, (DeviceNumber device))                                      \
    X(context_push, cuCtxPushCurrent_v2, (Context context))                                                      \
    X(context_pop, cuCtxPopCurrent_v2, (Context * context))                                                      \
    X(memory_info, cuMemGetInfo_v2, (size_t* free, size_t* total))                                               \
    X(memory_alloc, cuMemAlloc_v2, (Address * address, size_t bytes))                                            \
    X(memory_free, cuMemFree_v2, (Address address))                                                              \
    X(pinned_alloc, cuMemHostAlloc, (void** memory, size_t bytes, unsigned flags))                               \
    X(pinned_free, cuMemFreeHost, (void* memory))                                                                \
    X(copy_to_device, cuMemcpyHtoDAsync_v2, (Address to, const void* from, size_t bytes, StreamHandle stream))   \
    X(copy_to_host, cuMemcpyDtoHAsync_v2, (void* to, Address from, size_t bytes, StreamHandle stream))           \
    X(fill_bytes, cuMemsetD8Async, (Address to, unsigned char value, size_t bytes, StreamHandle stream))         \
    X(stream_create, cuStreamCreate, (StreamHandle * stream, unsigned flags))                                    \
    X(stream_destroy, cuStreamDestroy_v2, (StreamHandle stream))                                                 \
    X(stream_synchronize, cuStreamSynchronize, (StreamHandle stream))                                            \
    X(capture_begin, cuStreamBeginCapture_v2, (StreamHandle stream, CaptureMode mode))                           \
    X(capture_end, cuStreamEndCapture, (StreamHandle stream, GraphHandle * graph))                               \
    X(graph_instantiate, cuGraphInstantiateWithFlags,                                                            \
      (GraphExecHandle * exec, GraphHandle graph, unsigned long long flags))                                     \
    X(graph_launch, cuGraphLaunch, (GraphExecHandle exec, StreamHandle stream))                                  \
    X(graph_destroy, cuGraphDestroy, (GraphHandle graph))                                                        \
    X(graph_exec_destroy, cuGraphExecDestroy, (GraphExecHandle exec))                                            \
    X(module_load, cuModuleLoadData, (ModuleHandle * module, const void* image))                                 \
    X(module_unload, cuModuleUnload, (ModuleHandle module))                                                      \
    X(module_function, cuModuleGetFunction, (FunctionHandle * function, ModuleHandle module, const char* name))  \
    X(function_attribute, cuFuncSetAttribute, (FunctionHandle function, FunctionAttribute attribute, int value)) \
    X(launch, cuLaunchKernel,                                                                                    \
      (FunctionHandle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,             \
       unsigned block_y, unsigned block_z, unsigned shared_bytes, StreamHandle stream, void** arguments,         \
       void** extra))

}  // namespace vtr::cuda
