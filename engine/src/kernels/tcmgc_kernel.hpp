// What the TC-MGC kernels are given: the model's numbers, a text's, and some videos with their products.
//
// A text is two sets of probes, Lp = padded(L, LANES):
//   with the frames k [F, D]   attention rows of the words [Lp], words · local matrix folded [Lp],
//                              attention row of the sentence, sentence folded
//   with pooled frames [D]     words folded [Lp], sentence · global matrix folded
// Attention rows are LN1(q)·log2(e)/√D, so that the softmax is one of powers of 2. A vector p is folded to p̂ with
// its offsets e = (p∘g3)c·cc and d = p·b3: for attention row a and the scalars i2, i3, ‖z‖ that depend on a,
//
//     p·n(z) = (i3·(i2·a·(k·p̂) + e) + d) / ‖z‖
//
// python/vtr/scoring/gram.py says how these come about.
#pragma once

#include "kernels.hpp"
#include "panels.hpp"

namespace vtr {

// Columns of the products, `lanes` = padded(L, LANES).
[[gnu::always_inline]] inline constexpr size_t tcmgc_frame_columns(size_t lanes) { return 2 * lanes + LANES; }
[[gnu::always_inline]] inline constexpr size_t tcmgc_pooled_columns(size_t lanes) { return lanes + LANES; }
[[gnu::always_inline]] inline constexpr size_t tcmgc_attention_floats(size_t frames) {
    return padded(frames, LANES) + LANES;
}
inline constexpr size_t TCMGC_SENTENCE_ATTENTION = 0, TCMGC_SENTENCE = 1;  // after the two [Lp]

// What a bank keeps of a video's gram array, in floats: the upper triangles of G2, G3 and N row by row, what is
// off the diagonal doubled, so that aᵀGa is the sum over f ≤ g; then h3, n1, n2 [F], the last of them padded with
// zeros so that whole vectors can be read anywhere.
[[gnu::always_inline]] inline constexpr size_t tcmgc_triangle(size_t frames) { return frames * (frames + 1) / 2; }
[[gnu::always_inline]] inline constexpr size_t tcmgc_gram_floats(size_t frames) {
    return 3 * tcmgc_triangle(frames) + 2 * frames + padded(frames, LANES);
}

struct TcmgcWeights {
    size_t frames, words, keep, dim;
    float scale;                                              // exp(logit_scale)
    float variance, norm, cross, bias, floor;                 // of 1/i3² and ‖z‖², see gram.py
    const float *video_word, *word, *frame, *word2, *frame2;  // of isa [K, K], panels of columns
    const float* sentence_frame;                              // [K + 1, K + 1], likewise
    float logit_weight[4][4];
};

struct TcmgcText {
    const float* frame_offsets;   // e [Lp + LANES] of the columns after the words' attention rows, then d
    const float* pooled_offsets;  // e [Lp + LANES], then d
};

struct TcmgcVideos {
    size_t count;
    const void* frames;  // [count, F, D] as stored
    Storage storage;
    const float* grams;  // one every gram_stride floats
    size_t gram_stride;
    const float* with_frames;  // [count, F, tcmgc_frame_columns]
    float* attention;          // of the sentence, [count, tcmgc_attention_floats], 0 after F: `tcmgc_pool` writes
    float* pooled;             // Σ attention · frame [count, D]: `tcmgc_pool` writes
    const float* with_pooled;  // [count, tcmgc_pooled_columns]
    Ahead ahead;               // wanted next, `bytes` a video
};

}  // namespace vtr
