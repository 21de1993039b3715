// Holistic scoring, and what all scorers take from VectorScorer: packing, preselection, refusal of NaN.
#include <algorithm>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "half.hpp"
#include "head.hpp"
#include "vector_scorer.hpp"

using namespace vtr;

namespace {

// exp(logit_scale) · n(sentence) · video, from stored numbers.
double reference(double scale, const float* sentence, const std::vector<float>& video) {
    double squares = 0, product = 0;
    for (size_t i = 0; i < video.size(); ++i) squares += double(sentence[i]) * sentence[i];
    const double length = std::max(std::sqrt(squares), 1e-12);
    for (size_t i = 0; i < video.size(); ++i) product += sentence[i] / length * video[i];
    return scale * product;
}

constexpr float LOGIT_SCALE = 4.6051702f;  // exp: 100

std::shared_ptr<const Scorer> scorer(const char* isa, size_t dim, Storage storage,
                                     Precision precision = Precision::exact) {
    const vtr_array scale{"logit_scale", VTR_F32, 1, {1}, &LOGIT_SCALE};
    return make_holistic({.scoring = "holistic",
                          .dim = dim,
                          .storage = storage,
                          .precision = precision,
                          .kernels = find_kernels(isa)},
                         Head({&scale, 1}));
}

std::vector<float> random_numbers(size_t count, float size, unsigned seed) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal(0, size);
    std::vector<float> numbers(count);
    for (float& number : numbers) number = normal(engine);
    return numbers;
}

struct Bank {  // rows in the scorer's form, and their numbers
    AlignedBytes bytes;
    std::vector<std::vector<float>> rows;
    Block block(size_t first, size_t count, size_t row_bytes) const {
        return {count, {bytes.get() + first * row_bytes}};
    }
};

Bank pack(const Scorer& scorer, const std::vector<float>& numbers) {
    const size_t dim = scorer.options.dim, rows = numbers.size() / dim, row_bytes = scorer.columns[0].row_bytes;
    Bank bank{aligned_bytes(rows * row_bytes), {}};
    scorer.pack(0, {"video", VTR_F32, 2, {int64_t(rows), int64_t(dim)}, numbers.data()}, bank.bytes.get());
    for (size_t row = 0; row < rows; ++row) {
        bank.rows.emplace_back(dim);
        for (size_t i = 0; i < dim; ++i) {
            uint16_t half;
            std::memcpy(&half, bank.bytes.get() + row * row_bytes + 2 * i, 2);
            bank.rows[row][i] = scorer.options.storage == Storage::f16 ? from_f16(half) : from_bf16(half);
        }
    }
    return bank;
}

// Logits of all texts with all rows, in blocks of `step` rows and parts of `part` texts: [text][row].
std::vector<float> logits(const Scorer& scorer, const Query& query, const Bank& bank, size_t step, size_t part) {
    const size_t rows = bank.rows.size(), row_bytes = scorer.columns[0].row_bytes;
    std::vector<float> all(query.texts * rows);
    Scratch scratch;
    for (size_t slot = 0; slot < Scratch::SEARCH; ++slot)  // nothing left in it may reach a result
        std::fill_n(scratch.slot<float>(slot, 1 << 17), 1 << 17, std::numeric_limits<float>::quiet_NaN());
    for (size_t row = 0; row < rows; row += step)
        for (size_t first = 0; first < query.texts; first += part) {
            const size_t count = std::min(step, rows - row), texts = std::min(part, query.texts - first);
            std::vector<float> out(texts * count);
            scorer.score(query, first, texts, bank.block(row, count, row_bytes), scratch, out.data());
            for (size_t text = 0; text < texts; ++text)
                std::copy_n(&out[text * count], count, &all[(first + text) * rows + row]);
        }
    return all;
}

// Of logits of scale 100 on vectors of about length 1. Float32 sums; or bfloat16 halves, which lose up to 2^-17 of
// each product with random signs: four standard deviations or more. Storage adds nothing: the reference has it
// too.
double tolerance(const char* isa, size_t dim) {
    const double product = std::strcmp(isa, "amx") == 0 ? 0x1p-17 : 0x1p-22;
    return 100 * (2e-7 + 4 * product / std::sqrt(double(dim)));
}

void test_scores(const char* isa, size_t dim, Storage storage, Precision precision, size_t texts, size_t rows) {
    const auto scorer = ::scorer(isa, dim, storage, precision);
    const std::vector<float> sentences = random_numbers(texts * dim, 3, 1);
    const Bank bank = pack(*scorer, random_numbers(rows * dim, 1 / std::sqrt(float(dim)), 2));
    const auto query = scorer->prepare({texts, sentences.data(), nullptr});
    const std::vector<float> whole = logits(*scorer, *query, bank, scorer->block_rows, texts);
    for (size_t text = 0; text < texts; ++text)
        for (size_t row = 0; row < rows; ++row)
            CHECK_NEAR(whole[text * rows + row], reference(100, &sentences[text * dim], bank.rows[row]),
                       tolerance(isa, dim));
    CHECK(logits(*scorer, *query, bank, 1, texts) == whole);  // bit for bit
    CHECK(logits(*scorer, *query, bank, 37, 7) == whole);
    std::vector<float> chosen(texts * rows);
    Scratch scratch;
    if (rows > scorer->block_rows) return;
    scorer->preselect(*query, bank.block(0, rows, 0), scratch, chosen.data());
    CHECK(chosen == whole);
}

