// A bank: what a scorer keeps of every video, in chunks that are never altered once they can be seen.
//
// A change makes a new list of chunks, the State, and puts it in the place of the old one. A search takes the
// state once and works on it to the end, so it sees the bank before a change or after it and waits for nobody.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "chunk.hpp"
#include "scorer.hpp"

namespace vtr {

// A chunk and which of its rows were removed.
struct Part {
    std::shared_ptr<const Chunk> chunk;
    std::shared_ptr<const Dead> dead;  // null: none

    size_t live() const { return chunk->ids.size() - (dead ? dead->count : 0); }
    bool alive(size_t row) const { return !dead || !dead->has(row); }
};

struct State {
    std::vector<Part> parts;         // none of them empty; ids ascend from part to part
    size_t count = 0;                // videos: live rows of all parts
    std::optional<int64_t> highest;  // id that the bank ever had

    size_t bytes() const;
};

class Bank {
  public:
    explicit Bank(std::shared_ptr<const Scorer> scorer);
    Bank(const Bank&) = delete;

    std::shared_ptr<Bank> clone() const;  // shares the chunks, copies nothing

    // See vtr_bank_append. All or none: if it throws, the bank is as it was.
    void append(std::span<const int64_t> ids, std::span<const vtr_array> columns);

    // Add rows that are in bank form already (a mapped file): columns[i] is the first row of the scorer's column
    // i; `owner` keeps them, but not `ids`, alive.
    void adopt(std::span<const int64_t> ids, std::span<const std::byte* const> columns,
               std::shared_ptr<const void> owner);

    // How many of `ids`, in any order, were there and no longer are.
    size_t remove(std::span<const int64_t> ids);

    const std::shared_ptr<const Scorer> scorer;

    std::shared_ptr<const State> state() const;  // never null
    size_t count() const { return state()->count; }
    size_t bytes() const { return state()->bytes(); }
    size_t ids(std::span<int64_t> out) const;  // the first of them, ascending; returns how many the bank has

  private:
    void check_ids(std::span<const int64_t> ids) const;
    void add(std::shared_ptr<const Chunk> chunk);
    void publish(std::vector<Part> parts, std::optional<int64_t> highest);

    std::mutex writing_;             // held by whoever changes the bank, from reading the state to publishing
    mutable std::mutex publishing_;  // held while state_ is read or set, no longer
    std::shared_ptr<const State> state_;
};

}  // namespace vtr
