// Searches against sorting all scores: random banks, lists and candidates, at several numbers of threads; then
// limits, and readers beside a writer.
#include "search.hpp"

#include <random>
#include <thread>

#include "check.hpp"
#include "model_bank.hpp"

using namespace vtr;
using namespace vtr::test;

namespace {

struct Filled {
    std::shared_ptr<Bank> bank;
    ModelBank model;
};

// Chunks of several sizes, some with dead rows: few, half of them, or long runs.
Filled fill(unsigned seed, size_t block_rows, size_t videos) {
    std::mt19937 random(seed);
    Filled filled{std::make_shared<Bank>(std::make_shared<FakeScorer>(block_rows)), {}};
    for (int64_t last = -50; filled.model.videos.size() < videos;) {
        const auto added = random_videos(random, last, 1 + random() % (videos + 1));
        append(*filled.bank, added);
        filled.model.append(added);
        last = added.back().id;
        std::vector<int64_t> gone;
        const unsigned one_in = 2 + random() % 30;
        for (size_t i = 0; i < added.size(); ++i)
            if (seed % 3 == 0 ? random() % one_in == 0 : added[i].id % 97 < int64_t{seed % 40})
                gone.push_back(added[i].id);
        if (seed % 4 == 0) gone.clear();
        CHECK(filled.bank->remove(gone) == filled.model.remove(gone));
    }
    check_same(*filled.bank, filled.model);
    return filled;
}

// Ids to search among: known and unknown ones, dense and sparse, in runs and alone.
std::vector<int64_t> some_of(std::mt19937& random, const ModelBank& model) {
    std::vector<int64_t> ids;
    const unsigned in_ten = random() % 11, run = 1 + random() % 40;
    const int64_t end = model.videos.empty() ? 5 : model.videos.rbegin()->first + 3;
    for (int64_t id = -60; id < end; id += run)
        if (random() % 10 < in_ten)
            for (int64_t i = id; i < id + run; ++i) ids.push_back(i);
    if (random() % 4 == 0) ids.insert(ids.begin(), INT64_MIN);
    if (random() % 4 == 0) ids.push_back(INT64_MAX);
    return ids;
}

void random_searches() {
    Pool two(2), five(5);
    Pool* const pools[] = {nullptr, &two, &five};
    const size_t blocks[] = {1, 3, 16, 64, 512}, sizes[] = {0, 1, 19, 200, 3000};
    for (unsigned seed = 0; seed < 25; ++seed) {
        const Filled filled = fill(seed, blocks[seed % 5], sizes[seed / 5]);
        std::mt19937 random(seed);
        for (int repeat = 0; repeat < 12; ++repeat) {
            SearchOptions options;
            const size_t ks[] = {1, 2, 10, 100, 5000};
            options.k = ks[random() % 5];
            const size_t candidates[] = {0, 1, 30, 500, 3000, SIZE_MAX};
            options.candidates = candidates[random() % 6];
            const std::vector<int64_t> only = some_of(random, filled.model);
            if (repeat % 2) options.only = only;
            const size_t texts = random() % 4 == 0 ? 7 : random() % 3;
            for (Pool* pool : pools) {
                options.pool = pool;
                check_search(*filled.bank, filled.model, texts, options);
            }
        }
    }
}

void equal_scores() {  // all of them: the smallest ids win, whoever saw them
    Bank bank(std::make_shared<FakeScorer>(16));
    ModelBank model;
    std::vector<FakeVideo> videos;
    for (int64_t id = 0; id < 2000; ++id) videos.push_back({id - 1000, 5, 5});
    append(bank, videos);
    model.append(videos);
    Pool pool(4);
    for (const size_t k : {1, 50, 1999})
        for (const size_t candidates : {0, 70})
            for (int repeat = 0; repeat < 5; ++repeat) check_search(bank, model, 2, {k, candidates, {}, &pool});
}

void given_videos_are_scored() {
    Pool pool(3);
    for (unsigned seed = 0; seed < 10; ++seed) {
        const Filled filled = fill(seed, seed % 2 ? 7 : 64, 700);
        std::mt19937 random(seed);
        std::vector<int64_t> ids = filled.model.ids();
        if (seed % 3 == 1) std::shuffle(ids.begin(), ids.end(), random);
        if (seed % 3 == 2)  // neighbours in the wrong order
            for (size_t i = 1; i < ids.size(); i += 2) std::swap(ids[i - 1], ids[i]);
        ids.insert(ids.end(), ids.begin(), ids.begin() + 100);  // twice
        const auto query = filled.bank->scorer->prepare({3, nullptr, nullptr});
        std::vector<float> scores(3 * ids.size(), 77.0f);
        score(*filled.bank, *query, ids.data(), ids.size(), seed % 2 ? &pool : nullptr, scores.data());
        for (size_t i = 0; i < scores.size(); ++i) {
            const float expected = fake_score(filled.model.videos.at(ids[i % ids.size()]), i / ids.size());
            CHECK(std::memcmp(&scores[i], &expected, 4) == 0);
        }
        scores.assign(scores.size(), 77.0f);
        ids[650] = 1'000'000;
        CHECK_THROWS(VTR_INVALID_ARGUMENT,
                     score(*filled.bank, *query, ids.data(), ids.size(), &pool, scores.data()));
        CHECK(scores == std::vector<float>(scores.size(), 77.0f));
        CHECK_THROWS(VTR_INVALID_ARGUMENT,
                     score(*filled.bank, *query, nullptr, filled.model.videos.size() + 1, &pool, scores.data()));
        score(*filled.bank, *query, ids.data(), 0, &pool, nullptr);  // nothing asked, nothing written
    }
}

void unsound_options_are_refused() {
    const Filled filled = fill(1, 64, 100);
    const auto query = filled.bank->scorer->prepare({2, nullptr, nullptr});
    int64_t id = 77;
    float best = 77;
    const auto refused = [&](const SearchOptions& options) {
        CHECK_THROWS(VTR_INVALID_ARGUMENT, search(*filled.bank, *query, options, &id, &best, nullptr));
        CHECK(id == 77 && best == 77);
    };
    refused({.k = 0});
    refused({.k = SIZE_MAX});
    refused({.k = SIZE_MAX / 16 + 2});  // times 2 texts times 8 bytes it wraps round to 0
    const std::vector<int64_t> twice{1, 2, 2}, falling{1, 3, 2};
    refused({.only = twice});
    refused({.only = falling});
    CHECK_THROWS(VTR_INVALID_ARGUMENT, score(*filled.bank, *query, &id, SIZE_MAX, nullptr, &best));
    const auto none = filled.bank->scorer->prepare({0, nullptr, nullptr});
    search(*filled.bank, *none, {.k = SIZE_MAX}, nullptr, nullptr, nullptr);
}

// The writer adds blocks of videos and removes them again, five later. Block b is the videos 7b to 7b + 6, with
// score b, so what a reader finds tells which state it saw, and whether it was one at all.
constexpr size_t BLOCK = 7, LASTING = 5;

void check_seen(std::vector<int64_t> ids, const std::vector<float>& scores, size_t found) {
    CHECK(found % BLOCK == 0 && found <= (LASTING + 1) * BLOCK);
    for (size_t i = 0; i < found; ++i) CHECK(scores[i] == float(ids[i] / int64_t{BLOCK}));
    ids.resize(found);
    std::sort(ids.begin(), ids.end());
    for (size_t i = 1; i < found; ++i) CHECK(ids[i] == ids[i - 1] + 1);
    if (found > 0) CHECK(ids[0] % int64_t{BLOCK} == 0);
    if (found > 0 && found < LASTING * BLOCK) CHECK(ids[0] == 0);  // only at first are there fewer
}

void readers_see_before_or_after() {
    Bank bank(std::make_shared<FakeScorer>(16));
    Pool pool(2);
    std::atomic<bool> ended{false};
    std::atomic<int> searches{0};
    std::vector<std::thread> readers;
    for (int reader = 0; reader < 3; ++reader)
        readers.emplace_back([&, reader] {
            const auto query = bank.scorer->prepare({1, nullptr, nullptr});
            const size_t k = (LASTING + 2) * BLOCK;
            while (!ended) {
                std::vector<int64_t> ids(k);
                std::vector<float> scores(k);
                size_t found = 0;
                const auto snapshot = bank.clone();
                search(bank, *query, {.k = k, .candidates = reader == 1 ? k : 0, .pool = reader ? &pool : nullptr},
                       ids.data(), scores.data(), &found);
                check_seen(ids, scores, found);
                CHECK(ids_of(*snapshot).size() % BLOCK == 0);
                ++searches;
            }
        });
    for (int64_t block = 0; block < 300 || searches < 100; ++block) {
        std::vector<FakeVideo> videos;
        std::vector<int64_t> gone;
        for (int64_t i = 0; i < int64_t{BLOCK}; ++i) {
            videos.push_back({block * int64_t{BLOCK} + i, float(block), 0});
            gone.push_back(videos.back().id - int64_t{LASTING * BLOCK});
        }
        append(bank, videos);
        CHECK(bank.remove(gone) == (block >= int64_t{LASTING} ? BLOCK : 0));
    }
    ended = true;
    for (std::thread& reader : readers) reader.join();
}

void writers_take_turns() {  // each tries to append the next id; only one can
    Bank bank(std::make_shared<FakeScorer>());
    std::atomic<int> appended{0};
    std::vector<std::thread> writers;
    for (int writer = 0; writer < 3; ++writer)
        writers.emplace_back([&] {
            for (int64_t id = 0; id < 200; ++id) {
                const FakeVideo video{id, 1, 1};
                try {
                    append(bank, std::span(&video, 1));
                    ++appended;
                } catch (const Error& error) {
                    CHECK(error.status == VTR_INVALID_ARGUMENT);
                }
            }
        });
    for (std::thread& writer : writers) writer.join();
    CHECK(static_cast<size_t>(appended) == bank.count());
    CHECK(ids_of(bank).back() == 199);
}

}  // namespace

int main() {
    random_searches();
    equal_scores();
    given_videos_are_scored();
    unsound_options_are_refused();
    readers_see_before_or_after();
    writers_take_turns();
    CHECK_DONE();
}
