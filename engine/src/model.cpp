// Models: a scorer with a copy of its head.
#include "model.hpp"

namespace vtr {

Model::Model(const vtr_model_options& options, std::span<const vtr_array> head)
    : scorer(make_scorer(options, head)) {
    tensors_.reserve(head.size());  // so that addresses stay
    for (vtr_array array : head) {  // all float32 and finite: the scorer would not be there else
        size_t count = 1;
        for (int32_t axis = 0; axis < array.ndim; ++axis) count *= static_cast<size_t>(array.shape[axis]);
        const auto* numbers = static_cast<const float*>(array.data);
        const Tensor& tensor = tensors_.emplace_back(Tensor{array.name, {numbers, numbers + count}});
        array.name = tensor.name.c_str();
        array.data = tensor.numbers.data();
        head_.push_back(array);
    }
}

vtr_model_options Model::describe() const {
    const Options& options = scorer->options;
    return {
        .size = 0,
        .scoring = options.scoring.c_str(),
        .frames = static_cast<int32_t>(options.frames),
        .words = static_cast<int32_t>(options.words),
        .dim = static_cast<int32_t>(options.dim),
        .keep = static_cast<int32_t>(options.keep),
        .isa = options.kernels->name,
        .storage = options.storage == Storage::bf16 ? VTR_BF16 : VTR_F16,
        .fast = options.precision == Precision::fast,
    };
}

}  // namespace vtr
