// The kernels of kernels/ by their own names and with their own arguments, as plain functions. What is compiled
// into the real ones (F, L, D, K, tiles) comes from the image; BFLOAT=1 says that features are bfloat16.
#include <stdexcept>

#include "fake_cuda.hpp"
#include "half.hpp"
#include "plain_keys.hpp"
#include "tcmgc_formula.hpp"
#include "xclip_formula.hpp"

namespace {

using namespace vtr::test;
using fake_cuda::Launch;

// Throws unless the grid is the kernel's: blocks that all rows fit into, and no more.
void expect_grid(const Launch& launch, size_t x, size_t y) {
    if (launch.grid[0] != x || launch.grid[1] != y || launch.grid[2] != 1)
        throw std::logic_error("a grid of " + std::to_string(launch.grid[0]) + " by " +
                               std::to_string(launch.grid[1]) + ", expected " + std::to_string(x) + " by " +
                               std::to_string(y));
}

size_t blocks_of(size_t number, size_t per) { return (number + per - 1) / per; }

size_t whole(const Launch& launch, size_t argument) {
    return static_cast<size_t>(launch.number<int32_t>(argument));
}

std::vector<float> halves(const Launch& launch, size_t argument, size_t count) {
    const bool bfloat = launch.constants.contains("BFLOAT") && launch.constant("BFLOAT") == 1;
    const auto* stored = launch.array<uint16_t>(argument, count);
    std::vector<float> numbers(count);
    std::transform(stored, stored + count, numbers.begin(), bfloat ? vtr::from_bf16 : vtr::from_f16);
    return numbers;
}

// The logits of one text, [rows].
std::vector<float> dot_products(const std::vector<float>& vectors, const float* probe, size_t D, float scale) {
    std::vector<float> scores(vectors.size() / D);
    for (size_t row = 0; row < scores.size(); ++row) {
        double sum = 0;
        for (size_t i = 0; i < D; ++i) sum += double(vectors[row * D + i]) * probe[i];
        scores[row] = static_cast<float>(scale * sum);
    }
    return scores;
}

// vectors, probes, keys, live, count, texts, first, scale
void holistic_topk(const Launch& launch) {
    const size_t D = launch.constant("D"), K = launch.constant("K"), V = launch.constant("V");
    const size_t count = whole(launch, 4), texts = whole(launch, 5), blocks = blocks_of(count, V);
    expect_grid(launch, blocks_of(texts, launch.constant("T")), blocks);
    const std::vector<float> vectors = halves(launch, 0, count * D), probes = halves(launch, 1, texts * D);
    auto* keys = launch.array<int64_t>(2, texts * blocks * K);
    const auto* live = launch.array<uint8_t>(3, count);
    for (size_t text = 0; text < texts; ++text) {
        const auto scores = dot_products(vectors, &probes[text * D], D, launch.number<float>(7));
        best_of_blocks(scores.data(), live, count, V, blocks, K, keys + text * blocks * K);
    }
}

// vectors, probes, logits, count, texts, stride, scale
void holistic_score(const Launch& launch) {
    const size_t D = launch.constant("D"), count = whole(launch, 3), texts = whole(launch, 4);
    expect_grid(launch, blocks_of(texts, launch.constant("T")), blocks_of(count, launch.constant("V")));
    const std::vector<float> vectors = halves(launch, 0, count * D), probes = halves(launch, 1, texts * D);
    const size_t stride = whole(launch, 5);
    auto* logits = launch.array<float>(2, (texts - 1) * stride + count);
    for (size_t text = 0; text < texts; ++text) {
        const auto scores = dot_products(vectors, &probes[text * D], D, launch.number<float>(6));
        std::copy(scores.begin(), scores.end(), logits + text * stride);
    }
}

// frames, vectors, probes, weights, logits, count, stride
void xclip_score(const Launch& launch) {
    XclipArrays arrays{launch.constant("F"),
                       launch.constant("L"),
                       launch.constant("D"),
                       launch.constant("W"),
                       launch.constant("FP"),
                       nullptr,
                       nullptr,
                       nullptr,
                       nullptr};
    const auto [F, L, D, W, FP] = std::array{arrays.F, arrays.L, arrays.D, arrays.W, arrays.FP};
    const size_t count = whole(launch, 5), stride = whole(launch, 6), texts = launch.grid[0];
    expect_grid(launch, texts, blocks_of(count, launch.constant("V")));
    const std::vector<float> frames = halves(launch, 0, count * F * D), vectors = halves(launch, 1, count * D);
    const std::vector<float> probes = halves(launch, 2, texts * 4 * W * D);
    arrays.weights = launch.array<float>(3, 3 * W * W + 3 * FP * FP + 4);
    auto* logits = launch.array<float>(4, (texts - 1) * stride + count);
    for (size_t text = 0; text < texts; ++text)
        for (size_t row = 0; row < count; ++row) {
            arrays.probes = &probes[text * 4 * W * D];
            arrays.frames = &frames[row * F * D];
            arrays.video = &vectors[row * D];
            logits[text * stride + row] = static_cast<float>(xclip_logit(arrays));
        }
}

// frames, gram, probes, offsets, weights, logits, count, stride
void tcmgc_score(const Launch& launch) {
    TcmgcArrays arrays{launch.constant("F"),
                       launch.constant("L"),
                       launch.constant("D"),
                       launch.constant("K"),
                       launch.constant("W"),
                       launch.constant("S"),
                       nullptr,
                       nullptr,
                       nullptr,
                       nullptr,
                       nullptr};
    const auto [F, D, W, S] = std::array{arrays.F, arrays.D, arrays.W, arrays.S};
    const size_t count = whole(launch, 6), stride = whole(launch, 7), texts = launch.grid[0];
    expect_grid(launch, texts, blocks_of(count, launch.constant("V")));
    const std::vector<float> frames = halves(launch, 0, count * F * D);
    const auto* grams = launch.array<float>(1, count * (3 * F + 3) * F);
    const std::vector<float> probes = halves(launch, 2, texts * 4 * W * D);
    const auto* offsets = launch.array<float>(3, texts * 5 * W);
    arrays.weights = launch.array<float>(4, 6 * S * S + 2 * S + 32);
    auto* logits = launch.array<float>(5, (texts - 1) * stride + count);
    for (size_t text = 0; text < texts; ++text)
        for (size_t row = 0; row < count; ++row) {
            arrays.probes = &probes[text * 4 * W * D];
            arrays.offsets = offsets + text * 5 * W;
            arrays.frames = &frames[row * F * D];
            arrays.gram = grams + row * (3 * F + 3) * F;
            logits[text * stride + row] = static_cast<float>(tcmgc_logit(arrays));
        }
}

// scores, keys, live, count, stride, first
void topk_scores(const Launch& launch) {
    const size_t K = launch.constant("K"), block = launch.constant("BLOCK"), texts = launch.grid[0];
    const size_t count = whole(launch, 3), stride = whole(launch, 4), blocks = blocks_of(count, block);
    expect_grid(launch, texts, blocks);
    const auto* scores = launch.array<float>(0, (texts - 1) * stride + count);
    auto* keys = launch.array<int64_t>(1, texts * blocks * K);
    const auto* live = launch.array<uint8_t>(2, count);
    for (size_t text = 0; text < texts; ++text)
        best_of_blocks(scores + text * stride, live, count, block, blocks, K, keys + text * blocks * K);
}

// keys, out, count
void topk_merge(const Launch& launch) {
    const size_t K = launch.constant("K"), block = launch.constant("BLOCK"), texts = launch.grid[0];
    const size_t count = whole(launch, 2), blocks = blocks_of(count, block);
    expect_grid(launch, texts, blocks);
    const auto* keys = launch.array<int64_t>(0, texts * count);
    auto* out = launch.array<int64_t>(1, texts * blocks * K);
    for (size_t text = 0; text < texts; ++text)
        merge_blocks(keys + text * count, count, block, blocks, K, out + text * blocks * K);
}

// Every list of arguments ends with Triton's two hidden pointers.
[[maybe_unused]] const bool added = [] {
    fake_cuda::add_kernel("holistic_topk", {8, 8, 8, 8, 4, 4, 4, 4, 8, 8}, holistic_topk);
    fake_cuda::add_kernel("holistic_score", {8, 8, 8, 4, 4, 4, 4, 8, 8}, holistic_score);
    fake_cuda::add_kernel("xclip_score", {8, 8, 8, 8, 8, 4, 4, 8, 8}, xclip_score);
    fake_cuda::add_kernel("tcmgc_score", {8, 8, 8, 8, 8, 8, 4, 4, 8, 8}, tcmgc_score);
    fake_cuda::add_kernel("topk_scores", {8, 8, 8, 4, 4, 4, 8, 8}, topk_scores);
    fake_cuda::add_kernel("topk_merge", {8, 8, 4, 8, 8}, topk_merge);
    return true;
}();

}  // namespace
