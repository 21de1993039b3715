// TC-MGC: from a text's products with some videos to their logits.
//
// Videos come in groups of LANES. First video by video, lanes being words: attention, the length of the pooled
// vectors, similarities of every text-conditioned frame with every word, and the K highest of these along words.
// Then for all videos of the group at once, one a lane: everything that is left.
#include "tcmgc_kernel.hpp"

#include "isa.hpp"
#include "simd.hpp"
#include "sort.hpp"
#include "stored.hpp"
#include "tcmgc_attention.hpp"
#include "transpose.hpp"

namespace vtr::VTR_ISA {
namespace {

constexpr size_t COLUMNS = 2;                 // vectors of words worked on together
constexpr size_t ROWS = W == 16 ? 8 : 4;      // of similarities that the registers hold beside them
constexpr size_t SIMILARITIES = COLUMNS * W;  // stride of the similarities of these
constexpr size_t SENTENCE_FORMS = 6;
constexpr size_t LINE = 64;  // bytes of a line of the cache

struct Layout {  // of the scratch, in floats
    size_t lanes, keep;
    size_t kept_stride;  // between the rows of `kept`
    size_t shares, similarities, kept, columns, pairs, over_words, over_frames, isa, forms, total;
    explicit Layout(const TcmgcWeights& weights) {
        lanes = padded(weights.words, LANES);
        keep = weights.keep;
        kept_stride = LANES * lanes + LANES;  // a power of 2 would fall on few sets of the cache
        size_t end = 0;
        const auto take = [&end](size_t floats) {
            const size_t begin = end;
            end += padded(floats, LANES);
            return begin;
        };
        shares = take(weights.frames * SIMILARITIES);
        similarities = take(lanes * SIMILARITIES);
        kept = take((keep + 2) * kept_stride);  // [K, video, text-conditioned frame], then those with the
                                                // sentence, then the words with the video
        columns = take((lanes + 1) * LANES);
        pairs = take(keep * keep * LANES);  // [words, frames, video]
        over_words = take(keep * LANES);
        over_frames = take(keep * LANES);
        isa = take(isa_scratch(keep + 1, 2));
        forms = take(SENTENCE_FORMS * LANES);
        total = end;
    }
};

struct Group {
    const TcmgcWeights& weights;
    const TcmgcText& text;
    const TcmgcVideos& videos;
    const Layout& at;
    float* scratch;

    // Fetch a part of what is wanted next, while there is other work to do.
    void fetch(size_t video, size_t part, size_t parts) const {
        const char* of_video = videos.ahead.at + video * videos.ahead.bytes;
        const size_t end = (part + 1) * videos.ahead.bytes / parts;
        for (size_t at = part * videos.ahead.bytes / parts; at < end; at += LINE)
            __builtin_prefetch(of_video + at, 0, 2);
    }

