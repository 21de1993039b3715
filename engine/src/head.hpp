// The tensors of a model's head, by name, checked.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "vtr/vtr.h"

namespace vtr {

using Shape = std::vector<int64_t>;

class Head {
  public:
    // Throws Error: a tensor that is named twice, not float32, of a negative or overflowing size, or not finite.
    explicit Head(std::span<const vtr_array> tensors);

    bool has(const std::string& name) const;

    // Throws Error unless the tensors are exactly those of `shapes`; the message names missing and unknown ones.
    void require(const std::map<std::string, Shape>& shapes) const;

    // The numbers of a tensor; it is there (require said so).
    std::span<const float> operator[](const std::string& name) const;

    // exp(logit_scale), a tensor [1]. Throws Error if that is not finite.
    float scale() const;

  private:
    struct Tensor {
        Shape shape;
        std::vector<float> numbers;
    };
    std::map<std::string, Tensor> tensors_;
};

}  // namespace vtr
