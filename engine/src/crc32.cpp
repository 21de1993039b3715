// CRC-32: sixteen bytes at a time by tables, or 64 at a time by carry-less multiplication.
//
// Bits are polynomials over GF(2), reflected: the highest bit of a word is its lowest power of x. The checksum is
// the remainder of the message, times x^32, by P. The state goes into the first four bytes of what follows.
#include "crc32.hpp"

#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vtr {
namespace {

constexpr uint32_t POLYNOMIAL = 0xEDB88320;

constexpr uint32_t times_x(uint32_t a) { return a >> 1 ^ (a & 1 ? POLYNOMIAL : 0); }

constexpr size_t STEP = 16;
using Tables = std::array<std::array<uint32_t, 256>, STEP>;

// tables[n][byte]: what `byte` leaves when n more bytes follow it.
constexpr Tables make_tables() {
    Tables tables{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
        uint32_t rest = byte;
        for (int bit = 0; bit < 8; ++bit) rest = times_x(rest);
        tables[0][byte] = rest;
    }
    for (size_t n = 1; n < STEP; ++n)
        for (uint32_t byte = 0; byte < 256; ++byte) {
            const uint32_t before = tables[n - 1][byte];
            tables[n][byte] = before >> 8 ^ tables[0][before & 255];
        }
    return tables;
}
constexpr Tables TABLES = make_tables();

// The state, not inverted, after `count` more bytes.
uint32_t by_tables(const unsigned char* bytes, size_t count, uint32_t state) {
    if constexpr (std::endian::native == std::endian::little) {
        for (; count >= STEP; bytes += STEP, count -= STEP) {
            uint32_t words[STEP / 4];
            std::memcpy(words, bytes, STEP);
            words[0] ^= state;
            state = 0;
            for (size_t word = 0; word < STEP / 4; ++word)
                for (size_t byte = 0; byte < 4; ++byte)
                    state ^= TABLES[STEP - 1 - 4 * word - byte][words[word] >> 8 * byte & 255];
        }
    }
    for (; count > 0; ++bytes, --count) state = state >> 8 ^ TABLES[0][(state ^ *bytes) & 255];
    return state;
}

#if defined(__x86_64__)
#define VTR_CLMUL __attribute__((target("pclmul,sse2")))

// x^n mod P as a factor of a carry-less product of reflected halves, which comes out one place too low.
constexpr long long power(int n) {
    uint32_t a = 0x80000000;
    for (; n > 0; --n) a = times_x(a);
    return static_cast<long long>(a) << 1;
}

// `sum` moved up by the distance that `factors` are for, plus what lies there.
VTR_CLMUL inline __m128i fold(__m128i sum, __m128i factors, __m128i there) {
    const __m128i low = _mm_clmulepi64_si128(sum, factors, 0x00);
    const __m128i high = _mm_clmulepi64_si128(sum, factors, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), there);
}

VTR_CLMUL inline __m128i load(const unsigned char* bytes) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

// The low half of 16 bytes is the higher power: it moves by 32 bits more than the distance, the other by 32 less.
VTR_CLMUL inline __m128i factors(long long low, long long high) { return _mm_set_epi64x(high, low); }

// Four sums of 16 bytes, each moved over 64 bytes a step; then one over the rest. At least 64 bytes.
VTR_CLMUL uint32_t by_products(const unsigned char* bytes, size_t count, uint32_t state) {
    constexpr long long far_low = power(512 + 32), far_high = power(512 - 32);
    constexpr long long near_low = power(128 + 32), near_high = power(128 - 32);
    const __m128i far = factors(far_low, far_high), near = factors(near_low, near_high);
    __m128i sums[4] = {_mm_xor_si128(load(bytes), _mm_cvtsi32_si128(static_cast<int>(state))), load(bytes + 16),
                       load(bytes + 32), load(bytes + 48)};
    bytes += 64, count -= 64;
    for (; count >= 64; bytes += 64, count -= 64)
        for (size_t i = 0; i < 4; ++i) sums[i] = fold(sums[i], far, load(bytes + 16 * i));
    __m128i sum = sums[0];
    for (size_t i = 1; i < 4; ++i) sum = fold(sum, near, sums[i]);
    for (; count >= 16; bytes += 16, count -= 16) sum = fold(sum, near, load(bytes));
    unsigned char folded[16];
    _mm_storeu_si128(reinterpret_cast<__m128i*>(folded), sum);
    return by_tables(bytes, count, by_tables(folded, 16, 0));
}
#endif

}  // namespace

uint32_t crc32_portable(const void* bytes, size_t count, uint32_t before) {
    return ~by_tables(static_cast<const unsigned char*>(bytes), count, ~before);
}

uint32_t crc32(const void* bytes, size_t count, uint32_t before) {
#if defined(__x86_64__)
    static const bool multiplies = __builtin_cpu_supports("pclmul");
    if (multiplies && count >= 64) return ~by_products(static_cast<const unsigned char*>(bytes), count, ~before);
#endif
    return crc32_portable(bytes, count, before);
}

}  // namespace vtr
