// Exceptions are looked up when one is raised: vtr.errors stays the only place that defines them.
#include "status.hpp"

namespace nb = nanobind;

namespace vtr::python {
namespace {

const char* class_of(vtr_status status) {
    switch (status) {
        case VTR_INVALID_ARGUMENT:
        case VTR_NOT_FINITE:
            return "UsageError";
        case VTR_UNSUPPORTED:
            return "UnsupportedError";
        case VTR_CORRUPT:
        case VTR_IO:
            return "IndexStoreError";
        case VTR_DEVICE:
            return "DeviceError";
        default:
            return "VtrError";
    }
}

}  // namespace

void raise(vtr_status status, const std::string& message) {
    const nb::str text =
        nb::steal<nb::str>(PyUnicode_DecodeUTF8(message.data(), message.size(), "backslashreplace"));
    if (status == VTR_OUT_OF_MEMORY) {
        PyErr_SetObject(PyExc_MemoryError, text.ptr());
    } else {
        const nb::object kind = nb::module_::import_("vtr.errors").attr(class_of(status));
        PyErr_SetObject(kind.ptr(), text.ptr());
    }
    throw nb::python_error();
}

}  // namespace vtr::python
