#include "cuda/stage.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "error.hpp"
#include "halves.hpp"

namespace vtr::cuda {
namespace {

constexpr float LARGEST_F16 = 65504, LARGEST_BF16 = 0x1.fep127f;

std::string text(float number) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%g", static_cast<double>(number));
    return buffer;
}

// Of their sizes; NaN if one is.
float largest(std::span<const float> numbers) {
    float most = 0;
    for (const float number : numbers) {
        if (std::isnan(number)) return number;
        most = std::max(most, std::fabs(number));
    }
    return most;
}

template <auto Narrow, uint16_t Infinite>
bool narrow(std::span<const float> numbers, std::byte* out) {
    uint32_t bad = 0;
    for (size_t i = 0; i < numbers.size(); ++i) {
        const uint16_t stored = Narrow(std::bit_cast<uint32_t>(numbers[i]));
        std::memcpy(out + i * sizeof stored, &stored, sizeof stored);
        bad |= (stored & Infinite) == Infinite;
    }
    return !bad;
}

}  // namespace

void store(std::span<const float> numbers, Storage storage, const std::string& name, std::byte* out) {
    if (storage == Storage::f32) {
        if (!numbers.empty()) std::memcpy(out, numbers.data(), numbers.size_bytes());
        return;
    }
    const bool half = storage == Storage::f16;
    if (half ? narrow<narrow_f16, 0x7c00>(numbers, out) : narrow<narrow_bf16, 0x7f80>(numbers, out)) return;
    throw Error(VTR_NOT_FINITE, "expected '" + name + "' of at most " + text(half ? LARGEST_F16 : LARGEST_BF16) +
                                    " for a GPU that takes it in " + (half ? "float16" : "bfloat16") + ", got " +
                                    text(largest(numbers)) + ": search the bank on the CPU");
}

void check_in_two_halves(const PlainArray& array) {
    for (const PlainPart& part : array.in_two_halves) {
        const float most = largest(std::span(array.numbers).subspan(part.begin, part.count));
        if (!(most < LARGEST_F16))
            throw Error(VTR_UNSUPPORTED, "expected " + part.name + " below " + text(LARGEST_F16) +
                                             " for a GPU, got " + text(most) + ": search the bank on the CPU");
    }
}

}  // namespace vtr::cuda
