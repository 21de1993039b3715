// A bank's videos in the memory of a GPU, searched there.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "bank.hpp"
#include "cuda/device_search.hpp"
#include "cuda/mirror.hpp"

namespace vtr::cuda {

struct DeviceBankOptions {
    size_t slab_bytes = size_t{256} << 20;  // of the largest slabs
};

// Holds what the bank had at the last `update`. Safe from many threads.
class DeviceBank {
  public:
    // Loads the kernels of the folder and uploads the bank. Throws Error: see vtr_device_bank_create.
    DeviceBank(SharedDevice device, std::shared_ptr<Bank> bank, const std::string& kernels,
               const DeviceBankOptions& options);
    DeviceBank(const DeviceBank&) = delete;

    // Takes over what was appended to the bank and removed from it. All or nothing; searches go on meanwhile.
    void update();

    // Takes over the videos of another bank and copies that one from now on: a clone of the one so far, or of a
    // clone of it and so on, or any bank of the same model where there was no video yet. All or nothing. Throws
    // VTR_INVALID_ARGUMENT: it is of another model, or has videos again that were removed before.
    void follow(std::shared_ptr<Bank> bank);

    // As the search of search.hpp, of `texts` as they are encoded; `candidates` must be 0.
    void search(const Texts& texts, const SearchOptions& options, int64_t* ids, float* scores, size_t* found);

    const std::shared_ptr<const Scorer> scorer;

    std::shared_ptr<const DeviceState> state() const;  // never null
    size_t count() const { return state()->count; }
    size_t bytes() const { return state()->bytes(); }
    const std::string& target() const { return kernels_->target(); }  // of the scoring kernel: "sm_90"

  private:
    void take(const std::shared_ptr<const State>& target);  // who calls holds `writing_`

    const SharedDevice device_;
    std::unique_ptr<const SearchKernels> kernels_;
    std::unique_ptr<Mirror> mirror_;
    std::mutex writing_;  // held by whoever updates
    std::shared_ptr<Bank> bank_;
    std::weak_ptr<const State> seen_;  // of the bank
    mutable std::mutex publishing_;    // held while state_ is read or set, no longer
    std::shared_ptr<const DeviceState> state_ = std::make_shared<const DeviceState>();
    Workspaces workspaces_;  // given back first: their streams may be reading what is above
};

}  // namespace vtr::cuda
