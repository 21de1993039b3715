// Every allocation of a change or a search fails once: the bank is then as it was, and so are the outputs.
#include <random>

#include "check.hpp"
#include "failing_new.hpp"
#include "model_bank.hpp"

using namespace vtr;
using namespace vtr::test;

namespace {

// Runs `action` with its first allocation failing, then its second, until it succeeds; `unchanged` checks each
// failure.
template <class Action, class Unchanged>
void fail_each(Action action, Unchanged unchanged) {
    for (long allocations = 0;; ++allocations) {
        try {
            until_failure = allocations;
            action();
            until_failure = -1;
            CHECK(allocations > 0);
            return;
        } catch (const std::bad_alloc&) {
            until_failure = -1;
            unchanged();
        }
    }
}

void banks() {
    std::mt19937 random(3);
    Bank bank(std::make_shared<FakeScorer>());
    ModelBank model;
    for (int64_t last = 0; last < 2000; last += 100) {
        const auto videos = random_videos(random, last, 1 + random() % 30);
        const FakeArrays arrays(videos);
        fail_each([&] { bank.append(arrays.ids, arrays.arrays); }, [&] { check_same(bank, model); });
        model.append(videos);
        check_same(bank, model);

        std::vector<int64_t> gone;
        for (const int64_t id : model.ids())
            if (random() % 3 == 0) gone.push_back(id);
        size_t removed = 0;
        fail_each([&] { removed = bank.remove(gone); }, [&] { check_same(bank, model); });
        CHECK(removed == model.remove(gone));
        check_same(bank, model);
    }
    std::shared_ptr<Bank> clone;
    fail_each([&] { clone = bank.clone(); }, [&] { CHECK(clone == nullptr); });
    check_same(*clone, model);
}

void searches() {
    std::mt19937 random(4);
    Bank bank(std::make_shared<FakeScorer>());
    append(bank, random_videos(random, 0, 300));
    bank.remove(std::vector<int64_t>{5, 6, 7, 50, 60, 70});
    const auto query = bank.scorer->prepare({3, nullptr, nullptr});
    const auto all = ids_of(bank);
    for (const size_t candidates : {0, 50}) {
        SearchOptions options;
        options.candidates = candidates;
        std::vector<int64_t> ids(30, 77);
        std::vector<float> scores(30, 77.0f);
        fail_each([&] { search(bank, *query, options, ids.data(), scores.data(), nullptr); },
                  [&] {
                      CHECK(ids == std::vector<int64_t>(30, 77));
                      CHECK(scores == std::vector<float>(30, 77.0f));
                  });
    }
    std::vector<float> scores(3 * all.size());
    fail_each([&] { score(bank, *query, all.data(), all.size(), nullptr, scores.data()); }, [] {});
}

void pools() {
    std::unique_ptr<Pool> pool;
    for (bool made = false; !made;) {
        static long allocations = 0;
        try {
            until_failure = allocations++;
            pool = std::make_unique<Pool>(3);
            made = true;
        } catch (const std::bad_alloc&) {
        } catch (const Error& error) {
            CHECK(error.status == VTR_OUT_OF_MEMORY);
        }
        until_failure = -1;
    }
    fail_each([&] { pool->run(5, [](size_t, size_t, Scratch& scratch) { scratch.slot<float>(0, 99)[0] = 1; }); },
              [] {});
}

}  // namespace

int main() {
    banks();
    searches();
    pools();
    CHECK_DONE();
}
