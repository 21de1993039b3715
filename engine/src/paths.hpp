// Paths of the videos of a frozen bank, as they lie in its mapped file: each ended by a 0 byte.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace vtr {

class Paths {
  public:
    // ids ascending; offsets [ids + 1] into `bytes`, where each path begins and the last one ends.
    // Throws Error(VTR_CORRUPT) unless offsets ascend and cover `bytes`, which end in 0; where `thorough`, also
    // unless every path has one 0, at its end.
    Paths(std::span<const int64_t> ids, std::span<const int64_t> offsets, std::span<const char> bytes,
          std::shared_ptr<const void> owner, bool thorough);

    // nullptr if there is none of that id, or it is empty.
    const char* find(int64_t id) const;

  private:
    const std::span<const int64_t> ids_, offsets_;
    const std::span<const char> bytes_;
    const std::shared_ptr<const void> owner_;
};

}  // namespace vtr
