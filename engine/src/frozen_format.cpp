// The format of frozen banks: what writing and reading agree on.
#include <charconv>
#include <utility>

#include "error.hpp"
#include "frozen.hpp"

namespace vtr::frozen {
namespace {

int32_t whole(const std::string& key, const std::string& text) {
    int32_t value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc{} || end != text.data() + text.size() || std::to_string(value) != text)
        throw Error(VTR_CORRUPT,
                    "metadata " + key + ": expected a whole number, got '" + text.substr(0, 40) + "'");
    return value;
}

}  // namespace

std::map<std::string, std::string> metadata(const vtr_model_options& options) {
    return {{"format", FORMAT},
            {"format_version", VERSION},
            {"scoring", options.scoring},
            {"frames", std::to_string(options.frames)},
            {"words", std::to_string(options.words)},
            {"dim", std::to_string(options.dim)},
            {"keep", std::to_string(options.keep)},
            {"storage", options.storage == VTR_BF16 ? "bf16" : "f16"}};
}

vtr_model_options parse_metadata(const std::map<std::string, std::string>& metadata) {
    const auto value = [&metadata](const std::string& key) -> const std::string& {
        const auto found = metadata.find(key);
        if (found == metadata.end())
            throw Error(VTR_CORRUPT,
                        "its metadata lacks " + key + ": expected a frozen bank, written by `vtr freeze`");
        return found->second;
    };
    if (value("format") != FORMAT)
        throw Error(VTR_CORRUPT, "expected format vtr-bank, got '" + value("format").substr(0, 40) + "'");
    if (value("format_version") != VERSION)
        throw Error(VTR_UNSUPPORTED, "expected format_version " + std::string(VERSION) + ", got '" +
                                         value("format_version").substr(0, 40) +
                                         "': freeze it again with this vtr");
    const std::string& storage = value("storage");
    if (storage != "f16" && storage != "bf16")
        throw Error(VTR_CORRUPT, "metadata storage: expected f16 or bf16, got '" + storage.substr(0, 40) + "'");
    const vtr_model_options options{
        .size = sizeof(vtr_model_options),
        .scoring = value("scoring").c_str(),
        .frames = whole("frames", value("frames")),
        .words = whole("words", value("words")),
        .dim = whole("dim", value("dim")),
        .keep = whole("keep", value("keep")),
        .isa = nullptr,
        .storage = storage == "bf16" ? VTR_BF16 : VTR_F16,
        .fast = 0,
    };
    if (metadata.size() != 8) throw Error(VTR_CORRUPT, "its metadata holds more than this version knows");
    return options;
}

TensorEntry column_entry(const Column& column, size_t rows) {
    constexpr const char* names[] = {"F16", "BF16", "F32"};
    TensorEntry entry{.name = COLUMN + column.name,
                      .dtype = names[static_cast<size_t>(column.storage)],
                      .shape = {static_cast<int64_t>(rows)}};
    const size_t item = storage_bytes(column.storage);
    size_t plain = item;
    for (const int64_t size : column.shape) plain *= static_cast<size_t>(size);
    if (plain == column.row_bytes)
        entry.shape.insert(entry.shape.end(), column.shape.begin(), column.shape.end());
    else
        entry.shape.push_back(static_cast<int64_t>(column.row_bytes / item));
    return entry;
}

TensorEntry sums_entry(const TensorEntry& tensor) {
    const size_t blocks = (tensor_bytes(tensor) + BLOCK - 1) / BLOCK;
    return {.name = SUMS + tensor.name, .dtype = "U32", .shape = {static_cast<int64_t>(blocks)}};
}

TensorEntry header_sum_entry() { return {.name = SUMS + "header", .dtype = "U32", .shape = {1}}; }

}  // namespace vtr::frozen