void test_adversarial(const char* isa, Storage storage) {
    const size_t dim = 48;
    const auto scorer = ::scorer(isa, dim, storage);
    std::vector<float> rows = random_numbers(4 * dim, 0.2f, 3);
    std::fill_n(rows.begin(), dim, 0.0f);
    std::fill_n(rows.begin() + dim, dim, 6e-8f);     // the least float16
    std::fill_n(rows.begin() + 2 * dim, dim, 6e4f);  // near the largest
    const Bank bank = pack(*scorer, rows);
    for (const float size : {0.0f, 1e-40f, 1e-30f, 1e-10f, 1e20f, 3e38f})
        for (const size_t texts : {1, 18}) {
            std::vector<float> sentences = random_numbers(texts * dim, 0.3f, 4);
            for (float& number : sentences) number = std::clamp(number, -1.0f, 1.0f) * size;
            const auto query = scorer->prepare({texts, sentences.data(), nullptr});
            const std::vector<float> got = logits(*scorer, *query, bank, 4, texts);
            for (size_t i = 0; i < got.size(); ++i) {
                const double expected = reference(100, &sentences[i / 4 * dim], bank.rows[i % 4]);
                const double length = i % 4 == 2 ? 6e4 * std::sqrt(double(dim)) : 1;
                CHECK_NEAR(got[i], expected, length * tolerance(isa, dim));
            }
            if (size == 0) CHECK(std::all_of(got.begin(), got.end(), [](float x) { return x == 0; }));
        }
}

void test_not_finite() {
    const auto scorer = ::scorer("auto", 16, Storage::f16);
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
        std::vector<float> sentences(2 * 16, 1.0f);
        sentences[31] = bad;
        CHECK_THROWS(VTR_NOT_FINITE, scorer->prepare({2, sentences.data(), nullptr}));
    }
    const float large = 90;  // exp overflows
    const vtr_array scale{"logit_scale", VTR_F32, 1, {1}, &large};
    CHECK_THROWS(VTR_NOT_FINITE, Head({&scale, 1}).scale());
}

// ---- packing ---------------------------------------------------------------------------------------------

float widened(vtr_dtype dtype, uint32_t bits) {
    if (dtype == VTR_F16) return from_f16(uint16_t(bits));
    return dtype == VTR_BF16 ? from_bf16(uint16_t(bits)) : std::bit_cast<float>(bits);
}

// One number in a row of 16, packed; false if it was refused.
bool packed(const Scorer& scorer, vtr_dtype dtype, uint32_t bits, uint16_t& out) {
    std::byte from[16 * 4] = {}, to[16 * 2];
    std::memcpy(from + 5 * (dtype == VTR_F32 ? 4 : 2), &bits, dtype == VTR_F32 ? 4 : 2);
    try {
        scorer.pack(0, {"video", dtype, 2, {1, 16}, from}, to);
    } catch (const Error& error) {
        CHECK(error.status == VTR_NOT_FINITE);
        return false;
    }
    std::memcpy(&out, to + 5 * 2, 2);
    return true;
}

void test_conversion(vtr_dtype from, Storage to) {
    const auto scorer = ::scorer("auto", 16, to);
    std::mt19937 engine(5);
    for (size_t i = 0; i < 1 << 16; ++i) {
        uint32_t bits = uint32_t(i);
        if (from == VTR_F32) {  // every upper half, with lower halves near the ties
            bits = uint32_t(i) << 16 | engine() % 5 * 0x1000 | (engine() % 3 ? engine() % 0x1000 : engine() % 3);
        }
        const float number = widened(from, bits);
        const uint16_t half = to == Storage::f16 ? to_f16(number) : to_bf16(number);
        const bool finite = std::isfinite(to == Storage::f16 ? from_f16(half) : from_bf16(half));
        uint16_t got = 0;
        CHECK(packed(*scorer, from, bits, got) == finite);
        CHECK(!finite || got == half);
    }
}

void test_refused_rows() {
    const auto scorer = ::scorer("auto", 16, Storage::f16);
    std::vector<std::byte> out(4 * 32);
    for (const float bad : {65520.0f, -1e9f, std::numeric_limits<float>::quiet_NaN()}) {
        std::vector<float> rows(4 * 16, 65519.0f);
        const vtr_array array{"video", VTR_F32, 2, {4, 16}, rows.data()};
        scorer->pack(0, array, out.data());
        rows[2 * 16 + 15] = bad;
        std::string message;
        try {
            scorer->pack(0, array, out.data());
        } catch (const Error& error) {
            message = error.what();
        }
        CHECK(message.find("row 2 ") != std::string::npos);
    }
}

}  // namespace

int main() {
    for (size_t i = 0; kernel_name(i); ++i) {
        const char* isa = kernel_name(i);
        for (const Storage storage : {Storage::f16, Storage::bf16}) {
            for (const size_t texts : {1, 3, 17, 70}) test_scores(isa, 512, storage, Precision::exact, texts, 133);
            for (const size_t dim : {16, 48, 1040}) test_scores(isa, dim, storage, Precision::exact, 19, 133);
            test_scores(isa, 48, storage, Precision::fast, 19, 41);  // as exact
            test_adversarial(isa, storage);
        }
        test_scores(isa, 16, Storage::f16, Precision::exact, 1, 5000);  // more than a block
        test_scores(isa, 16, Storage::f16, Precision::exact, 20, 5000);
    }
    for (const vtr_dtype from : {VTR_F32, VTR_F16, VTR_BF16})
        for (const Storage to : {Storage::f16, Storage::bf16}) test_conversion(from, to);
    test_refused_rows();
    test_not_finite();
    CHECK_DONE();
}
