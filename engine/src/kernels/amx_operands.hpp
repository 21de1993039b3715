// Rows and probes made ready for the AMX unit: split into bfloat16 halves, in tiles.
//
// A number is split into a high bfloat16 (it, rounded) and a low one (what is left, rounded). A float16 is exactly
// high + low: 11 bits in 8 + 8, and as float16 has no bit below 2^-24, neither half is ever subnormal as bfloat16
// (the unit takes subnormal numbers as zero). A bfloat16 has no low half. Of a float32, which all probes are,
// 2^-17 at most is lost; so are numbers below 2^-126, which sums of others lose anyway.
#pragma once

#include <immintrin.h>

#include "kernels/kernels.hpp"
#include "kernels/simd.hpp"

namespace vtr::VTR_ISA {
namespace {

constexpr size_t TILE_ROWS = 16, TILE_BYTES = 1024;
constexpr size_t STEP = 32;  // numbers of dim in a tile; what dim lacks to whole steps is 0 in both operands

VTR_INLINE size_t steps_of(size_t dim) { return padded(dim, STEP) / STEP; }

// ---- splitting numbers ---------------------------------------------------------------------------------------

struct Split {
    __m512i high, low;  // 32 bfloat16 each
};

VTR_INLINE __m512i round_bf16(V first, V second) {
    return (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}
VTR_INLINE V widen_bf16(__m256i halves) { return (V)_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16); }
VTR_INLINE V widen_f16(__m256i halves) { return (V)_mm512_cvtph_ps(halves); }

// What would round to infinity has the largest bfloat16 as its high half; the low one takes up the rest.
VTR_INLINE V limit(V x) { return vmax(vmin(x, splat(0x1.fep127f)), splat(-0x1.fep127f)); }

template <bool LOW>
VTR_INLINE Split split_f32(V first, V second) {
    Split halves = {round_bf16(limit(first), limit(second)), __m512i{}};
    if (LOW)
        halves.low = round_bf16(first - widen_bf16(_mm512_castsi512_si256(halves.high)),
                                second - widen_bf16(_mm512_extracti64x4_epi64(halves.high, 1)));
    return halves;
}

// 32 float16 are split in 16-bit integers, in half the time of the way over float32: the high half is the upper
// bits with the exponent's bias changed; by the five lowest bits, tables give the carry of the rounding, and what
// is left but for the exponent.
struct F16Tables {
    alignas(64) uint16_t high[32], low[32];
};
constexpr F16Tables make_f16_tables() {
    F16Tables tables = {};
    for (int bits = 0; bits < 32; ++bits) {
        const int below = bits & 7, odd = bits >> 3 & 1;  // `below` the last bit of the high half
        const bool up = below > 4 || (below == 4 && odd);
        const int left = up ? 8 - below : below;  // times 2^(exponent - 25), downwards if `up`
        const int leading = left >= 4 ? 2 : left >= 2 ? 1 : 0;
        const int low = ((127 - 25 + leading) << 7) + ((left << (7 - leading)) & 0x7f) + (up ? 0x8000 : 0);
        tables.high[bits] = static_cast<uint16_t>((127 - 15) * 128 + up);
        tables.low[bits] = static_cast<uint16_t>(left == 0 ? 0 : low);  // then below 2^-96: as good as zero
    }
    return tables;
}
constexpr F16Tables F16_TABLES = make_f16_tables();

struct F16Splitter {
    const __m512i high_table = _mm512_load_si512(F16_TABLES.high), low_table = _mm512_load_si512(F16_TABLES.low);

