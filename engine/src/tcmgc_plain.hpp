// TC-MGC for kernels of another device: a text's vectors and the model's small parameters, laid out as
// kernels/tcmgc.py reads them.
#pragma once

#include <vector>

#include "head.hpp"
#include "kernels/tcmgc_kernel.hpp"
#include "plain.hpp"
#include "tcmgc_pooling.hpp"

namespace vtr {

// W: words as an axis of those kernels, a power of two of at least 16.
size_t tcmgc_plain_words(size_t words);

// A text's probes [4W, D] and offsets [5, W]. Probe 2W·h + 2j + b is row j of group 2h + b: the words' attention
// rows, words · local matrix folded, words folded; and in the fourth group the sentence's attention row, s folded,
// s·G folded. Offsets: e and d of the second group, e and d of the third, and of the fourth e, d of s, then of
// s·G. What is over is 0. `vectors` [2 + 2L, D]: s, words · local matrix, s·G, words.
void tcmgc_plain_text(const TcmgcPooling& pooling, size_t words, size_t dim, const float* sentence,
                      const float* raw_words, const float* vectors, float* probes, float* offsets);

// With S = K up to a power of two: the six matrices [S, S], of concat_frame_word_logit_weight [K + 1, K + 1] its
// first K by K; that one's last row and last column, [2, S]; then 32 numbers: its corner, variance, norm, cross,
// bias, floor, scale, one free, logit_weight [4, 4].
PlainArray tcmgc_plain_weights(const Head& head, const TcmgcWeights& weights);

}  // namespace vtr
