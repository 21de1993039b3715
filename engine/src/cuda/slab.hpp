// Rows of videos in device memory: slabs that are made once and filled from the front, never moved.
//
// As the chunks of a bank (bank.hpp), what a search sees is never altered: a DeviceState says how many rows of
// each slab there are, and a change puts a new state in the place of the old one. Rows after those belong to the
// writer.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bank.hpp"
#include "cuda/device_form.hpp"
#include "cuda/resources.hpp"

namespace vtr::cuda {

class Slab {
  public:
    // Throws VTR_OUT_OF_MEMORY.
    Slab(SharedDevice device, const Scorer& scorer, const std::vector<DeviceColumn>& columns, size_t capacity);

    // Copies `count` rows of a chunk, from `row` on, to the rows from `first` on, and waits until they are there.
    void write(size_t first, const Chunk& chunk, size_t row, size_t count, const Stream& stream);

    const size_t capacity;  // rows
    Address column(size_t number) const { return memory_.get() + offsets_[number]; }
    const int64_t* ids() const { return ids_.get(); }  // ascending
    size_t bytes() const { return bytes_; }

  private:
    const Scorer& scorer_;
    const std::vector<DeviceColumn>& columns_;
    std::vector<size_t> offsets_;
    size_t bytes_ = 0;
    DeviceMemory memory_;
    std::unique_ptr<int64_t[]> ids_;
};

// Which rows of a slab take part in searches, as kernels read it: a byte a row of its capacity, 1 or 0.
struct Live {
    std::shared_ptr<const Dead> dead;  // of the slab's capacity; null: none
    DeviceMemory bytes;
};

struct SlabView {
    std::shared_ptr<Slab> slab;
    std::shared_ptr<const Live> live;
    size_t rows = 0;  // that were written, dead ones among them

    std::span<const int64_t> ids() const { return {slab->ids(), rows}; }
    bool alive(size_t row) const { return !live->dead || !live->dead->has(row); }
    size_t count() const { return rows - (live->dead ? live->dead->count : 0); }
};

struct DeviceState {
    std::vector<SlabView> slabs;     // none without live rows; ids may interleave between slabs
    size_t count = 0;                // videos: live rows of all slabs
    std::optional<int64_t> highest;  // id that was ever uploaded

    size_t bytes() const;
};

// Throws VTR_OUT_OF_MEMORY.
std::shared_ptr<const Live> make_live(const SharedDevice& device, size_t capacity,
                                      std::shared_ptr<const Dead> dead, const Stream& stream);

}  // namespace vtr::cuda
