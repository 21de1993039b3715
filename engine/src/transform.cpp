#include "transform.hpp"

#include <algorithm>

namespace vtr {
namespace {

constexpr size_t PIECE = 128;  // rows multiplied together

Floats transposed(std::span<const float> matrix, size_t dim) {
    Floats out(dim * dim);
    for (size_t i = 0; i < dim; ++i)
        for (size_t j = 0; j < dim; ++j) out.data()[j * dim + i] = matrix[i * dim + j];
    return out;
}

}  // namespace

Transform::Transform(const Options& options, std::span<const float> matrix)
    : options_(options),
      columns_(options, Precision::exact, transposed(matrix, options.dim).data(), options.dim, options.dim) {}

void Transform::operator()(const float* rows, size_t count, float* out) const {
    const ProductKernels& product = options_.kernels->product;
    const size_t dim = options_.dim;
    const size_t piece = std::min(count, PIECE);
    const AlignedBytes memory = aligned_bytes(product.rows_bytes(piece, dim, Storage::f32, Precision::exact));
    Floats products(padded(piece, ROW_BLOCK) * dim);
    for (size_t row = 0; row < count; row += piece) {
        const size_t size = std::min(piece, count - row);
        const void* loaded =
            product.load_rows(rows + row * dim, size, dim, Storage::f32, Precision::exact, memory.get());
        product.product(loaded, size, dim, Storage::f32, Precision::exact, columns_[0], dim, products.data(), {});
        std::copy_n(products.data(), size * dim, out + row * dim);
    }
}

}  // namespace vtr
