// From the statuses of libvtr to vtr's exceptions.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include "vtr/vtr.h"

namespace vtr::python {

// Raise the exception of vtr.errors that stands for a status.
[[noreturn]] void raise(vtr_status status, const std::string& message);

// An argument that cannot be used.
[[noreturn]] inline void refuse(const std::string& message) { raise(VTR_INVALID_ARGUMENT, message); }

// Make a call into libvtr without the interpreter's lock; an error becomes an exception with the core's message.
template <class Call>
void run(Call&& call) {
    vtr_status status = VTR_OK;
    {
        nanobind::gil_scoped_release unlocked;
        status = call();
    }
    if (status != VTR_OK) raise(status, vtr_last_error());
}

}  // namespace vtr::python
