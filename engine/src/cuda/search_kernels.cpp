#include "cuda/search_kernels.hpp"

#include <algorithm>

#include "cuda/stage.hpp"
#include "error.hpp"

namespace vtr::cuda {
namespace {

constexpr int64_t MOST_FOUND = 1 << 16;

std::optional<Kernel> load(const SharedDevice& device, const KernelsFile& file, const std::string& name) {
    if (!file.kernels.contains(name)) return std::nullopt;
    return std::optional<Kernel>(std::in_place, device, file, name);
}

// What chooses the best: a kernel that scores too, or one of scores.
std::string choosing(const KernelsFile& file, const Scorer& scorer) {
    const std::string fused = scorer.options.scoring + "_topk";
    return file.kernels.contains(fused) ? fused : "topk_scores";
}

int64_t found_by(const KernelEntry& entry) {
    const auto found = entry.constants.find("K");
    if (found == entry.constants.end() || found->second < 1 || found->second > MOST_FOUND)
        throw Error(VTR_CORRUPT, "kernel '" + entry.name + "' does not say its constant 'K': export again");
    return found->second;
}

size_t most_of(const std::optional<Kernel>& choose) {
    if (!choose) return 0;
    if (!choose->entry().takes("live"))
        throw Error(VTR_UNSUPPORTED, "kernel '" + choose->entry().name +
                                         "' cannot leave out videos: export the bundle again with this vtr");
    return static_cast<size_t>(found_by(choose->entry()));
}

KernelSpec spec_of(const Options& options) {
    return {options.scoring,
            options.storage == Storage::bf16 ? "bf16" : "fp16",
            static_cast<int64_t>(options.frames),
            static_cast<int64_t>(options.words),
            static_cast<int64_t>(options.dim),
            static_cast<int64_t>(options.keep)};
}

// Throws Error unless the kernels are for the scorer's model.
const KernelsFile& checked(const KernelsFile& file, const Scorer& scorer) {
    file.require(spec_of(scorer.options));
    return file;
}

}  // namespace

SearchKernels::SearchKernels(const SharedDevice& device, const Scorer& scorer, const KernelsFile& file)
    : score(device, checked(file, scorer), scorer.options.scoring + "_score"),
      choose(load(device, file, choosing(file, scorer))),
      merge(load(device, file, "topk_merge")),
      fused(choose && choose->entry().name != "topk_scores"),
      most(most_of(choose)) {
    if (choose && merge && found_by(merge->entry()) != found_by(choose->entry()))
        throw Error(VTR_CORRUPT, "kernels '" + choose->entry().name +
                                     "' and 'topk_merge' do not find the same number: export again");
    const Stream stream = make_stream(device);
    const PlainParameters parameters = scorer.plain_parameters();
    for (const PlainArray& array : parameters.arrays) {
        check_in_two_halves(array);
        std::vector<std::byte> bytes(array.numbers.size() * storage_bytes(array.storage));
        store(array.numbers, array.storage, array.name, bytes.data());
        const DeviceMemory& memory = parameters_.emplace_back(device_memory(device, bytes.size()));
        device->check(device->driver().copy_to_device(memory.get(), bytes.data(), bytes.size(), stream.get()),
                      "parameter '" + array.name + "' cannot be copied to " + device->name());
        synchronize(stream);
        values_.set(array.name, memory.get());
    }
    for (const auto& [name, number] : parameters.scalars) values_.set(name, number);
    for (const char* name : {"global_scratch", "profile_scratch"}) values_.set(name, Address{0});
}

size_t SearchKernels::most_rows() const {
    const int64_t scored = score.most_of("count"), chosen = choose ? choose->most_of("count") : scored;
    return static_cast<size_t>(std::min(scored, chosen));
}

}  // namespace vtr::cuda
