// Laying out the small matrices of a head for the kernels.
#pragma once

#include <algorithm>
#include <span>

#include "kernels/panels.hpp"
#include "vector_scorer.hpp"

namespace vtr {

enum class Lines { rows, columns };  // of a matrix [n, n], that its panels are made of

inline Floats panels(std::span<const float> matrix, size_t n, Lines lines) {
    const size_t next = lines == Lines::rows ? n : 1, along = lines == Lines::rows ? 1 : n;
    Floats out(panels_floats(n));
    std::fill_n(out.data(), panels_floats(n), 0.0f);
    for (size_t line = 0; line < n; ++line)
        for (size_t i = 0; i < n; ++i)
            out.data()[(line / PANEL * n + i) * PANEL + line % PANEL] = matrix[line * next + i * along];
    return out;
}

}  // namespace vtr
