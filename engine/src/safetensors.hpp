// The safetensors format (https://huggingface.co/docs/safetensors): an 8-byte length, a JSON header, and the bytes
// of named tensors back to back. Here every tensor also begins at a multiple of 64 bytes of the file: gaps, which
// the format forbids, are tensors named `_pad.N`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace vtr {

inline constexpr size_t MAX_HEADER = size_t{1} << 20;

struct TensorEntry {
    std::string name;
    std::string dtype;  // U8, U32, I64, F16, BF16 or F32
    std::vector<int64_t> shape;
    size_t begin = 0;  // in the file
    size_t bytes = 0;
};

// Bytes that its dtype and shape take. Throws Error(VTR_CORRUPT): an unknown dtype, or beyond any memory.
size_t tensor_bytes(const TensorEntry& tensor);

std::string described(const TensorEntry& tensor);  // "F16 [3, 12, 512]"

struct SafetensorsHeader {
    std::map<std::string, std::string> metadata;
    std::vector<TensorEntry> tensors;  // as they lie in the file, padding included
    size_t size = 0;                   // where the first of them begins

    const TensorEntry* find(const std::string& name) const;  // nullptr: there is none

    static bool is_padding(const std::string& name) { return name.starts_with("_pad."); }
};

// The header of a file, checked: the tensors cover the file exactly, each has the bytes of its shape, and no name
// comes twice. Throws Error(VTR_CORRUPT).
SafetensorsHeader read_header(std::span<const std::byte> file);

// The first bytes of a file with these tensors in this order; begin and bytes of `tensors` are filled in. The gap
// before a tensor, less than 64 bytes, is to be written as zeros. Throws Error(VTR_UNSUPPORTED): too many for a
// header of MAX_HEADER.
std::string make_header(const std::map<std::string, std::string>& metadata, std::vector<TensorEntry>& tensors);

}  // namespace vtr
