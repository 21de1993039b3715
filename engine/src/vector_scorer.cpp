#include "vector_scorer.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "error.hpp"
#include "halves.hpp"
#include "total.hpp"

namespace vtr {
namespace {

// Convert `count` numbers and say whether all came out finite.
template <auto Widen, auto Narrow, uint16_t Infinite, class From>
bool convert(const std::byte* from, size_t count, std::byte* to) {
    uint32_t bad = 0;
    for (size_t i = 0; i < count; ++i) {
        From number;
        std::memcpy(&number, from + i * sizeof(From), sizeof(From));
        const uint16_t stored = Narrow(Widen(number));
        std::memcpy(to + i * sizeof(stored), &stored, sizeof(stored));
        bad |= (stored & Infinite) == Infinite;
    }
    return !bad;
}

template <uint16_t Infinite>
bool copy(const std::byte* from, size_t count, std::byte* to) {
    std::memcpy(to, from, count * sizeof(uint16_t));
    uint16_t bad = 0;
    for (size_t i = 0; i < count; ++i) {
        uint16_t number;
        std::memcpy(&number, from + i * sizeof(number), sizeof(number));
        bad |= uint16_t((number & Infinite) == Infinite);
    }
    return !bad;
}

using Converter = bool (*)(const std::byte* from, size_t count, std::byte* to);

Converter converter(vtr_dtype from, Storage to) {
    if (to == Storage::f16) {
        if (from == VTR_F32) return convert<widen_f32, narrow_f16, 0x7c00, uint32_t>;
        return from == VTR_F16 ? copy<0x7c00> : convert<widen_bf16, narrow_f16, 0x7c00, uint16_t>;
    }
    if (from == VTR_F32) return convert<widen_f32, narrow_bf16, 0x7f80, uint32_t>;
    return from == VTR_F16 ? convert<widen_f16, narrow_bf16, 0x7f80, uint16_t> : copy<0x7f80>;
}

// ---- texts ----

constexpr Directions::Limits LIMITS = {.few = 16, .group = 64};  // of the column "video"
// Rows that are made ready together, as float32 or two halves: they stay in the second-level cache.
size_t piece_rows(size_t dim) {
    return std::max(ROW_BLOCK, (512 << 10) / (dim * sizeof(float)) / ROW_BLOCK * ROW_BLOCK);
}

void check_finite(const float* numbers, size_t count, const char* what, size_t text) {
    uint32_t bad = 0;
    for (size_t i = 0; i < count; ++i) bad |= (std::bit_cast<uint32_t>(numbers[i]) & INFINITE) == INFINITE;
    if (bad)
        throw Error(VTR_NOT_FINITE, "expected finite numbers, got NaN or infinity in the " + std::string(what) +
                                        " of text " + std::to_string(text) + ": check the text encoder");
}

std::vector<Column> with_video(std::vector<Column> own, Column video) {
    own.push_back(std::move(video));
    return own;
}

}  // namespace

Probes::Probes(const Options& options, Precision precision, const float* vectors, size_t count, size_t group)
    : count_(count), group_(group) {
    const ProductKernels& product = options.kernels->product;
    bytes_ = padded(product.packed_bytes(group, options.dim, precision), ALIGNMENT);
    memory_ = aligned_bytes(groups() * bytes_);
    for (size_t i = 0; i < groups(); ++i)
        product.pack(vectors + i * group * options.dim, size(i), options.dim, precision,
                     memory_.get() + i * bytes_);
}

Directions::Directions(const Options& options, Precision precision, Limits limits, size_t texts,
                       const float* vectors)
    : precision_(precision),
      limits_(limits),
      vectors_(texts * options.dim),
      packed_(options, precision, vectors, texts > limits.few ? texts : 0, limits.group) {
    std::copy_n(vectors, texts * options.dim, vectors_.data());
}

void Directions::dots(const Options& options, const void* rows, size_t count, size_t first, size_t texts,
                      float* out) const {
    options.kernels->product.dots(rows, count, options.dim, options.storage, vectors_.data() + first * options.dim,
                                  texts, out);
}

void Directions::products(const Options& options, const void* loaded, size_t count, size_t first, size_t texts,
                          float* scratch, float* out, size_t stride) const {
    const size_t end = first + texts;
    for (size_t group = first / limits_.group; group * limits_.group < end; ++group) {
        const size_t start = group * limits_.group, size = packed_.size(group), lanes = padded(size, LANES);
        options.kernels->product.product(loaded, count, options.dim, options.storage, precision_, packed_[group],
                                         size, scratch, {});
        const size_t from = std::max(first, start), to = std::min(end, start + size);
        for (size_t row = 0; row < count; ++row)
            for (size_t text = from; text < to; ++text)
                out[(text - first) * stride + row] = scratch[row * lanes + text - start];
    }
}

VectorQuery::VectorQuery(const Options& options, size_t texts, const float* directions)
    : directions(options, Precision::exact, LIMITS, texts, directions) {
    this->texts = texts;
}

VectorScorer::VectorScorer(const Options& options, std::vector<Column> own)
    : Scorer(options,
             with_video(std::move(own), feature_column(options, "video", {static_cast<int64_t>(options.dim)}))),
      video_(columns.size() - 1) {}

Column VectorScorer::feature_column(const Options& options, std::string name, std::vector<int64_t> shape) {
    size_t bytes = storage_bytes(options.storage);
    for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
    return {std::move(name), std::move(shape), bytes, options.storage};
}

void VectorScorer::pack(size_t column, const vtr_array& array, std::byte* out) const {
    const Column& to = columns[column];
    const size_t rows = static_cast<size_t>(array.shape[0]), count = to.row_bytes / storage_bytes(to.storage);
    const size_t bytes = count * (array.dtype == VTR_F32 ? 4 : 2);
    const Converter convert = converter(array.dtype, to.storage);
    const auto* from = static_cast<const std::byte*>(array.data);
    for (size_t row = 0; row < rows; ++row)
        if (!convert(from + row * bytes, count, out + row * to.row_bytes))
            throw Error(VTR_NOT_FINITE, "expected finite numbers that " +
                                            std::string(to.storage == Storage::f16 ? "float16" : "bfloat16") +
                                            " holds, got others in row " + std::to_string(row) + " of column '" +
                                            to.name + "': check the video encoder");
}

void VectorScorer::preselect(const Query& query, const Block& block, Scratch& scratch, float* out) const {
    holistic(static_cast<const VectorQuery&>(query), 0, query.texts, block, scratch, out);
}

void VectorScorer::holistic(const VectorQuery& query, size_t first, size_t texts, const Block& block,
                            Scratch& scratch, float* out) const {
    const Directions& directions = query.directions;
    const std::byte* rows = block.columns[video_];
    if (directions.few()) return directions.dots(options, rows, block.count, first, texts, out);
    const ProductKernels& product = options.kernels->product;
    const size_t piece = std::min(block.count, piece_rows(options.dim));
    auto* memory =
        scratch.slot<std::byte>(0, product.rows_bytes(piece, options.dim, options.storage, Precision::exact));
    float* products = scratch.slot<float>(1, directions.products_size(piece));
    for (size_t row = 0; row < block.count; row += piece) {
        const size_t count = std::min(piece, block.count - row);
        const void* loaded = product.load_rows(rows + row * columns[video_].row_bytes, count, options.dim,
                                               options.storage, Precision::exact, memory);
        directions.products(options, loaded, count, first, texts, products, out + row, block.count);
    }
}

void check_texts(const Options& options, const Texts& texts) {
    const size_t words = options.words * options.dim;
    for (size_t text = 0; text < texts.count; ++text) {
        check_finite(texts.sentence + text * options.dim, options.dim, "sentence", text);
        if (words > 0) check_finite(texts.words + text * words, words, "words", text);
    }
}

void unit(const float* x, size_t dim, float* out) {
    const double squares = total(dim, [&](size_t i) { return static_cast<double>(x[i]) * x[i]; });
    const double scale = 1 / std::max(std::sqrt(squares), 1e-12);
    for (size_t i = 0; i < dim; ++i) out[i] = static_cast<float>(x[i] * scale);
}

}  // namespace vtr
