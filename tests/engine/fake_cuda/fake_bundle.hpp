// A bundle's folder "kernels" for the stand-in driver, and what its kernels do, written plainly: holistic scores
// and the choice of the best.
#pragma once

#include <elf.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "check.hpp"
#include "fake_cuda.hpp"
#include "half.hpp"
#include "plain_keys.hpp"
#include "topk.hpp"

namespace vtr::test {

inline constexpr size_t FAKE_DIM = 16, FAKE_K = 4, SCORE_ROWS = 16, TOPK_ROWS = 32, MERGE_KEYS = 16,
                        FUSED_TEXTS = 2;

// An ELF header and, behind it, what the stand-in reads: the architecture.
inline std::string fake_cubin(const std::string& target) {
    Elf64_Ehdr header{};
    std::copy_n(ELFMAG, SELFMAG, reinterpret_cast<char*>(header.e_ident));
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_machine = 190;
    return std::string(reinterpret_cast<const char*>(&header), sizeof header) + target;
}

struct FakeBundle {
    std::vector<std::string> targets = {"sm_90"};
    size_t dim = FAKE_DIM;
    std::string storage = "fp16", scoring = "holistic", shared = "1024";
    // With a kernel that chooses; that takes `live`; that scores too; with one that merges, how many it finds.
    bool topk = true, live = true, fused = false, merge = true;
    size_t merged = FAKE_K;

    FakeBundle() {
        char name[] = "/tmp/vtr-kernels-XXXXXX";
        CHECK(mkdtemp(name) != nullptr);
        folder = name;
    }
    ~FakeBundle() { std::filesystem::remove_all(folder); }
    FakeBundle(const FakeBundle&) = delete;

    std::string folder;

