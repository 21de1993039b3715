#include "head.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "columns.hpp"
#include "error.hpp"

namespace vtr {

namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error(VTR_INVALID_ARGUMENT, message); }

// The number of elements, of which float32s fit in memory.
size_t elements(const std::string& name, const Shape& shape) {
    size_t product = 1;
    for (const int64_t size : shape)
        if (size < 0) refuse(name + ": expected sizes of 0 or more, got shape " + shape_name(shape));
    if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
    for (const int64_t size : shape) {
        if (static_cast<size_t>(size) > PTRDIFF_MAX / sizeof(float) / product)
            refuse(name + ": shape " + shape_name(shape) + " is more than memory can hold");
        product *= static_cast<size_t>(size);
    }
    return product;
}

}  // namespace

Head::Head(std::span<const vtr_array> tensors) {
    for (const vtr_array& array : tensors) {
        if (array.name == nullptr) refuse("a tensor of the head has no name");
        const std::string name = "tensor '" + std::string(array.name) + "'";
        if (has(array.name)) refuse(name + " is there twice");
        if (array.dtype != VTR_F32) refuse(name + ": expected float32: convert it");
        if (array.ndim < 0 || array.ndim > 4)
            refuse(name + ": expected 0 to 4 dimensions, got " + std::to_string(array.ndim));
        Tensor tensor{Shape(array.shape, array.shape + array.ndim), {}};
        const size_t count = elements(name, tensor.shape);
        if (count > 0 && array.data == nullptr) refuse(name + ": its data is NULL");
        tensor.numbers.resize(count);
        if (count > 0) std::memcpy(tensor.numbers.data(), array.data, count * sizeof(float));
        for (size_t i = 0; i < count; ++i)
            if (!std::isfinite(tensor.numbers[i]))
                throw Error(VTR_NOT_FINITE, name + " has NaN or infinity at element " + std::to_string(i));
        tensors_.emplace(array.name, std::move(tensor));
    }
}

bool Head::has(const std::string& name) const { return tensors_.count(name) != 0; }

void Head::require(const std::map<std::string, Shape>& shapes) const {
    std::string missing, unknown;
    for (const auto& [name, shape] : shapes)
        if (!has(name)) missing += " '" + name + "'";
    for (const auto& [name, tensor] : tensors_)
        if (shapes.count(name) == 0) unknown += " '" + name + "'";
    if (!missing.empty() || !unknown.empty())
        refuse(
            "the head's tensors are not those of this scoring:" + (missing.empty() ? "" : " missing" + missing) +
            (missing.empty() || unknown.empty() ? "" : ";") + (unknown.empty() ? "" : " unknown" + unknown));
    for (const auto& [name, shape] : shapes)
        if (tensors_.at(name).shape != shape)
            refuse("tensor '" + name + "': expected shape " + shape_name(shape) + ", got " +
                   shape_name(tensors_.at(name).shape));
}

std::span<const float> Head::operator[](const std::string& name) const { return tensors_.at(name).numbers; }

float Head::scale() const {
    if (!has("logit_scale")) refuse("tensor 'logit_scale' is missing");
    const Tensor& tensor = tensors_.at("logit_scale");
    if (tensor.numbers.size() != 1)
        refuse("tensor 'logit_scale': expected shape [1], got " + shape_name(tensor.shape));
    const float scale = std::exp(tensor.numbers[0]);
    if (!std::isfinite(scale))
        throw Error(VTR_NOT_FINITE, "exp(logit_scale) is not finite: logit_scale is " +
                                        std::to_string(tensor.numbers[0]) + ", expected at most 88");
    return scale;
}

}  // namespace vtr
