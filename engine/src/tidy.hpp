// Keeping a bank's chunks few and full.
#pragma once

#include <vector>

#include "bank.hpp"

namespace vtr {

// The same videos in fewer or smaller chunks. A chunk that has more dead rows than live ones is copied without
// them; small chunks that lie side by side are copied into one, so that many small appends leave few chunks, and
// each row was copied a number of times that grows like the logarithm of their number. If there is no memory for
// the copies the parts stay as they are. An adopted chunk is copied only for its dead rows.
std::vector<Part> tidy(std::vector<Part> parts, const Scorer& scorer);

}  // namespace vtr
