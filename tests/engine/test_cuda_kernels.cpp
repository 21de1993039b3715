// A bundle's kernels: reading kernels.json, choosing code for a device, launching.
#include <stdlib.h>

#include "cuda/kernel.hpp"
#include "device_cases.hpp"

using namespace vtr;
using namespace vtr::test;
using namespace vtr::cuda;

namespace {

std::string replaced(std::string text, const std::string& what, const std::string& with) {
    const size_t at = text.find(what);
    CHECK(at != text.npos);
    return at == text.npos ? text : text.replace(at, what.size(), with);
}

void file_is_read() {
    FakeBundle bundle;
    bundle.targets = {"sm_80", "sm_90a", "ptx"};
    bundle.write();
    const KernelsFile file = read_kernels(bundle.folder);
    CHECK(file.spec.scoring == "holistic" && file.spec.dim == FAKE_DIM && file.kernels.size() == 3);
    const KernelEntry& score = file.at("holistic_score");
    CHECK(score.symbol == "fake_holistic" && score.arguments.size() == 7);
    CHECK(score.arguments[2].name == "scale" && score.arguments[2].type == ArgumentType::f32);
    CHECK(score.arguments[5].type == ArgumentType::i64 && score.takes("video") && !score.takes("frames"));
    CHECK(score.variants.size() == 3 && score.variants[1].target == "sm_90a" && score.variants[1].exact);
    for (const Variant& variant : score.variants) {
        const Grid& grid = *variant.grid;
        CHECK(grid[0].of == "count" && grid[0].per == SCORE_ROWS && grid[1].of == "texts" && grid[1].per == 1);
        CHECK(grid[2].of.empty() && *variant.warps == 4 && *variant.shared == 1024);
    }
    CHECK(file.at("topk_scores").constants.at("K") == FAKE_K);
    CHECK_THROWS(VTR_UNSUPPORTED, file.at("xclip_score"));
}

// As kernels/aot.py writes it: each variant has its own, PTX those of the oldest.
void variants_have_their_own() {
    FakeBundle bundle;
    bundle.write("kernels.json", R"({"format": 1, "kernels": {"topk_scores": {"symbol": "s",
        "args": [{"name": "count", "type": "i32", "of": "i32"}],
        "ptx": {"file": "a.ptx", "sha256": "00"}, "grid": {"z": {"of": "one"}, "x": {"of": "texts"}},
        "variants": {"sm_90": {"file": "a", "warps": 8, "shared": 9, "grid": {"y": {"of": "count", "per": 3}}},
                     "sm_86": {"file": "b", "warps": 2, "shared": 5}}}}})");
    const KernelsFile file = read_kernels(bundle.folder);
    const auto& variants = file.at("topk_scores").variants;
    CHECK(variants.size() == 3 && variants[2].ptx() && variants[2].file == "a.ptx");
    CHECK(*variants[0].warps == 2 && *variants[0].shared == 5 && (*variants[0].grid)[0].of == "texts");
    CHECK(*variants[1].warps == 8 && (*variants[1].grid)[0].of.empty() && (*variants[1].grid)[1].per == 3);
    CHECK(*variants[2].warps == 2 && *variants[2].shared == 5 && (*variants[2].grid)[0].of == "texts");
}