    void write(const std::string& name, const std::string& bytes) const {
        std::ofstream(folder + "/" + name, std::ios::binary) << bytes;
    }
    std::string variants() const {
        std::string json;
        for (const std::string& target : targets) {
            json += (json.empty() ? "\"" : ", \"") + target + "\": {\"file\": \"code." + target +
                    "\", \"shared\": " + shared +
                    ", \"warps\": 4, \"registers\": 40, \"spills\": 0, \"sha256\": \"00\"}";
            write("code." + target, target == "ptx" ? ".version 8.0" : fake_cubin(target));
        }
        return json;
    }
    std::string json() const {
        const auto pointer = [](const char* name) {
            return std::string("{\"name\": \"") + name + "\", \"type\": \"ptr\"}";
        };
        const auto number = [](const char* name, const char* type = "i32") {
            return std::string("{\"name\": \"") + name + "\", \"type\": \"" + type + "\"}";
        };
        const std::string rest = ", \"variants\": {" + variants() + "}}";
        const auto grid = [](const char* x, size_t x_per, const char* y, size_t y_per) {
            const auto rule = [](const char* of, size_t per) {
                const std::string name = "\"of\": \"" + std::string(of) + "\"}";
                return per == 1 ? "{" + name : "{\"per\": " + std::to_string(per) + ", " + name;
            };
            return "], \"grid\": {\"x\": " + rule(x, x_per) + ", \"y\": " + rule(y, y_per) +
                   ", \"z\": {\"of\": \"one\"}}";
        };
        const auto finds = [](size_t k) { return "\"constants\": {\"K\": " + std::to_string(k) + "}, "; };
        const std::string masked = live ? ", " + pointer("live") : "";
        std::string kernels = "\"holistic_score\": {\"symbol\": \"fake_holistic\", \"args\": [" +
                              pointer("probes") + ", " + pointer("video") + ", " + number("scale", "fp32") + ", " +
                              pointer("logits") + ", " + number("count") + ", " + number("stride", "i64") + ", " +
                              pointer("global_scratch") + grid("count", SCORE_ROWS, "texts", 1) + rest;
        if (fused)
            kernels += ", \"holistic_topk\": {\"symbol\": \"fake_fused\", " + finds(FAKE_K) + "\"args\": [" +
                       pointer("vectors") + ", " + pointer("probes") + ", " + pointer("keys") + ", " +
                       number("count") + ", " + number("texts") + ", " + number("first") + ", " +
                       number("scale", "fp32") + masked + grid("texts", FUSED_TEXTS, "count", TOPK_ROWS) + rest;
        else if (topk)
            kernels += ", \"topk_scores\": {\"symbol\": \"fake_topk\", " + finds(FAKE_K) + "\"args\": [" +
                       pointer("scores") + ", " + pointer("keys") + ", " + number("count") + ", " +
                       number("stride") + ", " + number("first") + masked + grid("texts", 1, "count", TOPK_ROWS) +
                       rest;
        if (merge)
            kernels += ", \"topk_merge\": {\"symbol\": \"fake_merge\", " + finds(merged) + "\"args\": [" +
                       number("count") + ", " + pointer("out") + ", " + pointer("keys") +
                       grid("texts", 1, "count", MERGE_KEYS) + rest;
        return "{\"format\": 1, \"made\": [1.5e3, {\"by\": null}], \"spec\": {\"scoring\": \"" + scoring +
               "\", \"frames\": 0, \"words\": 0, \"dim\": " + std::to_string(dim) +
               ", \"keep\": 0, \"storage\": \"" + storage + "\"}, \"kernels\": {" + kernels + "}}";
    }
    void write() const { write("kernels.json", json()); }
};

inline void fake_holistic(const fake_cuda::Launch& launch) {
    const auto count = launch.number<int32_t>(4);
    const auto stride = launch.number<int64_t>(5);
    const size_t rows = size_t(count), texts = launch.grid[1], D = FAKE_DIM;
    const auto* probes = launch.array<uint16_t>(0, texts * D);
    const auto* video = launch.array<uint16_t>(1, rows * D);
    const auto scale = launch.number<float>(2);
    auto* scores = launch.array<float>(3, (texts - 1) * size_t(stride) + rows);
    CHECK(launch.number<fake_cuda::Address>(6) == 0);
    CHECK(launch.threads == 128);
    for (size_t text = 0; text < texts; ++text)
        for (size_t row = 0; row < std::min(rows, launch.grid[0] * SCORE_ROWS); ++row) {
            float sum = 0;
            for (size_t i = 0; i < D; ++i) sum += from_f16(probes[text * D + i]) * from_f16(video[row * D + i]);
            scores[text * size_t(stride) + row] = scale * sum;
        }
}

inline void fake_topk(const fake_cuda::Launch& launch) {
    const auto rows = size_t(launch.number<int32_t>(2)), stride = size_t(launch.number<int32_t>(3));
    const size_t texts = launch.grid[0], blocks = launch.grid[1];
    CHECK(launch.number<int32_t>(4) == 0 && blocks * TOPK_ROWS >= rows);
    const auto* scores = launch.array<float>(0, (texts - 1) * stride + rows);
    auto* keys = launch.array<int64_t>(1, texts * blocks * FAKE_K);
    const auto* live = launch.array<uint8_t>(5, rows);
    for (size_t text = 0; text < texts; ++text)
        best_of_blocks(scores + text * stride, live, rows, TOPK_ROWS, blocks, FAKE_K,
                       keys + text * blocks * FAKE_K);
}

inline void fake_merge(const fake_cuda::Launch& launch) {
    const auto count = size_t(launch.number<int32_t>(0));
    const size_t texts = launch.grid[0], blocks = launch.grid[1];
    CHECK(blocks * MERGE_KEYS >= count && (blocks - 1) * MERGE_KEYS < count);
    auto* out = launch.array<int64_t>(1, texts * blocks * FAKE_K);
    const auto* keys = launch.array<int64_t>(2, texts * count);
    for (size_t text = 0; text < texts; ++text)
        merge_blocks(keys + text * count, count, MERGE_KEYS, blocks, FAKE_K, out + text * blocks * FAKE_K);
}

inline void fake_fused(const fake_cuda::Launch& launch) {
    const auto rows = size_t(launch.number<int32_t>(3)), texts = size_t(launch.number<int32_t>(4));
    const size_t blocks = launch.grid[1];
    CHECK(launch.number<int32_t>(5) == 0 && launch.grid[0] == (texts + FUSED_TEXTS - 1) / FUSED_TEXTS);
    const auto* vectors = launch.array<uint16_t>(0, rows * FAKE_DIM);
    const auto* probes = launch.array<uint16_t>(1, texts * FAKE_DIM);
    const auto* live = launch.array<uint8_t>(7, rows);
    auto* keys = launch.array<int64_t>(2, texts * blocks * FAKE_K);
    std::vector<float> scores(rows);
    for (size_t text = 0; text < texts; ++text) {
        for (size_t row = 0; row < rows; ++row) {
            float sum = 0;
            for (size_t i = 0; i < FAKE_DIM; ++i)
                sum += from_f16(probes[text * FAKE_DIM + i]) * from_f16(vectors[row * FAKE_DIM + i]);
            scores[row] = launch.number<float>(6) * sum;
        }
        best_of_blocks(scores.data(), live, rows, TOPK_ROWS, blocks, FAKE_K, keys + text * blocks * FAKE_K);
    }
}

inline void add_fake_kernels() {
    fake_cuda::add_kernel("fake_holistic", {8, 8, 4, 8, 4, 8, 8}, fake_holistic);
    fake_cuda::add_kernel("fake_topk", {8, 8, 4, 4, 4, 8}, fake_topk);
    fake_cuda::add_kernel("fake_merge", {4, 8, 8}, fake_merge);
    fake_cuda::add_kernel("fake_fused", {8, 8, 8, 4, 4, 4, 4, 8}, fake_fused);
}

// What every test of the GPU ends with: nothing kept, nothing that a driver would not bear.
inline void check_clean() {
    CHECK(fake_cuda::resources() == 0);
    CHECK(fake_cuda::contexts() == 0);
    CHECK(fake_cuda::context_depth() == 0);
    for (const std::string& misuse : fake_cuda::misuses()) {
        std::fprintf(stderr, "misuse of the driver: %s\n", misuse.c_str());
        CHECK(false);
    }
}

}  // namespace vtr::test
