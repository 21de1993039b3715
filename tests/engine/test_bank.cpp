// Banks against a plain map of videos: random changes, snapshots, memory, and what they refuse.
#include "bank.hpp"

#include <climits>
#include <cstdlib>
#include <memory>
#include <random>

#include "check.hpp"
#include "model_bank.hpp"

using namespace vtr;
using namespace vtr::test;

namespace {

std::shared_ptr<Bank> make_bank(size_t filler = 0) {
    return std::make_shared<Bank>(std::make_shared<FakeScorer>(64, filler));
}

// Rows in bank form, as a mapped file has them; `alive` says whether the bank still holds them.
struct MappedRows {
    alignas(64) float numbers[640][4];
    alignas(64) uint16_t extra[640][6];
};
void adopt(Bank& bank, std::span<const FakeVideo> videos, std::weak_ptr<const void>* alive = nullptr) {
    auto rows = std::make_shared<MappedRows>();
    const FakeArrays arrays(videos);
    std::copy(arrays.numbers.begin(), arrays.numbers.end(), rows->numbers[0]);
    std::copy(arrays.extra.begin(), arrays.extra.end(), rows->extra[0]);
    const std::byte* columns[] = {reinterpret_cast<const std::byte*>(rows->numbers),
                                  reinterpret_cast<const std::byte*>(rows->extra)};
    if (alive) *alive = rows;
    bank.adopt(arrays.ids, columns, rows);
}

std::vector<int64_t> some_ids(std::mt19937& random, const ModelBank& model, int64_t last) {
    std::vector<int64_t> ids;
    const std::vector<int64_t> there = model.ids();
    const unsigned one_in = 1 + random() % 5;
    const bool neighbours = random() % 2;
    const size_t begin = there.empty() ? 0 : random() % there.size();
    for (size_t i = begin; i < there.size(); ++i)
        if (neighbours ? i < begin + 100 : random() % one_in == 0) ids.push_back(there[i]);
    for (int i = 0; i < 5; ++i) ids.push_back(static_cast<int64_t>(random() % 100) - 50 + last);
    std::shuffle(ids.begin(), ids.end(), random);
    return ids;
}

void random_changes() {
    struct Pair {
        std::shared_ptr<Bank> bank;
        ModelBank model;
        int64_t last;
    };
    for (unsigned seed = 0; seed < 30; ++seed) {
        std::mt19937 random(seed);
        std::vector<Pair> pairs{{make_bank(), {}, -300}};
        for (int step = 0; step < 40; ++step) {
            Pair& pair = pairs[random() % pairs.size()];
            switch (random() % 8) {
                case 0:
                    pairs.push_back({pair.bank->clone(), pair.model, pair.last});
                    break;
                case 1:
                case 2: {
                    const auto ids = some_ids(random, pair.model, pair.last);
                    CHECK(pair.bank->remove(ids) == pair.model.remove(ids));
                    break;
                }
                default: {
                    const size_t most = random() % 3 ? 5 : 600;
                    const auto videos = random_videos(random, pair.last, random() % most);
                    random() % 5 ? append(*pair.bank, videos) : adopt(*pair.bank, videos);
                    pair.model.append(videos);
                    if (!videos.empty()) pair.last = videos.back().id;
                }
            }
        }
        for (const Pair& pair : pairs) check_same(*pair.bank, pair.model);
    }
}

std::vector<FakeVideo> videos_from(int64_t first, size_t count) {
    std::vector<FakeVideo> videos;
    for (size_t i = 0; i < count; ++i) videos.push_back({first + int64_t(i), float(i % 100), 0});
    return videos;
}

void small_appends_leave_few_chunks() {
    const auto bank = make_bank();
    size_t most = 0;
    for (int64_t id = 0; id < 3000; ++id) {
        append(*bank, videos_from(id, 1));
        most = std::max(most, bank->state()->parts.size());
    }
    CHECK(most <= 12);  // log2(3000) = 11.6
    const size_t row = bank->scorer->row_bytes() + sizeof(int64_t);
    CHECK(bank->bytes() < 3000 * row * 102 / 100 + 12 * 3 * 64);

    const auto large = make_bank(256 * 1024);  // 1 MB a row: chunks grow to 16 MB and no further
    for (int64_t id = 0; id < 40; ++id) append(*large, videos_from(id, 1), 256 * 1024);
    for (const Part& part : large->state()->parts) CHECK(part.chunk->bytes < 17u << 20);
    CHECK(large->state()->parts.size() <= 6 && large->count() == 40);
}

void bulk_append_costs_its_rows() {
    const auto bank = make_bank();
    append(*bank, videos_from(0, 10000));
    CHECK(bank->state()->parts.size() == 1);
    const size_t bytes = 10000 * (bank->scorer->row_bytes() + sizeof(int64_t));
    CHECK(bank->bytes() >= bytes && bank->bytes() < bytes + bytes / 100);
}

void removing_frees_memory() {
    std::weak_ptr<const void> adopted;
    const auto bank = make_bank();
    const auto all = videos_from(0, 640);
    ModelBank model;
    adopt(*bank, all, &adopted);
    model.append(all);
    const auto remove_where = [&](auto wanted) {
        std::vector<int64_t> ids;
        for (const int64_t id : model.ids())
            if (wanted(id)) ids.push_back(id);
        CHECK(bank->remove(ids) == model.remove(ids));
        check_same(*bank, model);
    };
    const size_t full = bank->bytes();
    remove_where([](int64_t id) { return id % 2 == 0; });  // half: still in place
    CHECK(!adopted.expired() && bank->bytes() >= full && bank->bytes() < full + 200);
    const auto before = bank->clone();
    remove_where([](int64_t id) { return id == 1; });  // more than half: the rest moves
    CHECK(!adopted.expired() && bank->bytes() < full / 2 + 200);
    CHECK(before->count() == 320);
    before->remove(ids_of(*before));
    CHECK(adopted.expired());  // nobody needs the file's rows any longer
    CHECK(before->count() == 0 && before->bytes() == 0);
    remove_where([](int64_t id) { return id != 301; });
    CHECK(bank->count() == 1 && bank->bytes() < 300);
    CHECK(bank->remove(std::vector<int64_t>{0, 999, 301, 301, -5}) == 1);
    CHECK(bank->remove({}) == 0);
}

void ids_ascend_for_ever() {
    const auto bank = make_bank();
    append(*bank, {});
    append(*bank, videos_from(INT64_MIN, 2));
    CHECK_THROWS(VTR_INVALID_ARGUMENT, append(*bank, videos_from(INT64_MIN + 1, 1)));
    append(*bank, videos_from(INT64_MIN + 2, 1));
    append(*bank, videos_from(-1, 3));
    CHECK((ids_of(*bank) == std::vector<int64_t>{INT64_MIN, INT64_MIN + 1, INT64_MIN + 2, -1, 0, 1}));
    CHECK(bank->remove(std::vector<int64_t>{1, INT64_MIN}) == 2);
    CHECK_THROWS(VTR_INVALID_ARGUMENT, append(*bank, videos_from(1, 1)));  // it was there once
    const auto clone = bank->clone();
    CHECK_THROWS(VTR_INVALID_ARGUMENT, append(*clone, videos_from(1, 1)));
    CHECK(clone->remove(ids_of(*clone)) == 4 && clone->count() == 0);
    CHECK_THROWS(VTR_INVALID_ARGUMENT, append(*clone, videos_from(1, 1)));
    append(*clone, videos_from(2, 10));
    append(*clone, videos_from(12, 2));  // a chunk of its own, which then goes as a whole
    CHECK(clone->remove(std::vector<int64_t>{12, 13}) == 2 && clone->state()->parts.size() == 1);
    CHECK_THROWS(VTR_INVALID_ARGUMENT, append(*clone, videos_from(13, 1)));
    append(*bank, videos_from(INT64_MAX, 1));
    for (const int64_t id : {INT64_MIN, int64_t{5}, INT64_MAX})
        CHECK_THROWS(VTR_INVALID_ARGUMENT, append(*bank, videos_from(id, 1)));
    CHECK_THROWS(VTR_INVALID_ARGUMENT, adopt(*bank, videos_from(5, 1)));
    auto falling = videos_from(10, 3);
    std::swap(falling[1].id, falling[2].id);
    CHECK_THROWS(VTR_INVALID_ARGUMENT, append(*clone, falling));
    falling[1].id = falling[2].id;
    CHECK_THROWS(VTR_INVALID_ARGUMENT, append(*clone, falling));
    CHECK(clone->count() == 10 && bank->count() == 5);

    std::vector<int64_t> first(2);
    CHECK(bank->ids(first) == 5);
    CHECK((first == std::vector<int64_t>{INT64_MIN + 1, INT64_MIN + 2}));
}

void unsound_arrays_are_refused() {
    const auto bank = make_bank();
    const auto videos = videos_from(0, 3);
    const FakeArrays sound(videos);
    const auto refused = [&](auto change, vtr_status status = VTR_INVALID_ARGUMENT) {
        FakeArrays arrays(videos);
        change(arrays.arrays);
        CHECK_THROWS(status, bank->append(arrays.ids, arrays.arrays));
        CHECK(bank->count() == 0);
    };
    using Arrays = std::vector<vtr_array>;
    refused([](Arrays& arrays) { arrays.clear(); });
    refused([](Arrays& arrays) { arrays.pop_back(); });
    refused([](Arrays& arrays) { arrays.push_back(arrays[0]); });
    refused([](Arrays& arrays) { arrays[1] = arrays[0]; });
    refused([](Arrays& arrays) { arrays[0].name = "frames"; });
    refused([](Arrays& arrays) { arrays[0].name = nullptr; });
    refused([](Arrays& arrays) { arrays[0].data = nullptr; });
    refused([](Arrays& arrays) { arrays[0].data = static_cast<const char*>(arrays[0].data) + 1; });
    refused([](Arrays& arrays) { arrays[0].dtype = static_cast<vtr_dtype>(3); });
    refused([](Arrays& arrays) { arrays[0].dtype = static_cast<vtr_dtype>(-1); });
    refused([](Arrays& arrays) { arrays[1].dtype = VTR_F16; });  // "video" is kept as float32
    for (const int ndim : {-1, 0, 2, 4, 5, INT_MAX}) refused([=](Arrays& arrays) { arrays[0].ndim = ndim; });
    for (int axis = 0; axis < 3; ++axis)
        for (const int64_t size : {int64_t{-1}, int64_t{0}, int64_t{4}, INT64_MAX, INT64_MIN})
            refused([=](Arrays& arrays) { arrays[0].shape[axis] = size; });
    float infinite[12] = {};
    infinite[8] = std::numeric_limits<float>::infinity();
    refused([&](Arrays& arrays) { arrays[1].data = infinite; }, VTR_NOT_FINITE);  // by the scorer

    const std::byte* unaligned[2] = {reinterpret_cast<const std::byte*>(64),
                                     reinterpret_cast<const std::byte*>(68)};
    CHECK_THROWS(VTR_INVALID_ARGUMENT, bank->adopt(sound.ids, unaligned, nullptr));
    CHECK_THROWS(VTR_INVALID_ARGUMENT, bank->adopt(sound.ids, std::span(unaligned, 1), nullptr));
    CHECK(bank->count() == 0 && bank->bytes() == 0);
    bank->append(sound.ids, sound.arrays);
    CHECK(bank->count() == 3);
}

}  // namespace

int main() {
    random_changes();
    small_appends_leave_few_chunks();
    bulk_append_costs_its_rows();
    removing_frees_memory();
    ids_ascend_for_ever();
    unsound_arrays_are_refused();
    CHECK_DONE();
}
