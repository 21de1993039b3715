// The videos of a search, cut into tasks, and the rows of a task, laid side by side in blocks for a scorer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "bank.hpp"
#include "scorer.hpp"
#include "scratch.hpp"

namespace vtr {

// A block and which of its rows are wanted. The others are dead or not among those searched.
struct Batch {
    Block block;
    size_t count;            // wanted rows
    const int64_t* keys;     // of each: its id or position, as the scan was told
    const uint32_t* places;  // of each: its row in the block; null if the block is wanted whole
};

enum class Keys { ids, positions };  // a position counts the videos that the scan goes through, from 0

// Goes through all videos of a state, or through listed ones, in tasks that any threads may take. How videos are
// cut into tasks depends on the state and the list alone. Both must outlive it.
class Scan {
  public:
    Scan(const State& state, const Scorer& scorer, Keys keys, std::optional<std::span<const int64_t>> list = {});

    size_t tasks() const { return tasks_; }

    // Calls visit for blocks that together hold each video of the task once; listed ids that the state does not
    // have are passed over. Uses scratch slots from Scratch::SEARCH up to FREE_SLOT.
    void visit(size_t task, Scratch& scratch, const std::function<void(const Batch&)>& visit) const;

    static constexpr size_t FREE_SLOT = Scratch::SEARCH + MAX_COLUMNS + 3;

  private:
    void visit_part(size_t task, Scratch&, const std::function<void(const Batch&)>&) const;
    void visit_list(size_t task, Scratch&, const std::function<void(const Batch&)>&) const;

    const State& state_;
    const Scorer& scorer_;
    const Keys keys_;
    const std::optional<std::span<const int64_t>> list_;
    size_t rows_;  // a task
    size_t tasks_ = 0;
    struct Start {  // of a part
        size_t task, position;
    };
    std::vector<Start> starts_;
};

// Finds videos by id; fast for ids that come in ascending order.
class Finder {
  public:
    explicit Finder(const State& state) : state_(state) {}

    struct Place {
        const Part* part;
        size_t row;
    };
    std::optional<Place> find(int64_t id);

  private:
    const State& state_;
    const Part* part_ = nullptr;  // where the last one was looked for
    size_t row_ = 0;
};

}  // namespace vtr
