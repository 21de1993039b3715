// Holistic banks of whole numbers on the host and on the stand-in device. Sums of them are exact, so that both
// must give the same scores, and many are equal.
#pragma once

#include <memory>
#include <random>
#include <vector>

#include "bank.hpp"
#include "cuda/device_bank.hpp"
#include "fake_bundle.hpp"
#include "model.hpp"
#include "search.hpp"

namespace vtr::test {

inline std::shared_ptr<Bank> whole_bank() {
    const float logit_scale = 0;  // exp: 1
    const vtr_array head{"logit_scale", VTR_F32, 1, {1}, &logit_scale};
    vtr_model_options options{};
    options.size = sizeof options;
    options.scoring = "holistic";
    options.dim = FAKE_DIM;
    return std::make_shared<Bank>(Model(options, {&head, 1}).scorer);
}

// `count` videos of ids from `first` on, `step` apart.
inline std::vector<int64_t> append_whole(Bank& bank, std::mt19937& random, size_t count, int64_t first,
                                         int64_t step = 1) {
    std::vector<int64_t> ids(count);
    std::vector<float> video(count * FAKE_DIM);
    for (size_t i = 0; i < count; ++i) ids[i] = first + int64_t(i) * step;
    for (float& number : video) number = float(int(random() % 5) - 2);
    const vtr_array column{"video", VTR_F32, 2, {int64_t(count), int64_t(FAKE_DIM)}, video.data()};
    bank.append(ids, {&column, 1});
    return ids;
}

// Sentences of ±3: of length 12, so that each number becomes ±1/4.
inline std::vector<float> whole_sentences(std::mt19937& random, size_t texts) {
    std::vector<float> sentences(texts * FAKE_DIM);
    for (float& number : sentences) number = random() % 2 ? 3.0f : -3.0f;
    return sentences;
}

struct Answer {
    std::vector<int64_t> ids;
    std::vector<float> scores;
    std::vector<size_t> found;
    bool operator==(const Answer&) const = default;

    Answer(size_t texts, size_t k) : ids(texts * k, 77), scores(texts * k, 77), found(texts, 77) {}
};

inline Answer search_host(const Bank& bank, const std::vector<float>& sentences, const SearchOptions& options) {
    const size_t texts = sentences.size() / FAKE_DIM;
    Answer answer(texts, options.k);
    const auto query = bank.scorer->prepare({texts, sentences.data(), nullptr});
    search(bank, *query, options, answer.ids.data(), answer.scores.data(), answer.found.data());
    return answer;
}

inline Answer search_device(cuda::DeviceBank& bank, const std::vector<float>& sentences,
                            const SearchOptions& options) {
    const size_t texts = sentences.size() / FAKE_DIM;
    Answer answer(texts, options.k);
    bank.search({texts, sentences.data(), nullptr}, options, answer.ids.data(), answer.scores.data(),
                answer.found.data());
    return answer;
}

inline std::shared_ptr<const cuda::Device> open_device() {
    return std::make_shared<const cuda::Device>(cuda::Driver::open(), 0);
}

// Slabs of so many rows at most.
inline cuda::DeviceBankOptions slabs_of(size_t rows) { return {rows * (FAKE_DIM * 2 + 1)}; }

}  // namespace vtr::test
