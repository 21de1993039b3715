// CRC-32 against the definition, one bit at a time, and published values.
#include "crc32.hpp"

#include <string>
#include <vector>

#include "check.hpp"

namespace {

uint32_t reference(const unsigned char* bytes, size_t count, uint32_t before) {
    uint32_t state = ~before;
    for (size_t i = 0; i < count; ++i) {
        state ^= bytes[i];
        for (int bit = 0; bit < 8; ++bit) state = state >> 1 ^ (state & 1 ? 0xEDB88320 : 0);
    }
    return ~state;
}

std::vector<unsigned char> random_bytes(size_t count) {
    std::vector<unsigned char> bytes(count);
    uint32_t state = 1;
    for (unsigned char& byte : bytes)
        byte = static_cast<unsigned char>((state = state * 1664525 + 1013904223) >> 24);
    return bytes;
}

void published_values() {
    const std::string digits = "123456789", fox = "The quick brown fox jumps over the lazy dog";
    CHECK(vtr::crc32(nullptr, 0) == 0);
    CHECK(vtr::crc32(digits.data(), digits.size()) == 0xCBF43926);
    CHECK(vtr::crc32(fox.data(), fox.size()) == 0x414FA339);
    const std::vector<unsigned char> zeros(1 << 20);
    CHECK(vtr::crc32(zeros.data(), zeros.size()) == 0xA738EA1C);
}

// Every length around the steps of both ways, at every alignment, alone and after other bytes.
void against_reference() {
    const auto bytes = random_bytes(700);
    for (size_t start = 0; start < 17; ++start)
        for (size_t count = 0; count + start <= bytes.size(); count += count < 300 ? 1 : 37)
            for (const uint32_t before : {0u, 0xFFFFFFFFu, 0x12345678u}) {
                const uint32_t expected = reference(bytes.data() + start, count, before);
                CHECK(vtr::crc32(bytes.data() + start, count, before) == expected);
                CHECK(vtr::crc32_portable(bytes.data() + start, count, before) == expected);
            }
}

void in_parts() {
    const auto bytes = random_bytes(5000);
    const uint32_t whole = vtr::crc32(bytes.data(), bytes.size());
    CHECK(whole == reference(bytes.data(), bytes.size(), 0));
    for (size_t cut = 0; cut <= bytes.size(); cut += 61)
        CHECK(vtr::crc32(bytes.data() + cut, bytes.size() - cut, vtr::crc32(bytes.data(), cut)) == whole);
}

}  // namespace

int main() {
    published_values();
    against_reference();
    in_parts();
    CHECK_DONE();
}
