// A model: a scorer, and the tensors that it was made from, which a frozen bank holds too.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "scorer.hpp"

namespace vtr {

class Model {
  public:
    // Throws Error: see vtr_model_create.
    Model(const vtr_model_options& options, std::span<const vtr_array> head);
    Model(const Model&) = delete;

    const std::shared_ptr<const Scorer> scorer;

    // Float32; names and numbers live as long as the model.
    std::span<const vtr_array> head() const { return head_; }

    // `size` is left to the caller; strings live as long as the model.
    vtr_model_options describe() const;

  private:
    struct Tensor {
        std::string name;
        std::vector<float> numbers;
    };
    std::vector<Tensor> tensors_;
    std::vector<vtr_array> head_;
};

}  // namespace vtr
