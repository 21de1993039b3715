// Bringing a device up to a bank's state: which rows it lacks, which of its rows are gone.
#pragma once

#include <memory>

#include "cuda/slab.hpp"
#include "scan.hpp"

namespace vtr::cuda {

struct SlabSizes {
    size_t least = 1024;  // rows of the first slab, unless it must hold more
    size_t most = 1024;   // rows of any slab
};

// Rows that are new fill the last slab and then larger ones. What is left of slabs of which more than half is
// gone, and of small ones when there are many, moves into one that has room for nothing else.
class Mirror {
  public:
    Mirror(SharedDevice device, const Scorer& scorer, SlabSizes sizes);

    // A state of the device with the videos of `target`; slabs are shared with `before`. What was there before
    // stays as it was, also when memory runs out half-way: VTR_OUT_OF_MEMORY.
    std::shared_ptr<const DeviceState> update(const DeviceState& before, const State& target);

    const std::vector<DeviceColumn>& columns() const { return columns_; }

  private:
    using Places = std::vector<Finder::Place>;

    // The slabs of `before` without what is gone, into `after`; the places of rows to be moved, into `moved`.
    void keep(const DeviceState& before, const State& target, bool compact, DeviceState& after, Places& moved);
    void add(const Places& places, bool exact, DeviceState& after);
    bool crowded(const DeviceState& state) const;

    const SharedDevice device_;
    const Scorer& scorer_;
    const std::vector<DeviceColumn> columns_;
    const SlabSizes sizes_;
    const Stream stream_;
};

}  // namespace vtr::cuda
