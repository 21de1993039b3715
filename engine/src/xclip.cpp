// X-CLIP (Ma et al., 2022). s = n(sentence), w = n(words) [L, D], v = video, f = frames [F, D], T = 100:
//
//     isa(a, M)        Σ (sm(T·a) @ M) ∘ a
//     video-sentence   (s·G)·v
//     video-word       isa_L(w·v)
//     sentence-frame   isa_F(s·f)
//     frame-word       A = (w·Lm)·fᵀ;  c = isa_L(A) [F];  r = isa_F(A) [L];  (isa_F(c) + isa_L(r)) / 2
//     logit            exp(logit_scale) · mean of the four
//
// A text is [s; w·Lm] against the frames and [s·G; w] against the video vector; the kernel does the rest.
#include "kernels/xclip_kernel.hpp"

#include <algorithm>
#include <bit>
#include <initializer_list>

#include "head.hpp"
#include "panels.hpp"
#include "transform.hpp"

namespace vtr {
namespace {

struct XClipQuery : VectorQuery {
    XClipQuery(const Options& options, size_t texts, const float* sG, const float* s, const float* wLm,
               const float* w)
        : VectorQuery(options, texts, sG),
          sentences(options, options.precision, {.few = 1, .group = LANES}, texts, s),
          words_frames(options, options.precision, wLm, texts * options.words, options.words),
          words_video(options, options.precision, w, texts * options.words, options.words) {}

    // In groups of LANES: one text of a long query then costs no more than a query of one text.
    const Directions sentences;
    const Probes words_frames, words_video;
};

// An axis of words or frames in the kernels of a GPU (kernels/xclip.py).
size_t plain_axis(size_t size) { return std::max<size_t>(16, std::bit_ceil(size)); }

// The three matrices [W, W] of words, those [FP, FP] of frames, zero beyond L and F; scale / 4 and three free.
PlainArray plain_weights(const Options& options, const Head& head) {
    PlainArray plain{"weights", Storage::f32, {}};
    std::vector<float>& numbers = plain.numbers;
    const auto add = [&](size_t size, std::initializer_list<const char*> names) {
        const size_t axis = plain_axis(size);
        for (const char* name : names) {
            plain.in_two_halves.push_back({name, numbers.size(), axis * axis});
            numbers.resize(numbers.size() + axis * axis);
            float* const to = numbers.data() + numbers.size() - axis * axis;
            for (size_t row = 0; row < size; ++row)
                std::copy_n(head[name].data() + row * size, size, to + row * axis);
        }
    };
    add(options.words, {"word_logit_weight", "word_mat_weight", "word_mat_weight2"});
    add(options.frames, {"frame_logit_weight", "frame_mat_weight", "frame_mat_weight2"});
    numbers.insert(numbers.end(), {head.scale() / 4, 0, 0, 0});
    return plain;
}

class XClipScorer : public VectorScorer {
  public:
    XClipScorer(const Options& options, const Head& head)
        : VectorScorer(options,
                       {feature_column(options, "frames", {int64_t(options.frames), int64_t(options.dim)})}),
          frames_(column("frames")),
          video_(column("video")),
          local_(options, head["local_mat_weight"]),
          global_(options, head["global_mat_weight"]),
          frame_logit_(panels(head["frame_logit_weight"], options.frames, Lines::rows)),
          frame_mat_(panels(head["frame_mat_weight"], options.frames, Lines::rows)),
          frame_mat2_(panels(head["frame_mat_weight2"], options.frames, Lines::rows)),
          word_logit_(panels(head["word_logit_weight"], options.words, Lines::rows)),
          word_mat_(panels(head["word_mat_weight"], options.words, Lines::rows)),
          word_mat2_(panels(head["word_mat_weight2"], options.words, Lines::rows)),
          weights_{options.frames,      options.words,     head.scale() / 4,
                   frame_logit_.data(), frame_mat_.data(), frame_mat2_.data(),
                   word_logit_.data(),  word_mat_.data(),  word_mat2_.data()},
          plain_(plain_weights(options, head)) {
        const size_t videos = std::clamp<size_t>(BLOCK_BYTES * LANES / loaded_bytes(LANES), 4, 64);
        block_rows = videos < LANES ? videos : videos / LANES * LANES;  // the kernel takes LANES at a time
    }

    std::unique_ptr<const Query> prepare(const Texts& texts) const override {
        check_texts(options, texts);
        const size_t dim = options.dim, words = texts.count * options.words;
        Floats s(texts.count * dim), sG(texts.count * dim), w(words * dim), wLm(words * dim);
        for (size_t i = 0; i < texts.count; ++i) unit(texts.sentence + i * dim, dim, s.data() + i * dim);
        for (size_t i = 0; i < words; ++i) unit(texts.words + i * dim, dim, w.data() + i * dim);
        global_(s.data(), texts.count, sG.data());
        local_(w.data(), words, wLm.data());
        return std::make_unique<XClipQuery>(options, texts.count, sG.data(), s.data(), wLm.data(), w.data());
    }

    void score(const Query& query, size_t first, size_t texts, const Block& block, Scratch& scratch,
               float* out) const override;

