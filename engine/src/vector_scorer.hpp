// What the three scorers share: packing feature columns, choosing candidates by the column "video", and making
// vectors of texts ready for products.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "scorer.hpp"

namespace vtr {

// Floats on a 64-byte boundary, as the kernels take them.
class Floats {
  public:
    explicit Floats(size_t count) : memory_(aligned_bytes(count * sizeof(float))) {}
    float* data() { return reinterpret_cast<float*>(memory_.get()); }
    const float* data() const { return reinterpret_cast<const float*>(memory_.get()); }

  private:
    AlignedBytes memory_;
};

// Vectors [count, dim] made ready for `product` in groups of `group`, of which the last may be smaller.
class Probes {
  public:
    Probes(const Options& options, Precision precision, const float* vectors, size_t count, size_t group);
    const void* operator[](size_t index) const { return memory_.get() + index * bytes_; }
    size_t groups() const { return (count_ + group_ - 1) / group_; }
    size_t size(size_t index) const { return index + 1 < groups() ? group_ : count_ - index * group_; }

  private:
    size_t count_, group_, bytes_;  // bytes_ of a group
    AlignedBytes memory_;
};

// One vector [dim] a text, to be multiplied with rows of videos for some of the texts.
class Directions {
  public:
    struct Limits {
        size_t few;    // texts up to which `dots` of stored rows take less time than `products`
        size_t group;  // texts that `products` multiplies together; a part of a group costs as much as all of it
    };
    Directions(const Options& options, Precision precision, Limits limits, size_t texts, const float* vectors);

    // Whether to take `dots`, always as exact as float32, or `products`. The number of texts in the query decides,
    // so that a text's results do not depend on which part of the query is asked for.
    bool few() const { return packed_.groups() == 0; }

    // out[(text - first) * count + row] for the texts [first, first + texts) and stored rows.
    void dots(const Options& options, const void* rows, size_t count, size_t first, size_t texts,
              float* out) const;

    // out[(text - first) * stride + row] for rows made ready by `load_rows`. `scratch` has room for
    // products_size(count) floats.
    void products(const Options& options, const void* loaded, size_t count, size_t first, size_t texts,
                  float* scratch, float* out, size_t stride) const;
    size_t products_size(size_t count) const { return padded(count, ROW_BLOCK) * padded(limits_.group, LANES); }

  private:
    Precision precision_;
    Limits limits_;
    Floats vectors_;
    Probes packed_;
};

// Texts made ready to meet the column "video" by one direction each. The scorers' queries derive from it.
class VectorQuery : public Query {
  public:
    VectorQuery(const Options& options, size_t texts, const float* directions);
    const Directions directions;
};

class VectorScorer : public Scorer {
  public:
    // Feature columns, from float32, float16 or bfloat16 to options.storage.
    void pack(size_t column, const vtr_array& array, std::byte* out) const override;

    // Products of the texts' directions with "video", as exact as float32. `query` is a VectorQuery.
    void preselect(const Query& query, const Block& block, Scratch& scratch, float* out) const override;

  protected:
    // `own` columns, then "video" [dim].
    VectorScorer(const Options& options, std::vector<Column> own);

    static Column feature_column(const Options& options, std::string name, std::vector<int64_t> shape);

    // `preselect` for the texts [first, first + texts). Takes the slots 0 and 1 of `scratch`.
    void holistic(const VectorQuery& query, size_t first, size_t texts, const Block& block, Scratch& scratch,
                  float* out) const;

  private:
    const size_t video_;  // the column "video"
};

// Throws VTR_NOT_FINITE, naming the text, unless all numbers of sentence [count, dim] and words
// [count, words, dim] are finite; `words` is not looked at if options.words is 0.
void check_texts(const Options& options, const Texts& texts);

// n(x) = x / ‖x‖₂, the length taken in float64: below 1e-12 it counts as zero, and zero stays zero.
void unit(const float* x, size_t dim, float* out);

}  // namespace vtr
