// Half-precision numbers one at a time: float16 and bfloat16, to and from float32.
//
// To halves rounds to nearest, ties to even. Numbers that are too large become infinity, which the caller refuses;
// NaN stays NaN. Done in integers, so neither rounding mode nor flush-to-zero of the calling thread matters.
#pragma once

#include <bit>
#include <cstdint>

namespace vtr {

inline float from_bf16(uint16_t half) { return std::bit_cast<float>(static_cast<uint32_t>(half) << 16); }

inline float from_f16(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 0x1f, mantissa = half & 0x3ff;
    if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) {  // a multiple of 2^-24
        if (mantissa == 0) return std::bit_cast<float>(sign);
        const int shift = std::countl_zero(mantissa) - 21;  // brings the leading bit to the hidden one's place
        mantissa = mantissa << shift & 0x3ff;
        exponent = static_cast<uint32_t>(1 - shift);  // may wrap around below 0; adding the bias brings it back
    }
    return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

// number / 2^shift, rounded to nearest, ties to even.
inline uint32_t shift_rounded(uint32_t number, uint32_t shift) {
    return (number + (1u << (shift - 1)) - 1 + (number >> shift & 1)) >> shift;
}

inline uint16_t to_bf16(float number) {
    const uint32_t bits = std::bit_cast<uint32_t>(number);
    if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
    return static_cast<uint16_t>(shift_rounded(bits & 0x7fffffff, 16) | (bits >> 16 & 0x8000));
}

inline uint16_t to_f16(float number) {
    const uint32_t bits = std::bit_cast<uint32_t>(number), magnitude = bits & 0x7fffffff;
    const uint32_t exponent = magnitude >> 23, sign = bits >> 16 & 0x8000;
    uint32_t half;
    if (magnitude > 0x7f800000) {
        half = 0x7e00;
    } else if (magnitude >= 0x477ff000) {  // 65520, halfway between the largest and the next power of two
        half = 0x7c00;
    } else if (exponent >= 113) {  // 2^-14 and above; a carry of the rounding goes on into the exponent
        half = shift_rounded(magnitude - (112u << 23), 13);
    } else if (exponent >= 102) {  // multiples of 2^-24; below half of that nothing is left
        half = shift_rounded((magnitude & 0x7fffff) | 0x800000, 126 - exponent);
    } else {
        half = 0;
    }
    return static_cast<uint16_t>(sign | half);
}

}  // namespace vtr
