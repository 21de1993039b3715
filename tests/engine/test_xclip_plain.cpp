// What X-CLIP hands to the kernels of a GPU: the kernel's formulas (kernels/xclip.py), computed plainly from those
// arrays, give the logits of the scorer here.
#include <algorithm>

#include "check.hpp"
#include "cuda/device_form.hpp"
#include "half.hpp"
#include "small_bank.hpp"

using namespace vtr;
using namespace vtr::test;

namespace {

using Row = std::vector<double>;

constexpr size_t F = FRAMES, L = WORDS, D = DIM, AXIS = 16;  // as the kernel pads F and L

// Σ (sm(100·a) @ M) ∘ a, M in rows of AXIS
double isa(const Row& a, const float* matrix) {
    const double most = *std::max_element(a.begin(), a.end());
    double total = 0, sum = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        const double p = std::exp(100 * (a[i] - most));
        total += p;
        for (size_t j = 0; j < a.size(); ++j) sum += p * matrix[i * AXIS + j] * a[j];
    }
    return sum / total;
}

double logit(const float* probes, const float* weights, const float* frames, const float* video) {
    const auto dot = [](const float* a, const float* b) {
        double sum = 0;
        for (size_t i = 0; i < D; ++i) sum += double(a[i]) * b[i];
        return sum;
    };
    const auto matrix = [&](size_t number) { return weights + number * AXIS * AXIS; };
    const float* of_video = probes + 2 * AXIS * D;
    Row words, sentence, by_frame, by_word;
    for (size_t j = 0; j < L; ++j) words.push_back(dot(of_video + 2 * j * D, video));
    for (size_t f = 0; f < F; ++f) {
        sentence.push_back(dot(probes + D, frames + f * D));
        Row line;
        for (size_t j = 0; j < L; ++j) line.push_back(dot(probes + 2 * j * D, frames + f * D));
        by_frame.push_back(isa(line, matrix(1)));
    }
    for (size_t j = 0; j < L; ++j) {
        Row line;
        for (size_t f = 0; f < F; ++f) line.push_back(dot(probes + 2 * j * D, frames + f * D));
        by_word.push_back(isa(line, matrix(4)));
    }
    const double fine = (isa(by_frame, matrix(5)) + isa(by_word, matrix(2))) / 2;
    return *matrix(6) * (dot(of_video + D, video) + isa(words, matrix(0)) + isa(sentence, matrix(3)) + fine);
}

void logits_are_the_scorers(unsigned seed) {
    constexpr size_t ROWS = 5, TEXTS = 2;
    const auto model = small_model("xclip");
    const Scorer& scorer = *model->scorer;
    Bank bank(model->scorer);
    const std::vector<Tensor> columns = small_columns("xclip", ROWS, seed);
    bank.append(ascending(ROWS, 0), arrays(columns));
    const std::vector<float> expected = scores(bank);  // of both texts of small_query

    std::mt19937 random(3);  // the same texts
    const Tensor sentence = random_tensor("", {2, DIM}, random),
                 words = random_tensor("", {2, WORDS, DIM}, random);
    const auto query = scorer.plain_query({TEXTS, sentence.numbers.data(), words.numbers.data()});
    const PlainParameters parameters = scorer.plain_parameters();
    CHECK(query.size() == 1 && query[0].name == "probes" && query[0].numbers.size() == TEXTS * 4 * AXIS * D);
    CHECK(parameters.arrays.size() == 1 && parameters.arrays[0].name == "weights");
    CHECK(parameters.arrays[0].numbers.size() == 6 * AXIS * AXIS + 4);

    const auto form = cuda::device_columns(scorer);
    CHECK(form.size() == 2 && form[0].name == "frames" && form[1].name == "video" && !form[0].unpack);
    const Block block = bank.state()->parts[0].chunk->block(scorer, 0, ROWS);
    const auto numbers = [&](size_t column, size_t count) {
        const auto* halves = reinterpret_cast<const uint16_t*>(block.columns[form[column].number]);
        std::vector<float> out;
        for (size_t i = 0; i < ROWS * count; ++i) out.push_back(from_f16(halves[i]));
        return out;
    };
    const std::vector<float> frames = numbers(0, F * D), video = numbers(1, D);
    for (size_t text = 0; text < TEXTS; ++text)
        for (size_t row = 0; row < ROWS; ++row)
            // Similarities are up to 4 here, and float32's rounding of them is enlarged by 100 in the softmaxes.
            CHECK_NEAR(logit(&query[0].numbers[text * 4 * AXIS * D], parameters.arrays[0].numbers.data(),
                             &frames[row * F * D], &video[row * D]),
                       expected[text * ROWS + row], 2e-3);
}

}  // namespace

int main() {
    for (unsigned seed = 0; seed < 4; ++seed) logits_are_the_scorers(seed);
    CHECK_DONE();
}
