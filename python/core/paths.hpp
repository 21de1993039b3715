// Paths of Python as the operating system takes them.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

namespace vtr::python {

inline std::string system_path(nanobind::handle path) {
    PyObject* bytes = nullptr;
    if (!PyUnicode_FSConverter(path.ptr(), &bytes)) throw nanobind::python_error();
    const nanobind::bytes owned = nanobind::steal<nanobind::bytes>(bytes);
    return {owned.c_str(), owned.size()};
}

}  // namespace vtr::python
