// How many processors this process may use.
#pragma once

#include <cstddef>

namespace vtr {

// Of the affinity mask and the processor limit of its cgroups (version 2), the lesser; at least 1.
size_t usable_cores();

}  // namespace vtr
