// Interactive similarity attention, isa(a, M) = Σ sm(λ·(sm(λ·a) @ M)) ∘ a, of columns: W of them side by side.
#pragma once

#include "simd.hpp"
#include "tcmgc_kernel.hpp"

namespace vtr::VTR_ISA {
namespace {

constexpr float LAMBDA_LOG2E = 100.0f * LOG2E;

// Floats of scratch for n entries of C vectors of columns: exponentials, then their products with the matrix.
constexpr size_t isa_scratch(size_t n, size_t columns) { return (n + padded(n, PANEL)) * columns * W; }

// products [n, C] = M transposed times entries [n, C], vectors all.
template <size_t C>
VTR_INLINE void multiply_panels(const float* entries, size_t n, const float* panels, float* products) {
    for (size_t m = 0; m < n; m += PANEL, panels += n * PANEL) {
        V sums[PANEL][C] = {};
        for (size_t i = 0; i < n; ++i) {
            V x[C];
            for (size_t c = 0; c < C; ++c) x[c] = load(entries + (i * C + c) * W);
            for (size_t p = 0; p < PANEL; ++p) {
                const V weight = splat(panels[i * PANEL + p]);
                for (size_t c = 0; c < C; ++c) sums[p][c] += weight * x[c];
            }
        }
        for (size_t p = 0; p < PANEL; ++p)
            for (size_t c = 0; c < C; ++c) store(products + ((m + p) * C + c) * W, sums[p][c]);
    }
}

// isa of C vectors of columns that share a matrix: entry i of the c-th lies at a + c * next + i * stride. If
// SORTED, the first entry of each is its highest.
template <size_t C, bool SORTED>
VTR_INLINE void isa(const float* a, size_t next, size_t stride, size_t n, const float* panels, float* scratch,
                    V* result) {
    float* products = scratch + n * C * W;
    V top[C], total[C], scale[C], sum[C] = {};
    for (size_t c = 0; c < C; ++c) top[c] = load(a + c * next);
    if (!SORTED)
        for (size_t i = 1; i < n; ++i)
            for (size_t c = 0; c < C; ++c) top[c] = vmax(top[c], load(a + c * next + i * stride));
    for (size_t c = 0; c < C; ++c) {
        top[c] *= splat(LAMBDA_LOG2E);
        total[c] = V{};
    }
    for (size_t i = 0; i < n; ++i)
        for (size_t c = 0; c < C; ++c) {
            const V x = exp2(splat(LAMBDA_LOG2E) * load(a + c * next + i * stride) - top[c]);
            store(scratch + (i * C + c) * W, x);
            total[c] += x;
        }
    multiply_panels<C>(scratch, n, panels, products);
    for (size_t c = 0; c < C; ++c) {
        scale[c] = splat(LAMBDA_LOG2E) / total[c];  // the division that the first softmax still lacks
        top[c] = load(products + c * W);
        total[c] = V{};
    }
    for (size_t i = 1; i < n; ++i)
        for (size_t c = 0; c < C; ++c) top[c] = vmax(top[c], load(products + (i * C + c) * W));
    for (size_t c = 0; c < C; ++c) top[c] *= scale[c];
    for (size_t i = 0; i < n; ++i)
        for (size_t c = 0; c < C; ++c) {
            const V x = exp2(scale[c] * load(products + (i * C + c) * W) - top[c]);
            total[c] += x;
            sum[c] += x * load(a + c * next + i * stride);
        }
    for (size_t c = 0; c < C; ++c) result[c] = sum[c] / total[c];
}

// One vector of columns, entries LANES apart.
template <bool SORTED>
V isa(const float* a, size_t n, const float* panels, float* scratch) {
    V result;
    isa<1, SORTED>(a, 0, LANES, n, panels, scratch, &result);
    return result;
}

}  // namespace
}  // namespace vtr::VTR_ISA
