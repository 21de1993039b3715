#include "cuda/stage.hpp"

#include <bit>
#include <cstring>

#include "error.hpp"
#include "halves.hpp"

namespace vtr::cuda {
namespace {

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
    const bool sound = storage == Storage::f16 ? narrow<narrow_f16, 0x7c00>(numbers, out)
                                               : narrow<narrow_bf16, 0x7f80>(numbers, out);
    if (!sound)
        throw Error(VTR_NOT_FINITE, "'" + name + "' is too large for " +
                                        (storage == Storage::f16 ? "float16" : "bfloat16") + ": use bfloat16");
}

}  // namespace vtr::cuda