    template <bool LOW>
    VTR_INLINE Split split(__m512i x) const {
        // Zero and subnormal numbers have no leading bit to rely on: few groups have any.
        if (__builtin_expect(_mm512_testn_epi16_mask(x, _mm512_set1_epi16(0x7c00)) != 0, 0))
            return split_f32<LOW>(widen_f16(_mm512_castsi512_si256(x)),
                                  widen_f16(_mm512_extracti64x4_epi64(x, 1)));
        const __m512i shifted = _mm512_srai_epi16(x, 3);  // the sign stays on top
        const __m512i upper = _mm512_and_si512(shifted, _mm512_set1_epi16(static_cast<short>(0x8fff)));
        const __m512i exponent = _mm512_and_si512(shifted, _mm512_set1_epi16(static_cast<short>(0x8f80)));
        Split halves = {_mm512_add_epi16(upper, _mm512_permutexvar_epi16(x, high_table)), __m512i{}};
        if (LOW) halves.low = _mm512_add_epi16(exponent, _mm512_permutexvar_epi16(x, low_table));
        return halves;
    }
};

// ---- rows: tiles [rows / 16, steps, high and low if there is one] --------------------------------------------

// Numbers [index, index + 32) of a row; those after dim, which is a multiple of 16, are 0.
template <Storage STORAGE, bool LOW>
VTR_INLINE Split load_step(const F16Splitter& splitter, const char* row, size_t index, size_t dim) {
    const bool whole = index + STEP <= dim;
    if constexpr (STORAGE == Storage::f32) {
        const float* numbers = reinterpret_cast<const float*>(row) + index;
        return split_f32<LOW>(load(numbers), whole ? load(numbers + W) : V{});
    } else {
        const __m512i x = _mm512_maskz_loadu_epi16(whole ? ~0u : 0xffffu, row + index * 2);
        if constexpr (STORAGE == Storage::bf16) return {x, __m512i{}};
        return splitter.split<LOW>(x);
    }
}

template <Storage STORAGE, bool LOW>
void load_tiles(const char* rows, size_t count, size_t dim, char* out) {
    const F16Splitter splitter;
    const size_t row_bytes = dim * storage_bytes(STORAGE);
    for (size_t first = 0; first < count; first += TILE_ROWS) {
        const size_t here = count - first < TILE_ROWS ? count - first : TILE_ROWS;
        for (size_t k = 0; k < dim; k += STEP) {
            for (size_t row = 0; row < here; ++row) {
                const Split halves = load_step<STORAGE, LOW>(splitter, rows + (first + row) * row_bytes, k, dim);
                _mm512_store_si512(out + row * 64, halves.high);
                if (LOW) _mm512_store_si512(out + TILE_BYTES + row * 64, halves.low);
            }
            out += (LOW ? 2 : 1) * TILE_BYTES;
        }
    }
}

// ---- probes: tiles [lanes / 16, steps, high and low if exact], a tile [dim / 2, lane, 2 of dim] --------------

// Number k of 16 probes; those after `count` are 0.
VTR_INLINE V gather(const float* probes, size_t count, size_t dim, size_t k) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i index = _mm512_mullo_epi32(lane, _mm512_set1_epi32(static_cast<int>(dim)));
    const auto here = static_cast<__mmask16>(count < LANES ? (1u << count) - 1 : 0xffff);
    return (V)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), here, index, probes + k, 4);
}

// [16 of one, 16 of another] to pairs side by side.
VTR_INLINE __m512i pairs(__m512i halves) {
    const __m512i first = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(halves));
    const __m512i second = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(halves, 1));
    return _mm512_or_si512(first, _mm512_slli_epi32(second, 16));
}

template <bool LOW>
void pack_tiles(const float* probes, size_t count, size_t dim, char* out) {
    for (size_t first = 0; first < count; first += LANES)
        for (size_t step = 0; step < steps_of(dim); ++step) {
            for (size_t k = step * STEP; k < (step + 1) * STEP; k += 2) {
                Split halves = {};
                if (k < dim)
                    halves = split_f32<LOW>(gather(probes + first * dim, count - first, dim, k),
                                            gather(probes + first * dim, count - first, dim, k + 1));
                char* to = out + (k - step * STEP) / 2 * 64;
                _mm512_store_si512(to, pairs(halves.high));
                if (LOW) _mm512_store_si512(to + TILE_BYTES, pairs(halves.low));
            }
            out += (LOW ? 2 : 1) * TILE_BYTES;
        }
}

}  // namespace
}  // namespace vtr::VTR_ISA
