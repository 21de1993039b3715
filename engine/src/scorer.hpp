// A scorer: the parameters of one model, and what it does with blocks of videos. Immutable, safe from many
// threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/kernels.hpp"
#include "plain.hpp"
#include "pool.hpp"
#include "scratch.hpp"
#include "vtr/vtr.h"

namespace vtr {

inline constexpr size_t MAX_FRAMES = 64, MAX_WORDS = 77, MAX_DIM = 8192, MAX_COLUMNS = 3;

struct Options {  // of a model, checked
    std::string scoring;
    size_t frames = 0, words = 0, dim = 0, keep = 0;
    Storage storage = Storage::f16;
    Precision precision = Precision::exact;
    const Kernels* kernels = nullptr;
};

// What a bank keeps of every video: one column, a fixed number of bytes a row.
struct Column {
    std::string name;
    std::vector<int64_t> shape;  // of a row as it is handed over: [F, D]
    size_t row_bytes = 0;        // of a row in the bank, a multiple of 4
    Storage storage = Storage::f16;
};

// Rows of videos side by side in memory: columns[i] is the first of `count` rows of the scorer's column i, any
// number of rows after a 64-byte aligned address.
struct Block {
    size_t count = 0;
    const std::byte* columns[MAX_COLUMNS] = {};
};

class Query {  // texts made ready by a scorer, for that scorer
  public:
    virtual ~Query() = default;
    size_t texts = 0;
};

struct Texts {  // as encoded, checked for NaN by `Scorer::prepare`
    size_t count = 0;
    const float* sentence = nullptr;  // [count, D]
    const float* words = nullptr;     // [count, L, D]
    Pool* pool = nullptr;             // whose threads may share the work
};

class Scorer {
  public:
    virtual ~Scorer() = default;

    const Options options;
    const std::vector<Column> columns;
    // How many videos are best scored together: their rows stay in the second-level cache.
    size_t block_rows = 64;

    // Rows `array` of columns[column], turned into the bank's form at `out` [rows, row_bytes].
    // Throws VTR_NOT_FINITE naming the row. The array's name, dtype and shape were checked by the bank.
    virtual void pack(size_t column, const vtr_array& array, std::byte* out) const = 0;

    virtual std::unique_ptr<const Query> prepare(const Texts& texts) const = 0;

    // Logits of the query's texts [first, first + texts), which may be any part of it:
    // out[(text - first) * block.count + row]. block.count is 1 to block_rows. A pair's logit depends on neither
    // the other rows of the block nor the other texts, bit for bit: search relies on it. Takes the slots of
    // `scratch` before Scratch::SEARCH.
    virtual void score(const Query& query, size_t first, size_t texts, const Block& block, Scratch& scratch,
                       float* out) const = 0;

    // Scores for choosing candidates, laid out alike for all texts: one dot product with the column "video".
    virtual void preselect(const Query& query, const Block& block, Scratch& scratch, float* out) const = 0;

    // The same texts for kernels of another device (kernels/), [texts, ...] each, and the numbers of the model
    // that these want besides. Throws VTR_UNSUPPORTED: there are no such kernels for this scoring.
    virtual std::vector<PlainArray> plain_query(const Texts& texts) const;
    virtual PlainParameters plain_parameters() const;

    size_t column(const char* name) const;  // its number; there is one
    size_t row_bytes() const;               // of all columns

  protected:
    Scorer(Options options, std::vector<Column> columns)
        : options(std::move(options)), columns(std::move(columns)) {}
};

// The tensors of a head by name, as float32, checked: every one of the given shapes, finite, and no other.
class Head;

// Throws Error: see vtr_model_create.
std::shared_ptr<const Scorer> make_scorer(const vtr_model_options& options, std::span<const vtr_array> head);

// Each scoring's own maker, called by make_scorer with checked options.
std::shared_ptr<const Scorer> make_holistic(Options options, const Head& head);
std::shared_ptr<const Scorer> make_xclip(Options options, const Head& head);
std::shared_ptr<const Scorer> make_tcmgc(Options options, const Head& head);

}  // namespace vtr
