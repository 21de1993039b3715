// A small bank with its texts, and what its scorer hands to the kernels of a GPU.
#pragma once

#include <cstring>

#include "check.hpp"
#include "cuda/device_form.hpp"
#include "half.hpp"
#include "small_bank.hpp"

namespace vtr::test {

inline constexpr size_t PLAIN_AXIS = 16;  // words and frames as the kernels pad them, for the small sizes here

struct PlainCase {
    static constexpr size_t ROWS = 5, TEXTS = 2;

    const std::shared_ptr<const Model> model;
    const Scorer& scorer;
    const std::vector<Tensor> columns;  // as they were appended
    std::vector<float> expected;        // logits [TEXTS, ROWS] of the scorer itself
    std::vector<PlainArray> query;      // of the same texts
    PlainParameters parameters;
    std::vector<cuda::DeviceColumn> form;

    PlainCase(const char* scoring, unsigned seed)
        : model(small_model(scoring)),
          scorer(*model->scorer),
          columns(small_columns(scoring, ROWS, seed)),
          bank_(model->scorer) {
        bank_.append(ascending(ROWS, 0), arrays(columns));
        expected = scores(bank_);  // of both texts of small_query
        std::mt19937 random(3);    // the same texts
        const Tensor sentence = random_tensor("", {2, DIM}, random),
                     words = random_tensor("", {2, WORDS, DIM}, random);
        query = scorer.plain_query({TEXTS, sentence.numbers.data(), words.numbers.data()});
        parameters = scorer.plain_parameters();
        form = cuda::device_columns(scorer);
    }

    // The rows of a column as they lie on the device, `count` numbers each.
    std::vector<float> halves(size_t number, size_t count) const {
        const auto* stored = reinterpret_cast<const uint16_t*>(rows(number));
        std::vector<float> out(ROWS * count);
        std::transform(stored, stored + out.size(), out.begin(), from_f16);
        return out;
    }
    std::vector<float> unpacked(size_t number, size_t count) const {
        std::vector<float> out(ROWS * count);
        form[number].unpack(scorer, rows(number), ROWS, reinterpret_cast<std::byte*>(out.data()));
        return out;
    }

  private:
    const std::byte* rows(size_t number) const {
        return bank_.state()->parts[0].chunk->block(scorer, 0, ROWS).columns[form[number].number];
    }
    Bank bank_;
};

// The array of this name, with so many numbers.
inline const std::vector<float>& plain_array(const std::vector<PlainArray>& arrays, const std::string& name,
                                             Storage storage, size_t count) {
    static const std::vector<float> none;
    for (const PlainArray& array : arrays)
        if (array.name == name) {
            CHECK(array.storage == storage && array.numbers.size() == count);
            return array.numbers;
        }
    CHECK(false);
    return none;
}

}  // namespace vtr::test
