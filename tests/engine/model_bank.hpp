// A bank as a plain list of videos, searched by sorting: what tests compare banks and searches with.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "bank.hpp"
#include "fake_scorer.hpp"
#include "search.hpp"

namespace vtr::test {

struct ModelBank {
    std::map<int64_t, FakeVideo> videos;

    void append(std::span<const FakeVideo> added) {
        for (const FakeVideo& video : added) videos.emplace(video.id, video);
    }
    size_t remove(std::span<const int64_t> ids) {
        size_t removed = 0;
        for (const int64_t id : ids) removed += videos.erase(id);
        return removed;
    }
    std::vector<int64_t> ids() const {
        std::vector<int64_t> ids;
        for (const auto& [id, video] : videos) ids.push_back(id);
        return ids;
    }

    struct Answer {
        std::vector<int64_t> ids;
        std::vector<float> scores;
    };
    Answer search(size_t text, const SearchOptions& options) const {
        std::vector<FakeVideo> searched;
        for (const auto& [id, video] : videos)
            if (!options.only || std::binary_search(options.only->begin(), options.only->end(), id))
                searched.push_back(video);
        const auto rank = [&](auto score) {  // stable: equal scores stay in the order of ids
            std::stable_sort(searched.begin(), searched.end(), [&](const FakeVideo& a, const FakeVideo& b) {
                return score(a, text) > score(b, text);
            });
        };
        if (options.candidates > 0 && options.candidates < searched.size()) {
            rank([](const FakeVideo& video, size_t text) {  // NaN is worst
                const float score = fake_preselect(video, text);
                return std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
            });
            searched.resize(options.candidates);
            std::sort(searched.begin(), searched.end(),
                      [](const FakeVideo& a, const FakeVideo& b) { return a.id < b.id; });
        }
        std::erase_if(searched, [](const FakeVideo& video) { return video.nan; });
        rank(fake_score);
        Answer answer;
        for (size_t i = 0; i < std::min(options.k, searched.size()); ++i) {
            answer.ids.push_back(searched[i].id);
            answer.scores.push_back(fake_score(searched[i], text));
        }
        return answer;
    }
};

inline std::vector<int64_t> ids_of(const Bank& bank) {
    std::vector<int64_t> ids(bank.count());
    CHECK(bank.ids(ids) == ids.size());
    return ids;
}

// The bank's videos, told by their scores, are those of the model.
inline void check_same(const Bank& bank, const ModelBank& model) {
    CHECK(bank.count() == model.videos.size());
    CHECK(ids_of(bank) == model.ids());
    const auto query = bank.scorer->prepare({2, nullptr, nullptr});
    const size_t count = model.videos.size();
    std::vector<float> scores(2 * count);
    score(bank, *query, nullptr, count, nullptr, scores.data());
    size_t i = 0;
    for (const auto& [id, video] : model.videos) {
        for (size_t text = 0; text < 2; ++text) {
            const float expected = fake_score(video, text), got = scores[text * count + i];
            CHECK(got == expected || (std::isnan(got) && video.nan));
        }
        ++i;
    }
}

inline void check_search(const Bank& bank, const ModelBank& model, size_t texts, const SearchOptions& options) {
    const auto query = bank.scorer->prepare({texts, nullptr, nullptr});
    const size_t k = options.k;
    std::vector<int64_t> ids(texts * k, 77);
    std::vector<float> scores(texts * k, 77.0f);
    std::vector<size_t> found(texts, 77);
    search(bank, *query, options, ids.data(), scores.data(), found.data());
    for (size_t text = 0; text < texts; ++text) {
        auto [expected_ids, expected_scores] = model.search(text, options);
        CHECK(found[text] == expected_ids.size());
        expected_ids.resize(k, -1);
        expected_scores.resize(k, -std::numeric_limits<float>::infinity());
        CHECK(std::equal(expected_ids.begin(), expected_ids.end(), &ids[text * k]));
        CHECK(std::memcmp(expected_scores.data(), &scores[text * k], k * sizeof(float)) == 0);
    }
}

// `count` videos with ids after `last`, with gaps; few levels of scores, so that many are equal.
inline std::vector<FakeVideo> random_videos(std::mt19937& random, int64_t last, size_t count) {
    std::vector<FakeVideo> videos;
    const unsigned levels = random() % 2 ? 4 : 1000;
    for (size_t i = 0; i < count; ++i) {
        last += 1 + random() % 3;
        videos.push_back({last, float(random() % levels), float(random() % levels), random() % 16 == 0});
        if (random() % 16 == 0) videos.back().selected = std::numeric_limits<float>::quiet_NaN();
    }
    return videos;
}

inline void append(Bank& bank, std::span<const FakeVideo> videos, size_t filler = 0) {
    const FakeArrays arrays(videos, filler);
    bank.append(arrays.ids, arrays.arrays);
}

}  // namespace vtr::test
