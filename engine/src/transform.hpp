// A matrix [D, D] of a model, made ready for x @ matrix.
#pragma once

#include <span>

#include "vector_scorer.hpp"

namespace vtr {

class Transform {
  public:
    Transform(const Options& options, std::span<const float> matrix);

    // out [count, dim] = rows [count, dim] @ matrix, as exact as float32. Both are 64-byte aligned.
    void operator()(const float* rows, size_t count, float* out) const;

  private:
    const Options options_;
    const Probes columns_;
};

}  // namespace vtr
