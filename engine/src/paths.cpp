// Paths of a frozen bank: checked once, found by bisection.
#include "paths.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "error.hpp"

namespace vtr {

Paths::Paths(std::span<const int64_t> ids, std::span<const int64_t> offsets, std::span<const char> bytes,
             std::shared_ptr<const void> owner, bool thorough)
    : ids_(ids), offsets_(offsets), bytes_(bytes), owner_(std::move(owner)) {
    const auto corrupt = [](size_t row, const char* what) {
        throw Error(VTR_CORRUPT, "path " + std::to_string(row) + " " + what);
    };
    if (offsets[0] != 0 || offsets[ids.size()] != static_cast<int64_t>(bytes.size()))
        throw Error(VTR_CORRUPT, "path_offsets do not cover the paths");
    if (!bytes.empty() && bytes.back() != 0) throw Error(VTR_CORRUPT, "the paths do not end in a 0 byte");
    for (size_t row = 0; row < ids.size(); ++row)  // ascending and ending right, so within bounds
        if (offsets[row + 1] <= offsets[row]) corrupt(row, "has no bytes: path_offsets do not ascend");
    if (!thorough) return;
    for (size_t row = 0; row < ids.size(); ++row) {
        const size_t length = static_cast<size_t>(offsets[row + 1] - offsets[row]);
        const char* path = bytes.data() + offsets[row];
        if (std::memchr(path, 0, length) != path + length - 1)
            corrupt(row, "has a 0 byte inside, or none at its end");
    }
}

const char* Paths::find(int64_t id) const {
    const auto found = std::lower_bound(ids_.begin(), ids_.end(), id);
    if (found == ids_.end() || *found != id) return nullptr;
    const char* path = bytes_.data() + offsets_[static_cast<size_t>(found - ids_.begin())];
    return *path ? path : nullptr;
}

}  // namespace vtr
