// Model options: what is refused, and with which status.
#include <climits>
#include <string>

#include "check.hpp"
#include "scorer.hpp"

namespace {

vtr_model_options options(const char* scoring) {
    vtr_model_options options{};
    options.size = sizeof options;
    options.scoring = scoring;
    options.dim = 64;
    if (std::string(scoring) == "holistic") return options;
    options.frames = 12;
    options.words = 32;
    options.keep = std::string(scoring) == "tcmgc" ? 3 : 0;
    return options;
}

template <class Change>
void refused(const char* scoring, vtr_status status, Change change) {
    vtr_model_options unsound = options(scoring);
    change(unsound);
    CHECK_THROWS(status, vtr::make_scorer(unsound, {}));
}

void sizes_have_limits() {
    for (const char* scoring : {"holistic", "xclip", "tcmgc"})
        for (const int dim : {-16, 0, 8, 100, 8208, INT_MAX, INT_MIN})
            refused(scoring, VTR_UNSUPPORTED, [=](auto& options) { options.dim = dim; });
    for (const char* scoring : {"xclip", "tcmgc"}) {
        for (const int frames : {-1, 0, 65, INT_MAX, INT_MIN})
            refused(scoring, VTR_UNSUPPORTED, [=](auto& options) { options.frames = frames; });
        for (const int words : {-1, 0, 78, INT_MAX, INT_MIN})
            refused(scoring, VTR_UNSUPPORTED, [=](auto& options) { options.words = words; });
    }
    for (const int keep : {-1, 0, 33, INT_MAX, INT_MIN})
        refused("tcmgc", VTR_UNSUPPORTED, [=](auto& options) { options.keep = keep; });
}

void sizes_that_mean_nothing_are_zero() {
    refused("holistic", VTR_INVALID_ARGUMENT, [](auto& options) { options.frames = 12; });
    refused("holistic", VTR_INVALID_ARGUMENT, [](auto& options) { options.words = 32; });
    refused("holistic", VTR_INVALID_ARGUMENT, [](auto& options) { options.keep = 3; });
    refused("xclip", VTR_INVALID_ARGUMENT, [](auto& options) { options.keep = 3; });
}

void choices_are_checked() {
    refused("holistic", VTR_INVALID_ARGUMENT, [](auto& options) { options.scoring = nullptr; });
    for (const char* name : {"", "Holistic", "mean", "holistic "})
        refused("holistic", VTR_INVALID_ARGUMENT, [=](auto& options) { options.scoring = name; });
    for (const char* name : {"", "sse", "AVX2"})
        refused("holistic", VTR_UNSUPPORTED, [=](auto& options) { options.isa = name; });
    for (const int dtype : {-1, 3})
        refused("xclip", VTR_INVALID_ARGUMENT,
                [=](auto& options) { options.storage = static_cast<vtr_dtype>(dtype); });
    for (const int fast : {-1, 2})
        refused("tcmgc", VTR_INVALID_ARGUMENT, [=](auto& options) { options.fast = fast; });
}

void head_must_fit() {
    for (const char* scoring : {"holistic", "xclip", "tcmgc"})
        CHECK_THROWS(VTR_INVALID_ARGUMENT, vtr::make_scorer(options(scoring), {}));
}

void sound_options_are_kept() {
    const float logarithm = 0;
    const vtr_array head[] = {{"logit_scale", VTR_F32, 1, {1}, &logarithm}};
    for (size_t i = 0; vtr::kernel_name(i) != nullptr; ++i)
        for (const vtr_dtype storage : {VTR_F32, VTR_F16, VTR_BF16})
            for (const int fast : {0, 1}) {
                vtr_model_options sound = options("holistic");
                sound.isa = vtr::kernel_name(i);
                sound.storage = storage;
                sound.fast = fast;
                const auto scorer = vtr::make_scorer(sound, head);
                CHECK(scorer->options.scoring == "holistic" && scorer->options.dim == 64);
                CHECK(scorer->options.kernels->name == std::string(vtr::kernel_name(i)));
                CHECK((scorer->options.storage == vtr::Storage::bf16) == (storage == VTR_BF16));
                CHECK((scorer->options.precision == vtr::Precision::fast) == (fast == 1));
                CHECK(scorer->columns[scorer->column("video")].row_bytes <= scorer->row_bytes());
                CHECK_THROWS(VTR_INTERNAL, scorer->column("no such"));
            }
}

}  // namespace

int main() {
    sizes_have_limits();
    sizes_that_mean_nothing_are_zero();
    choices_are_checked();
    head_must_fit();
    sound_options_are_kept();
    CHECK_DONE();
}
