// Searching a bank: the best videos for each text of a query, and the scores of given videos.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "bank.hpp"
#include "pool.hpp"
#include "scorer.hpp"
#include "topk.hpp"

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

// What every search does before and after, wherever the scores come from. Throws VTR_INVALID_ARGUMENT: k is 0 or
// too large, or `only` does not ascend.
void check_options(size_t texts, const SearchOptions& options);

using Ranking = std::vector<Hit>;  // of a text, best first

// rankings[text] has at most k hits; see vtr_search for what comes after them.
void write_rankings(const std::vector<Ranking>& rankings, size_t k, int64_t* ids, float* scores, size_t* found);

}  // namespace vtr
