// Float32 numbers in the storage type that a kernel takes.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "kernels/kernels.hpp"

namespace vtr::cuda {

// Throws VTR_NOT_FINITE, naming the array: a number is too large for the type.
void store(std::span<const float> numbers, Storage storage, const std::string& name, std::byte* out);

}  // namespace vtr::cuda