    float* kept(size_t row, size_t video) const {
        return scratch + at.kept + row * at.kept_stride + video * at.lanes;
    }
};

// ---- before the second product
// ------------------------------------------------------------------------------------

// The sentence's attention to the frames of a video: logits `stride` floats apart to shares
// [tcmgc_attention_floats].
void attend_sentence(const float* logits, size_t stride, size_t frames, float* shares) {
    for (size_t f = 0; f < padded(frames, LANES); ++f) shares[f] = logits[(f < frames ? f : 0) * stride];
    V top = load(shares);
    for (size_t f = W; f < frames; f += W) top = vmax(top, load(shares + f));
    top = splat(highest(top));
    for (size_t f = 0; f < frames; f += W) store(shares + f, exp2(load(shares + f) - top));
    for (size_t f = frames; f < tcmgc_attention_floats(frames); ++f) shares[f] = 0;
    V total = {};
    for (size_t f = 0; f < frames; f += W) total += load(shares + f);
    total = splat(1.0f / sum(total));
    for (size_t f = 0; f < frames; f += W) store(shares + f, load(shares + f) * total);
}

// out [N·W] = Σ shares · the same numbers of the frames.
template <Storage STORAGE, size_t N>
VTR_INLINE void pool_numbers(const float* shares, size_t frames, const char* rows, size_t row_bytes, float* out) {
    V sums[N] = {};
    for (size_t f = 0; f < frames; ++f) {
        const V share = splat(shares[f]);
        for (size_t n = 0; n < N; ++n) sums[n] += share * load_stored<STORAGE>(rows + f * row_bytes, n * W);
    }
    for (size_t n = 0; n < N; ++n) store(out + n * W, sums[n]);
}

template <Storage STORAGE>
void pool_frames(const float* shares, size_t frames, const char* rows, size_t dim, float* out) {
    constexpr size_t N = 4;
    const size_t row_bytes = dim * storage_bytes(STORAGE);
    size_t k = 0;
    for (; k + N * W <= dim; k += N * W)
        pool_numbers<STORAGE, N>(shares, frames, rows + k * storage_bytes(STORAGE), row_bytes, out + k);
    for (; k < dim; k += W)
        pool_numbers<STORAGE, 1>(shares, frames, rows + k * storage_bytes(STORAGE), row_bytes, out + k);
}

// ---- video by video, lanes are words --------------------------------------------------------------------------

// Words [lane, lane + N·W) as attention rows: their similarities with all words, the K highest; and with the
// sentence.
template <size_t N>
void attend(const Group& group, size_t video, size_t lane) {
    const TcmgcWeights& weights = group.weights;
    const size_t F = weights.frames, L = weights.words, columns = tcmgc_frame_columns(group.at.lanes);
    const float* products = group.videos.with_frames + video * F * columns;
    float *shares = group.scratch + group.at.shares, *out = group.scratch + group.at.similarities;
    softmax_frames<N>(products + lane, columns, F, shares);
    Forms forms[N];
    gram_forms<N>(shares, F, group.videos.grams + video * group.videos.gram_stride, forms);
    Factors factors[N];
    for (size_t n = 0; n < N; ++n) factors[n] = factors_of(weights, forms[n]);
    for (size_t f = 0; f < F; ++f)
        for (size_t n = 0; n < N; ++n) {
            float* share = shares + (f * N + n) * W;
            store(share, load(share) * factors[n].pooled);
        }

    const float *probed = products + group.at.lanes, *e = group.text.frame_offsets;
    const float* d = e + group.at.lanes + LANES;
    const size_t sentence = group.at.lanes + TCMGC_SENTENCE;
    similarities<1, N>(shares, factors, F, probed + sentence, columns, e + sentence, d + sentence,
                       group.kept(weights.keep, video) + lane, 0);
    const size_t parts = padded(L, ROWS) / ROWS, rounds = padded(group.at.lanes, COLUMNS * W) / (COLUMNS * W);
    for (size_t row = 0; row < L; row += ROWS) {
        group.fetch(video, lane / (COLUMNS * W) * parts + row / ROWS, rounds * parts);
        similarities<ROWS, N>(shares, factors, F, probed + row, columns, e + row, d + row,
                              out + row * SIMILARITIES, SIMILARITIES);
    }
    for (size_t n = 0; n < N; ++n) {
        sort_columns(out + n * W, SIMILARITIES, L, weights.keep);
        for (size_t row = 0; row < weights.keep; ++row)
            store(group.kept(row, video) + lane + n * W, load(out + row * SIMILARITIES + n * W));
    }
}

void attend_all(const Group& group, size_t video) {
    size_t lane = 0;
    for (; lane + COLUMNS * W <= group.at.lanes; lane += COLUMNS * W) attend<COLUMNS>(group, video, lane);
    for (; lane < group.at.lanes; lane += W) attend<1>(group, video, lane);
}

// Words with the video as the sentence sees it.
void video_words(const Group& group, size_t video, float pooled, float offset, float bias) {
    const float* products = group.videos.with_pooled + video * tcmgc_pooled_columns(group.at.lanes);
    const float *e = group.text.pooled_offsets, *d = e + group.at.lanes + LANES;
    float* out = group.kept(group.weights.keep + 1, video);
    for (size_t lane = 0; lane < group.at.lanes; lane += W)
        store(out + lane, splat(pooled) * load(products + lane) + splat(offset) * load(e + lane) +
                              splat(bias) * load(d + lane));
}

// ---- lanes are videos
// -------------------------------------------------------------------------------------------

// Row `row` of `kept` with its videos side by side: `columns` [padded(L, LANES), LANES].
VTR_INLINE float* turn(const Group& group, size_t row) {
    float* columns = group.scratch + group.at.columns;
    transpose_lanes(group.kept(row, 0), group.at.lanes, group.at.lanes, columns);
    return columns;
}

// `columns` are sorted; those after the K highest are fused into one that comes after them. Where there are none
// it is 0, which may be the highest.
V sentence_frame(const Group& group, float* columns, size_t lane) {
    const size_t K = group.weights.keep, L = group.weights.words;
    V total = {}, fused = {};
    const V top = load(columns + K * LANES + lane);
    for (size_t i = K; i < L; ++i) {
        const V x = load(columns + i * LANES + lane), share = exp2(splat(LOG2E) * (x - top));
        total += share;
        fused += share * x;
    }
    store(columns + K * LANES + lane, K < L ? fused / total : V{});
    float* memory = group.scratch + group.at.isa;
    return K < L ? isa<true>(columns + lane, K + 1, group.weights.sentence_frame, memory)
                 : isa<false>(columns + lane, K + 1, group.weights.sentence_frame, memory);
}

// isa of the K columns of `pairs` that lie `next` apart, entries `stride` apart, to out [K, LANES].
void isa_of_pairs(const Group& group, size_t lane, size_t next, size_t stride, const float* panels, float* out) {
    const size_t K = group.weights.keep;
    const float* pairs = group.scratch + group.at.pairs + lane;
    float* memory = group.scratch + group.at.isa;
    V result[2];
    size_t i = 0;
    for (; i + 2 <= K; i += 2) {
        isa<2, true>(pairs + i * next, next, stride, K, panels, memory, result);
        store(out + i * LANES + lane, result[0]);
        store(out + (i + 1) * LANES + lane, result[1]);
    }
    if (i == K) return;
    isa<1, true>(pairs + i * next, next, stride, K, panels, memory, result);
    store(out + i * LANES + lane, result[0]);
}

V frame_word(const Group& group, size_t lane) {
    const TcmgcWeights& weights = group.weights;
    const size_t K = weights.keep;
    float *c = group.scratch + group.at.over_words, *r = group.scratch + group.at.over_frames;
    isa_of_pairs(group, lane, LANES, K * LANES, weights.word, c);
    isa_of_pairs(group, lane, K * LANES, LANES, weights.frame, r);
    float* memory = group.scratch + group.at.isa;
    return splat(0.5f) *
           (isa<false>(c + lane, K, weights.frame2, memory) + isa<false>(r + lane, K, weights.word2, memory));
}

// Σ sm(l @ logit_weight) ∘ l
V aggregate(const TcmgcWeights& weights, V* scores) {
    V logits[4], top;
    for (size_t m = 0; m < 4; ++m) {
        logits[m] = V{};
        for (size_t i = 0; i < 4; ++i) logits[m] += splat(weights.logit_weight[i][m]) * scores[i];
        top = m == 0 ? logits[0] : vmax(top, logits[m]);
    }
    V total = {}, result = {};
    for (size_t m = 0; m < 4; ++m) {
        const V share = exp2(splat(LOG2E) * (logits[m] - top));
        total += share;
        result += share * scores[m];
    }
    return result / total;
}

// ---- a group
// ------------------------------------------------------------------------------------------------------

// Scalars of the sentence for every video: what its similarities are made of, and (s·G)·V.
VTR_INLINE void sentence_factors(const Group& group, float* pooled, float* offset, float* bias,
                                 float* video_sentence) {
    const size_t F = group.weights.frames, lanes = group.at.lanes;
    float* forms = group.scratch + group.at.forms;
    float products[LANES] = {};
    for (size_t i = 0; i < SENTENCE_FORMS * LANES; ++i) forms[i] = 0;
    for (size_t video = 0; video < group.videos.count; ++video) {
        gram_forms_of_row(group.videos.attention + video * tcmgc_attention_floats(F), F,
                          group.videos.grams + video * group.videos.gram_stride, forms + video, LANES);
        products[video] = group.videos.with_pooled[video * tcmgc_pooled_columns(lanes) + lanes];
    }
    const float e = group.text.pooled_offsets[lanes], d = group.text.pooled_offsets[lanes + LANES + lanes];
    for (size_t lane = 0; lane < LANES; lane += W) {
        Forms of_lanes;
        for (size_t number = 0; number < 3; ++number) {
            of_lanes.square[number] = load(forms + number * LANES + lane);
            of_lanes.line[number] = load(forms + (number + 3) * LANES + lane);
        }
        const Factors factors = factors_of(group.weights, of_lanes);
        store(pooled + lane, factors.pooled);
        store(offset + lane, factors.offset);
        store(bias + lane, factors.bias);
        store(video_sentence + lane,
              factors.pooled * load(products + lane) + factors.offset * splat(e) + factors.bias * splat(d));
    }
}

// Logits of up to LANES videos.
void score_group(const Group& group, float* logits) {
    const TcmgcWeights& weights = group.weights;
    const size_t K = weights.keep, L = weights.words;
    float pooled[LANES], offset[LANES], bias[LANES], video_sentence[LANES];
    sentence_factors(group, pooled, offset, bias, video_sentence);
    for (size_t video = 0; video < group.videos.count; ++video) {
        attend_all(group, video);
        video_words(group, video, pooled[video], offset[video], bias[video]);
    }
    for (size_t row = 0; row < K + 2; ++row)
        for (size_t i = group.videos.count * group.at.lanes; i < LANES * group.at.lanes; ++i)
            group.kept(row, 0)[i] = 0;  // so that lanes without a video have numbers too

    float scores[4][LANES];
    for (size_t lane = 0; lane < LANES; ++lane) scores[0][lane] = video_sentence[lane];
    float* columns = turn(group, K + 1);
    for (size_t lane = 0; lane < LANES; lane += W) {
        sort_columns(columns + lane, LANES, L, K);
        store(scores[1] + lane, isa<true>(columns + lane, K, weights.video_word, group.scratch + group.at.isa));
    }
    turn(group, K);
    for (size_t lane = 0; lane < LANES; lane += W) {
        sort_columns(columns + lane, LANES, L, L);
        store(scores[2] + lane, sentence_frame(group, columns, lane));
    }
    float* pairs = group.scratch + group.at.pairs;
    for (size_t row = 0; row < K; ++row) {
        turn(group, row);
        for (size_t lane = 0; lane < LANES; lane += W) sort_columns(columns + lane, LANES, L, K);
        __builtin_memcpy(pairs + row * K * LANES, columns, K * LANES * sizeof(float));
    }
    for (size_t lane = 0; lane < LANES; lane += W) store(scores[3] + lane, frame_word(group, lane));

    for (size_t lane = 0; lane < LANES; lane += W) {
        V four[4];
        for (size_t i = 0; i < 4; ++i) four[i] = splat(weights.scale) * load(scores[i] + lane);
        store(logits + lane, aggregate(weights, four));
    }
}

}  // namespace

size_t tcmgc_scratch(const TcmgcWeights& weights) { return Layout(weights).total; }

void tcmgc_pool(const TcmgcWeights& weights, const TcmgcVideos& videos) {
    const size_t F = weights.frames, D = weights.dim, lanes = padded(weights.words, LANES);
    const size_t columns = tcmgc_frame_columns(lanes);
    for (size_t video = 0; video < videos.count; ++video) {
        float* shares = videos.attention + video * tcmgc_attention_floats(F);
        const float* products = videos.with_frames + video * F * columns;
        attend_sentence(products + 2 * lanes + TCMGC_SENTENCE_ATTENTION, columns, F, shares);
        const char* rows = static_cast<const char*>(videos.frames) + video * F * D * storage_bytes(videos.storage);
        float* pooled = videos.pooled + video * D;
        if (videos.storage == Storage::f16)
            pool_frames<Storage::f16>(shares, F, rows, D, pooled);
        else
            pool_frames<Storage::bf16>(shares, F, rows, D, pooled);
    }
}

void tcmgc(const TcmgcWeights& weights, const TcmgcText& text, const TcmgcVideos& videos, float* scratch,
           float* out) {
    const Layout at(weights);
    for (size_t first = 0; first < videos.count; first += LANES) {
        const size_t left = videos.count - first;
        TcmgcVideos some = videos;
        some.count = left < LANES ? left : LANES;
        some.grams += first * videos.gram_stride;
        some.with_frames += first * weights.frames * tcmgc_frame_columns(at.lanes);
        some.attention += first * tcmgc_attention_floats(weights.frames);
        some.ahead.at += first * videos.ahead.bytes;
        some.with_pooled += first * tcmgc_pooled_columns(at.lanes);
        float logits[LANES];
        score_group({weights, text, some, at, scratch}, logits);
        for (size_t video = 0; video < some.count; ++video) out[first + video] = logits[video];
    }
}

}  // namespace vtr::VTR_ISA