    // probes [T, 4W, D]: for the frames, row 2j w·Lm and row 1 s; 2W rows on for the vector, row 2j w and row 1
    // s·G.
    std::vector<PlainArray> plain_query(const Texts& texts) const override {
        check_texts(options, texts);
        const size_t D = options.dim, L = options.words, W = plain_axis(L);
        PlainArray probes{"probes", options.storage, std::vector<float>(texts.count * 4 * W * D)};
        run(texts.pool, texts.count, [&](size_t i, size_t, Scratch&) {
            Floats s(D), sG(D), w(L * D), wLm(L * D);
            unit(texts.sentence + i * D, D, s.data());
            for (size_t j = 0; j < L; ++j) unit(texts.words + (i * L + j) * D, D, w.data() + j * D);
            global_(s.data(), 1, sG.data());
            local_(w.data(), L, wLm.data());
            float* const of_frames = probes.numbers.data() + i * 4 * W * D;
            float* const of_vector = of_frames + 2 * W * D;
            for (size_t j = 0; j < L; ++j) {
                std::copy_n(wLm.data() + j * D, D, of_frames + 2 * j * D);
                std::copy_n(w.data() + j * D, D, of_vector + 2 * j * D);
            }
            std::copy_n(s.data(), D, of_frames + D);
            std::copy_n(sG.data(), D, of_vector + D);
        });
        return {std::move(probes)};
    }

    PlainParameters plain_parameters() const override { return {{plain_}, {}}; }

  private:
    // Frames of a block in the form for products should leave room in the second-level cache, which two threads
    // may share.
    static constexpr size_t BLOCK_BYTES = 400 << 10;

    size_t loaded_bytes(size_t videos) const {
        return std::max<size_t>(1, options.kernels->product.rows_bytes(videos * options.frames, options.dim,
                                                                       options.storage, options.precision));
    }

    const size_t frames_, video_;  // columns
    const Transform local_, global_;
    const Floats frame_logit_, frame_mat_, frame_mat2_, word_logit_, word_mat_, word_mat2_;
    const XClipWeights weights_;
    const PlainArray plain_;
};

void XClipScorer::score(const Query& any, size_t first, size_t texts, const Block& block, Scratch& scratch,
                        float* out) const {
    const auto& query = static_cast<const XClipQuery&>(any);
    const ProductKernels& product = options.kernels->product;
    const size_t count = block.count, rows = count * options.frames, L = options.words, lanes = padded(L, LANES);
    const auto load = [&](size_t column, size_t rows, size_t slot) {
        const size_t bytes = product.rows_bytes(rows, options.dim, options.storage, options.precision);
        return product.load_rows(block.columns[column], rows, options.dim, options.storage, options.precision,
                                 scratch.slot<std::byte>(slot, bytes));
    };
    const auto multiply = [&](const void* loaded, size_t rows, const void* probes, float* out) {
        product.product(loaded, rows, options.dim, options.storage, options.precision, probes, L, out, {});
    };

    float* sentence_video = scratch.slot<float>(2, texts * count);
    holistic(query, first, texts, block, scratch, sentence_video);
    float* sentence_frames = scratch.slot<float>(3, texts * rows);
    // Before the rows are made ready: `dots` fetches them from memory faster.
    if (query.sentences.few())
        query.sentences.dots(options, block.columns[frames_], rows, first, texts, sentence_frames);
    const void* frames = load(frames_, rows, 0);
    const void* video = load(video_, count, 1);
    if (!query.sentences.few())
        query.sentences.products(options, frames, rows, first, texts,
                                 scratch.slot<float>(4, query.sentences.products_size(rows)), sentence_frames,
                                 rows);

    float* words_frames = scratch.slot<float>(5, padded(rows, ROW_BLOCK) * lanes);
    float* words_video = scratch.slot<float>(6, padded(count, ROW_BLOCK) * lanes);
    float* memory = scratch.slot<float>(7, options.kernels->xclip_scratch(weights_));
    for (size_t text = 0; text < texts; ++text) {
        multiply(frames, rows, query.words_frames[first + text], words_frames);
        multiply(video, count, query.words_video[first + text], words_video);
        options.kernels->xclip(
            weights_,
            {count, words_frames, words_video, sentence_frames + text * rows, sentence_video + text * count},
            memory, out + text * count);
    }
}

}  // namespace

std::shared_ptr<const Scorer> make_xclip(Options options, const Head& head) {
    const auto F = int64_t(options.frames), L = int64_t(options.words), D = int64_t(options.dim);
    head.require({{"logit_scale", {1}},
                  {"global_mat_weight", {D, D}},
                  {"local_mat_weight", {D, D}},
                  {"frame_logit_weight", {F, F}},
                  {"frame_mat_weight", {F, F}},
                  {"frame_mat_weight2", {F, F}},
                  {"word_logit_weight", {L, L}},
                  {"word_mat_weight", {L, L}},
                  {"word_mat_weight2", {L, L}}});
    return std::make_shared<XClipScorer>(options, head);
}

}  // namespace vtr
