// Searching a bank: the best videos for each text of a query, and the scores of given videos.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "bank.hpp"
#include "pool.hpp"
#include "scorer.hpp"

namespace vtr {

struct SearchOptions {
    size_t k = 10;
    size_t candidates = 0;
    std::optional<std::span<const int64_t>> only = {};
    Pool* pool = nullptr;
};

// See vtr_search; `found` may be null. The query must be of the bank's scorer. A video whose score is NaN is
// passed over. Outputs are untouched if it throws.
void search(const Bank& bank, const Query& query, const SearchOptions& options, int64_t* ids, float* scores,
            size_t* found);

// See vtr_score. `out` is untouched if the arguments are refused; if memory runs out it may be written in part.
void score(const Bank& bank, const Query& query, const int64_t* ids, size_t count, Pool* pool, float* out);

}  // namespace vtr
