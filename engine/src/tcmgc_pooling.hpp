// The parameters of TC-MGC's language-video attention, in the form in which texts meet them.
// python/vtr/scoring/gram.py derives the formulas.
#pragma once

#include <vector>

#include "head.hpp"
#include "kernels/tcmgc_kernel.hpp"
#include "transform.hpp"

namespace vtr {

class TcmgcPooling {
  public:
    TcmgcPooling(const Options& options, const Head& head);

    static std::map<std::string, Shape> shapes(int64_t dim);  // of its tensors

    // The terms of 1/i3² and ‖z‖² that no video changes.
    void set_constants(TcmgcWeights& weights) const;

    // out [dim] = LN1(q)·log2(e)/√D: dotted with a stored frame it is the attention's logit, base 2.
    void attention(const float* q, float* out) const;

    // Vectors p [count, dim] folded to p̂ [count, dim], with their offsets e and d [count].
    void fold(const float* vectors, size_t count, float* folded, float* e, float* d) const;

  private:
    using Doubles = std::vector<double>;

    size_t dim_;
    Doubles g1_, b1_, g3_, b3_, cc_;
    const Transform map_;  // x @ (A ∘ g2)
};

}  // namespace vtr
