// TC-MGC (Jing et al., 2025): text-conditioned frames, reorganised similarities, in the form in which everything
// after the attention is small. python/vtr/scoring/tcmgc.py says what is computed, gram.py why that is the same;
// kernels/tcmgc_kernel.hpp says how the work is laid out.
#include "kernels/tcmgc_kernel.hpp"

#include <algorithm>
#include <cmath>

#include "error.hpp"
#include "head.hpp"
#include "panels.hpp"
#include "tcmgc_plain.hpp"
#include "tcmgc_pooling.hpp"
#include "transform.hpp"
#include "vector_scorer.hpp"

namespace vtr {
namespace {

// One row of the column "gram" [3F + 3, F] as the kernel takes it; whether all is finite.
bool pack_gram(const float* rows, size_t frames, float* out) {
    float* const begin = out;
    for (size_t square = 0; square < 3; ++square, rows += frames * frames)
        for (size_t f = 0; f < frames; ++f)
            for (size_t g = f; g < frames; ++g)
                *out++ = g == f ? rows[f * frames + f] : rows[f * frames + g] + rows[g * frames + f];
    out = std::copy_n(rows, 3 * frames, out);
    std::fill(out, begin + tcmgc_gram_floats(frames), 0.0f);
    return std::all_of(begin, out, [](float number) { return std::isfinite(number); });
}

// Texts as a video's frames meet them.
struct TcmgcQuery : VectorQuery {
    TcmgcQuery(const Options& options, size_t texts, const float* directions)
        : VectorQuery(options, texts, directions),
          lanes(padded(options.words, LANES)),
          offsets_size(2 * (lanes + LANES)),
          frame_bytes(options.kernels->product.packed_bytes(frame_probes(), options.dim, options.precision)),
          pooled_bytes(options.kernels->product.packed_bytes(pooled_probes(), options.dim, options.precision)),
          frames(aligned_bytes(texts * frame_bytes)),
          pooled(aligned_bytes(texts * pooled_bytes)),
          offsets(texts * 2 * offsets_size) {}

    size_t frame_probes() const { return 2 * lanes + TCMGC_SENTENCE + 1; }
    size_t pooled_probes() const { return lanes + 1; }

    const size_t lanes, offsets_size, frame_bytes, pooled_bytes;
    const AlignedBytes frames, pooled;  // packed probes, a text after the other
    Floats offsets;                     // of the columns with frames, then with pooled frames

    TcmgcText text(size_t number) const {
        const float* of = offsets.data() + number * 2 * offsets_size;
        return {of, of + offsets_size};
    }
};

class TcmgcScorer : public VectorScorer {
  public:
    TcmgcScorer(const Options& options, const Head& head)
        : VectorScorer(options,
                       {feature_column(options, "frames", {int64_t(options.frames), int64_t(options.dim)}),
                        gram_column(options.frames)}),
          frames_(column("frames")),
          gram_(column("gram")),
          pooling_(options, head),
          local_(options, head["local_mat_weight"]),
          global_(options, head["global_mat_weight"]),
          video_word_(panels(head["attentive_word_logit_weight"], options.keep, Lines::columns)),
          sentence_frame_(panels(head["concat_frame_word_logit_weight"], options.keep + 1, Lines::columns)),
          word_(panels(head["attentive_word_mat_weight"], options.keep, Lines::columns)),
          frame_(panels(head["attentive_frame_word_mat_weight"], options.keep, Lines::columns)),
          word2_(panels(head["attentive_word_mat_weight2"], options.keep, Lines::columns)),
          frame2_(panels(head["attentive_frame_word_mat_weight2"], options.keep, Lines::columns)) {
        weights_.video_word = video_word_.data();
        weights_.sentence_frame = sentence_frame_.data();
        weights_.word = word_.data();
        weights_.frame = frame_.data();
        weights_.word2 = word2_.data();
        weights_.frame2 = frame2_.data();
        weights_.frames = options.frames;
        weights_.words = options.words;
        weights_.keep = options.keep;
        weights_.dim = options.dim;
        weights_.scale = head.scale();
        pooling_.set_constants(weights_);
        for (size_t i = 0; i < 4; ++i)
            for (size_t j = 0; j < 4; ++j)  // some published files lack it; then it is the identity
                weights_.logit_weight[i][j] = head.has("logit_weight") ? head["logit_weight"][i * 4 + j] : i == j;
        plain_ = tcmgc_plain_weights(head, weights_);
        block_rows = 8 * LANES;  // groups of which `score` takes one after the other, fetching the next
    }

    void pack(size_t column, const vtr_array& array, std::byte* out) const override {
        if (column != gram_) return VectorScorer::pack(column, array, out);
        const size_t frames = options.frames, size = (3 * frames + 3) * frames;
        const auto* from = static_cast<const float*>(array.data);
        for (int64_t row = 0; row < array.shape[0]; ++row) {
            auto* to = reinterpret_cast<float*>(out + static_cast<size_t>(row) * columns[gram_].row_bytes);
            if (!pack_gram(from + static_cast<size_t>(row) * size, frames, to))
                throw Error(VTR_NOT_FINITE, "expected finite numbers, got NaN or infinity in row " +
                                                std::to_string(row) +
                                                " of column 'gram': check the video encoder");
        }
    }

