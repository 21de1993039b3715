// Reading and writing headers of safetensors files.
#include "safetensors.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <string_view>

#include "error.hpp"
#include "json.hpp"
#include "kernels/kernels.hpp"
#include "scratch.hpp"

static_assert(std::endian::native == std::endian::little, "files are little-endian and mapped as they lie");

namespace vtr {
namespace {

constexpr size_t LENGTH_BYTES = 8;  // before the header
constexpr size_t MAX_DIMENSIONS = 8;
constexpr int64_t MAX_BYTES = int64_t{1} << 62;

[[noreturn]] void corrupt(const std::string& message) { throw Error(VTR_CORRUPT, message); }

int64_t itemsize(const TensorEntry& tensor) {
    constexpr std::pair<std::string_view, int64_t> sizes[] = {{"U8", 1},  {"U32", 4},  {"I64", 8},
                                                              {"F16", 2}, {"BF16", 2}, {"F32", 4}};
    for (const auto& [dtype, size] : sizes)
        if (tensor.dtype == dtype) return size;
    corrupt("tensor " + tensor.name + ": expected dtype U8, U32, I64, F16, BF16 or F32, got " +
            tensor.dtype.substr(0, 40));
}

TensorEntry read_tensor(JsonReader& json, const std::string& name, size_t start) {
    TensorEntry tensor{.name = name, .dtype = {}, .shape = {}};
    std::vector<int64_t> offsets;
    std::set<std::string> seen;
    json.object([&](const std::string& key) {
        if (!seen.insert(key).second) json.fail("each key once");
        if (key == "dtype")
            tensor.dtype = json.string();
        else if (key == "shape")
            json.array([&] {
                if (tensor.shape.size() == MAX_DIMENSIONS) json.fail("at most 8 dimensions");
                tensor.shape.push_back(json.whole());
            });
        else if (key == "data_offsets")
            json.array([&] {
                if (offsets.size() == 2) json.fail("two offsets");
                offsets.push_back(json.whole());
            });
        else
            json.fail("dtype, shape or data_offsets as key");
    });
    if (seen.size() != 3 || offsets.size() != 2 || offsets[0] > offsets[1])
        corrupt("tensor " + name + ": expected dtype, shape and data_offsets [begin, end]");
    tensor.begin = start + static_cast<size_t>(offsets[0]);
    tensor.bytes = static_cast<size_t>(offsets[1] - offsets[0]);
    if (const size_t bytes = tensor_bytes(tensor); bytes != tensor.bytes)
        corrupt("tensor " + name + ": its shape takes " + std::to_string(bytes) + " bytes, its offsets span " +
                std::to_string(tensor.bytes));
    return tensor;
}

void parse(std::string_view text, SafetensorsHeader& header) {
    JsonReader json(text);
    std::set<std::string> seen;
    json.object([&](const std::string& name) {
        if (!seen.insert(name).second) json.fail("each name once");
        if (name == "__metadata__")
            json.object([&](const std::string& key) {
                if (!header.metadata.emplace(key, json.string()).second) json.fail("each key once");
            });
        else
            header.tensors.push_back(read_tensor(json, name, header.size));
    });
    json.end();
}

// The tensors in the order of the file, without holes, overlaps or a rest.
void check_cover(std::vector<TensorEntry>& tensors, size_t position, size_t end) {
    std::sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
        return std::pair(a.begin, a.bytes) < std::pair(b.begin, b.bytes);
    });
    for (const TensorEntry& tensor : tensors) {
        if (tensor.begin != position)
            corrupt("tensor " + tensor.name + ": expected it at byte " + std::to_string(position) + ", got " +
                    std::to_string(tensor.begin));
        position += tensor.bytes;  // at most 2^62 + 2^20 in all: begin and bytes are checked one by one
        if (position > end)
            corrupt("tensor " + tensor.name + " ends at byte " + std::to_string(position) + ", the file at " +
                    std::to_string(end) + ": the file is truncated");
    }
    if (position != end)
        corrupt("expected " + std::to_string(position) + " bytes, got " + std::to_string(end) +
                ": the file is longer than its header says");
}

