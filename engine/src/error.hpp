// The one exception of the core: a status for the C interface and a message for people.
#pragma once

#include <stdexcept>
#include <string>

#include "vtr/vtr.h"

namespace vtr {

class Error : public std::runtime_error {
  public:
    Error(vtr_status status, const std::string& message) : std::runtime_error(message), status(status) {}
    const vtr_status status;
};

}  // namespace vtr
