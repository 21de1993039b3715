// The best few of many scores, against sorting them all.
#include "topk.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "check.hpp"

using vtr::Hit;

namespace {

constexpr float INF = std::numeric_limits<float>::infinity(), NONE = std::numeric_limits<float>::quiet_NaN();

std::vector<Hit> reference(std::vector<Hit> hits, size_t k) {
    std::erase_if(hits, [](const Hit& hit) { return std::isnan(hit.score); });
    std::stable_sort(hits.begin(), hits.end(), [](const Hit& a, const Hit& b) { return a.id < b.id; });
    std::stable_sort(hits.begin(), hits.end(), [](const Hit& a, const Hit& b) { return a.score > b.score; });
    hits.resize(std::min(k, hits.size()));
    return hits;
}

bool same(const std::vector<Hit>& a, const std::vector<Hit>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](const Hit& a, const Hit& b) { return a.id == b.id && a.score == b.score; });
}

void compare(const std::vector<Hit>& hits, size_t k, size_t block) {
    vtr::TopK one_by_one(k), in_blocks(k);
    for (const Hit& hit : hits) one_by_one.offer(hit);
    for (size_t begin = 0; begin < hits.size(); begin += block) {
        std::vector<float> scores;
        std::vector<int64_t> ids;
        for (size_t i = begin; i < std::min(begin + block, hits.size()); ++i) {
            scores.push_back(hits[i].score);
            ids.push_back(hits[i].id);
        }
        in_blocks.offer(scores.data(), ids.data(), scores.size());
    }
    CHECK(same(std::move(one_by_one).sorted(), reference(hits, k)));
    CHECK(same(std::move(in_blocks).sorted(), reference(hits, k)));
}

void random_scores() {
    std::mt19937 random(1);
    const float special[] = {INF, -INF, NONE, 0.0f, -0.0f, 1e-40f};
    for (const size_t count : {0, 1, 2, 19, 64, 500})
        for (const size_t k : {0, 1, 2, 10, 63, 64, 65, 1000})
            for (const unsigned levels : {1, 3, 1000000}) {  // 1: all are equal
                std::vector<Hit> hits;
                for (size_t i = 0; i < count; ++i) {
                    const float score = random() % 10 == 0 ? special[random() % 6] : float(random() % levels);
                    hits.push_back({score, static_cast<int64_t>(i) - 20});
                }
                std::shuffle(hits.begin(), hits.end(), random);
                compare(hits, k, 1 + random() % 70);
            }
}

}  // namespace

int main() {
    random_scores();
    compare({{1, 5}, {1, INT64_MIN}, {1, INT64_MAX}, {NONE, 0}, {-INF, 1}}, 4, 2);
    compare({{NONE, 0}, {NONE, 1}}, 1, 1);
    CHECK_DONE();
}
