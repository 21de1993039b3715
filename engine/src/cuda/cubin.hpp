// Whether a cubin, which is an ELF file, holds all that its headers speak of.
#pragma once

#include <string>
#include <string_view>

namespace vtr::cuda {

// Throws VTR_CORRUPT, naming `path`: it is no ELF file for NVIDIA's GPUs, or was cut short.
void check_cubin(const std::string& path, std::string_view code);

}  // namespace vtr::cuda
