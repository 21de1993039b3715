// The highest numbers of columns, sorted downwards. A column is one lane of vectors that lie `stride` floats
// apart.
#pragma once

#include "simd.hpp"

namespace vtr::VTR_ISA {
namespace {

constexpr size_t SORT_BLOCK = 16;  // vectors that are sorted in registers
constexpr float LOWEST = -3.40282347e38f;

VTR_INLINE void order(V& high, V& low) {
    const V least = vmin(high, low);
    high = vmax(high, low);
    low = least;
}

// Batcher's odd-even merge of the sorted x[0], x[2·STEP], … with the sorted x[STEP], x[3·STEP], … among N.
template <size_t N, size_t STEP>
VTR_INLINE void merge_odd_even(V* x) {
    if constexpr (2 * STEP < N) {
        merge_odd_even<N, 2 * STEP>(x);
        merge_odd_even<N, 2 * STEP>(x + STEP);
        for (size_t i = STEP; i + STEP < N; i += 2 * STEP) order(x[i], x[i + STEP]);
    } else {
        order(x[0], x[STEP]);
    }
}
template <size_t N>
VTR_INLINE void sort_vectors(V* x) {
    if constexpr (N > 1) {
        sort_vectors<N / 2>(x);
        sort_vectors<N / 2>(x + N / 2);
        merge_odd_even<N, 1>(x);
    }
}

// The highest KEPT, a power of 2, of what rises once and falls once, sorted.
template <size_t N, size_t KEPT>
VTR_INLINE void sort_bitonic(V* x) {
    if constexpr (KEPT < N) {
        for (size_t i = 0; i < N / 2; ++i) x[i] = vmax(x[i], x[i + N / 2]);
        sort_bitonic<N / 2, KEPT>(x);
    } else if constexpr (N > 1) {
        for (size_t i = 0; i < N / 2; ++i) order(x[i], x[i + N / 2]);
        sort_bitonic<N / 2, N / 2>(x);
        sort_bitonic<N / 2, N / 2>(x + N / 2);
    }
}

template <size_t N>
VTR_INLINE void load_vectors(const float* from, size_t stride, V* x) {
    for (size_t i = 0; i < N; ++i) x[i] = load(from + i * stride);
}
template <size_t N>
VTR_INLINE void store_vectors(float* to, size_t stride, const V* x) {
    for (size_t i = 0; i < N; ++i) store(to + i * stride, x[i]);
}

void sort_block(float* block, size_t stride) {
    V x[SORT_BLOCK];
    load_vectors<SORT_BLOCK>(block, stride, x);
    sort_vectors<SORT_BLOCK>(x);
    store_vectors<SORT_BLOCK>(block, stride, x);
}

// Two sorted blocks: `high` gets the HIGH highest of both, `low` the LOW highest of those that come after a
// block's worth of them, all sorted.
template <size_t HIGH, size_t LOW>
void merge_blocks(float* high, float* low, size_t stride) {
    V x[SORT_BLOCK];
    for (size_t i = 0; i < HIGH; ++i) {
        const V a = load(high + i * stride), b = load(low + (HIGH - 1 - i) * stride);
        x[i] = vmax(a, b);
        if (LOW > 0) store(low + (HIGH - 1 - i) * stride, vmin(a, b));
    }
    sort_bitonic<HIGH, HIGH>(x);
    store_vectors<HIGH>(high, stride, x);
    if constexpr (LOW > 0) {
        load_vectors<SORT_BLOCK>(low, stride, x);
        sort_bitonic<SORT_BLOCK, LOW>(x);
        store_vectors<LOW>(low, stride, x);
    }
}

// The highest `keep` of `blocks` blocks, in place, in the first rows. Blocks pass one by one through a list of
// sorted blocks and leave their lower half to the next; what falls out at the end is lost.
void sort_blocks(float* rows, size_t stride, size_t blocks, size_t keep) {
    const size_t last = (keep - 1) / SORT_BLOCK;
    const bool half = keep - last * SORT_BLOCK <= SORT_BLOCK / 2;  // is enough of the last block of the list
    for (size_t block = 0; block < blocks; ++block) {
        float* entering = rows + block * SORT_BLOCK * stride;
        sort_block(entering, stride);
        for (size_t i = 0; i < block && i <= last; ++i) {
            float* sorted = rows + i * SORT_BLOCK * stride;
            if (i + 1 < last || (i + 1 == last && !half))
                merge_blocks<SORT_BLOCK, SORT_BLOCK>(sorted, entering, stride);
            else if (i + 1 == last)
                merge_blocks<SORT_BLOCK, SORT_BLOCK / 2>(sorted, entering, stride);
            else if (half)
                merge_blocks<SORT_BLOCK / 2, 0>(sorted, entering, stride);
            else
                merge_blocks<SORT_BLOCK, 0>(sorted, entering, stride);
        }
    }
}

// The same for few: every row is let into the K best, downwards.
template <size_t K>
VTR_INLINE void insert_rows(float* rows, size_t stride, size_t count) {
    V best[K];
    for (size_t i = 0; i < K; ++i) best[i] = splat(LOWEST);
    for (size_t row = 0; row < count; ++row) {
        V x = load(rows + row * stride);
        for (size_t i = 0; i + 1 < K; ++i) order(best[i], x);
        best[K - 1] = vmax(best[K - 1], x);
    }
    for (size_t i = 0; i < K; ++i) store(rows + i * stride, best[i]);
}

constexpr size_t MOST_INSERTED = 6;  // about where blocks become faster

template <size_t K>
void insert_some(float* rows, size_t stride, size_t count, size_t keep) {
    if (keep == K) return insert_rows<K>(rows, stride, count);
    if constexpr (K > 1) insert_some<K - 1>(rows, stride, count, keep);
}

// The highest `keep` of `count` rows, sorted downwards, in the first rows. There is room for whole blocks, and the
// rows after `count` are overwritten.
void sort_columns(float* rows, size_t stride, size_t count, size_t keep) {
    if (keep <= MOST_INSERTED) return insert_some<MOST_INSERTED>(rows, stride, count, keep);
    const size_t blocks = (count + SORT_BLOCK - 1) / SORT_BLOCK;
    for (size_t row = count; row < blocks * SORT_BLOCK; ++row) store(rows + row * stride, splat(LOWEST));
    sort_blocks(rows, stride, blocks, keep);
}

}  // namespace
}  // namespace vtr::VTR_ISA
