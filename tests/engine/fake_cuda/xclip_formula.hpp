// X-CLIP's logit of one text and one video, written plainly from the arrays that kernels/xclip.py takes.
#pragma once

#include "plain_rows.hpp"

namespace vtr::test {

struct XclipArrays {
    size_t F, L, D, W, FP;  // W and FP: words and frames as the kernel pads them
    const float* probes;    // [4W, D]
    const float* weights;   // [3·W·W + 3·FP·FP + 4]
    const float* frames;    // [F, D]
    const float* video;     // [D]
};

// Σ (sm(100·a) @ M) ∘ a, M in rows of `axis`
inline double xclip_isa(const Row& a, const float* matrix, size_t axis) {
    const Matrix at = [&](size_t i, size_t j) -> double { return matrix[i * axis + j]; };
    return dot(times(softmax(scaled(a, LAMBDA)), at), a);
}

inline double xclip_logit(const XclipArrays& arrays) {
    const auto [F, L, D, W, FP, probes, weights, frames, video] = arrays;
    const auto product = [D = D](const float* a, const float* b) {
        double sum = 0;
        for (size_t i = 0; i < D; ++i) sum += double(a[i]) * b[i];
        return sum;
    };
    const float *of_words = weights, *of_frames = weights + 3 * W * W, *of_video = probes + 2 * W * D;
    Row words, sentence, by_frame, by_word;
    std::vector<Row> fine(F);  // [F, L]
    for (size_t j = 0; j < L; ++j) words.push_back(product(of_video + 2 * j * D, video));
    for (size_t f = 0; f < F; ++f) {
        sentence.push_back(product(probes + D, frames + f * D));
        for (size_t j = 0; j < L; ++j) fine[f].push_back(product(probes + 2 * j * D, frames + f * D));
        by_frame.push_back(xclip_isa(fine[f], of_words + W * W, W));
    }
    for (size_t j = 0; j < L; ++j) {
        Row line;
        for (size_t f = 0; f < F; ++f) line.push_back(fine[f][j]);
        by_word.push_back(xclip_isa(line, of_frames + FP * FP, FP));
    }
    const double both =
        xclip_isa(by_frame, of_frames + 2 * FP * FP, FP) + xclip_isa(by_word, of_words + 2 * W * W, W);
    const double total = product(of_video + D, video) + xclip_isa(words, of_words, W) +
                         xclip_isa(sentence, of_frames, FP) + both / 2;
    return of_frames[3 * FP * FP] * total;
}

}  // namespace vtr::test
