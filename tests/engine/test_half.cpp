// Half-precision numbers against arithmetic in float64, every one of them.
#include "half.hpp"

#include <limits>

#include "check.hpp"

using namespace vtr;

// The value that the bits of a format mean: sign, `exponent` bits, `mantissa` bits.
static double meaning(uint32_t bits, int exponent, int mantissa) {
    const double sign = bits >> (exponent + mantissa) & 1 ? -1 : 1;
    const int raised = static_cast<int>(bits >> mantissa & ((1u << exponent) - 1)),
              bias = (1 << (exponent - 1)) - 1;
    const double fraction = std::ldexp(static_cast<double>(bits & ((1u << mantissa) - 1)), -mantissa);
    if (raised == (1 << exponent) - 1) return fraction == 0 ? sign * INFINITY : NAN;
    return raised == 0 ? sign * std::ldexp(fraction, 1 - bias) : sign * std::ldexp(1 + fraction, raised - bias);
}

static bool same(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

// Between neighbours `low` and `low + 1` (bits of positive numbers) the nearer is taken, and halfway the even one.
template <class ToHalf>
static void check_rounding(ToHalf to_half, uint16_t low, double below, double above) {
    const double middle = (below + above) / 2;  // a float32, if the format has 12 mantissa bits less
    const float half = static_cast<float>(middle);
    const float under = std::nextafter(half, 0.0f), over = std::nextafter(half, INFINITY);
    const uint16_t next = static_cast<uint16_t>(low + 1), even = low % 2 == 0 ? low : next;
    CHECK(half == middle);
    CHECK(to_half(half) == even && to_half(-half) == (even | 0x8000));
    CHECK(to_half(under) == low && to_half(-under) == (low | 0x8000));
    CHECK(to_half(over) == next && to_half(-over) == (next | 0x8000));
}

static void test_f16() {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
        const uint16_t half = static_cast<uint16_t>(bits);
        const double expected = meaning(bits, 5, 10);
        if (std::isnan(expected)) {
            CHECK(std::isnan(from_f16(half)));
            CHECK(std::isnan(from_f16(to_f16(from_f16(half)))));
            continue;
        }
        CHECK(same(from_f16(half), static_cast<float>(expected)));
        CHECK(to_f16(from_f16(half)) == half);
        if (bits < 0x7bff) check_rounding(to_f16, half, expected, meaning(bits + 1, 5, 10));
    }
    check_rounding(to_f16, 0x7bff, 65504, 65536);  // from 65520 on it is infinity
    CHECK(to_f16(std::numeric_limits<float>::max()) == 0x7c00 && to_f16(-1e9f) == 0xfc00);
    CHECK(to_f16(INFINITY) == 0x7c00 && to_f16(-INFINITY) == 0xfc00);
    CHECK(to_f16(std::numeric_limits<float>::denorm_min()) == 0 && to_f16(-1e-10f) == 0x8000);
    CHECK(to_f16(0.0f) == 0 && to_f16(-0.0f) == 0x8000);
}

static void test_bf16() {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
        const uint16_t half = static_cast<uint16_t>(bits);
        const double expected = meaning(bits, 8, 7);
        if (std::isnan(expected)) {
            CHECK(std::isnan(from_bf16(half)));
            CHECK(std::isnan(from_bf16(to_bf16(from_bf16(half)))));
            continue;
        }
        CHECK(same(from_bf16(half), static_cast<float>(expected)));
        CHECK(to_bf16(from_bf16(half)) == half);
        if (bits < 0x7f7f) check_rounding(to_bf16, half, expected, meaning(bits + 1, 8, 7));
    }
    CHECK(to_bf16(std::numeric_limits<float>::max()) == 0x7f80);
    CHECK(to_bf16(std::bit_cast<float>(0x7f7f7fffu)) == 0x7f7f);
    // NaN whose upper half alone would read as infinity.
    CHECK(std::isnan(from_bf16(to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

int main() {
    test_f16();
    test_bf16();
    CHECK_DONE();
}
