// Float32 numbers as a kernel takes them.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "kernels/kernels.hpp"
#include "plain.hpp"

namespace vtr::cuda {

// In the storage type. Throws VTR_NOT_FINITE, naming the array: a number is too large for the type.
void store(std::span<const float> numbers, Storage storage, const std::string& name, std::byte* out);

// Throws VTR_UNSUPPORTED, naming the head's tensor: a number is so large that float16, in two of which kernels
// multiply it, would be infinite.
void check_in_two_halves(const PlainArray& array);

}  // namespace vtr::cuda
