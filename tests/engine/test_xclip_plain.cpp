// What X-CLIP hands to the kernels of a GPU: the kernel's formulas (kernels/xclip.py), computed plainly from those
// arrays, give the logits of the scorer here.
#include "fake_cuda/xclip_formula.hpp"
#include "plain_case.hpp"

using namespace vtr;
using namespace vtr::test;

namespace {

constexpr size_t F = FRAMES, L = WORDS, D = DIM, AXIS = PLAIN_AXIS;

void logits_are_the_scorers(unsigned seed) {
    const PlainCase test("xclip", seed);
    CHECK(test.query.size() == 1 && test.parameters.arrays.size() == 1);
    const auto& probes = plain_array(test.query, "probes", Storage::f16, test.TEXTS * 4 * AXIS * D);
    const auto& weights = plain_array(test.parameters.arrays, "weights", Storage::f32, 6 * AXIS * AXIS + 4);
    CHECK(test.form.size() == 2 && test.form[0].name == "frames" && test.form[1].name == "video");
    CHECK(!test.form[0].unpack && !test.form[1].unpack);
    const std::vector<float> frames = test.halves(0, F * D), video = test.halves(1, D);
    for (size_t text = 0; text < test.TEXTS; ++text)
        for (size_t row = 0; row < test.ROWS; ++row)
            // Similarities are up to 4 here, and float32's rounding of them is enlarged by 100 in the softmaxes.
            CHECK_NEAR(xclip_logit({F, L, D, AXIS, AXIS, &probes[text * 4 * AXIS * D], weights.data(),
                                    &frames[row * F * D], &video[row * D]}),
                       test.expected[text * test.ROWS + row], 2e-3);
}

}  // namespace

int main() {
    for (unsigned seed = 0; seed < 4; ++seed) logits_are_the_scorers(seed);
    CHECK_DONE();
}
