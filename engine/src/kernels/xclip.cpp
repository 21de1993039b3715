// X-CLIP: from a text's similarities with some videos to their logits.
//
// Every step is isa(a, M) = Σ (sm(T·a) @ M) ∘ a over the entries of columns that lie side by side, one a lane:
// words where the entries are frames, else W videos or frames, whose similarities are transposed for it. So the
// lanes that `product` pads words with get numbers of their own, which no transposition takes along.
#include "xclip_kernel.hpp"

#include "simd.hpp"
#include "transpose.hpp"

namespace vtr::VTR_ISA {
namespace {

constexpr float T = 100.0f;  // softmax at similarity / 0.01

// Scratch: transposed columns, exponentials of the softmax, isa over words of frames, isa over frames of words.
struct Layout {
    size_t entries, lanes, exponentials, frames, words, total;
    explicit Layout(const XClipWeights& weights) {
        const size_t longest = padded(weights.words > weights.frames ? weights.words : weights.frames, LANES);
        lanes = padded(weights.words, LANES);
        entries = 0;
        exponentials = entries + longest * W;
        frames = exponentials + longest * W;
        words = frames + weights.frames * W;
        total = words + lanes * W;
    }
};

// Σ e_i (M a)_i over the rows of some panels.
template <size_t PANELS>
VTR_INLINE V rows(const float* a, size_t stride, size_t n, const float* panels, const float* e) {
    V y[PANELS][PANEL] = {};
    for (size_t j = 0; j < n; ++j) {
        const V x = load(a + j * stride);
        for (size_t panel = 0; panel < PANELS; ++panel)
            for (size_t row = 0; row < PANEL; ++row)
                y[panel][row] += splat(panels[(panel * n + j) * PANEL + row]) * x;
    }
    V result = {};
    for (size_t panel = 0; panel < PANELS; ++panel)
        for (size_t row = 0; row < PANEL; ++row) result += load(e + (panel * PANEL + row) * W) * y[panel][row];
    return result;
}

// isa of the W columns a [n][stride] with a matrix in panels; e [padded(n, PANEL)][W] is scratch.
VTR_INLINE V isa(const float* a, size_t stride, size_t n, const float* panels, float* e) {
    V top = load(a);
    for (size_t i = 1; i < n; ++i) top = vmax(top, load(a + i * stride));
    const V offset = splat(T * LOG2E) * top;
    V total = {};
    for (size_t i = 0; i < n; ++i) {
        const V x = exp2(splat(T * LOG2E) * load(a + i * stride) - offset);
        store(e + i * W, x);
        total += x;
    }
    for (size_t i = n; i < padded(n, PANEL); ++i) store(e + i * W, V{});
    V result = {};
    size_t i = 0;
    for (; i + 2 * PANEL <= n; i += 2 * PANEL) result += rows<2>(a, stride, n, panels + i * n, e + i * W);
    for (; i < n; i += PANEL) result += rows<1>(a, stride, n, panels + i * n, e + i * W);
    return result / total;
}

// to[column][lane] = from[lane][column] for W rows of `lanes` similarities; only those of words are of use.
VTR_INLINE void transpose(const float* from, size_t lanes, size_t words, float* to) {
    for (size_t word = 0; word < words; word += W) transpose_square(from + word, lanes, to + word * W, W);
}

// The same for `videos` <= W rows [frames] without room after them; other lanes stay as they are.
VTR_INLINE void transpose_frames(const float* from, size_t videos, size_t frames, float* to) {
    for (size_t frame = 0; frame < frames; ++frame)
        for (size_t video = 0; video < videos; ++video) to[frame * W + video] = from[video * frames + frame];
}

// The logits of `count` <= W videos.
void group(const XClipWeights& weights, const XClipSimilarities& group, float* scratch, float* out) {
    const Layout at(weights);
    const size_t L = weights.words, F = weights.frames, count = group.count;
    float *a = scratch + at.entries, *e = scratch + at.exponentials;
    float *c = scratch + at.frames, *r = scratch + at.words;

    transpose(group.words_video, at.lanes, L, a);
    const V video_word = isa(a, W, L, weights.word_logit, e);
    transpose_frames(group.sentence_frames, count, F, a);
    const V sentence_frame = isa(a, W, F, weights.frame_logit, e);

    for (size_t row = 0; row < count * F; row += W) {
        transpose(group.words_frames + row * at.lanes, at.lanes, L, a);
        store(c + row, isa(a, W, L, weights.word_mat, e));
    }
    transpose_frames(c, count, F, a);
    V frame_word = isa(a, W, F, weights.frame_mat2, e);

    for (size_t video = 0; video < count; ++video)
        for (size_t lane = 0; lane < at.lanes; lane += W) {
            const float* of = group.words_frames + video * F * at.lanes + lane;
            store(r + video * at.lanes + lane, isa(of, at.lanes, F, weights.frame_mat, e));
        }
    transpose(r, at.lanes, L, a);
    frame_word += isa(a, W, L, weights.word_mat2, e);

    float sentence[W] = {}, logits[W];
    for (size_t video = 0; video < count; ++video) sentence[video] = group.sentence_video[video];
    store(logits,
          splat(weights.scale) * (load(sentence) + video_word + sentence_frame + splat(0.5f) * frame_word));
    for (size_t video = 0; video < count; ++video) out[video] = logits[video];
}

}  // namespace

size_t xclip_scratch(const XClipWeights& weights) { return Layout(weights).total; }

void xclip(const XClipWeights& weights, const XClipSimilarities& all, float* scratch, float* out) {
    const size_t lanes = padded(weights.words, LANES), F = weights.frames;
    for (size_t video = 0; video < all.count; video += W) {
        const size_t left = all.count - video;
        group(weights,
              {.count = left < W ? left : W,
               .words_frames = all.words_frames + video * F * lanes,
               .words_video = all.words_video + video * lanes,
               .sentence_frames = all.sentence_frames + video * F,
               .sentence_video = all.sentence_video + video},
              scratch, out + video);
    }
}

}  // namespace vtr::VTR_ISA
