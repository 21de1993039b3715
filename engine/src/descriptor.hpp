// An open file of the operating system, closed when it goes; and its errors.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "error.hpp"

namespace vtr {

struct Descriptor {
    explicit Descriptor(int number) : number(number) {}
    ~Descriptor() {
        if (number >= 0) close(number);
    }
    Descriptor(const Descriptor&) = delete;
    const int number;
};

// Throws what errno says of a file; no memory for it is VTR_OUT_OF_MEMORY, all else VTR_IO.
[[noreturn]] inline void throw_errno(const char* path, const char* what) {
    const int reason = errno;
    throw Error(reason == ENOMEM ? VTR_OUT_OF_MEMORY : VTR_IO,
                std::string(path) + " " + what + ": " + std::generic_category().message(reason));
}

}  // namespace vtr
