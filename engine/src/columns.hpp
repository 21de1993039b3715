// Arrays handed over for a bank, matched with the columns of its scorer.
#pragma once

#include <span>
#include <vector>

#include "scorer.hpp"

namespace vtr {

// arrays[i] for the scorer's column i. Throws VTR_INVALID_ARGUMENT: a column is missing, unknown or named twice,
// or its dtype, shape or address is not what it should be.
std::vector<const vtr_array*> match_columns(const Scorer& scorer, size_t rows, std::span<const vtr_array> arrays);

// How messages name a shape: "[3, 12, 512]".
std::string shape_name(std::span<const int64_t> shape);

}  // namespace vtr
