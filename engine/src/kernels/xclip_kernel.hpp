// What the X-CLIP kernel is given: the model's small matrices, and the similarities of a text with some videos.
//
//     isa(a, M) = Σ (sm(T·a) @ M) ∘ a along the entries of a
#pragma once

#include "kernels.hpp"
#include "panels.hpp"

namespace vtr {

struct XClipWeights {
    size_t frames, words;
    float scale;                                        // exp(logit_scale) / 4
    const float *frame_logit, *frame_mat, *frame_mat2;  // [F, F], panels of rows
    const float *word_logit, *word_mat, *word_mat2;     // [L, L], likewise
};

struct XClipSimilarities {  // of one text with `count` videos
    size_t count;
    // Both with room for padded(rows, ROW_BLOCK) rows, of which those after `count` videos are read in vain.
    const float* words_frames;     // [count, F, padded(L, LANES)]: (w·Lm)·f
    const float* words_video;      // [count, padded(L, LANES)]: w·v
    const float* sentence_frames;  // [count, F]: s·f
    const float* sentence_video;   // [count]: (s·G)·v
};

}  // namespace vtr
