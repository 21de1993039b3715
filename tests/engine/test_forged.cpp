// Frozen banks that somebody made to mislead the loader: their checksums are right, what they say is not.
#include <unistd.h>

#include <cmath>
#include <cstring>

#include "check.hpp"
#include "frozen_parts.hpp"
#include "mapped_file.hpp"
#include "small_bank.hpp"

using namespace vtr;
using namespace vtr::test;

namespace {

const std::string SOUND = [] {
    const auto model = small_model("xclip");
    Bank bank(model->scorer);
    bank.append(ascending(3, 5), arrays(small_columns("xclip", 3, 1)));
    char name[] = "/tmp/vtr-forged-XXXXXX";
    const int file = mkstemp(name);
    if (file < 0) throw std::runtime_error("no temporary file");
    close(file);
    const char* paths[] = {"a.mp4", nullptr, "c.mp4"};
    save_frozen(*model, *bank.state(), name, paths);
    std::string bytes;
    {
        const MappedFile mapped(name);
        bytes.assign(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
    }
    unlink(name);
    return bytes;
}();

FrozenBank load(const std::string& bytes, bool trust = false) {
    const std::shared_ptr<std::byte> memory(aligned_bytes(bytes.size()).release(), AlignedDelete());
    std::memcpy(memory.get(), bytes.data(), bytes.size());
    return load_frozen({memory.get(), bytes.size()}, memory, {.trust = trust});
}

// Loading must fail, with a message that holds `expected`.
void check_refused(const std::string& bytes, const std::string& expected, vtr_status status, bool trust) {
    std::string message = "it loads";
    vtr_status got = VTR_OK;
    try {
        load(bytes, trust);
    } catch (const Error& error) {
        message = error.what();
        got = error.status;
    }
    const bool right = got == status && message.find(expected) != message.npos;
    if (!right) std::fprintf(stderr, "expected '%s', got '%s'\n", expected.c_str(), message.c_str());
    CHECK(right);
}

struct Forgery {
    const char* expected;  // in the message
    std::function<void(FrozenParts&)> forge;
    bool found_if_trusted = true;
    vtr_status status = VTR_CORRUPT;
};

void forged_contents() {
    const float nan = std::nanf("");
    const Forgery forgeries[] = {
        {"lacks format:", [](FrozenParts& parts) { parts.metadata.erase("format"); }},
        {"expected format vtr-bank, got 'vtr-segment'",
         [](FrozenParts& parts) { parts.metadata["format"] = "vtr-segment"; }},
        {"expected format_version 1, got '2'", [](FrozenParts& parts) { parts.metadata["format_version"] = "2"; },
         true, VTR_UNSUPPORTED},
        {"lacks dim", [](FrozenParts& parts) { parts.metadata.erase("dim"); }},
        {"more than this version knows", [](FrozenParts& parts) { parts.metadata["more"] = "1"; }},
        {"dim: expected a whole number", [](FrozenParts& parts) { parts.metadata["dim"] = "16 "; }},
        {"dim: expected a whole number", [](FrozenParts& parts) { parts.metadata["dim"] = "016"; }},
        {"dim: expected a whole number", [](FrozenParts& parts) { parts.metadata["dim"] = "4294967312"; }},
        {"dim: expected 16 to 8192, got -16", [](FrozenParts& parts) { parts.metadata["dim"] = "-16"; }, true,
         VTR_UNSUPPORTED},
        {"frames: expected 1 to 64", [](FrozenParts& parts) { parts.metadata["frames"] = "2000000000"; }, true,
         VTR_UNSUPPORTED},
        {"frame_logit_weight", [](FrozenParts& parts) { parts.metadata["frames"] = "64"; }},
        {"global_mat_weight", [](FrozenParts& parts) { parts.metadata["dim"] = "8192"; }},
        {"scoring: expected", [](FrozenParts& parts) { parts.metadata["scoring"] = "other"; }},
        {"frames: expected 0", [](FrozenParts& parts) { parts.metadata["scoring"] = "holistic"; }},
        {"keep", [](FrozenParts& parts) { parts.metadata["keep"] = "1"; }},
        {"storage: expected f16 or bf16", [](FrozenParts& parts) { parts.metadata["storage"] = "f32"; }},
        {"expected BF16", [](FrozenParts& parts) { parts.metadata["storage"] = "bf16"; }},
        {"no tensor ids", [](FrozenParts& parts) { parts.remove("ids"); }},
        {"no tensor ids of one dimension", [](FrozenParts& parts) { parts.entry("ids").shape = {1, 3}; }},
        {"expected I64 [3], got F32 [3]",
         [](FrozenParts& parts) {
             parts.entry("ids").dtype = "F32";
             parts.bytes["ids"].resize(12);
         }},
        {"id 5 of row 1: ids must ascend", [](FrozenParts& parts) { parts.set<int64_t>("ids", 1, 5); }},
        {"id -1 of row 0", [](FrozenParts& parts) { parts.set<int64_t>("ids", 0, -1); }},
        {"no tensor column.video", [](FrozenParts& parts) { parts.remove("column.video"); }},
        {"expected F16 [3, 3, 16], got F16 [3, 48]",
         [](FrozenParts& parts) { parts.entry("column.frames").shape = {3, 48}; }},
        {"expected F16 [3, 16], got F16 [2, 16]",
         [](FrozenParts& parts) {
             parts.entry("column.video").shape = {2, 16};
             parts.bytes["column.video"].resize(64);
         }},
        {"columns that its scoring does not know",
         [](FrozenParts& parts) { parts.add("column.gram", "F32", {1}, "abcd"); }},
        {"unknown tensor more", [](FrozenParts& parts) { parts.add("more", "F32", {1}, "abcd"); }},
        {"missing 'logit_scale'", [](FrozenParts& parts) { parts.remove("head.logit_scale"); }},
        {"unknown 'more'", [](FrozenParts& parts) { parts.add("head.more", "F32", {1}, "abcd"); }},
        {"head.logit_scale: expected F32",
         [](FrozenParts& parts) { parts.entry("head.logit_scale").dtype = "U32"; }},
        {"up to 4 dimensions",
         [](FrozenParts& parts) { parts.entry("head.logit_scale").shape = {1, 1, 1, 1, 1}; }},
        {"NaN", [&](FrozenParts& parts) { parts.set("head.logit_scale", 0, nan); }},
        {"logit_scale", [](FrozenParts& parts) { parts.set("head.logit_scale", 0, 1e30f); }},
        {"column.video, bytes", [](FrozenParts& parts) { parts.set<uint16_t>("column.video", 47, 0xFC00); },
         false},
        {"column.frames, bytes", [](FrozenParts& parts) { parts.set<uint16_t>("column.frames", 0, 0x7E00); },
         false},
        {"no tensor path_offsets", [](FrozenParts& parts) { parts.remove("path_offsets"); }},
        {"no tensor paths", [](FrozenParts& parts) { parts.remove("paths"); }},
        {"do not cover", [](FrozenParts& parts) { parts.set<int64_t>("path_offsets", 0, 1); }},
        {"do not cover", [](FrozenParts& parts) { parts.set<int64_t>("path_offsets", 3, 12); }},
        {"do not ascend", [](FrozenParts& parts) { parts.set<int64_t>("path_offsets", 1, 7); }},
        {"do not ascend", [](FrozenParts& parts) { parts.set<int64_t>("path_offsets", 1, INT64_MAX); }},
        {"do not ascend", [](FrozenParts& parts) { parts.set<int64_t>("path_offsets", 2, INT64_MIN); }},
        {"do not end in a 0", [](FrozenParts& parts) { parts.bytes["paths"].back() = 'x'; }},
        {"path 0 has a 0 byte inside", [](FrozenParts& parts) { parts.bytes["paths"][2] = 0; }, false},
        {"path 0 has a 0 byte inside, or none", [](FrozenParts& parts) { parts.bytes["paths"][5] = 'x'; }, false},
        {"at most 1000 tensors",
         [](FrozenParts& parts) {
             for (int i = 0; i < 500; ++i) parts.add("head." + std::to_string(i), "F32", {1}, "abcd");
         }},
    };
    check_refused(SOUND, "it loads", VTR_OK, false);
    check_refused(FrozenParts(SOUND).file(), "it loads", VTR_OK, false);
    for (const Forgery& forgery : forgeries) {
        FrozenParts parts(SOUND);
        forgery.forge(parts);
        const std::string bytes = parts.file();
        check_refused(bytes, forgery.expected, forgery.status, false);
        if (forgery.found_if_trusted)
            check_refused(bytes, forgery.expected, forgery.status, true);
        else
            scores(*load(bytes, true).bank);  // nonsense, but no crash
    }
}

// A file of this header and so many bytes of zeros after it.
std::string with_header(std::string text, size_t data) {
    const uint64_t length = text.size();
    return std::string(reinterpret_cast<const char*>(&length), 8) + text + std::string(data, '\0');
}

std::string tensor(const char* name, const char* dtype, const char* shape, const char* offsets) {
    return "\"" + std::string(name) + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
           ",\"data_offsets\":" + offsets + "}";
}

void forged_headers() {
    const std::string ids = tensor("ids", "I64", "[1]", "[0,8]");
    const struct {
        const char* expected;
        std::string text;
        size_t data = 0;
    } forgeries[] = {
        {"expected '{'", "  "},
        {"expected '{'", "[]"},
        {"expected '{'", std::string(100000, '[')},
        {"expected '}'", "{\"__metadata__\":{}"},
        {"expected the end", "{}{}"},
        {"lacks format", "{}"},
        {"expected '\"'", "{\"__metadata__\":{\"format\":1}}"},
        {"expected '\"'", "{\"__metadata__\":{\"format\":{\"format\":{}}}}"},
        {"each key once", "{\"__metadata__\":{\"a\":\"1\",\"a\":\"1\"}}"},
        {"each name once", "{\"__metadata__\":{},\"__metadata__\":{}}"},
        {"each name once", "{" + ids + "," + ids + "}", 8},
        {"each key once", "{\"ids\":{\"dtype\":\"I64\",\"dtype\":\"I64\"}}"},
        {"dtype, shape or data_offsets", "{\"ids\":{\"type\":\"I64\"}}"},
        {"expected dtype, shape and data_offsets", "{\"ids\":{\"dtype\":\"I64\",\"shape\":[1]}}"},
        {"expected dtype, shape and data_offsets", "{" + tensor("ids", "I64", "[1]", "[8,0]") + "}", 8},
        {"expected dtype, shape and data_offsets", "{" + tensor("ids", "I64", "[0]", "[0]") + "}"},
        {"two offsets", "{" + tensor("ids", "I64", "[1]", "[0,8,8]") + "}", 8},
        {"a whole number", "{" + tensor("ids", "I64", "[-1]", "[0,8]") + "}", 8},
        {"a whole number", "{" + tensor("ids", "I64", "[1.0]", "[0,8]") + "}", 8},
        {"a whole number", "{" + tensor("ids", "I64", "[[1]]", "[0,8]") + "}", 8},
        {"at most 2^62", "{" + tensor("ids", "I64", "[18446744073709551617]", "[0,8]") + "}", 8},
        {"beyond any memory", "{" + tensor("ids", "I64", "[4611686018427387904,4]", "[0,0]") + "}"},
        {"beyond any memory", "{" + tensor("ids", "I64", "[2305843009213693952]", "[0,0]") + "}"},
        {"beyond any memory", "{" + tensor("a", "U8", "[4294967296,4294967296]", "[0,0]") + "}"},
        {"at most 8 dimensions", "{" + tensor("ids", "I64", "[1,1,1,1,1,1,1,1,1]", "[0,8]") + "}", 8},
        {"expected dtype U8", "{" + tensor("ids", "F64", "[1]", "[0,8]") + "}", 8},
        {"its shape takes 8 bytes, its offsets span 16", "{" + tensor("ids", "I64", "[1]", "[0,16]") + "}", 16},
        {"the file is truncated", "{" + ids + "}", 7},
        {"longer than its header says", "{" + ids + "}", 9},
        {"ends at byte", "{" + tensor("a", "U8", "[4611686018427387904]", "[0,4611686018427387904]") + "}"},
        {"expected it at byte", "{" + tensor("a", "U8", "[8]", "[8,16]") + "}", 16},
        {"expected it at byte", "{" + ids + "," + tensor("a", "U8", "[8]", "[4,12]") + "}", 12},
        {"expected it at byte", "{" + ids + "," + tensor("a", "U8", "[8]", "[16,24]") + "}", 24},
    };
    for (const auto& forgery : forgeries)
        for (const bool trust : {false, true})
            check_refused(with_header(forgery.text, forgery.data), forgery.expected, VTR_CORRUPT, trust);
}

void forged_lengths() {
    for (const uint64_t length :
         {uint64_t{1} << 20, (uint64_t{1} << 20) + 1, UINT64_MAX, UINT64_MAX - 7, uint64_t{3}}) {
        const std::string bytes = std::string(reinterpret_cast<const char*>(&length), 8) + "{}";
        check_refused(bytes, length > MAX_HEADER ? "expected a header of at most" : "truncated", VTR_CORRUPT,
                      false);
    }
}

// Tensors where vector loads would not like them: one byte later, after a header that is one longer.
void forged_alignment() {
    uint64_t length;
    std::memcpy(&length, SOUND.data(), sizeof length);
    const std::string header = SOUND.substr(8, length);
    const std::string bytes = with_header(header + " ", 0) + SOUND.substr(8 + length);
    for (const bool trust : {false, true}) check_refused(bytes, "multiple of 64", VTR_CORRUPT, trust);
}

// What only checksums cover: the padding, and checksums that belong to nothing or are not there.
void forged_checksums() {
    FrozenParts parts(SOUND);
    parts.add("crc32.more", "U32", {0}, "");
    check_refused(parts.file(), "checksums", VTR_CORRUPT, false);
    std::string bytes = SOUND;
    const SafetensorsHeader header = read_header(std::as_bytes(std::span(SOUND)));
    for (const TensorEntry& each : header.tensors)
        if (SafetensorsHeader::is_padding(each.name)) bytes[each.begin] = 1;
    check_refused(bytes, "is not zero", VTR_CORRUPT, false);
    check_refused(bytes, "it loads", VTR_OK, true);
}

}  // namespace

int main() {
    forged_contents();
    forged_headers();
    forged_lengths();
    forged_alignment();
    forged_checksums();
    CHECK_DONE();
}
