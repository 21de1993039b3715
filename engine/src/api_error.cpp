// The C interface: errors, version.
#include <algorithm>
#include <new>
#include <stdexcept>

#include "api.hpp"

namespace vtr::api {
namespace {

// Of a fixed size, so that a message can be kept where there is no memory, and read while a thread ends.
thread_local char last_error[2048] = "";

// A message that is too long loses its middle: the beginning names the file, the end says what to do.
void keep(const char* message) noexcept {
    constexpr char gap[] = " ... ";
    constexpr size_t room = sizeof last_error - 1, part = (room - sizeof gap + 1) / 2;
    const size_t length = std::strlen(message);
    if (length <= room) {
        std::memcpy(last_error, message, length + 1);
        return;
    }
    const auto continues = [message](size_t byte) { return (message[byte] & 0xC0) == 0x80; };  // a UTF-8 character
    size_t head = part, tail = length - part;
    while (head > 0 && continues(head)) --head;
    while (tail < length && continues(tail)) ++tail;
    char* out = std::copy_n(message, head, last_error);
    out = std::copy_n(gap, sizeof gap - 1, out);
    std::copy_n(message + tail, length - tail + 1, out);
}

}  // namespace

vtr_status record_exception() noexcept {
    try {
        throw;
    } catch (const Error& error) {
        keep(error.what());
        return error.status;
    } catch (const std::bad_alloc&) {
        keep("there is not enough memory");
        return VTR_OUT_OF_MEMORY;
    } catch (const std::length_error&) {  // of a container that cannot be that large
        keep("there is not enough memory");
        return VTR_OUT_OF_MEMORY;
    } catch (const std::exception& error) {
        keep(error.what());
        return VTR_INTERNAL;
    } catch (...) {
        keep("an unknown exception");
        return VTR_INTERNAL;
    }
}

void check_size(const char* name, size_t size, size_t first) {
    constexpr size_t most = 4096;  // far more than any version will have: a larger one was not set
    if (size < first || size > most)
        refuse(std::string(name) + ".size: expected sizeof(vtr_" + name + "), " + std::to_string(first) +
               " or more, got " + std::to_string(size));
}

}  // namespace vtr::api

#define VTR_TEXT(number) #number
#define VTR_VERSION_TEXT(major, minor, patch) VTR_TEXT(major) "." VTR_TEXT(minor) "." VTR_TEXT(patch)

const char* vtr_version(void) { return VTR_VERSION_TEXT(VTR_VERSION_MAJOR, VTR_VERSION_MINOR, VTR_VERSION_PATCH); }

const char* vtr_last_error(void) { return vtr::api::last_error; }

const char* vtr_status_name(vtr_status status) {
    switch (status) {
        case VTR_OK:
            return "ok";
        case VTR_INVALID_ARGUMENT:
            return "invalid argument";
        case VTR_UNSUPPORTED:
            return "unsupported";
        case VTR_NOT_FINITE:
            return "not finite";
        case VTR_CORRUPT:
            return "corrupt file";
        case VTR_IO:
            return "input or output error";
        case VTR_OUT_OF_MEMORY:
            return "out of memory";
        case VTR_INTERNAL:
            return "internal error";
        case VTR_DEVICE:
            return "device error";
    }
    return "unknown status";
}
