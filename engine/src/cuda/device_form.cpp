#include "cuda/device_form.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/tcmgc_kernel.hpp"

namespace vtr::cuda {
namespace {

// The bank keeps upper triangles with what is off the diagonal doubled: both halves of the square take half.
void unpack_gram(const Scorer& scorer, const std::byte* rows, size_t count, std::byte* out) {
    const size_t F = scorer.options.frames, packed = tcmgc_gram_floats(F), whole = (3 * F + 3) * F;
    std::vector<float> from(packed), to(whole);
    for (size_t row = 0; row < count; ++row) {
        std::memcpy(from.data(), rows + row * packed * sizeof(float), packed * sizeof(float));
        const float* next = from.data();
        for (size_t square = 0; square < 3; ++square) {
            float* const matrix = to.data() + square * F * F;
            for (size_t f = 0; f < F; ++f) {
                matrix[f * F + f] = *next++;
                for (size_t g = f + 1; g < F; ++g) matrix[f * F + g] = matrix[g * F + f] = *next++ / 2;
            }
        }
        std::copy_n(next, 3 * F, to.data() + 3 * F * F);
        std::memcpy(out + row * whole * sizeof(float), to.data(), whole * sizeof(float));
    }
}

}  // namespace

std::vector<DeviceColumn> device_columns(const Scorer& scorer) {
    std::vector<DeviceColumn> columns;
    const auto as_it_is = [&](const char* name) {
        const size_t number = scorer.column(name);
        columns.push_back({name, number, scorer.columns[number].row_bytes, nullptr});
    };
    if (scorer.options.scoring != "holistic") as_it_is("frames");
    if (scorer.options.scoring != "tcmgc") as_it_is("video");
    if (scorer.options.scoring == "tcmgc") {
        const size_t F = scorer.options.frames;
        columns.push_back({"gram", scorer.column("gram"), (3 * F + 3) * F * sizeof(float), unpack_gram});
    }
    return columns;
}

}  // namespace vtr::cuda
