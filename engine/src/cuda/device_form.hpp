// What of a bank's rows lies in device memory, and how: slabs hold these columns, row after row.
//
//   holistic   video [n, D]
//   xclip      frames [n, F, D], video [n, D]
//   tcmgc      frames [n, F, D], gram [n, 3F + 3, F] float32: the squares G2, G3 and N whole
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "scorer.hpp"

namespace vtr::cuda {

struct DeviceColumn {
    std::string name;
    size_t number;     // of the scorer's column that it comes from
    size_t row_bytes;  // on the device
    // Rows as the bank has them to rows as the device has them; null: they are the same.
    void (*unpack)(const Scorer& scorer, const std::byte* rows, size_t count, std::byte* out);
};

std::vector<DeviceColumn> device_columns(const Scorer& scorer);

}  // namespace vtr::cuda