    std::unique_ptr<const Query> prepare(const Texts& texts) const override;

    void score(const Query& query, size_t first, size_t texts, const Block& block, Scratch& scratch,
               float* out) const override;

    std::vector<PlainArray> plain_query(const Texts& texts) const override;
    PlainParameters plain_parameters() const override { return {{plain_}, {}}; }

  private:
    static constexpr size_t MANY_TEXTS = 4;

    static Column gram_column(size_t frames) {
        const auto F = static_cast<int64_t>(frames);
        return {"gram", {3 * F + 3, F}, tcmgc_gram_floats(frames) * sizeof(float), Storage::f32};
    }

    // `score` for `count` videos, the texts' logits `stride` apart. `ahead` are the frames that come next, or
    // null.
    void score_rows(const TcmgcQuery& query, size_t first, size_t texts, const std::byte* frames,
                    const std::byte* ahead, const std::byte* grams, size_t count, Scratch& scratch, float* out,
                    size_t stride) const;

    void prepare_text(const Texts& texts, size_t number, const float* directions, TcmgcQuery& query) const;

    const size_t frames_, gram_;  // columns
    const TcmgcPooling pooling_;
    const Transform local_, global_;
    const Floats video_word_, sentence_frame_, word_, frame_, word2_, frame2_;
    TcmgcWeights weights_ = {};
    PlainArray plain_;  // parameters, see tcmgc_plain.hpp
};

std::unique_ptr<const Query> TcmgcScorer::prepare(const Texts& texts) const {
    check_texts(options, texts);
    const size_t D = options.dim;
    Floats sentences(texts.count * D), directions(texts.count * D);
    for (size_t i = 0; i < texts.count; ++i) unit(texts.sentence + i * D, D, sentences.data() + i * D);
    global_(sentences.data(), texts.count, directions.data());
    auto query = std::make_unique<TcmgcQuery>(options, texts.count, directions.data());
    run(texts.pool, texts.count,
        [&](size_t i, size_t, Scratch&) { prepare_text(texts, i, directions.data() + i * D, *query); });
    return query;
}

void TcmgcScorer::prepare_text(const Texts& texts, size_t number, const float* direction,
                               TcmgcQuery& query) const {
    const ProductKernels& product = options.kernels->product;
    const size_t D = options.dim, L = options.words, lanes = query.lanes;
    const float *sentence = texts.sentence + number * D, *words = texts.words + number * L * D;

    // The vectors that are folded, in the order of their columns: words · Lm [lanes], one left out, s; then
    // words [lanes], s·G.
    const size_t of_frames = lanes + TCMGC_SENTENCE + 1, of_pooled = query.pooled_probes();
    Floats vectors((of_frames + of_pooled) * D), folded((of_frames + of_pooled) * D);
    std::fill_n(vectors.data(), (of_frames + of_pooled) * D, 0.0f);
    float *pooled = vectors.data() + of_frames * D, *s = vectors.data() + (lanes + TCMGC_SENTENCE) * D;
    for (size_t i = 0; i < L; ++i) unit(words + i * D, D, pooled + i * D);
    local_(pooled, L, vectors.data());
    unit(sentence, D, s);
    std::copy_n(direction, D, pooled + lanes * D);

    std::vector<float> e(of_frames + of_pooled), d(of_frames + of_pooled);
    pooling_.fold(vectors.data(), of_frames + of_pooled, folded.data(), e.data(), d.data());

    Floats probes(query.frame_probes() * D);
    std::fill_n(probes.data(), lanes * D, 0.0f);
    for (size_t i = 0; i < L; ++i) pooling_.attention(words + i * D, probes.data() + i * D);
    std::copy_n(folded.data(), of_frames * D, probes.data() + lanes * D);
    pooling_.attention(sentence, probes.data() + (2 * lanes + TCMGC_SENTENCE_ATTENTION) * D);
    product.pack(probes.data(), query.frame_probes(), D, options.precision,
                 query.frames.get() + number * query.frame_bytes);
    product.pack(folded.data() + of_frames * D, of_pooled, D, options.precision,
                 query.pooled.get() + number * query.pooled_bytes);

    float* offsets = query.offsets.data() + number * 2 * query.offsets_size;
    std::fill_n(offsets, 2 * query.offsets_size, 0.0f);
    std::copy_n(e.data(), of_frames, offsets);
    std::copy_n(d.data(), of_frames, offsets + lanes + LANES);
    std::copy_n(e.data() + of_frames, of_pooled, offsets + query.offsets_size);
    std::copy_n(d.data() + of_frames, of_pooled, offsets + query.offsets_size + lanes + LANES);
}

std::vector<PlainArray> TcmgcScorer::plain_query(const Texts& texts) const {
    check_texts(options, texts);
    const size_t D = options.dim, L = options.words, W = tcmgc_plain_words(L);
    PlainArray probes{"probes", options.storage, std::vector<float>(texts.count * 4 * W * D)};
    PlainArray offsets{"offsets", Storage::f32, std::vector<float>(texts.count * 5 * W)};
    run(texts.pool, texts.count, [&](size_t i, size_t, Scratch&) {
        const float *sentence = texts.sentence + i * D, *words = texts.words + i * L * D;
        Floats vectors(2 * (1 + L) * D);
        float *s = vectors.data(), *sG = s + (1 + L) * D;
        unit(sentence, D, s);
        for (size_t j = 0; j < L; ++j) unit(words + j * D, D, sG + (1 + j) * D);
        local_(sG + D, L, s + D);
        global_(s, 1, sG);
        tcmgc_plain_text(pooling_, L, D, sentence, words, vectors.data(), probes.numbers.data() + i * 4 * W * D,
                         offsets.numbers.data() + i * 5 * W);
    });
    return {std::move(probes), std::move(offsets)};
}

void TcmgcScorer::score(const Query& any, size_t first, size_t texts, const Block& block, Scratch& scratch,
                        float* out) const {
    // The frames of a group alone stay closer to the processor, but then the texts are read once a group.
    const size_t step = texts < MANY_TEXTS ? LANES : 2 * LANES;  // more were not faster
    const auto frames = [&](size_t row) { return block.columns[frames_] + row * columns[frames_].row_bytes; };
    for (size_t row = 0; row < block.count; row += step)
        score_rows(static_cast<const TcmgcQuery&>(any), first, texts, frames(row),
                   row + step < block.count ? frames(row + step) : nullptr,
                   block.columns[gram_] + row * columns[gram_].row_bytes, std::min(step, block.count - row),
                   scratch, out + row, block.count);
}

void TcmgcScorer::score_rows(const TcmgcQuery& query, size_t first, size_t texts, const std::byte* frames,
                             const std::byte* ahead, const std::byte* grams, size_t count, Scratch& scratch,
                             float* out, size_t stride) const {
    const Kernels& kernels = *options.kernels;
    const ProductKernels& product = kernels.product;
    const Precision precision = options.precision;
    const size_t rows = count * options.frames, D = options.dim;

    const void* loaded =
        product.load_rows(frames, rows, D, options.storage, precision,
                          scratch.slot<std::byte>(0, product.rows_bytes(rows, D, options.storage, precision)));
    float* with_frames = scratch.slot<float>(1, padded(rows, ROW_BLOCK) * tcmgc_frame_columns(query.lanes));
    float* with_pooled = scratch.slot<float>(2, padded(count, ROW_BLOCK) * tcmgc_pooled_columns(query.lanes));
    auto* pooled_memory = scratch.slot<std::byte>(3, product.rows_bytes(count, D, Storage::f32, precision));
    float* memory = scratch.slot<float>(4, kernels.tcmgc_scratch(weights_));
    // Half of what comes next is fetched in the product, half in the kernel.
    const Ahead in_product{reinterpret_cast<const char*>(ahead),
                           ahead ? count * columns[frames_].row_bytes / 2 : 0};
    const TcmgcVideos videos{
        .count = count,
        .frames = frames,
        .storage = options.storage,
        .grams = reinterpret_cast<const float*>(grams),
        .gram_stride = columns[gram_].row_bytes / sizeof(float),
        .with_frames = with_frames,
        .attention = scratch.slot<float>(5, count * tcmgc_attention_floats(options.frames)),
        .pooled = scratch.slot<float>(6, count * D),
        .with_pooled = with_pooled,
        .ahead = {in_product.at + in_product.bytes, texts == 1 ? in_product.bytes / count : 0},
    };
    for (size_t text = first; text < first + texts; ++text, out += stride) {
        product.product(loaded, rows, D, options.storage, precision, query.frames.get() + text * query.frame_bytes,
                        query.frame_probes(), with_frames, text == first ? in_product : Ahead{});
        kernels.tcmgc_pool(weights_, videos);
        const void* pooled = product.load_rows(videos.pooled, count, D, Storage::f32, precision, pooled_memory);
        product.product(pooled, count, D, Storage::f32, precision, query.pooled.get() + text * query.pooled_bytes,
                        query.pooled_probes(), with_pooled, {});
        kernels.tcmgc(weights_, query.text(text), videos, memory, out);
    }
}

}  // namespace

std::shared_ptr<const Scorer> make_tcmgc(Options options, const Head& head) {
    const auto D = int64_t(options.dim), K = int64_t(options.keep);
    std::map<std::string, Shape> shapes = TcmgcPooling::shapes(D);
    shapes["logit_scale"] = {1};
    for (const char* name : {"global_mat_weight", "local_mat_weight"}) shapes[name] = {D, D};
    for (const char* name :
         {"attentive_word_logit_weight", "attentive_word_mat_weight", "attentive_frame_word_mat_weight",
          "attentive_word_mat_weight2", "attentive_frame_word_mat_weight2"})
        shapes[name] = {K, K};
    shapes["concat_frame_word_logit_weight"] = {K + 1, K + 1};
    if (head.has("logit_weight")) shapes["logit_weight"] = {4, 4};
    head.require(shapes);
    return std::make_shared<TcmgcScorer>(options, head);
}

}  // namespace vtr
