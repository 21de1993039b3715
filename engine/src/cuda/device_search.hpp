// The best videos of a device's state for some texts.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "cuda/search_kernels.hpp"
#include "cuda/workspace.hpp"
#include "plain.hpp"
#include "search.hpp"

namespace vtr::cuda {

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
