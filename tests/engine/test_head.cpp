// Heads: what is refused, and that what is kept is what was given.
#include "head.hpp"

#include <climits>
#include <cmath>
#include <limits>

#include "check.hpp"

using vtr::Head;

namespace {

const float NUMBERS[6] = {1, -2, 3, 0, 5, 6};

vtr_array tensor(const char* name, std::vector<int64_t> shape, const float* data = NUMBERS) {
    vtr_array array{name, VTR_F32, static_cast<int32_t>(shape.size()), {}, data};
    std::copy(shape.begin(), shape.end(), array.shape);
    return array;
}

void tensors_are_kept() {
    float numbers[6] = {1, 2, 3, 4, 5, 6};
    const vtr_array arrays[] = {tensor("a", {2, 3}, numbers), tensor("scalar", {}),
                                tensor("none", {0, INT64_MAX}, nullptr), tensor("b", {1, 1, 5, 1})};
    const Head head(arrays);
    numbers[0] = 99;  // they were copied
    CHECK(head.has("a") && head.has("none") && !head.has("c") && !head.has(""));
    CHECK(head["a"].size() == 6 && head["a"][0] == 1 && head["a"][5] == 6);
    CHECK(head["scalar"].size() == 1 && head["none"].empty() && head["b"][4] == 5);
    head.require({{"a", {2, 3}}, {"scalar", {}}, {"none", {0, INT64_MAX}}, {"b", {1, 1, 5, 1}}});
    Head({}).require({});
}

void require_compares_names_and_shapes() {
    const vtr_array arrays[] = {tensor("a", {2, 3}), tensor("b", {1})};
    const Head head(arrays);
    head.require({{"a", {2, 3}}, {"b", {1}}});
    CHECK_THROWS(VTR_INVALID_ARGUMENT, head.require({{"a", {2, 3}}}));
    CHECK_THROWS(VTR_INVALID_ARGUMENT, head.require({{"a", {2, 3}}, {"b", {1}}, {"c", {1}}}));
    for (const vtr::Shape& shape : {vtr::Shape{3, 2}, {6}, {2, 3, 1}, {}})
        CHECK_THROWS(VTR_INVALID_ARGUMENT, head.require({{"a", shape}, {"b", {1}}}));
    try {
        head.require({{"a", {2, 3}}, {"c", {1}}});
        CHECK(false);
    } catch (const vtr::Error& error) {  // the message says what to look for
        CHECK(std::string(error.what()).find("missing 'c'") != std::string::npos);
        CHECK(std::string(error.what()).find("unknown 'b'") != std::string::npos);
    }
}

void unsound_tensors_are_refused() {
    const auto refused = [](vtr_array array, vtr_status status = VTR_INVALID_ARGUMENT) {
        const vtr_array arrays[] = {tensor("first", {1}), array};
        CHECK_THROWS(status, Head(arrays));
    };
    refused(tensor("first", {1}));
    refused(tensor(nullptr, {1}));
    refused(tensor("a", {2}, nullptr));
    refused(tensor("a", {-1}));
    refused(tensor("a", {0, -1}));
    refused(tensor("a", {INT64_MIN, 2}));
    refused(tensor("a", {INT64_MAX}));
    refused(tensor("a", {int64_t{1} << 62}));                    // 2^64 bytes
    refused(tensor("a", {int64_t{1} << 32, int64_t{1} << 32}));  // 2^64 numbers
    for (const int ndim : {-1, 5, INT_MAX, INT_MIN}) {
        vtr_array array = tensor("a", {1});
        array.ndim = ndim;
        refused(array);
    }
    for (const int dtype : {1, 2, 3, -1}) {
        vtr_array array = tensor("a", {1});
        array.dtype = static_cast<vtr_dtype>(dtype);
        refused(array);
    }
    for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
        const float numbers[3] = {1, 2, bad};
        refused(tensor("a", {3}, numbers), VTR_NOT_FINITE);
    }
}

void scale_is_the_exponential() {
    const auto scale = [](float logarithm, std::vector<int64_t> shape = {1}) {
        const vtr_array arrays[] = {tensor("logit_scale", shape, &logarithm)};
        return Head(arrays).scale();
    };
    CHECK_NEAR(scale(4.6052f), std::exp(double{4.6052f}), 2e-5);  // two units in the last place
    CHECK(scale(0, {}) == 1);
    CHECK(scale(-200) == 0);  // too small for float32, yet finite
    CHECK_THROWS(VTR_NOT_FINITE, scale(89));
    CHECK_THROWS(VTR_INVALID_ARGUMENT, Head({}).scale());
    const vtr_array two[] = {tensor("logit_scale", {2})};
    CHECK_THROWS(VTR_INVALID_ARGUMENT, Head(two).scale());
}

}  // namespace

int main() {
    tensors_are_kept();
    require_compares_names_and_shapes();
    unsound_tensors_are_refused();
    scale_is_the_exponential();
    CHECK_DONE();
}
