// Texts and parameters of a scorer as plain arrays, for kernels that run on another device than the processor.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "kernels/kernels.hpp"

namespace vtr {

struct PlainPart {
    std::string name;  // as the head calls it
    size_t begin, count;
};

struct PlainArray {
    std::string name;  // as the kernels call it
    Storage storage;   // of its numbers there
    std::vector<float> numbers;
    // Those that kernels multiply as sums of two float16 each, whatever the storage: see `check_in_two_halves`.
    std::vector<PlainPart> in_two_halves = {};
};

struct PlainParameters {  // of a model, the same for all texts
    std::vector<PlainArray> arrays;
    std::vector<std::pair<std::string, float>> scalars;
};

}  // namespace vtr
