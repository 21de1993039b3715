// The kernels that search one model's videos, loaded on a device.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cuda/kernel.hpp"
#include "scorer.hpp"

namespace vtr::cuda {

// The kernels of one model, and the model's own arrays on the device.
//
//   <scoring>_score: writes the logits [texts, stride] of the rows of a slab, float32.
//   topk_scores: chooses the K best of each block of such scores, and writes them as `keys` [texts, blocks, K].
//   <scoring>_topk: does both in one, and takes their place where it is there.
//   topk_merge: chooses the K best of each block of `keys` [texts, count], into `out` [texts, blocks, K].
//
// Arguments are given by their names, whatever their order: the columns of device_form.hpp ("video" is "vectors"
// too); what Scorer::plain_query and plain_parameters name; logits or scores; keys; out; live [count], a byte a
// row, 0 for those to be passed over; count, texts, stride (a multiple of 64), first (0); the null pointers
// global_scratch and profile_scratch. The constant "K" of a kernel that chooses says how many it finds. Rows of a
// block are those of one step along the axis of the grid that goes over `count`.
//
// Where more are asked for than are found, or nothing chooses, scores are copied and ranked here. A key is a whole
// number of 64 bits that orders answers: see decode in kernels/topk.py.
class SearchKernels {
  public:
    // Throws Error: see Kernel and KernelsFile::require; VTR_UNSUPPORTED: a kernel that chooses takes no `live`,
    // or the model's numbers are too large for kernels (stage.hpp).
    SearchKernels(const SharedDevice& device, const Scorer& scorer, const KernelsFile& file);

    const Kernel score;
    const std::optional<Kernel> choose, merge;
    const bool fused;   // `choose` needs no scores
    const size_t most;  // that `choose` finds; 0 without it
    const Values& values() const { return values_; }
    const std::string& target() const { return score.target(); }
    size_t most_rows() const;  // of a slab, so that every grid is one that a device takes

  private:
    std::vector<DeviceMemory> parameters_;
    Values values_;
};

}  // namespace vtr::cuda
