// Small models and banks of random numbers for the tests of files and of the C interface.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "bank.hpp"
#include "model.hpp"
#include "search.hpp"

namespace vtr::test {

inline constexpr int FRAMES = 3, WORDS = 4, DIM = 16, KEEP = 2;

struct Tensor {
    std::string name;
    std::vector<int64_t> shape;
    std::vector<float> numbers;

    vtr_array array() const {
        vtr_array array{};
        array.name = name.c_str();
        array.dtype = VTR_F32;
        array.ndim = static_cast<int32_t>(shape.size());
        std::copy(shape.begin(), shape.end(), array.shape);
        array.data = numbers.data();
        return array;
    }
};

inline std::vector<vtr_array> arrays(const std::vector<Tensor>& tensors) {
    std::vector<vtr_array> arrays;
    for (const Tensor& tensor : tensors) arrays.push_back(tensor.array());
    return arrays;
}

inline Tensor random_tensor(std::string name, std::vector<int64_t> shape, std::mt19937& random) {
    size_t count = 1;
    for (const int64_t size : shape) count *= static_cast<size_t>(size);
    Tensor tensor{std::move(name), std::move(shape), std::vector<float>(count)};
    std::uniform_real_distribution<float> numbers(-1, 1);
    for (float& number : tensor.numbers) number = numbers(random);
    return tensor;
}

inline std::vector<Tensor> small_head(const std::string& scoring) {
    const int64_t D = DIM, F = FRAMES, L = WORDS, K = KEEP;
    std::vector<std::pair<std::string, std::vector<int64_t>>> shapes = {{"logit_scale", {1}}};
    const auto add = [&shapes](std::vector<int64_t> shape, std::initializer_list<const char*> names) {
        for (const char* name : names) shapes.emplace_back(name, shape);
    };
    if (scoring != "holistic") add({D, D}, {"global_mat_weight", "local_mat_weight"});
    if (scoring == "xclip") {
        add({L, L}, {"word_logit_weight", "word_mat_weight", "word_mat_weight2"});
        add({F, F}, {"frame_logit_weight", "frame_mat_weight", "frame_mat_weight2"});
    }
    if (scoring == "tcmgc") {
        add({K + 1, K + 1}, {"concat_frame_word_logit_weight"});
        add({K, K}, {"attentive_word_logit_weight", "attentive_word_mat_weight", "attentive_frame_word_mat_weight",
                     "attentive_word_mat_weight2", "attentive_frame_word_mat_weight2"});
        const std::string pool = "conditional_transformer.pool_frames.";
        shapes.emplace_back(pool + "linear_proj.weight", std::vector{D, D});
        shapes.emplace_back(pool + "linear_proj.bias", std::vector{D});
        for (const char* layer : {"layer_norm1.", "layer_norm2.", "layer_norm3."})
            for (const char* part : {"weight", "bias"}) shapes.emplace_back(pool + layer + part, std::vector{D});
        add({4, 4}, {"logit_weight"});
    }
    std::mt19937 random(7);
    std::vector<Tensor> head;
    for (const auto& [name, shape] : shapes) head.push_back(random_tensor(name, shape, random));
    return head;
}

inline std::shared_ptr<const Model> small_model(const std::string& scoring, const std::vector<Tensor>& head,
                                                vtr_dtype storage = VTR_F16) {
    vtr_model_options options{};
    options.size = sizeof options;
    options.scoring = scoring.c_str();
    options.dim = DIM;
    options.storage = storage;
    if (scoring != "holistic") options.frames = FRAMES, options.words = WORDS;
    if (scoring == "tcmgc") options.keep = KEEP;
    return std::make_shared<const Model>(options, arrays(head));
}

inline std::shared_ptr<const Model> small_model(const std::string& scoring, vtr_dtype storage = VTR_F16) {
    return small_model(scoring, small_head(scoring), storage);
}

// Rows for append, numbers that depend on `seed`.
inline std::vector<Tensor> small_columns(const std::string& scoring, size_t rows, unsigned seed) {
    const auto N = static_cast<int64_t>(rows);
    std::mt19937 random(seed);
    std::vector<Tensor> columns;
    if (scoring != "holistic") columns.push_back(random_tensor("frames", {N, FRAMES, DIM}, random));
    if (scoring == "tcmgc") {
        Tensor gram = random_tensor("gram", {N, 3 * FRAMES + 3, FRAMES}, random);
        const int64_t size = 3 * FRAMES + 3;
        for (int64_t row = 0; row < N * size; ++row)  // the square matrices are symmetric, with large diagonals
            if (const int64_t line = row % size; line < 3 * FRAMES)
                for (int64_t column = 0; column < FRAMES; ++column) {
                    float& number = gram.numbers[row * FRAMES + column];
                    const int64_t i = line % FRAMES, mirror = row - i + column;
                    if (column == i) number += 4;
                    if (column > i) gram.numbers[mirror * FRAMES + i] = number;
                }
        columns.push_back(std::move(gram));
    }
    columns.push_back(random_tensor("video", {N, DIM}, random));
    return columns;
}

inline std::vector<int64_t> ascending(size_t count, int64_t first, int64_t step = 1) {
    std::vector<int64_t> ids(count);
    for (size_t i = 0; i < count; ++i) ids[i] = first + static_cast<int64_t>(i) * step;
    return ids;
}

// Two texts for any small model.
inline std::unique_ptr<const Query> small_query(const Scorer& scorer) {
    std::mt19937 random(3);
    const Tensor sentence = random_tensor("", {2, DIM}, random),
                 words = random_tensor("", {2, WORDS, DIM}, random);
    return scorer.prepare({2, sentence.numbers.data(), words.numbers.data()});
}

// The logits of all videos by both texts.
inline std::vector<float> scores(const Bank& bank) {
    const auto query = small_query(*bank.scorer);
    std::vector<float> logits(2 * bank.count());
    score(bank, *query, nullptr, bank.count(), nullptr, logits.data());
    return logits;
}

}  // namespace vtr::test