void unsound_files_are_refused() {
    FakeBundle bundle;
    CHECK_THROWS(VTR_IO, read_kernels(bundle.folder));
    const std::string sound = bundle.json();
    const std::pair<const char*, const char*> changes[] = {
        {"{\"format\"", "{\"form"},
        {"\"type\": \"fp32\"", "\"type\": \"fp16\""},
        {"\"name\": \"probes\", ", ""},
        {"\"warps\": 4", "\"warps\": 0"},
        {"\"warps\": 4", "\"warps\": 33"},
        {"\"symbol\": \"fake_holistic\"", "\"symbol\": \"\""},
        {"\"per\": 16", "\"per\": 0"},
        {"\"per\": 16", "\"every\": 16"},
        {"\"of\": \"texts\"", "\"per\": 1"},
        {"\"z\": {", "\"w\": {"},
        {"\"warps\": 4, ", ""},
        {"\"shared\": 1024, ", ""},
        {"\"sm_90\"", "\"sm_9\""},
        {"\"sm_90\"", "\"sm_\""},
        {"\"sm_90\"", "\"sm_90b\""},
        {"\"sm_90\"", "\"sm_99999999999\""},
        {"\"sm_90\"", "\"gfx942\""},
        {"code.sm_90", "../code"},
        {"code.sm_90", "a/b"},
        {"code.sm_90", "..\\u0000"},
        {"code.sm_90", ".hidden"},
        {"\"shared\": 1024", "\"shared\": 9999999"},
        {"\"shared\": 1024", "\"shared\": -1"},
        {"1.5e3", "1.5e"},
        {"{\"by\": null}", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"},
        {"{\"by\": null}", "[1,]"},
    };
    for (const auto& [what, with] : changes) {
        bundle.write("kernels.json", replaced(sound, what, with));
        CHECK_THROWS(VTR_CORRUPT, read_kernels(bundle.folder));
    }
    for (size_t length = 0; length < sound.size(); length += 7) {
        bundle.write("kernels.json", sound.substr(0, length));
        CHECK_THROWS(VTR_CORRUPT, read_kernels(bundle.folder));
    }
    bundle.write("kernels.json", sound + std::string(1 << 20, ' '));
    CHECK_THROWS(VTR_CORRUPT, read_kernels(bundle.folder));
    bundle.write("kernels.json", replaced(sound, "\"format\": 1", "\"format\": 2"));
    CHECK_THROWS(VTR_UNSUPPORTED, read_kernels(bundle.folder));
}

void model_must_be_the_same() {
    FakeBundle bundle;
    bundle.write();
    KernelsFile file = read_kernels(bundle.folder);
    const KernelSpec model{"holistic", "fp16", 0, 0, FAKE_DIM, 0};
    file.require(model);
    for (KernelSpec other : {KernelSpec{"xclip", "fp16", 0, 0, FAKE_DIM, 0},
                             {"holistic", "bf16", 0, 0, FAKE_DIM, 0},
                             {"holistic", "fp16", 0, 0, 32, 0}})
        CHECK_THROWS(VTR_UNSUPPORTED, file.require(other));
    file.spec = {"tcmgc", "fp16", 12, 32, 512, 3};
    file.require({"tcmgc", "fp16", 12, 32, 512, 3});
    CHECK_THROWS(VTR_UNSUPPORTED, file.require({"tcmgc", "fp16", 11, 32, 512, 3}));
    CHECK_THROWS(VTR_UNSUPPORTED, file.require({"tcmgc", "fp16", 12, 31, 512, 3}));
    CHECK_THROWS(VTR_UNSUPPORTED, file.require({"tcmgc", "fp16", 12, 32, 512, 22}));
}

// Which code is taken on a device of this capability; "" if none.
std::string taken(const std::vector<std::string>& targets, int major, int minor) {
    fake_cuda::reset({.major = major, .minor = minor});
    FakeBundle bundle;
    bundle.targets = targets;
    bundle.write();
    try {
        const auto device = open_device();
        const Current current(*device);
        return Kernel(device, read_kernels(bundle.folder), "topk_scores").target();
    } catch (const Error& error) {
        CHECK(error.status == VTR_UNSUPPORTED);
        CHECK(std::string(error.what()).find("sm_" + std::to_string(major) + std::to_string(minor)) !=
              std::string::npos);
        return "";
    }
}

void best_code_is_taken() {
    const std::vector<std::string> all = {"sm_100", "ptx", "sm_80", "sm_86", "sm_89", "sm_90a", "sm_120"};
    CHECK(taken(all, 8, 0) == "sm_80");
    CHECK(taken(all, 8, 6) == "sm_86");
    CHECK(taken(all, 8, 7) == "sm_86");
    CHECK(taken(all, 8, 9) == "sm_89");
    CHECK(taken(all, 9, 0) == "sm_90a");
    CHECK(taken(all, 10, 3) == "sm_100");
    CHECK(taken(all, 12, 1) == "sm_120");
    CHECK(taken(all, 7, 5) == "ptx");
    CHECK(taken(all, 13, 0) == "ptx");
    CHECK(taken({"sm_90a"}, 9, 1) == "");  // for 9.0 alone
    CHECK(taken({"sm_90"}, 9, 1) == "sm_90");
    CHECK(taken({"sm_86", "sm_120"}, 8, 0) == "");
    check_clean();
}

void refused_code_makes_room_for_the_next() {
    fake_cuda::reset();
    FakeBundle bundle;
    bundle.targets = {"sm_90", "ptx"};
    bundle.write();
    const KernelsFile file = read_kernels(bundle.folder);
    const auto device = open_device();
    const Current current(*device);
    fake_cuda::fail("cuModuleLoadData", NO_BINARY_FOR_GPU);
    CHECK(Kernel(device, file, "topk_scores").target() == "ptx");
    fake_cuda::fail("cuModuleLoadData", UNSUPPORTED_PTX_VERSION, 1);
    bundle.write("code.sm_90", fake_cubin("sm_80"));  // not what it says: the first is refused, then PTX
    CHECK_THROWS(VTR_UNSUPPORTED, Kernel(device, file, "topk_scores"));
    for (const auto& [result, status] : {std::pair{INVALID_IMAGE, VTR_CORRUPT},
                                         {INVALID_PTX, VTR_CORRUPT},
                                         {OUT_OF_MEMORY, VTR_OUT_OF_MEMORY},
                                         {LAUNCH_FAILED + 1, VTR_DEVICE}}) {
        fake_cuda::fail("cuModuleLoadData", result);
        CHECK_THROWS(status, Kernel(device, file, "topk_scores"));
    }
}

void damaged_cubins_never_reach_the_driver() {
    fake_cuda::reset();
    FakeBundle bundle;
    bundle.write();
    const KernelsFile file = read_kernels(bundle.folder);
    const auto device = open_device();
    const Current current(*device);
    const std::string sound = fake_cubin("sm_90");
    const auto changed = [&](auto change) {
        Elf64_Ehdr header;
        std::memcpy(&header, sound.data(), sizeof header);
        change(header);
        return std::string(reinterpret_cast<const char*>(&header), sizeof header) + sound.substr(sizeof header);
    };
    for (const std::string& code :
         {std::string(), sound.substr(0, 63), "not an ELF file" + sound,
          changed([](auto& h) { h.e_machine = 62; }), changed([](auto& h) { h.e_ident[EI_CLASS] = ELFCLASS32; }),
          changed([](auto& h) { h.e_shnum = 1, h.e_shentsize = sizeof(Elf64_Shdr), h.e_shoff = 64; }),
          changed([](auto& h) { h.e_shnum = 1, h.e_shentsize = 0, h.e_shoff = 0; }),
          changed([](auto& h) { h.e_phnum = 1, h.e_phentsize = sizeof(Elf64_Phdr), h.e_phoff = UINT64_MAX; })}) {
        bundle.write("code.sm_90", code);
        CHECK_THROWS(VTR_CORRUPT, Kernel(device, file, "topk_scores"));
    }
    Elf64_Shdr section{};
    section.sh_type = SHT_PROGBITS;
    section.sh_offset = 8;
    section.sh_size = UINT64_MAX - 4;
    const std::string with_section =
        changed([](auto& h) { h.e_shnum = 1, h.e_shentsize = sizeof(Elf64_Shdr), h.e_shoff = 64; }).substr(0, 64) +
        std::string(reinterpret_cast<const char*>(&section), sizeof section);
    bundle.write("code.sm_90", with_section);
    CHECK_THROWS(VTR_CORRUPT, Kernel(device, file, "topk_scores"));
    CHECK(fake_cuda::calls("cuModuleLoadData") == 0);
    std::filesystem::remove(bundle.folder + "/code.sm_90");
    CHECK_THROWS(VTR_IO, Kernel(device, file, "topk_scores"));
}

void shared_memory_is_asked_for() {
    FakeBundle bundle;
    for (const auto& [shared, asked] : {std::pair{"49152", 0}, {"49153", 1}, {"232448", 1}}) {
        fake_cuda::reset();
        bundle.shared = shared;
        bundle.write();
        const auto device = open_device();
        const Current current(*device);
        const Kernel kernel(device, read_kernels(bundle.folder), "topk_scores");
        CHECK(fake_cuda::calls("cuFuncSetAttribute") == size_t(asked));
    }
    bundle.shared = "232449";
    bundle.write();
    const auto device = open_device();
    const Current current(*device);
    CHECK_THROWS(VTR_UNSUPPORTED, Kernel(device, read_kernels(bundle.folder), "topk_scores"));
}

void launches_are_checked() {
    fake_cuda::reset();
    FakeBundle bundle;
    bundle.write("code.sm_90", fake_cubin("sm_90"));
    const std::string sound = bundle.json();
    const auto device = open_device();
    const Current current(*device);
    const Stream stream = make_stream(device);
    const auto kernel = [&](const std::string& json) {
        bundle.write("kernels.json", json);
        return Kernel(device, read_kernels(bundle.folder), "holistic_score");
    };
    const DeviceMemory memory = device_memory(device, 4096);
    Values values;
    for (const char* name : {"probes", "video", "logits"}) values.set(name, memory.get());
    values.set("global_scratch", Address{0});
    values.set("scale", 2.0f);
    values.set("texts", int64_t{3});
    values.set("count", int64_t{17});
    const Kernel score = kernel(sound);
    CHECK_THROWS(VTR_UNSUPPORTED, score.launch(stream, values));  // no stride
    values.set("stride", int64_t{17});
    score.launch(stream, values);
    CHECK(score.blocks(0, values) == 2 && score.blocks(1, values) == 3 && score.blocks(2, values) == 1);
    synchronize(stream);
    CHECK(fake_cuda::launches("fake_holistic") == 1);
    values.set("scale", int64_t{2});
    CHECK_THROWS(VTR_UNSUPPORTED, score.launch(stream, values));  // another type
    values.set("scale", 2.0f);
    values.set("count", int64_t{0});
    CHECK_THROWS(VTR_INTERNAL, score.launch(stream, values));  // no blocks
    values.set("count", int64_t{1} << 31);
    CHECK_THROWS(VTR_INTERNAL, score.launch(stream, values));  // not 32 bits
    values.set("count", int64_t{17});
    values.set("texts", int64_t{65536});
    CHECK_THROWS(VTR_INTERNAL, score.launch(stream, values));  // too many blocks along y
    CHECK_THROWS(VTR_CORRUPT, kernel(replaced(sound, "fake_holistic", "fake_absent")));
    CHECK(fake_cuda::launches("fake_holistic") == 1);
}

}  // namespace

int main() {
    setenv("VTR_CUDA_LIBRARY", FAKE_CUDA, 1);
    add_fake_kernels();
    file_is_read();
    variants_have_their_own();
    unsound_files_are_refused();
    model_must_be_the_same();
    best_code_is_taken();
    refused_code_makes_room_for_the_next();
    damaged_cubins_never_reach_the_driver();
    shared_memory_is_asked_for();
    launches_are_checked();
    check_clean();
    CHECK_DONE();
}
