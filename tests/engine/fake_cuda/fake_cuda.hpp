// A stand-in for the CUDA driver: the same symbols, "device memory" on the host, kernels that are functions of a
// test.
//
// plain_kernels.cpp has the kernels of kernels/ by their own names, so that a program that links nothing of this,
// a test in Python, searches with them; control.cpp is what it steers the stand-in by.
//
// It is as unkind as the driver may be. Work on a stream is done when somebody waits for it, not before, and reads
// page-locked memory only then. Device addresses are no host addresses. What a driver leaves undefined, or would
// refuse, is written down as a misuse.
#pragma once

#include <cstddef>
#include <cstring>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/declarations.hpp"

namespace fake_cuda {

using vtr::cuda::Address;
using vtr::cuda::Result;

struct IllegalAddress : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// `bytes` of device memory as the host reads it. Throws IllegalAddress unless they are part of one allocation.
void* memory(Address address, size_t bytes);

// What an image says of its kernels: "D=16 K=4" behind the architecture.
using Constants = std::map<std::string, int64_t>;

struct Launch {  // of a kernel, as it runs
    unsigned grid[3];
    unsigned threads, shared;
    std::vector<std::vector<std::byte>> arguments;
    Constants constants;  // of the image

    size_t constant(const std::string& name) const { return static_cast<size_t>(constants.at(name)); }

    template <class T>
    T number(size_t argument) const {
        T value;
        if (arguments.at(argument).size() != sizeof value) throw std::logic_error("another size of argument");
        std::memcpy(&value, arguments[argument].data(), sizeof value);
        return value;
    }
    template <class T>
    T* array(size_t argument, size_t count) const {
        const auto address = number<Address>(argument);
        if (address % 16 != 0) throw std::logic_error("an array that is not at a multiple of 16 bytes");
        return static_cast<T*>(memory(address, count * sizeof(T)));
    }
};

// Modules that are loaded from now on have this function, with arguments of so many bytes each.
void add_kernel(const std::string& symbol, std::vector<size_t> argument_bytes,
                std::function<void(const Launch&)> function);

// The machine: a number of GPUs of this compute capability, each with so much memory.
struct Machine {
    int devices = 1, major = 9, minor = 0;
    size_t memory = size_t{1} << 30;
    int shared = 232448;
};

// All as at the beginning, but for kernels.
void reset(const Machine& machine = {});

// The call of `function` after `good` others from now on returns `result`, once. For a function that puts work on
// a stream, the work is not done.
void fail(const std::string& function, Result result, size_t good = 0);

// The kernel fails when it runs next, and the device with it, for good.
void fail_running(const std::string& symbol, Result result);

size_t calls(const std::string& function);   // since reset
size_t launches(const std::string& symbol);  // runs of a kernel, from graphs too
size_t device_bytes();                       // allocated now
size_t resources();                          // of any kind that are to be given back: all but contexts
int contexts();                              // retained
size_t context_depth();                      // of the calling thread
std::vector<std::string> misuses();

}  // namespace fake_cuda
