// The stand-in's calls about errors, devices and contexts.
#include "world.hpp"

using namespace fake_cuda;

extern "C" {

Result cuInit(unsigned) {
    return call("cuInit", Needs::nothing, [](World& w) { return w.machine.devices == 0 ? NO_DEVICE : SUCCESS; });
}

Result cuGetErrorName(Result result, const char** name) {
    static const std::map<Result, const char*> names = {{INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
                                                        {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
                                                        {NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
                                                        {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
                                                        {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
                                                        {NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
                                                        {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
                                                        {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
                                                        {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"},
                                                        {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"}};
    const auto found = names.find(result);
    if (found == names.end()) return INVALID_VALUE;
    *name = found->second;
    return SUCCESS;
}

Result cuGetErrorString(Result, const char** text) {
    *text = "as the stand-in was told";
    return SUCCESS;
}

Result cuDeviceGetCount(int* count) {
    return call("cuDeviceGetCount", Needs::nothing, [&](World& w) { return *count = w.machine.devices, SUCCESS; });
}

Result cuDeviceGet(DeviceNumber* device, int ordinal) {
    return call("cuDeviceGet", Needs::nothing, [&](World& w) {
        if (ordinal < 0 || ordinal >= w.machine.devices) return INVALID_DEVICE;
        *device = 100 + ordinal;  // a number of the driver's own
        return SUCCESS;
    });
}

Result cuDeviceGetName(char* name, int size, DeviceNumber) {
    return call("cuDeviceGetName", Needs::nothing, [&](World&) {
        std::strncpy(name, "Stand-in GPU", static_cast<size_t>(size));
        return SUCCESS;
    });
}

Result cuDeviceGetAttribute(int* value, DeviceAttribute attribute, DeviceNumber device) {
    return call("cuDeviceGetAttribute", Needs::nothing, [&](World& w) {
        if (device < 100) return misuse("an ordinal taken for a device", INVALID_DEVICE);
        switch (attribute) {
            case COMPUTE_CAPABILITY_MAJOR:
                return *value = w.machine.major, SUCCESS;
            case COMPUTE_CAPABILITY_MINOR:
                return *value = w.machine.minor, SUCCESS;
            case MAX_SHARED_MEMORY_OPTIN:
                return *value = w.machine.shared, SUCCESS;
        }
        return INVALID_VALUE;
    });
}

Result cuDevicePrimaryCtxRetain(Context* context, DeviceNumber) {
    return call("cuDevicePrimaryCtxRetain", Needs::nothing, [&](World& w) {
        *context = &w.context;
        ++w.contexts;
        return SUCCESS;
    });
}

Result cuDevicePrimaryCtxRelease_v2(DeviceNumber) {
    return call("cuDevicePrimaryCtxRelease_v2", Needs::nothing, [](World& w) {
        if (--w.contexts == 0 && resources() > 0) misuse("a context goes before what is in it");
        return w.contexts < 0 ? misuse("a context released too often") : SUCCESS;
    });
}

Result cuCtxPushCurrent_v2(Context context) {
    return call("cuCtxPushCurrent_v2", Needs::nothing, [&](World& w) {
        if (w.contexts == 0) return misuse("a context that is gone", INVALID_CONTEXT);
        return context_stack().push_back(context), SUCCESS;
    });
}

Result cuCtxPopCurrent_v2(Context* context) {
    return call("cuCtxPopCurrent_v2", Needs::nothing, [&](World&) {
        if (context_stack().empty()) return misuse("no context to pop", INVALID_CONTEXT);
        *context = context_stack().back();
        context_stack().pop_back();
        return SUCCESS;
    });
}

}  // extern "C"
