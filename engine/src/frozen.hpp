// Frozen banks: a bank and its model in one file, which is mapped and searched as it lies.
//
// A safetensors file whose tensors begin at multiples of 64 bytes. Metadata: format "vtr-bank", format_version
// "1", and the model's scoring, frames, words, dim, keep and storage ("f16" or "bf16"). With N videos:
//
//     ids            I64 [N]      ascending
//     head.<name>    F32          the tensors that the model was made from
//     column.<name>  F16, BF16 [N, …] or F32 [N, …]   rows as banks keep them
//     path_offsets   I64 [N + 1]  where each path begins in `paths`; both are there or neither
//     paths          U8 [bytes]   each ended by a 0 byte; of a video without a path there is only that
//     crc32.<name>   U32          for each tensor above, of each MiB of it, as zlib computes it
//     crc32.header   U32 [1]      of all bytes before the first tensor
//     _pad.N         U8           zeros, fewer than 64
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "bank.hpp"
#include "model.hpp"
#include "paths.hpp"
#include "pool.hpp"
#include "safetensors.hpp"

namespace vtr {

struct FrozenBank {
    std::shared_ptr<const Model> model;
    std::shared_ptr<Bank> bank;
    std::shared_ptr<const Paths> paths;  // null if the file has none
};

struct LoadOptions {
    const char* isa = nullptr;
    bool fast = false;
    Pool* pool = nullptr;
    bool trust = false;
};

// See vtr_bank_load.
FrozenBank load_frozen(const char* path, const LoadOptions& options);

// The same of a file in memory, 64-byte aligned and kept alive by `owner`.
FrozenBank load_frozen(std::span<const std::byte> file, std::shared_ptr<const void> owner,
                       const LoadOptions& options);

// See vtr_bank_save. paths [state.count] or null; null among them where a video has none.
void save_frozen(const Model& model, const State& state, const char* path, const char* const* paths);

namespace frozen {  // what writing and reading agree on

inline constexpr size_t MAX_TENSORS = 1000;       // in a file; a scorer has some twenty
inline constexpr size_t BLOCK = size_t{1} << 20;  // bytes under one checksum
inline constexpr const char *FORMAT = "vtr-bank", *VERSION = "1";
inline constexpr const char *IDS = "ids", *PATHS = "paths", *OFFSETS = "path_offsets";
inline const std::string HEAD = "head.", COLUMN = "column.", SUMS = "crc32.";

std::map<std::string, std::string> metadata(const vtr_model_options& options);
vtr_model_options parse_metadata(const std::map<std::string, std::string>& metadata);  // throws Error

// The entry of a column of `rows` videos: its own shape where that tells all, else numbers in a row.
TensorEntry column_entry(const Column& column, size_t rows);

// The entries of the checksums of a tensor and of the header.
TensorEntry sums_entry(const TensorEntry& tensor);
TensorEntry header_sum_entry();

// Throws Error(VTR_CORRUPT) where bytes of a tensor differ from their checksums, a float is not finite or padding
// is not zero: checked with the threads of the pool.
void verify(std::span<const std::byte> file, const SafetensorsHeader& header, Pool* pool);

}  // namespace frozen
}  // namespace vtr
