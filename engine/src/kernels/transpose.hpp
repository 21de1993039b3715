// Transposing small matrices of floats.
#pragma once

#include "kernels.hpp"
#include "simd.hpp"

namespace vtr::VTR_ISA {
namespace {

#if defined(__AVX512F__)
// Rows 4·q + r: x[r] gets the numbers [4·column, 4·column + 4) of the four rows q, one after the other.
VTR_INLINE __m512 quarter(const float* from, size_t stride) {
    __m512 x = _mm512_castps128_ps512(_mm_loadu_ps(from));
    x = _mm512_mask_broadcast_f32x4(x, 0x00f0, _mm_loadu_ps(from + 4 * stride));
    x = _mm512_mask_broadcast_f32x4(x, 0x0f00, _mm_loadu_ps(from + 8 * stride));
    return _mm512_mask_broadcast_f32x4(x, 0xf000, _mm_loadu_ps(from + 12 * stride));
}
VTR_INLINE void transpose_square(const float* from, size_t stride, float* to, size_t to_stride) {
    for (size_t column = 0; column < W; column += 4) {
        const __m512 a = quarter(from + column, stride), b = quarter(from + stride + column, stride);
        const __m512 c = quarter(from + 2 * stride + column, stride),
                     d = quarter(from + 3 * stride + column, stride);
        const __m512d ab = (__m512d)_mm512_unpacklo_ps(a, b), AB = (__m512d)_mm512_unpackhi_ps(a, b);
        const __m512d cd = (__m512d)_mm512_unpacklo_ps(c, d), CD = (__m512d)_mm512_unpackhi_ps(c, d);
        store(to + column * to_stride, (V)_mm512_unpacklo_pd(ab, cd));
        store(to + (column + 1) * to_stride, (V)_mm512_unpackhi_pd(ab, cd));
        store(to + (column + 2) * to_stride, (V)_mm512_unpacklo_pd(AB, CD));
        store(to + (column + 3) * to_stride, (V)_mm512_unpackhi_pd(AB, CD));
    }
}
#elif defined(__AVX2__)
VTR_INLINE __m256 halves(const float* from, size_t stride) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)), _mm_loadu_ps(from + 4 * stride), 1);
}
VTR_INLINE void transpose_square(const float* from, size_t stride, float* to, size_t to_stride) {
    for (size_t column = 0; column < W; column += 4) {
        const __m256 a = halves(from + column, stride), b = halves(from + stride + column, stride);
        const __m256 c = halves(from + 2 * stride + column, stride),
                     d = halves(from + 3 * stride + column, stride);
        const __m256d ab = (__m256d)_mm256_unpacklo_ps(a, b), AB = (__m256d)_mm256_unpackhi_ps(a, b);
        const __m256d cd = (__m256d)_mm256_unpacklo_ps(c, d), CD = (__m256d)_mm256_unpackhi_ps(c, d);
        store(to + column * to_stride, (V)_mm256_unpacklo_pd(ab, cd));
        store(to + (column + 1) * to_stride, (V)_mm256_unpackhi_pd(ab, cd));
        store(to + (column + 2) * to_stride, (V)_mm256_unpacklo_pd(AB, CD));
        store(to + (column + 3) * to_stride, (V)_mm256_unpackhi_pd(AB, CD));
    }
}
#else
VTR_INLINE void transpose_square(const float* from, size_t stride, float* to, size_t to_stride) {
    for (size_t row = 0; row < W; ++row)
        for (size_t column = 0; column < W; ++column) to[column * to_stride + row] = from[row * stride + column];
}
#endif

// to [columns, LANES] = the transpose of LANES rows `stride` floats apart; columns is a multiple of LANES.
VTR_INLINE void transpose_lanes(const float* from, size_t stride, size_t columns, float* to) {
    for (size_t row = 0; row < LANES; row += W)
        for (size_t column = 0; column < columns; column += W)
            transpose_square(from + row * stride + column, stride, to + column * LANES + row, LANES);
}

}  // namespace
}  // namespace vtr::VTR_ISA
