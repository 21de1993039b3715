#include "cuda/device_bank.hpp"

#include <algorithm>

#include "error.hpp"

namespace vtr::cuda {
namespace {

constexpr size_t TEXTS = 64;  // that are scored together: their scores take memory
constexpr size_t SMALL_SLAB = 1024, ROW_GROUP = 64;

SlabSizes sizes_of(const Scorer& scorer, const DeviceBankOptions& options, size_t most_rows) {
    size_t row = 1;  // the byte that marks it live
    for (const DeviceColumn& column : device_columns(scorer)) row += column.row_bytes;
    const size_t most = std::clamp<size_t>(options.slab_bytes / row / ROW_GROUP * ROW_GROUP, ROW_GROUP,
                                           std::min<size_t>(most_rows, INT32_MAX / 2));
    return {std::min(SMALL_SLAB, most), most};
}

}  // namespace

DeviceBank::DeviceBank(SharedDevice device, std::shared_ptr<Bank> bank, const std::string& kernels,
                       const DeviceBankOptions& options)
    : scorer(bank->scorer), device_(std::move(device)), bank_(std::move(bank)), workspaces_(device_) {
    const KernelsFile file = read_kernels(kernels);
    const Current current(*device_);
    kernels_ = std::make_unique<const SearchKernels>(device_, *scorer, file);
    mirror_ = std::make_unique<Mirror>(device_, *scorer, sizes_of(*scorer, options, kernels_->most_rows()));
    update();
}

std::shared_ptr<const DeviceState> DeviceBank::state() const {
    const std::lock_guard lock(publishing_);
    return state_;
}

void DeviceBank::update() {
    const std::lock_guard lock(writing_);
    take(bank_->state());
}

void DeviceBank::follow(std::shared_ptr<Bank> bank) {
    if (bank->scorer != scorer)
        throw Error(VTR_INVALID_ARGUMENT,
                    "bank: expected a clone of the bank that was copied, got one of another model");
    const std::lock_guard lock(writing_);
    take(bank->state());
    bank_ = std::move(bank);
}

void DeviceBank::take(const std::shared_ptr<const State>& target) {
    if (seen_.lock() == target) return;
    const Current current(*device_);
    std::shared_ptr<const DeviceState> next = mirror_->update(*state(), *target);
    if (next->count != target->count)
        throw Error(VTR_INVALID_ARGUMENT, "bank: expected a clone of the bank that was copied, got one with " +
                                              std::to_string(target->count - next->count) +
                                              " videos that were removed before: make another copy for it");
    seen_ = target;
    const std::lock_guard lock_state(publishing_);
    std::swap(next, state_);  // the old one is freed after the lock: it was declared before
}

void DeviceBank::search(const Texts& texts, const SearchOptions& options, int64_t* ids, float* scores,
                        size_t* found) {
    check_options(texts.count, options);
    if (options.candidates != 0)
        throw Error(VTR_UNSUPPORTED, "candidates: expected 0, got " + std::to_string(options.candidates) +
                                         ": a GPU scores every video");
    const std::vector<PlainArray> arrays = scorer->plain_query(texts);
    const Current current(*device_);
    const auto state = this->state();
    const size_t videos = options.only ? std::min(options.only->size(), state->count) : state->count;
    const size_t k = std::min(options.k, videos);
    std::vector<Ranking> rankings;
    for (size_t first = 0; first < texts.count; first += TEXTS) {
        Workspaces::Lease workspace(workspaces_);
        auto some =
            search_device(*kernels_, mirror_->columns(), *workspace, state,
                          {arrays, texts.count, first, std::min(TEXTS, texts.count - first)}, k, options.only);
        workspace.keep();
        std::move(some.begin(), some.end(), std::back_inserter(rankings));
    }
    write_rankings(rankings, options.k, ids, scores, found);
}

}  // namespace vtr::cuda
