// Keys that order answers, as kernels/topk.py makes them: higher scores are higher numbers, and of equal ones the
// smaller row.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <vector>

namespace vtr::test {

inline constexpr int64_t NO_KEY = INT64_MIN;

inline int64_t plain_key(float score, size_t row) {
    if (score != score) return NO_KEY;
    int32_t bits = std::bit_cast<int32_t>(score == 0 ? 0.0f : score);
    bits ^= (bits >> 31) & 0x7fffffff;
    return int64_t(bits) * (int64_t{1} << 32) + int64_t(0xffffffffu - uint32_t(row));
}

// The `count` highest, downwards, filled up with NO_KEY.
inline void best_keys(std::vector<int64_t> keys, size_t count, int64_t* out) {
    keys.resize(keys.size() + count, NO_KEY);
    std::partial_sort(keys.begin(), keys.begin() + std::ptrdiff_t(count), keys.end(), std::greater<>());
    std::copy_n(keys.begin(), count, out);
}

// The best of each block of rows: out [blocks, count].
inline void best_of_blocks(const float* scores, const uint8_t* live, size_t rows, size_t block_rows, size_t blocks,
                           size_t count, int64_t* out) {
    for (size_t block = 0; block < blocks; ++block) {
        std::vector<int64_t> keys;
        for (size_t row = block * block_rows; row < std::min(rows, (block + 1) * block_rows); ++row)
            if (live[row]) keys.push_back(plain_key(scores[row], row));
        best_keys(std::move(keys), count, out + block * count);
    }
}

// The same of keys [count_in], a block after the other.
inline void merge_blocks(const int64_t* keys, size_t count_in, size_t block_keys, size_t blocks, size_t count,
                         int64_t* out) {
    for (size_t block = 0; block < blocks; ++block) {
        const size_t first = std::min(count_in, block * block_keys), last = std::min(count_in, first + block_keys);
        best_keys({keys + first, keys + last}, count, out + block * count);
    }
}

}  // namespace vtr::test
