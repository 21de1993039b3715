// The stand-in's controls for programs in other languages: see fake_cuda.hpp for what each does.
#include <algorithm>

#include "fake_cuda.hpp"

extern "C" {

void fake_cuda_reset(int devices, int major, int minor, size_t memory) {
    fake_cuda::reset({.devices = devices, .major = major, .minor = minor, .memory = memory});
}
void fake_cuda_fail(const char* function, int result, size_t good) { fake_cuda::fail(function, result, good); }
void fake_cuda_fail_running(const char* symbol, int result) { fake_cuda::fail_running(symbol, result); }
size_t fake_cuda_calls(const char* function) { return fake_cuda::calls(function); }
size_t fake_cuda_launches(const char* symbol) { return fake_cuda::launches(symbol); }
size_t fake_cuda_resources() { return fake_cuda::resources(); }
size_t fake_cuda_device_bytes() { return fake_cuda::device_bytes(); }

// A line each, cut to `size` bytes with the 0 that ends them.
void fake_cuda_misuses(char* out, size_t size) {
    std::string lines;
    for (const std::string& misuse : fake_cuda::misuses()) lines += misuse + "\n";
    const size_t length = std::min(lines.size(), size - 1);
    lines.copy(out, length);
    out[length] = '\0';
}

}  // extern "C"
