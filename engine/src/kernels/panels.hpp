// Small matrices [n, n] as kernels multiply by them: in panels of PANEL lines,
// [padded(n, PANEL) / PANEL][n][PANEL], lines after n zero.
#pragma once

#include "kernels.hpp"

namespace vtr {

inline constexpr size_t PANEL = 4;
[[gnu::always_inline]] inline constexpr size_t panels_floats(size_t n) { return padded(n, PANEL) * n; }

}  // namespace vtr
