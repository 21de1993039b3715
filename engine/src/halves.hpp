// Numbers of 16 bits and float32, bit by bit: loops of these compile to vector code without any processor
// extension.
#pragma once

#include <bit>
#include <cstdint>

namespace vtr {

inline constexpr uint32_t SIGN = 0x8000'0000u, INFINITE = 0x7f80'0000u;  // of a float32

// Half precision moved to float32's place, then scaled by the difference of the exponents' biases: exact.
inline uint32_t widen_f16(uint16_t half) {
    const uint32_t magnitude = uint32_t(half & 0x7fff) << 13, sign = uint32_t(half & 0x8000) << 16;
    const uint32_t finite = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
    return (magnitude >= (0x7c00u << 13) ? INFINITE : finite) | sign;
}

inline uint32_t widen_bf16(uint16_t bits) { return uint32_t(bits) << 16; }
inline uint32_t widen_f32(uint32_t bits) { return bits; }

// Rounded to nearest, ties to even; what is too large or not a number becomes infinite.
inline uint16_t narrow_f16(uint32_t bits) {
    const uint32_t magnitude = bits & ~SIGN, sign = (bits & SIGN) >> 16;
    // Below 2^-14 halves have a fixed unit, 2^-24: adding 1/2, whose last bit that is, rounds to it.
    const uint32_t small = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - (126u << 23);
    const uint32_t normal = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    const uint32_t half = magnitude < (113u << 23) ? small : normal;
    return uint16_t((magnitude >= 0x477f'f000u ? 0x7c00u : half) | sign);  // from 65520 on it rounds to 2^16
}

inline uint16_t narrow_bf16(uint32_t bits) {
    const uint32_t magnitude = bits & ~SIGN, rounded = (magnitude + 0x7fff + (magnitude >> 16 & 1)) >> 16;
    return uint16_t((magnitude >= INFINITE ? INFINITE >> 16 : rounded) | (bits & SIGN) >> 16);
}

}  // namespace vtr
