#include "scan.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace vtr {

namespace {

constexpr size_t ROW_SLOT = Scratch::SEARCH, KEY_SLOT = ROW_SLOT + 1, PLACE_SLOT = KEY_SLOT + 1,
                 COLUMN_SLOT = PLACE_SLOT + 1;
static_assert(COLUMN_SLOT + MAX_COLUMNS == Scan::FREE_SLOT && Scan::FREE_SLOT < Scratch::SLOTS);

using Visit = std::function<void(const Batch&)>;

// Rows, added one by one, are handed on in blocks: where they lie nearly side by side, in place; else copied
// together.
class Gatherer {
  public:
    Gatherer(const Scorer& scorer, size_t most, Scratch& scratch)
        : scorer_(scorer),
          most_(most),
          scratch_(scratch),
          rows_(scratch.slot<Row>(ROW_SLOT, most)),
          keys_(scratch.slot<int64_t>(KEY_SLOT, most)) {}

    void add(const Chunk& chunk, size_t row, int64_t key) {  // `most` of them at most
        rows_[count_] = {&chunk, row};
        keys_[count_++] = key;
    }

    void hand_on(const Visit& visit) {
        size_t copied = 0;  // rows to be copied, moved to the front of rows_ and keys_
        for (size_t begin = 0, end = 0; begin < count_; begin = end) {
            end = window(begin);
            if (worth_it(begin, end)) {
                in_place(begin, end, visit);
                continue;
            }
            for (size_t i = begin; i < end; ++i, ++copied) {
                rows_[copied] = rows_[i];
                keys_[copied] = keys_[i];
            }
        }
        if (copied > 0) visit(Batch{copy(copied), copied, keys_, nullptr});
    }

  private:
    struct Row {
        const Chunk* chunk;
        size_t row;
    };

    // The end of the rows from `begin` on that ascend in one chunk and fit a block.
    size_t window(size_t begin) const {
        size_t end = begin + 1;
        while (end < count_ && rows_[end].chunk == rows_[begin].chunk && rows_[end].row > rows_[end - 1].row &&
               rows_[end].row - rows_[begin].row < most_)
            ++end;
        return end;
    }

    // In place there is nothing to copy, but rows between those wanted are scored in vain.
    bool worth_it(size_t begin, size_t end) const {
        const size_t rows = rows_[end - 1].row - rows_[begin].row + 1;
        return end - begin >= std::min<size_t>(8, count_) && 4 * (end - begin) >= 3 * rows;
    }

    void in_place(size_t begin, size_t end, const Visit& visit) {
        const Row& first = rows_[begin];
        const size_t rows = rows_[end - 1].row - first.row + 1;
        uint32_t* places = nullptr;
        if (rows != end - begin) {
            places = scratch_.slot<uint32_t>(PLACE_SLOT, most_);
            for (size_t i = begin; i < end; ++i) places[i - begin] = rows_[i].row - first.row;
        }
        visit(Batch{first.chunk->block(scorer_, first.row, rows), end - begin, keys_ + begin, places});
    }

    Block copy(size_t count) {
        Block block{count, {}};
        for (size_t column = 0; column < scorer_.columns.size(); ++column) {
            const size_t row_bytes = scorer_.columns[column].row_bytes;
            auto* to = scratch_.slot<std::byte>(COLUMN_SLOT + column, most_ * row_bytes);
            for (size_t i = 0; i < count; ++i) {
                const Row& row = rows_[i];
                std::memcpy(to + i * row_bytes, row.chunk->columns[column] + row.row * row_bytes, row_bytes);
            }
            block.columns[column] = to;
        }
        return block;
    }

    const Scorer& scorer_;
    const size_t most_;
    Scratch& scratch_;
    Row* rows_;
    int64_t* keys_;
    size_t count_ = 0;
};

// Blocks as large as the scorer likes them, but enough of them for many threads.
size_t task_rows(size_t videos, size_t block_rows) {
    return std::min(block_rows, std::max<size_t>(16, padded(videos / 64, 16)));
}

}  // namespace

