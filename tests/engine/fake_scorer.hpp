// A scorer of small whole numbers for the tests of banks and searches: every score is exact, ties are many, and a
// row whose columns do not belong together gives itself away.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "check.hpp"
#include "scorer.hpp"

namespace vtr::test {

struct FakeVideo {
    int64_t id;
    float full;      // what the model's score depends on
    float selected;  // what the score for candidates depends on
    bool nan = false;
};

// The rule that the reference and the scorer share; texts differ, so that their rankings do.
inline float fake_score(const FakeVideo& video, size_t text) {
    if (video.nan) return std::numeric_limits<float>::quiet_NaN();
    return text % 2 == 0 ? video.full : static_cast<float>(text) - 2 * video.full;
}
inline float fake_preselect(const FakeVideo& video, size_t text) {
    return text % 2 == 0 ? video.selected : -video.selected;
}

// Two columns: "video" [4] float32 and "extra" [3, 2] of two-byte items, of which the last is the id's low bits.
class FakeScorer : public Scorer {
  public:
    explicit FakeScorer(size_t block = 64, size_t filler = 0) : Scorer(Options{}, fake_columns(filler)) {
        block_rows = block;
    }

    void pack(size_t column, const vtr_array& array, std::byte* out) const override {
        const size_t rows = array.shape[0], items = columns[column].row_bytes / (column == 0 ? 4 : 2);
        if (column == 1 && array.dtype == VTR_F32) {
            for (size_t i = 0; i < rows * items; ++i) {
                const auto half = static_cast<uint16_t>(static_cast<const float*>(array.data)[i]);
                std::memcpy(out + 2 * i, &half, 2);
            }
            return;
        }
        std::memcpy(out, array.data, rows * columns[column].row_bytes);
        for (size_t row = 0; column == 0 && row < rows; ++row)
            if (std::isinf(static_cast<const float*>(array.data)[row * items]))
                throw Error(VTR_NOT_FINITE, "row " + std::to_string(row));
    }

    std::unique_ptr<const Query> prepare(const Texts& texts) const override {
        auto query = std::make_unique<Query>();
        query->texts = texts.count;
        return query;
    }

    void score(const Query& query, size_t first, size_t texts, const Block& block, Scratch& scratch,
               float* out) const override {
        CHECK(first + texts <= query.texts);
        check(block, scratch);
        for (size_t text = 0; text < texts; ++text)
            for (size_t row = 0; row < block.count; ++row)
                out[text * block.count + row] = fake_score(video(block, row), first + text);
    }

    void preselect(const Query& query, const Block& block, Scratch& scratch, float* out) const override {
        check(block, scratch);
        for (size_t text = 0; text < query.texts; ++text)
            for (size_t row = 0; row < block.count; ++row)
                out[text * block.count + row] = fake_preselect(video(block, row), text);
    }

  private:
    static std::vector<Column> fake_columns(size_t filler) {
        const auto more = static_cast<int64_t>(filler);
        return {{"video", {4 + more}, 16 + 4 * filler, Storage::f32}, {"extra", {3, 2}, 12, Storage::f16}};
    }

    FakeVideo video(const Block& block, size_t row) const {
        float numbers[4];
        uint16_t extra[6];
        std::memcpy(numbers, block.columns[0] + row * columns[0].row_bytes, sizeof numbers);
        std::memcpy(extra, block.columns[1] + row * columns[1].row_bytes, sizeof extra);
        CHECK(static_cast<float>(extra[5]) == numbers[3]);  // or else columns of two videos were mixed
        return {0, numbers[0], numbers[1], numbers[2] != 0};
    }

    void check(const Block& block, Scratch& scratch) const {
        CHECK(block.count >= 1 && block.count <= block_rows);
        for (size_t slot = 0; slot < Scratch::SEARCH; ++slot)  // they are the scorer's own: nobody minds
            std::memset(scratch.slot<std::byte>(slot, 64), 0xff, 64);
    }
};

// Videos as arrays for Bank::append; it owns them.
class FakeArrays {
  public:
    explicit FakeArrays(std::span<const FakeVideo> videos, size_t filler = 0) {
        for (const FakeVideo& video : videos) {
            const auto mark = static_cast<uint16_t>(video.id);
            ids.push_back(video.id);
            numbers.insert(numbers.end(), {video.full, video.selected, video.nan ? 1.0f : 0.0f, float(mark)});
            numbers.insert(numbers.end(), filler, 0.0f);
            extra.insert(extra.end(), {0, 0, 0, 0, 0, mark});
        }
        const auto rows = static_cast<int64_t>(videos.size()), more = static_cast<int64_t>(filler);
        arrays = {{"extra", VTR_F16, 3, {rows, 3, 2}, extra.data()},
                  {"video", VTR_F32, 2, {rows, 4 + more}, numbers.data()}};
    }
    FakeArrays(const FakeArrays&) = delete;

    std::vector<int64_t> ids;
    std::vector<float> numbers;
    std::vector<uint16_t> extra;
    std::vector<vtr_array> arrays;
};

}  // namespace vtr::test
