// TC-MGC's logit of one text and one video, written plainly from the arrays that kernels/tcmgc.py takes.
#pragma once

#include "plain_rows.hpp"

namespace vtr::test {

struct TcmgcArrays {
    size_t F, L, D, K, W, S;  // W and S: words and K as the kernel pads them
    const float* probes;      // [4W, D]
    const float* offsets;     // [5, W]
    const float* weights;     // [6·S·S + 2·S + 32]
    const float* frames;      // [F, D]
    const float* gram;        // [3F + 3, F]

    Matrix square(size_t number) const {
        return [at = weights + number * S * S, S = S](size_t i, size_t j) -> double { return at[i * S + j]; };
    }
    double scalar(size_t number) const { return weights[6 * S * S + 2 * S + number]; }
    double offset(size_t line, size_t j) const { return offsets[line * W + j]; }

    Row with_frames(size_t group, size_t j) const {  // every frame with one probe
        const float* probe = probes + (2 * W * (group / 2) + 2 * j + group % 2) * D;
        Row out(F);
        for (size_t f = 0; f < F; ++f)
            for (size_t i = 0; i < D; ++i) out[f] += double(frames[f * D + i]) * probe[i];
        return out;
    }
};

// Σ sm(λ·(sm(λ·a) @ M)) ∘ a
inline double tcmgc_isa(const Row& a, const Matrix& matrix) {
    return dot(softmax(scaled(times(softmax(scaled(a, LAMBDA)), matrix), LAMBDA)), a);
}

// What turns a·(k·p̂), e and d into p·n(z), of the attention a.
struct TcmgcFactors {
    double product, e, d;
    double operator()(double products, double e_of, double d_of) const {
        return product * products + e * e_of + d * d_of;
    }
};

inline TcmgcFactors tcmgc_factors(const TcmgcArrays& arrays, const Row& a) {
    constexpr double EPS = 1e-5;
    const size_t F = arrays.F;
    const auto form = [&](size_t square) {
        double sum = 0;
        for (size_t f = 0; f < F; ++f)
            for (size_t g = 0; g < F; ++g) sum += a[f] * a[g] * arrays.gram[square * F * F + f * F + g];
        return std::max(sum, 0.0);
    };
    const auto line = [&](size_t number) {
        double sum = 0;
        for (size_t f = 0; f < F; ++f) sum += a[f] * arrays.gram[3 * F * F + number * F + f];
        return sum;
    };
    const double i2 = 1 / std::sqrt(form(0) + EPS);
    const double i3 = 1 / std::sqrt(std::max((form(1) * i2 + 2 * line(0)) * i2 + arrays.scalar(1), EPS));
    const double total =
        ((form(2) * i2 + 2 * line(1)) * i2 + arrays.scalar(2)) * i3 + 2 * (line(2) * i2 + arrays.scalar(3));
    const double inverse = 1 / std::sqrt(std::max(total * i3 + arrays.scalar(4), arrays.scalar(5)));
    return {i2 * i3 * inverse, i3 * inverse, inverse};
}

inline double tcmgc_frame_word(const TcmgcArrays& arrays, const std::vector<Row>& a,
                               const std::vector<TcmgcFactors>& of) {
    const size_t L = arrays.L, K = arrays.K;
    std::vector<Row> probed, kept(L);  // kept: [L frames, K words]
    for (size_t i = 0; i < L; ++i) probed.push_back(arrays.with_frames(1, i));
    for (size_t j = 0; j < L; ++j) {
        Row x(L);
        for (size_t i = 0; i < L; ++i)
            x[i] = of[j](dot(a[j], probed[i]), arrays.offset(0, i), arrays.offset(1, i));
        kept[j] = descending(x, K);
    }
    std::vector<Row> words(K), frames(K, Row(K));  // [words, frames], [frames, words]
    for (size_t word = 0; word < K; ++word) {
        Row x;
        for (const Row& row : kept) x.push_back(row[word]);
        words[word] = descending(x, K);
        for (size_t frame = 0; frame < K; ++frame) frames[frame][word] = words[word][frame];
    }
    Row c, r;
    for (const Row& row : frames) c.push_back(tcmgc_isa(row, arrays.square(2)));
    for (const Row& row : words) r.push_back(tcmgc_isa(row, arrays.square(3)));
    return (tcmgc_isa(c, arrays.square(5)) + tcmgc_isa(r, arrays.square(4))) / 2;
}

inline double tcmgc_sentence_frame(const TcmgcArrays& arrays, const std::vector<Row>& a,
                                   const std::vector<TcmgcFactors>& of) {
    const size_t L = arrays.L, K = arrays.K, S = arrays.S;
    const Row sentence = arrays.with_frames(3, 1);
    Row x(L);
    for (size_t j = 0; j < L; ++j) x[j] = of[j](dot(a[j], sentence), arrays.offset(4, 0), arrays.offset(4, 1));
    x = descending(x, L);
    const Row rest(x.begin() + std::ptrdiff_t(K), x.end());
    x.resize(K);
    x.push_back(rest.empty() ? 0 : dot(softmax(rest), rest));
    const float* edge = arrays.weights + 6 * S * S;
    return tcmgc_isa(x, [&](size_t i, size_t j) -> double {
        if (i < K && j < K) return arrays.square(1)(i, j);
        if (i == K && j == K) return arrays.scalar(0);
        return i == K ? edge[j] : edge[S + i];
    });
}

inline double tcmgc_logit(const TcmgcArrays& arrays) {
    const size_t L = arrays.L;
    std::vector<Row> a;
    std::vector<TcmgcFactors> of;
    for (size_t j = 0; j < L; ++j) {
        a.push_back(softmax(arrays.with_frames(0, j)));
        of.push_back(tcmgc_factors(arrays, a.back()));
    }
    const Row s = softmax(arrays.with_frames(3, 0));
    const TcmgcFactors of_sentence = tcmgc_factors(arrays, s);
    Row words(L);
    for (size_t j = 0; j < L; ++j)
        words[j] = of_sentence(dot(s, arrays.with_frames(2, j)), arrays.offset(2, j), arrays.offset(3, j));
    Row l = {of_sentence(dot(s, arrays.with_frames(3, 2)), arrays.offset(4, 2), arrays.offset(4, 3)),
             tcmgc_isa(descending(words, arrays.K), arrays.square(0)), tcmgc_sentence_frame(arrays, a, of),
             tcmgc_frame_word(arrays, a, of)};
    l = scaled(l, arrays.scalar(6));
    return dot(softmax(times(l, [&](size_t i, size_t j) { return arrays.scalar(8 + 4 * i + j); })), l);
}

}  // namespace vtr::test
