// Rows of videos in one piece of memory, and the marks of those that were removed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "scorer.hpp"

namespace vtr {

struct Chunk {
    std::vector<int64_t> ids;                    // ascending; one a row
    const std::byte* columns[MAX_COLUMNS] = {};  // the first row of every column, 64-byte aligned if owned
    size_t bytes = 0;                            // of memory or mapped file, ids included
    bool owned = false;                          // made by the bank, rather than adopted
    std::shared_ptr<const void> memory;          // what keeps the columns alive

    Block block(const Scorer& scorer, size_t first, size_t count) const;
};

// Memory for a chunk of `rows` rows, to be filled in and then put into a Chunk by `finish`.
class NewChunk {
  public:
    NewChunk(const Scorer& scorer, size_t rows);  // throws std::bad_alloc, also when the size overflows

    std::byte* column(size_t number) const { return columns_[number]; }
    std::shared_ptr<const Chunk> finish(std::vector<int64_t> ids) &&;

  private:
    std::shared_ptr<std::byte> memory_;
    std::byte* columns_[MAX_COLUMNS] = {};
    size_t bytes_ = 0;
};

// Rows of a chunk that were removed: a bit each.
class Dead {
  public:
    explicit Dead(size_t rows) : words_((rows + 63) / 64), before_((words_.size() + STEP - 1) / STEP) {}

    bool has(size_t row) const { return words_[row / 64] >> (row % 64) & 1; }
    void add(size_t row) { words_[row / 64] |= uint64_t{1} << (row % 64); }  // then `number`
    void number();                                                           // counts the marks, once all are set
    size_t before(size_t row) const;  // how many of the rows before `row` are marked
    size_t bytes() const { return words_.size() * sizeof(words_[0]) + before_.size() * sizeof(before_[0]); }

    size_t count = 0;

  private:
    static constexpr size_t STEP = 8;  // words between two numbers of before_
    std::vector<uint64_t> words_;
    std::vector<size_t> before_;
};

}  // namespace vtr
