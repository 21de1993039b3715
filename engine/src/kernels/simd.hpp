// Vectors of floats for kernels: V of W floats, one set of functions for every instruction set.
//
// A kernel is one source file, compiled once an instruction set with VTR_ISA naming it ("portable", "avx2",
// "avx512", "amx"). Everything in a kernel file lives in an unnamed namespace inside vtr::VTR_ISA, and no kernel
// file uses templates or inline functions of the standard library: the linker would merge those of different
// instruction sets, and an old processor would meet instructions that it does not have.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace vtr::VTR_ISA {
namespace {

#if defined(__AVX512F__)
constexpr size_t W = 16;
#elif defined(__AVX2__)
constexpr size_t W = 8;
#else
constexpr size_t W = 4;
#endif

using V = float __attribute__((vector_size(4 * W)));     // + - * / work lane by lane, a * b + c is fused
using VI = int32_t __attribute__((vector_size(4 * W)));  // the same lanes as integers; comparisons give these
using VU = float __attribute__((vector_size(4 * W), aligned(4)));  // at any address

#define VTR_INLINE inline __attribute__((always_inline))

VTR_INLINE V load(const float* from) { return *reinterpret_cast<const VU*>(from); }
VTR_INLINE void store(float* to, V x) { *reinterpret_cast<VU*>(to) = x; }
VTR_INLINE V splat(float x) { return x - V{}; }

#if defined(__AVX512F__)
VTR_INLINE V vmin(V a, V b) { return (V)_mm512_min_ps((__m512)a, (__m512)b); }
VTR_INLINE V vmax(V a, V b) { return (V)_mm512_max_ps((__m512)a, (__m512)b); }
VTR_INLINE V vsqrt(V a) { return (V)_mm512_sqrt_ps((__m512)a); }
VTR_INLINE float sum(V a) { return _mm512_reduce_add_ps((__m512)a); }
VTR_INLINE float highest(V a) { return _mm512_reduce_max_ps((__m512)a); }
#elif defined(__AVX2__)
VTR_INLINE V vmin(V a, V b) { return (V)_mm256_min_ps((__m256)a, (__m256)b); }
VTR_INLINE V vmax(V a, V b) { return (V)_mm256_max_ps((__m256)a, (__m256)b); }
VTR_INLINE V vsqrt(V a) { return (V)_mm256_sqrt_ps((__m256)a); }
#else
VTR_INLINE V vmin(V a, V b) { return a < b ? a : b; }
VTR_INLINE V vmax(V a, V b) { return a > b ? a : b; }
VTR_INLINE V vsqrt(V a) {
    for (size_t lane = 0; lane < W; ++lane) a[lane] = __builtin_sqrtf(a[lane]);
    return a;
}
#endif

#if !defined(__AVX512F__)
VTR_INLINE float sum(V a) {  // in halves, as the instruction of AVX-512 does
    for (size_t half = W / 2; half > 0; half /= 2)
        for (size_t lane = 0; lane < half; ++lane) a[lane] += a[lane + half];
    return a[0];
}
VTR_INLINE float highest(V a) {
    float best = a[0];
    for (size_t lane = 1; lane < W; ++lane) best = a[lane] > best ? a[lane] : best;
    return best;
}
#endif

// 1 / √x within a factor of 1 ± 2e-7, for normal x > 0.
#if defined(__AVX512F__)
VTR_INLINE V rsqrt(V x) {
    const V y = (V)_mm512_rsqrt14_ps((__m512)x);
    return y * (splat(1.5f) - splat(0.5f) * x * y * y);
}
#else
VTR_INLINE V rsqrt(V x) { return splat(1.0f) / vsqrt(x); }
#endif

// 2^x within a factor of 1 ± 2e-7, for x <= 126; below -100 it is about 2^-100 (1e-30), which sums lose.
#if defined(__AVX512F__)
VTR_INLINE V exp2(V x) {
    x = vmax(x, splat(-100.0f));                       // subnormal results would be slow, and so would their parts
    const V f = (V)_mm512_reduce_ps((__m512)x, 0x01);  // x - ⌊x⌋
    V p = splat(1.8775767e-3f);                        // minimax of 2^f
    p = p * f + splat(8.9893397e-3f);
    p = p * f + splat(5.5826318e-2f);
    p = p * f + splat(2.4015361e-1f);
    p = p * f + splat(6.9315308e-1f);
    p = p * f + splat(9.9999994e-1f);
    return (V)_mm512_scalef_ps((__m512)p, (__m512)x);  // p * 2^⌊x⌋
}
#else
VTR_INLINE V exp2(V x) {
    const V magic = splat(0x1.8p23f);  // adding it leaves the nearest whole number in the low bits
    x = vmax(x, splat(-100.0f));
    const V shifted = x + magic;
    const V f = x - (shifted - magic);  // in [-1/2, 1/2]
    V p = splat(1.3276455e-3f);         // minimax of 2^f
    p = p * f + splat(9.6755362e-3f);
    p = p * f + splat(5.55071328e-2f);
    p = p * f + splat(2.40221198e-1f);
    p = p * f + splat(6.93146967e-1f);
    p = p * f + splat(1.00000007f);
    return (V)((VI)p + ((VI)shifted << 23));
}
#endif
constexpr float LOG2E = 1.44269504088896340736f;  // exp(x) = exp2(LOG2E * x)

}  // namespace
}  // namespace vtr::VTR_ISA
