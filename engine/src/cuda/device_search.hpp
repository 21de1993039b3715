// The best videos of a device's state for some texts.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cuda/kernel.hpp"
#include "cuda/workspace.hpp"
#include "plain.hpp"
#include "search.hpp"

namespace vtr::cuda {

// The kernels of one model, loaded, and the model's own arrays on the device.
//
//   <scoring>_score: writes the logits [texts, stride] of the rows of a slab, float32.
//   topk_scores: chooses the K best of each block of such scores, and writes them as `keys` [texts, blocks, K].
//   <scoring>_topk: does both in one, and takes their place where it is there.
//
// Arguments are given by their names, whatever their order: the columns of device_form.hpp ("video" is "vectors"
// too); what Scorer::plain_query and plain_parameters name; logits or scores; keys; live [count], a byte a row, 0
// for those to be passed over; count, texts, stride (a multiple of 64), first (0); the null pointers
// global_scratch and profile_scratch. The constant "K" of a kernel that chooses says how many it finds. Rows of a
// block are those of one step along the axis of the grid that goes over `count`.
//
// Where more are asked for, or the kernel takes no `live` and there are rows to be passed over, scores are copied
// and ranked here. A key is a whole number of 64 bits that orders answers: see decode in kernels/topk.py.
class SearchKernels {
  public:
    // Throws Error: see Kernel and KernelsFile::require.
    SearchKernels(const SharedDevice& device, const Scorer& scorer, const KernelsFile& file);

    const std::optional<Kernel> score, choose;
    const bool fused;   // `choose` needs no scores
    const size_t most;  // that `choose` finds; 0 without it
    const Values& values() const { return values_; }
    const std::string& target() const { return score ? score->target() : choose->target(); }

  private:
    std::vector<DeviceMemory> parameters_;
    Values values_;
};

// Some texts [first, first + texts) of `all`, made ready by Scorer::plain_query.
struct DeviceTexts {
    std::span<const PlainArray> arrays;
    size_t all, first, texts;
};

// The k best for each text. The device is Current. `only`: as SearchOptions. Throws Error: the workspace must not
// be used again.
std::vector<Ranking> search_device(const SearchKernels& kernels, const std::vector<DeviceColumn>& columns,
                                   Workspace& workspace, const std::shared_ptr<const DeviceState>& state,
                                   const DeviceTexts& texts, size_t k,
                                   const std::optional<std::span<const int64_t>>& only);

}  // namespace vtr::cuda
