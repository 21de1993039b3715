// Opening the CUDA driver and a device: what is missing is named, contexts stay as they were.
#include <stdlib.h>

#include "cuda/device.hpp"
#include "fake_bundle.hpp"

using namespace vtr;
using namespace vtr::test;
using cuda::Current;
using cuda::Device;
using cuda::Driver;

namespace {

std::string message(auto&& function) {
    try {
        function();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

bool says(const std::string& message, const char* part) { return message.find(part) != std::string::npos; }

void missing_driver() {
    setenv("VTR_CUDA_LIBRARY", "/nonexistent/libcuda.so.1", 1);
    CHECK_THROWS(VTR_UNSUPPORTED, Driver::open());
    CHECK(says(message(Driver::open), "no CUDA driver") && says(message(Driver::open), "/nonexistent"));
    setenv("VTR_CUDA_LIBRARY", "libm.so.6", 1);  // a library, but another
    CHECK_THROWS(VTR_UNSUPPORTED, Driver::open());
    CHECK(says(message(Driver::open), "libm.so.6 has no cu"));
    setenv("VTR_CUDA_LIBRARY", FAKE_CUDA, 1);
}

void no_device() {
    fake_cuda::reset({.devices = 0});
    CHECK_THROWS(VTR_UNSUPPORTED, Driver::open());
    CHECK(says(message(Driver::open), "CUDA_ERROR_NO_DEVICE (as the stand-in was told)"));
    fake_cuda::reset({.devices = 2});
    const auto driver = Driver::open();
    for (const int ordinal : {-1, 2, 1 << 30}) CHECK_THROWS(VTR_UNSUPPORTED, Device(driver, ordinal));
    CHECK(says(message([&] { Device(driver, 2); }), "there are 2"));
    for (const char* function : {"cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute",
                                 "cuDevicePrimaryCtxRetain"}) {
        fake_cuda::fail(function, 999);
        CHECK_THROWS(VTR_DEVICE, Device(driver, 1));
    }
    fake_cuda::fail("cuDevicePrimaryCtxRetain", cuda::OUT_OF_MEMORY);
    CHECK_THROWS(VTR_OUT_OF_MEMORY, Device(driver, 1));
    check_clean();
}

void device_is_described() {
    fake_cuda::reset({.major = 12, .minor = 1, .memory = 1 << 20, .shared = 101376});
    const Device device(Driver::open(), 0);
    CHECK(device.name() == "Stand-in GPU" && device.major() == 12 && device.minor() == 1);
    CHECK(device.shared_memory() == 101376);
    CHECK(device.memory().free == 1 << 20 && device.memory().total == 1 << 20);
    CHECK(fake_cuda::context_depth() == 0);
}

void context_comes_back() {
    fake_cuda::reset();
    const Device device(Driver::open(), 0);
    {
        const Current current(device);
        const Current again(device);
        CHECK(fake_cuda::context_depth() == 2);
    }
    CHECK(fake_cuda::context_depth() == 0);
    fake_cuda::fail("cuCtxPushCurrent_v2", 999);
    CHECK_THROWS(VTR_DEVICE, Current(device));
    CHECK(fake_cuda::context_depth() == 0);
}

void lasting_errors_make_it_lost() {
    for (const int lasting : {214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719})
        CHECK(cuda::lasting(lasting));
    for (const int passing : {0, 1, 2, 201, 209, 701, 720, 900}) CHECK(!cuda::lasting(passing));
    fake_cuda::reset();
    const Device device(Driver::open(), 0);
    CHECK_THROWS(VTR_OUT_OF_MEMORY, device.check(cuda::OUT_OF_MEMORY, "attempt"));
    CHECK_THROWS(VTR_DEVICE, device.check(12345, "attempt"));
    CHECK(message([&] { device.check(12345, "attempt"); }) == "attempt: error 12345 of the driver");
    CHECK(!device.lost() && device.memory().free > 0);
    CHECK_THROWS(VTR_DEVICE, device.check(cuda::ILLEGAL_ADDRESS, "attempt"));
    CHECK(device.lost());
    CHECK_THROWS(VTR_DEVICE, device.memory());
    CHECK(says(message([&] { device.memory(); }), "lost to this process since CUDA_ERROR_ILLEGAL_ADDRESS"));
}

}  // namespace

int main() {
    missing_driver();
    no_device();
    device_is_described();
    context_comes_back();
    lasting_errors_make_it_lost();
    check_clean();
    CHECK_DONE();
}
