// Fuzzing the loader of frozen banks: whatever the bytes, it loads or throws vtr::Error, and what it loads can be
// searched.
//
// Built with -fsanitize=fuzzer and VTR_LIBFUZZER it is a libFuzzer target. Else it has its own main:
//
//     fuzz_frozen [--rounds N | --seconds S] [--seed N] [FILE…]
//
// damages sound files N times at random, and before that loads the files given.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>

#include "error.hpp"
#include "frozen_parts.hpp"
#include "small_bank.hpp"

using namespace vtr;
using namespace vtr::test;

namespace {

void search_all(const FrozenBank& frozen) {
    if (frozen.model->scorer->options.dim > DIM || frozen.model->scorer->options.words > WORDS) return;
    const auto query = small_query(*frozen.bank->scorer);
    int64_t ids[2 * 3];
    float scores[2 * 3];
    for (const size_t candidates : {0, 2}) {
        SearchOptions options;
        options.k = 3;
        options.candidates = candidates;
        search(*frozen.bank, *query, options, ids, scores, nullptr);
    }
    for (const int64_t id : ids)
        if (const char* path = frozen.paths ? frozen.paths->find(id) : nullptr)
            if (std::strlen(path) == SIZE_MAX) std::abort();  // reads it to its end
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::shared_ptr<std::byte> memory(aligned_bytes(size).release(), AlignedDelete());
    if (size > 0) std::memcpy(memory.get(), data, size);
    for (const bool trust : {false, true}) {
        LoadOptions options;
        options.trust = trust;
        try {
            search_all(load_frozen({memory.get(), size}, memory, options));
        } catch (const Error& error) {
            if (error.status == VTR_INTERNAL || error.status == VTR_INVALID_ARGUMENT) std::abort();
        }
    }
    return 0;
}

#if !defined(VTR_LIBFUZZER)
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

volatile size_t current_seed;

// What to run again, once something was found.
void report() { std::fprintf(stderr, "found by: fuzz_frozen --rounds 1 --seed %zu\n", current_seed); }

using Random = std::mt19937_64;

size_t below(size_t limit, Random& random) { return limit ? random() % limit : 0; }

std::string sound_file(const char* scoring) {
    const auto model = small_model(scoring);
    Bank bank(model->scorer);
    bank.append(ascending(4, 1), arrays(small_columns(scoring, 4, 1)));
    char name[] = "/tmp/vtr-fuzz-XXXXXX";
    const int file = mkstemp(name);
    if (file < 0) std::abort();
    const char* paths[] = {"a.mp4", "b.mp4", nullptr, "d.mp4"};
    save_frozen(*model, *bank.state(), name, paths);
    std::ifstream stream(name, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(stream), {}};
    std::remove(name);
    return bytes;
}

// Numbers that arithmetic goes wrong with, as text for a header.
std::string awkward_number(Random& random) {
    constexpr const char* numbers[] = {"0",
                                       "1",
                                       "-1",
                                       "2",
                                       "63",
                                       "64",
                                       "65",
                                       "255",
                                       "4294967295",
                                       "4294967296",
                                       "2147483648",
                                       "1048576",
                                       "1048577",
                                       "4611686018427387904",
                                       "9223372036854775807",
                                       "18446744073709551615",
                                       "1e9",
                                       "00",
                                       "[1]"};
    return numbers[below(std::size(numbers), random)];
}

void damage_bytes(std::string& bytes, Random& random) {
    for (size_t times = 1 + below(4, random); times > 0 && !bytes.empty(); --times) {
        const size_t at = below(bytes.size(), random), other = below(bytes.size(), random);
        const size_t count = std::min({1 + below(64, random), bytes.size() - at, bytes.size() - other});
        switch (below(6, random)) {
            case 0:
                bytes[at] = static_cast<char>(bytes[at] ^ 1 << below(8, random));
                break;
            case 1:
                bytes[at] = static_cast<char>(random());
                break;
            case 2:
                bytes.erase(at, count);
                break;
            case 3:
                bytes.insert(at, bytes.substr(other, count));
                break;
            case 4:
                bytes.replace(at, count, bytes.substr(other, count));
                break;
            default:
                bytes.replace(at, count, std::string(count, below(2, random) ? '\xFF' : '\0'));
        }
    }
}

// One number of the header becomes another, and the header stays as long as it says that it is.
void damage_numbers(std::string& bytes, Random& random) {
    uint64_t length;
    std::memcpy(&length, bytes.data(), sizeof length);
    std::string header = bytes.substr(8, length);
    size_t at = header.find_first_of("0123456789", below(header.size(), random));
    if (at == header.npos) return;
    const size_t end = header.find_first_not_of("0123456789", at);
    header.replace(at, end - at, awkward_number(random));
    length = header.size();
    bytes.replace(8, bytes.size() >= 8 + length ? static_cast<size_t>(length) : bytes.npos, header);
    std::memcpy(bytes.data(), &length, sizeof length);
}

// Contents altered under right checksums, so that what comes after these is reached.
std::string damage_parts(const std::string& sound, Random& random) {
    FrozenParts parts(sound);
    for (size_t times = 1 + below(3, random); times > 0 && !parts.entries.empty(); --times) {
        TensorEntry& entry = parts.entries[below(parts.entries.size(), random)];
        std::string& contents = parts.bytes[entry.name];
        auto metadata = std::next(parts.metadata.begin(), static_cast<long>(below(parts.metadata.size(), random)));
        switch (below(6, random)) {
            case 0:
                parts.remove(std::string(entry.name));
                break;
            case 1:
                metadata->second = awkward_number(random);
                break;
            case 2:
                entry.shape = {static_cast<int64_t>(contents.size() / (entry.dtype == "I64" ? 8 : 4))};
                break;
            case 3:  // one row more or fewer
                if (entry.shape.empty() || entry.shape[0] < 1) break;
                contents.resize(contents.size() / static_cast<size_t>(entry.shape[0]) *
                                static_cast<size_t>(entry.shape[0] += below(2, random) ? 1 : -1));
                break;
            default: {
                const size_t size = contents.size();
                damage_bytes(contents, random);
                contents.resize(size);
            }
        }
    }
    try {
        return parts.file();
    } catch (const Error&) {  // not a file that can be written
        return sound;
    }
}

int usage() {
    std::fprintf(stderr, "usage: fuzz_frozen [--rounds N | --seconds S] [--seed N] [FILE...]\n");
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    size_t rounds = 2000, seed = 1;
    double seconds = 0;
    for (int i = 1; i < argc; ++i) {
        const std::string argument = argv[i];
        if (argument.starts_with("--")) {
            if (i + 1 == argc) return usage();
            const char* value = argv[++i];
            if (argument == "--rounds")
                rounds = std::strtoull(value, nullptr, 10);
            else if (argument == "--seconds")
                seconds = std::strtod(value, nullptr);
            else if (argument == "--seed")
                seed = std::strtoull(value, nullptr, 10);
            else
                return usage();
            continue;
        }
        std::ifstream stream(argument, std::ios::binary);
        const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
        LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    }
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(report);
    std::signal(SIGABRT, [](int) { report(); });
    const std::string sound[] = {sound_file("holistic"), sound_file("xclip"), sound_file("tcmgc")};
    const auto start = std::chrono::steady_clock::now();
    const auto elapsed = [&start] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    size_t round = 0;
    for (; seconds > 0 ? elapsed() < seconds : round < rounds; ++round) {
        current_seed = seed + round;
        Random random(seed + round);
        std::string bytes = sound[below(std::size(sound), random)];
        switch (below(4, random)) {
            case 0:
                damage_bytes(bytes, random);
                break;
            case 1:
                damage_numbers(bytes, random);
                break;
            default:
                bytes = damage_parts(bytes, random);
        }
        LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    }
    std::printf("%zu rounds in %.1f s, seeds from %zu\n", round, elapsed(), seed);
    return 0;
}
#endif