Scan::Scan(const State& state, const Scorer& scorer, Keys keys, std::optional<std::span<const int64_t>> list)
    : state_(state),
      scorer_(scorer),
      keys_(keys),
      list_(list),
      rows_(task_rows(list ? list->size() : state.count, scorer.block_rows)) {
    if (list_) {
        tasks_ = (list_->size() + rows_ - 1) / rows_;
        return;
    }
    size_t position = 0;
    for (const Part& part : state.parts) {
        starts_.push_back({tasks_, position});
        tasks_ += (part.chunk->ids.size() + rows_ - 1) / rows_;
        position += part.live();
    }
}

void Scan::visit(size_t task, Scratch& scratch, const Visit& visit) const {
    list_ ? visit_list(task, scratch, visit) : visit_part(task, scratch, visit);
}

void Scan::visit_part(size_t task, Scratch& scratch, const Visit& visit) const {
    const auto after = std::upper_bound(starts_.begin(), starts_.end(), task,
                                        [](size_t task, const Start& start) { return task < start.task; });
    const size_t number = after - starts_.begin() - 1;
    const Part& part = state_.parts[number];
    const Chunk& chunk = *part.chunk;
    const size_t begin = (task - starts_[number].task) * rows_;
    const size_t end = std::min(begin + rows_, chunk.ids.size());
    int64_t position = starts_[number].position + begin;
    if (!part.dead) {
        const int64_t* keys = &chunk.ids[begin];
        if (keys_ == Keys::positions) {
            auto* positions = scratch.slot<int64_t>(KEY_SLOT, rows_);
            std::iota(positions, positions + (end - begin), position);
            keys = positions;
        }
        visit(Batch{chunk.block(scorer_, begin, end - begin), end - begin, keys, nullptr});
        return;
    }
    position -= part.dead->before(begin);
    Gatherer gatherer(scorer_, rows_, scratch);
    for (size_t row = begin; row < end; ++row)
        if (part.alive(row)) gatherer.add(chunk, row, keys_ == Keys::ids ? chunk.ids[row] : position++);
    gatherer.hand_on(visit);
}

void Scan::visit_list(size_t task, Scratch& scratch, const Visit& visit) const {
    const size_t begin = task * rows_, end = std::min(begin + rows_, list_->size());
    Gatherer gatherer(scorer_, rows_, scratch);
    Finder finder(state_);
    for (size_t i = begin; i < end; ++i) {
        const int64_t id = (*list_)[i];
        if (const auto place = finder.find(id))
            gatherer.add(*place->part->chunk, place->row, keys_ == Keys::ids ? id : static_cast<int64_t>(i));
    }
    gatherer.hand_on(visit);
}

std::optional<Finder::Place> Finder::find(int64_t id) {
    if (!part_ || id < part_->chunk->ids[row_] ||
        id > part_->chunk->ids.back()) {  // not from row_ on: look everywhere
        const auto after = std::upper_bound(state_.parts.begin(), state_.parts.end(), id,
                                            [](int64_t id, const Part& part) { return id < part.chunk->ids[0]; });
        if (after == state_.parts.begin()) return {};
        part_ = &*(after - 1);
        row_ = 0;
    }
    // Steps that double find the rows between which it must be, at once if it is the next one.
    const auto& ids = part_->chunk->ids;
    size_t step = 1;
    while (row_ + step < ids.size() && ids[row_ + step] < id) {
        row_ += step;
        step *= 2;
    }
    const size_t end = std::min(row_ + step + 1, ids.size());
    const size_t row = std::lower_bound(ids.begin() + row_, ids.begin() + end, id) - ids.begin();
    if (row == ids.size()) return {};
    row_ = row;
    if (ids[row] != id || !part_->alive(row)) return {};
    return Place{part_, row};
}

}  // namespace vtr
