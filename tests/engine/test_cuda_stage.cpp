// Numbers on their way to a device: none that its kernels cannot hold gets there.
#include "cuda/stage.hpp"

#include <limits>

#include "check.hpp"
#include "small_bank.hpp"

using namespace vtr;
using namespace vtr::test;
using cuda::check_in_two_halves;

namespace {

constexpr float INF = std::numeric_limits<float>::infinity(),
                NOT_A_NUMBER = std::numeric_limits<float>::quiet_NaN();

void storage_types_refuse_what_they_cannot_hold() {
    struct Kind {
        Storage storage;
        const char* name;
        float largest, too_large;  // the second is the first that rounds to infinity
    };
    for (const Kind& kind : {Kind{Storage::f16, "float16", 65504, 65520},
                             Kind{Storage::bf16, "bfloat16", 0x1.fep127f, 0x1.ffp127f}}) {
        std::byte out[6];
        for (const float sound : {0.0f, 1.0f, kind.largest, -kind.largest})
            cuda::store(std::vector{1.0f, sound, 2.0f}, kind.storage, "probes", out);
        for (const float bad : {kind.too_large, -kind.too_large, INF, -INF, NOT_A_NUMBER}) {
            const std::vector<float> numbers = {1, bad, 2};
            CHECK_THROWS(VTR_NOT_FINITE, cuda::store(numbers, kind.storage, "probes", out));
        }
        try {
            cuda::store(std::vector{3.2e38f, -kind.too_large, INF}, kind.storage, "probes", out);
        } catch (const Error& error) {
            const std::string message = error.what();
            for (const char* part : {"'probes'", kind.name, "got inf", "on the CPU"})
                CHECK(message.find(part) != message.npos);
        }
    }
    float out[3];
    cuda::store(std::vector{1e38f, -1e38f, 0.0f}, Storage::f32, "offsets", reinterpret_cast<std::byte*>(out));
    CHECK(out[0] == 1e38f && out[1] == -1e38f);
}

// The array of weights that a model with one large number in its head hands to kernels; the scorer here takes it.
PlainArray weights_with(const std::string& scoring, const std::string& name, size_t place, float number) {
    std::vector<Tensor> head = small_head(scoring);
    for (Tensor& tensor : head)
        if (tensor.name == name) tensor.numbers[place] = number;
    const PlainParameters parameters = small_model(scoring, head)->scorer->plain_parameters();
    CHECK(parameters.arrays.size() == 1 && parameters.arrays[0].name == "weights");
    return parameters.arrays[0];
}

void check_refused(const std::string& scoring, const std::string& name, size_t last) {
    for (const size_t place : {size_t(0), last}) {
        check_in_two_halves(weights_with(scoring, name, place, 65503));
        check_in_two_halves(weights_with(scoring, name, place, -65503));
        for (const float number : {65504.0f, -70000.0f, 1e30f}) {
            const PlainArray weights = weights_with(scoring, name, place, number);
            CHECK_THROWS(VTR_UNSUPPORTED, check_in_two_halves(weights));
        }
    }
    try {
        check_in_two_halves(weights_with(scoring, name, 0, -70000));
    } catch (const Error& error) {
        CHECK(error.what() ==
              "expected " + name + " below 65504 for a GPU, got 70000: search the bank on the CPU");
    }
}

void matrices_of_attention_stay_below_the_largest_half() {
    const size_t K = KEEP;
    for (const char* name :
         {"attentive_word_logit_weight", "attentive_word_mat_weight", "attentive_frame_word_mat_weight",
          "attentive_word_mat_weight2", "attentive_frame_word_mat_weight2"})
        check_refused("tcmgc", name, K * K - 1);
    check_refused("tcmgc", "concat_frame_word_logit_weight", (K - 1) * (K + 1) + K - 1);
    for (const char* name : {"word_logit_weight", "word_mat_weight", "word_mat_weight2"})
        check_refused("xclip", name, WORDS * WORDS - 1);
    for (const char* name : {"frame_logit_weight", "frame_mat_weight", "frame_mat_weight2"})
        check_refused("xclip", name, FRAMES * FRAMES - 1);
}

// The rest is multiplied in float32: the last row and column of the matrix of K + 1, the last aggregation.
void other_weights_may_be_large() {
    const size_t K = KEEP;
    for (const size_t place : {K, K * (K + 1), (K + 1) * (K + 1) - 1})
        check_in_two_halves(weights_with("tcmgc", "concat_frame_word_logit_weight", place, 70000));
    check_in_two_halves(weights_with("tcmgc", "logit_weight", 3, 70000));
}

}  // namespace

int main() {
    storage_types_refuse_what_they_cannot_hold();
    matrices_of_attention_stay_below_the_largest_half();
    other_weights_may_be_large();
    CHECK_DONE();
}
