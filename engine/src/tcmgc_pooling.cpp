#include "tcmgc_pooling.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "total.hpp"

namespace vtr {
namespace {

using Doubles = std::vector<double>;

constexpr double EPS = 1e-5, TINY_NORM = 1e-12;

std::string name_of(const char* tensor) { return std::string("conditional_transformer.pool_frames.") + tensor; }

Doubles doubles(const Head& head, const char* tensor) {
    const std::span<const float> numbers = head[name_of(tensor)];
    return Doubles(numbers.begin(), numbers.end());
}

double dot(const Doubles& a, const Doubles& b) {
    return total(a.size(), [&](size_t i) { return a[i] * b[i]; });
}

Doubles product(const Doubles& a, const Doubles& b) {
    Doubles out(a);
    for (size_t i = 0; i < a.size(); ++i) out[i] *= b[i];
    return out;
}

void centre(Doubles& x) {
    const double mean = total(x.size(), [&](size_t i) { return x[i]; }) / static_cast<double>(x.size());
    for (double& number : x) number -= mean;
}

// A ∘ g2 with A = I + linear_proj.weight.
Floats map_of(const Head& head, size_t dim) {
    const std::span<const float> weight = head[name_of("linear_proj.weight")];
    const std::span<const float> gain = head[name_of("layer_norm2.weight")];
    Floats out(dim * dim);
    for (size_t i = 0; i < dim; ++i)
        for (size_t j = 0; j < dim; ++j)
            out.data()[i * dim + j] = static_cast<float>((double(weight[i * dim + j]) + (i == j)) * gain[j]);
    return out;
}

// cc: A·b2 + bl, centred.
Doubles constant_of(const Head& head, size_t dim) {
    const std::span<const float> weight = head[name_of("linear_proj.weight")];
    const Doubles b2 = doubles(head, "layer_norm2.bias");
    Doubles c = doubles(head, "linear_proj.bias");
    for (size_t i = 0; i < dim; ++i) {
        c[i] += b2[i];
        for (size_t j = 0; j < dim; ++j) c[i] += weight[i * dim + j] * b2[j];
    }
    centre(c);
    return c;
}

}  // namespace

TcmgcPooling::TcmgcPooling(const Options& options, const Head& head)
    : dim_(options.dim),
      g1_(doubles(head, "layer_norm1.weight")),
      b1_(doubles(head, "layer_norm1.bias")),
      g3_(doubles(head, "layer_norm3.weight")),
      b3_(doubles(head, "layer_norm3.bias")),
      cc_(constant_of(head, options.dim)),
      map_(options, {map_of(head, options.dim).data(), options.dim * options.dim}) {}

std::map<std::string, Shape> TcmgcPooling::shapes(int64_t dim) {
    std::map<std::string, Shape> shapes{{name_of("linear_proj.weight"), {dim, dim}},
                                        {name_of("linear_proj.bias"), {dim}}};
    for (const char* tensor : {"layer_norm1.weight", "layer_norm1.bias", "layer_norm2.weight", "layer_norm2.bias",
                               "layer_norm3.weight", "layer_norm3.bias"})
        shapes[name_of(tensor)] = {dim};
    return shapes;
}

void TcmgcPooling::set_constants(TcmgcWeights& weights) const {
    const Doubles scaled = product(cc_, g3_);
    const double bias = dot(b3_, b3_);
    weights.variance = static_cast<float>(dot(cc_, cc_) / static_cast<double>(dim_) + EPS);
    weights.norm = static_cast<float>(dot(scaled, scaled));
    weights.cross = static_cast<float>(dot(scaled, b3_));
    weights.bias = static_cast<float>(bias);
    weights.floor = static_cast<float>(std::max(1e-6 * bias, TINY_NORM * TINY_NORM));
}

void TcmgcPooling::attention(const float* q, float* out) const {
    Doubles x(q, q + dim_);
    centre(x);
    const double inverse = 1 / std::sqrt(dot(x, x) / static_cast<double>(dim_) + EPS);
    const double scale = std::numbers::log2e / std::sqrt(static_cast<double>(dim_));
    for (size_t i = 0; i < dim_; ++i) out[i] = static_cast<float>((x[i] * inverse * g1_[i] + b1_[i]) * scale);
}

void TcmgcPooling::fold(const float* vectors, size_t count, float* folded, float* e, float* d) const {
    Floats scaled(count * dim_);
    for (size_t i = 0; i < count; ++i) {
        const Doubles p(vectors + i * dim_, vectors + (i + 1) * dim_);
        Doubles x = product(p, g3_);
        centre(x);
        e[i] = static_cast<float>(dot(x, cc_));
        d[i] = static_cast<float>(dot(p, b3_));
        std::copy(x.begin(), x.end(), scaled.data() + i * dim_);
    }
    map_(scaled.data(), count, folded);
    for (size_t i = 0; i < count; ++i) {
        Doubles x(folded + i * dim_, folded + (i + 1) * dim_);
        centre(x);
        std::copy(x.begin(), x.end(), folded + i * dim_);
    }
}

}  // namespace vtr
