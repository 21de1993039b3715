#include "scorer.hpp"

#include <cstring>

#include "error.hpp"
#include "head.hpp"

namespace vtr {

namespace {

[[noreturn]] void refuse(vtr_status status, const std::string& message) { throw Error(status, message); }

size_t ranged(const char* name, int64_t value, int64_t least, int64_t most) {
    if (value < least || value > most)
        refuse(VTR_UNSUPPORTED, std::string(name) + ": expected " + std::to_string(least) + " to " +
                                    std::to_string(most) + ", got " + std::to_string(value));
    return static_cast<size_t>(value);
}

void require_zero(const char* name, int64_t value, const std::string& scoring) {
    if (value != 0)
        refuse(VTR_INVALID_ARGUMENT,
               std::string(name) + ": expected 0 for " + scoring + ", got " + std::to_string(value));
}

const Kernels* kernels_of(const char* isa) {
    if (const Kernels* kernels = find_kernels(isa)) return kernels;
    std::string names = "auto";
    for (size_t i = 0; kernel_name(i) != nullptr; ++i) names += std::string(", ") + kernel_name(i);
    refuse(VTR_UNSUPPORTED,
           "no instruction set '" + std::string(isa ? isa : "auto") + "' here: expected one of " + names);
}

Storage storage_of(vtr_dtype dtype) {
    if (dtype == VTR_F32 || dtype == VTR_F16) return Storage::f16;  // 0 means the default
    if (dtype == VTR_BF16) return Storage::bf16;
    refuse(VTR_INVALID_ARGUMENT, "storage: expected VTR_F16 or VTR_BF16, got " + std::to_string(dtype));
}

Options checked(const vtr_model_options& given) {
    Options options;
    if (given.scoring == nullptr) refuse(VTR_INVALID_ARGUMENT, "scoring is NULL: name one");
    options.scoring = given.scoring;
    const bool tcmgc = options.scoring == "tcmgc", holistic = options.scoring == "holistic";
    if (!holistic && !tcmgc && options.scoring != "xclip")
        refuse(VTR_INVALID_ARGUMENT,
               "scoring: expected 'holistic', 'xclip' or 'tcmgc', got '" + options.scoring + "'");
    options.dim = ranged("dim", given.dim, 16, MAX_DIM);
    if (options.dim % 16 != 0)
        refuse(VTR_UNSUPPORTED, "dim: expected a multiple of 16, got " + std::to_string(options.dim));
    if (holistic) {
        require_zero("frames", given.frames, options.scoring);
        require_zero("words", given.words, options.scoring);
    } else {
        options.frames = ranged("frames", given.frames, 1, MAX_FRAMES);
        options.words = ranged("words", given.words, 1, MAX_WORDS);
    }
    if (tcmgc)
        options.keep = ranged("keep", given.keep, 1, given.words);
    else
        require_zero("keep", given.keep, options.scoring);
    if (given.fast != 0 && given.fast != 1)
        refuse(VTR_INVALID_ARGUMENT, "fast: expected 0 or 1, got " + std::to_string(given.fast));
    options.precision = given.fast ? Precision::fast : Precision::exact;
    options.storage = storage_of(given.storage);
    options.kernels = kernels_of(given.isa);
    return options;
}

}  // namespace

std::vector<PlainArray> Scorer::plain_query(const Texts&) const {
    refuse(VTR_UNSUPPORTED, "scoring '" + options.scoring + "' does not run on a GPU yet: search without one");
}

PlainParameters Scorer::plain_parameters() const {
    refuse(VTR_UNSUPPORTED, "scoring '" + options.scoring + "' does not run on a GPU yet: search without one");
}

size_t Scorer::column(const char* name) const {
    for (size_t number = 0; number < columns.size(); ++number)
        if (columns[number].name == name) return number;
    throw Error(VTR_INTERNAL, "scoring '" + options.scoring + "' keeps no column '" + name + "'");
}

size_t Scorer::row_bytes() const {
    size_t sum = 0;
    for (const Column& column : columns) sum += column.row_bytes;
    return sum;
}

std::shared_ptr<const Scorer> make_scorer(const vtr_model_options& options, std::span<const vtr_array> head) {
    const Options sound = checked(options);
    const Head tensors(head);
    if (sound.scoring == "holistic") return make_holistic(sound, tensors);
    if (sound.scoring == "xclip") return make_xclip(sound, tensors);
    return make_tcmgc(sound, tensors);
}

}  // namespace vtr
