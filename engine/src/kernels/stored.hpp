// Stored rows as vectors of floats.
#pragma once

#include "kernels.hpp"
#include "simd.hpp"

namespace vtr::VTR_ISA {
namespace {

#if defined(__AVX512F__)
VTR_INLINE V load_f16(const uint16_t* from) {
    return (V)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from));
}
VTR_INLINE V load_bf16(const uint16_t* from) {
    return (V)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from)), 16);
}
#elif defined(__AVX2__)
VTR_INLINE V load_f16(const uint16_t* from) { return (V)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from)); }
VTR_INLINE V load_bf16(const uint16_t* from) {
    return (V)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)from)), 16);
}
#else
using Halves = uint16_t __attribute__((vector_size(2 * W), aligned(2)));
VTR_INLINE VI widen(const uint16_t* from) {
    return __builtin_convertvector(*reinterpret_cast<const Halves*>(from), VI);
}
VTR_INLINE V load_bf16(const uint16_t* from) { return (V)(widen(from) << 16); }
// Subnormal numbers take their leading bit from 2^-14, which is then subtracted: no float32 on the way is
// subnormal, so a thread that flushes those to zero gets the same. Rows hold neither infinity nor NaN.
VTR_INLINE V load_f16(const uint16_t* from) {
    const VI half = widen(from), sign = (half & 0x8000) << 16, magnitude = (half & 0x7fff) << 13;
    const V subnormal = (V)(magnitude | 113 << 23) - splat(0x1p-14f);
    return (V)((magnitude < 1 << 23 ? (VI)subnormal : magnitude + (112 << 23)) | sign);
}
#endif

template <Storage STORAGE>
VTR_INLINE V load_stored(const void* row, size_t index) {
    if constexpr (STORAGE == Storage::f32) return load(static_cast<const float*>(row) + index);
    const uint16_t* halves = static_cast<const uint16_t*>(row) + index;
    return STORAGE == Storage::f16 ? load_f16(halves) : load_bf16(halves);
}

}  // namespace
}  // namespace vtr::VTR_ISA
