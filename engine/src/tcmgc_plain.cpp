#include "tcmgc_plain.hpp"

#include <algorithm>
#include <bit>
#include <numbers>

#include "vector_scorer.hpp"

namespace vtr {

size_t tcmgc_plain_words(size_t words) { return std::max<size_t>(16, std::bit_ceil(words)); }

void tcmgc_plain_text(const TcmgcPooling& pooling, size_t words, size_t dim, const float* sentence,
                      const float* raw_words, const float* vectors, float* probes, float* offsets) {
    const size_t W = tcmgc_plain_words(words), rows = 1 + words;
    const auto probe = [&](size_t group, size_t j) {
        return probes + (2 * W * (group / 2) + 2 * j + group % 2) * dim;
    };
    const auto attention = [&](const float* q, float* out) {
        pooling.attention(q, out);
        for (size_t i = 0; i < dim; ++i) out[i] *= std::numbers::ln2_v<float>;  // of powers of e, not of 2
    };
    Floats folded(2 * rows * dim);
    std::vector<float> e(2 * rows), d(2 * rows);
    pooling.fold(vectors, 2 * rows, folded.data(), e.data(), d.data());

    std::fill_n(probes, 4 * W * dim, 0.0f);
    std::fill_n(offsets, 5 * W, 0.0f);
    for (size_t j = 0; j < words; ++j) {
        const size_t of_frames = 1 + j, of_video = rows + 1 + j;
        attention(raw_words + j * dim, probe(0, j));
        std::copy_n(folded.data() + of_frames * dim, dim, probe(1, j));
        std::copy_n(folded.data() + of_video * dim, dim, probe(2, j));
        offsets[j] = e[of_frames];
        offsets[W + j] = d[of_frames];
        offsets[2 * W + j] = e[of_video];
        offsets[3 * W + j] = d[of_video];
    }
    attention(sentence, probe(3, 0));
    std::copy_n(folded.data(), dim, probe(3, 1));
    std::copy_n(folded.data() + rows * dim, dim, probe(3, 2));
    const float special[] = {e[0], d[0], e[rows], d[rows]};
    std::copy_n(special, 4, offsets + 4 * W);
}

PlainArray tcmgc_plain_weights(const Head& head, const TcmgcWeights& weights) {
    constexpr const char* FUSED = "concat_frame_word_logit_weight";
    const size_t K = weights.keep, S = std::bit_ceil(K);
    PlainArray plain{"weights", Storage::f32, std::vector<float>(6 * S * S + 2 * S + 32)};
    float* to = plain.numbers.data();
    for (const char* name :
         {"attentive_word_logit_weight", FUSED, "attentive_word_mat_weight", "attentive_frame_word_mat_weight",
          "attentive_word_mat_weight2", "attentive_frame_word_mat_weight2"}) {
        const size_t size = name == FUSED ? K + 1 : K;
        for (size_t row = 0; row < K; ++row) std::copy_n(head[name].data() + row * size, K, to + row * S);
        plain.in_two_halves.push_back({name, size_t(to - plain.numbers.data()), S * S});
        to += S * S;
    }
    const std::span<const float> fused = head[FUSED];
    for (size_t i = 0; i < K; ++i) {
        to[i] = fused[K * (K + 1) + i];
        to[S + i] = fused[i * (K + 1) + K];
    }
    to += 2 * S;
    const float numbers[] = {fused[K * (K + 1) + K], weights.variance, weights.norm, weights.cross,
                             weights.bias,           weights.floor,    weights.scale};
    std::copy(std::begin(numbers), std::end(numbers), to);
    for (size_t i = 0; i < 16; ++i) to[8 + i] = weights.logit_weight[i / 4][i % 4];
    return plain;
}

}  // namespace vtr
