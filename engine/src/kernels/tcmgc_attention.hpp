// TC-MGC's language-video attention: how a text's rows attend to a video's frames, what that does to the length of
// the pooled vectors, and their dot products with the folded words. Lanes are attention rows.
#pragma once

#include "simd.hpp"
#include "tcmgc_kernel.hpp"

namespace vtr::VTR_ISA {
namespace {

constexpr float EPS = 1e-5f;  // of the layer norms

// Softmax of N vectors over the frames, base 2: logits [frames] `stride` floats apart to shares [frames, N].
template <size_t N>
VTR_INLINE void softmax_frames(const float* logits, size_t stride, size_t frames, float* shares) {
    V top[N], total[N] = {};
    for (size_t n = 0; n < N; ++n) top[n] = load(logits + n * W);
    for (size_t f = 1; f < frames; ++f)
        for (size_t n = 0; n < N; ++n) top[n] = vmax(top[n], load(logits + f * stride + n * W));
    for (size_t f = 0; f < frames; ++f)
        for (size_t n = 0; n < N; ++n) {
            const V x = exp2(load(logits + f * stride + n * W) - top[n]);
            store(shares + (f * N + n) * W, x);
            total[n] += x;
        }
    for (size_t n = 0; n < N; ++n) total[n] = splat(1.0f) / total[n];
    for (size_t f = 0; f < frames; ++f)
        for (size_t n = 0; n < N; ++n) {
            float* at = shares + (f * N + n) * W;
            store(at, load(at) * total[n]);
        }
}

struct Forms {  // of an attention row: aᵀG2a, aᵀG3a, aᵀNa, a·h3, a·n1, a·n2
    V square[3], line[3];
};

// ROWS rows of the triangles from row f on: their dot products with the attention rows, and what these add to the
// forms.
template <size_t ROWS, size_t N>
VTR_INLINE void add_gram_rows(const float* shares, size_t frames, size_t f, const float* gram, Forms* forms) {
    const size_t triangle = tcmgc_triangle(frames);
    const float* lines = gram + 3 * triangle;
    const float* row =
        gram + f * frames - f * (f + 1) / 2;  // of g: row[g], the next row at row[g + frames - f - 1]
    V sums[3][ROWS][N] = {};
    for (size_t number = 0; number < 3; ++number)
        for (size_t n = 0; n < N; ++n)
            sums[number][0][n] = splat(row[number * triangle + f]) * load(shares + (f * N + n) * W);
    for (size_t g = f + 1; g < frames; ++g) {
        V share[N];
        for (size_t n = 0; n < N; ++n) share[n] = load(shares + (g * N + n) * W);
        for (size_t number = 0; number < 3; ++number)
            for (size_t r = 0; r < ROWS; ++r) {
                const V weight = splat(row[number * triangle + r * (frames - f - 1) + g]);
                for (size_t n = 0; n < N; ++n) sums[number][r][n] += weight * share[n];
            }
    }
    for (size_t r = 0; r < ROWS; ++r)
        for (size_t n = 0; n < N; ++n) {
            const V share = load(shares + ((f + r) * N + n) * W);
            for (size_t number = 0; number < 3; ++number) {
                forms[n].square[number] += share * sums[number][r][n];
                forms[n].line[number] += share * splat(lines[number * frames + f + r]);
            }
        }
}

template <size_t N>
VTR_INLINE void gram_forms(const float* shares, size_t frames, const float* gram, Forms* forms) {
    for (size_t n = 0; n < N; ++n) forms[n] = {};
    size_t f = 0;
    for (; f + 2 <= frames; f += 2) add_gram_rows<2, N>(shares, frames, f, gram, forms);
    if (f < frames) add_gram_rows<1, N>(shares, frames, f, gram, forms);
}

// The same for one attention row, its frames side by side and 0 after them.
VTR_INLINE void gram_forms_of_row(const float* shares, size_t frames, const float* gram, float* forms,
                                  size_t stride) {
    const size_t triangle = tcmgc_triangle(frames);
    const float* lines = gram + 3 * triangle;
    V square[3] = {}, line[3] = {};
    for (size_t f = 0; f < frames; gram += frames - f, ++f)
        for (size_t g = f; g < frames; g += W) {
            const V pair = splat(shares[f]) * load(shares + g);
            for (size_t number = 0; number < 3; ++number)
                square[number] += pair * load(gram + number * triangle + g - f);
        }
    for (size_t f = 0; f < frames; f += W)
        for (size_t number = 0; number < 3; ++number)
            line[number] += load(shares + f) * load(lines + number * frames + f);
    for (size_t number = 0; number < 3; ++number) {
        forms[number * stride] = sum(square[number]);
        forms[(number + 3) * stride] = sum(line[number]);
    }
}

struct Factors {  // p·n(z) = pooled·(a·(k·p̂)) + offset·e + bias·d
    V pooled, offset, bias;
};

VTR_INLINE Factors factors_of(const TcmgcWeights& weights, const Forms& forms) {
    const V zero = {}, two = splat(2.0f);
    const V i2 = rsqrt(vmax(forms.square[0], zero) + splat(EPS));
    const V variance = (vmax(forms.square[1], zero) * i2 + two * forms.line[0]) * i2 + splat(weights.variance);
    const V i3 = rsqrt(vmax(variance, splat(EPS)));
    const V norm = ((vmax(forms.square[2], zero) * i2 + two * forms.line[1]) * i2 + splat(weights.norm)) * i3 +
                   two * (forms.line[2] * i2 + splat(weights.cross));
    // Where z is almost nothing the sum has no digits left; the floor keeps it from blowing up.
    const V inverse = rsqrt(vmax(norm * i3 + splat(weights.bias), splat(weights.floor)));
    return {i2 * i3 * inverse, i3 * inverse, inverse};
}

// Dot products of N vectors of n(z) with ROWS columns: out[row * stride] = Σ_f shares_f · probed[f][row] + …
// `shares` is multiplied with the factor `pooled` already.
template <size_t ROWS, size_t N>
VTR_INLINE void similarities(const float* shares, const Factors* factors, size_t frames, const float* probed,
                             size_t probed_stride, const float* e, const float* d, float* out, size_t stride) {
    V sums[ROWS][N];
    for (size_t row = 0; row < ROWS; ++row)
        for (size_t n = 0; n < N; ++n)
            sums[row][n] = splat(e[row]) * factors[n].offset + splat(d[row]) * factors[n].bias;
    for (size_t f = 0; f < frames; ++f) {
        V share[N];
        for (size_t n = 0; n < N; ++n) share[n] = load(shares + (f * N + n) * W);
        for (size_t row = 0; row < ROWS; ++row) {
            const V weight = splat(probed[f * probed_stride + row]);
            for (size_t n = 0; n < N; ++n) sums[row][n] += weight * share[n];
        }
    }
    for (size_t row = 0; row < ROWS; ++row)
        for (size_t n = 0; n < N; ++n) store(out + row * stride + n * W, sums[row][n]);
}

}  // namespace
}  // namespace vtr::VTR_ISA
