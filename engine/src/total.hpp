// Sums in double precision.
#pragma once

#include <cstddef>

namespace vtr {

// Σ term(i) for i < count, a multiple of 8. Eight sums side by side: one alone waits for every addition.
template <class Term>
double total(size_t count, Term term) {
    double sums[8] = {};
    for (size_t i = 0; i < count; i += 8)
        for (size_t lane = 0; lane < 8; ++lane) sums[lane] += term(i + lane);
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

}  // namespace vtr
