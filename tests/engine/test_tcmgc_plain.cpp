// What TC-MGC hands to the kernels of a GPU: the kernel's formulas (kernels/tcmgc.py), computed plainly from those
// arrays, give the logits of the scorer here.
#include "fake_cuda/tcmgc_formula.hpp"
#include "plain_case.hpp"

using namespace vtr;
using namespace vtr::test;

namespace {

constexpr size_t F = FRAMES, L = WORDS, D = DIM, K = KEEP, W = PLAIN_AXIS, S = 2;  // S: as the kernel pads K

void logits_are_the_scorers(unsigned seed) {
    const PlainCase test("tcmgc", seed);
    const auto& probes = plain_array(test.query, "probes", Storage::f16, test.TEXTS * 4 * W * D);
    const auto& offsets = plain_array(test.query, "offsets", Storage::f32, test.TEXTS * 5 * W);
    const auto& weights = plain_array(test.parameters.arrays, "weights", Storage::f32, 6 * S * S + 2 * S + 32);
    const size_t gram_numbers = (3 * F + 3) * F;
    CHECK(test.form.size() == 2 && test.form[0].name == "frames" && !test.form[0].unpack);
    CHECK(test.form[1].name == "gram" && test.form[1].row_bytes == gram_numbers * sizeof(float));
    const std::vector<float> frames = test.halves(0, F * D), grams = test.unpacked(1, gram_numbers);
    for (const Tensor& column : test.columns)  // symmetric, and halves of doubles: the same bits come back
        if (column.name == "gram") CHECK(column.numbers == grams);
    for (size_t text = 0; text < test.TEXTS; ++text)
        for (size_t row = 0; row < test.ROWS; ++row)
            // λ = 100, twice and in three levels, enlarges the rounding of float32 similarities near 1.
            CHECK_NEAR(tcmgc_logit({F, L, D, K, W, S, &probes[text * 4 * W * D], &offsets[text * 5 * W],
                                    weights.data(), &frames[row * F * D], &grams[row * gram_numbers]}),
                       test.expected[text * test.ROWS + row], 2e-3);
}

}  // namespace

int main() {
    for (unsigned seed = 0; seed < 4; ++seed) logits_are_the_scorers(seed);
    CHECK_DONE();
}