// "3,12,512"; appended piece by piece: GCC 12 warns of "," + std::to_string without reason.
std::string joined(const std::vector<int64_t>& sizes, const char* between) {
    std::string text;
    for (const int64_t size : sizes) {
        if (!text.empty()) text += between;
        text += std::to_string(size);
    }
    return text;
}

}  // namespace

size_t tensor_bytes(const TensorEntry& tensor) {
    int64_t bytes = itemsize(tensor);
    for (const int64_t size : tensor.shape)
        if (__builtin_mul_overflow(bytes, size, &bytes) || bytes > MAX_BYTES)
            corrupt("tensor " + tensor.name + ": its shape is beyond any memory");
    return static_cast<size_t>(bytes);
}

std::string described(const TensorEntry& tensor) { return tensor.dtype + " [" + joined(tensor.shape, ", ") + "]"; }

const TensorEntry* SafetensorsHeader::find(const std::string& name) const {
    for (const TensorEntry& tensor : tensors)
        if (tensor.name == name) return &tensor;
    return nullptr;
}

SafetensorsHeader read_header(std::span<const std::byte> file) {
    uint64_t length = 0;
    if (file.size() < LENGTH_BYTES + 2) corrupt("got " + std::to_string(file.size()) + " bytes: it is truncated");
    std::memcpy(&length, file.data(), LENGTH_BYTES);
    if (length > MAX_HEADER)
        corrupt("expected a header of at most " + std::to_string(MAX_HEADER) + " bytes, got " +
                std::to_string(length) + ": it is of another kind");
    if (length > file.size() - LENGTH_BYTES)
        corrupt("expected a header of " + std::to_string(length) + " bytes, got " +
                std::to_string(file.size() - LENGTH_BYTES) + ": the file is truncated");
    SafetensorsHeader header;
    header.size = LENGTH_BYTES + length;
    parse({reinterpret_cast<const char*>(file.data()) + LENGTH_BYTES, length}, header);
    check_cover(header.tensors, header.size, file.size());
    return header;
}

std::string make_header(const std::map<std::string, std::string>& metadata, std::vector<TensorEntry>& tensors) {
    std::string text = "{\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
        if (text.back() != '{') text += ",";
        text += json_string(key) + ":" + json_string(value);
    }
    text += "}";
    const auto place = [&text](const TensorEntry& tensor) {
        text += ",";
        text += json_string(tensor.name) + ":{\"dtype\":\"" + tensor.dtype + "\",\"shape\":[" +
                joined(tensor.shape, ",") + "],\"data_offsets\":[" + std::to_string(tensor.begin) + "," +
                std::to_string(tensor.begin + tensor.bytes) + "]}";
    };
    size_t position = 0;  // after the header
    for (size_t number = 0; number < tensors.size(); ++number) {
        TensorEntry& tensor = tensors[number];
        if (const size_t gap = padded(position, ALIGNMENT) - position) {
            place({"_pad." + std::to_string(number), "U8", {static_cast<int64_t>(gap)}, position, gap});
            position += gap;
        }
        tensor.begin = position;
        tensor.bytes = tensor_bytes(tensor);
        place(tensor);
        position += tensor.bytes;
    }
    text += "}";
    text.resize(padded(LENGTH_BYTES + text.size(), ALIGNMENT) - LENGTH_BYTES, ' ');
    if (text.size() > MAX_HEADER)
        throw Error(VTR_UNSUPPORTED, "expected a header of at most " + std::to_string(MAX_HEADER) +
                                         " bytes, got " + std::to_string(text.size()));
    const uint64_t length = text.size();
    std::string file(LENGTH_BYTES, '\0');
    std::memcpy(file.data(), &length, LENGTH_BYTES);
    file += text;
    for (TensorEntry& tensor : tensors) tensor.begin += file.size();
    return file;
}

}  // namespace vtr
