// CLIP4Clip, EA-CLIP4Clip, TeachCLIP: logit = exp(logit_scale) · n(sentence) · video, one vector a video.
#include <algorithm>

#include "head.hpp"
#include "vector_scorer.hpp"

namespace vtr {
namespace {

class HolisticScorer : public VectorScorer {
  public:
    HolisticScorer(const Options& options, float scale) : VectorScorer(options, {}), scale_(scale) {
        block_rows = std::clamp<size_t>((512 << 10) / row_bytes() / ROW_BLOCK * ROW_BLOCK, 64, 4096);
    }

    // The scale goes into the directions: a logit is then one product.
    std::unique_ptr<const Query> prepare(const Texts& texts) const override {
        check_texts(options, texts);
        const size_t count = texts.count * options.dim;
        Floats directions(count);
        for (size_t at = 0; at < count; at += options.dim)
            unit(texts.sentence + at, options.dim, directions.data() + at);
        for (size_t i = 0; i < count; ++i) directions.data()[i] *= scale_;
        return std::make_unique<VectorQuery>(options, texts.count, directions.data());
    }

    void score(const Query& query, size_t first, size_t texts, const Block& block, Scratch& scratch,
               float* out) const override {
        holistic(static_cast<const VectorQuery&>(query), first, texts, block, scratch, out);
    }

    // probes [T, D]: n(sentence). The kernel multiplies by the scale, so that small halves lose nothing.
    std::vector<PlainArray> plain_query(const Texts& texts) const override {
        check_texts(options, texts);
        PlainArray probes{"probes", options.storage, std::vector<float>(texts.count * options.dim)};
        for (size_t at = 0; at < probes.numbers.size(); at += options.dim)
            unit(texts.sentence + at, options.dim, probes.numbers.data() + at);
        return {std::move(probes)};
    }

    PlainParameters plain_parameters() const override { return {{}, {{"scale", scale_}}}; }

  private:
    const float scale_;
};

}  // namespace

std::shared_ptr<const Scorer> make_holistic(Options options, const Head& head) {
    head.require({{"logit_scale", {1}}});
    return std::make_shared<HolisticScorer>(options, head.scale());
}

}  // namespace vtr
