// Mapping frozen banks.
#include <algorithm>

#include "error.hpp"
#include "frozen.hpp"
#include "mapped_file.hpp"

namespace vtr {
namespace {

using namespace frozen;

struct File {
    std::span<const std::byte> bytes;
    SafetensorsHeader header;

    // A tensor that must be there, of this dtype and shape.
    template <class T>
    std::span<const T> tensor(const TensorEntry& expected) const {
        const TensorEntry* entry = header.find(expected.name);
        if (!entry) throw Error(VTR_CORRUPT, "it has no tensor " + expected.name);
        if (entry->dtype != expected.dtype || entry->shape != expected.shape)
            throw Error(VTR_CORRUPT, "tensor " + expected.name + ": expected " + described(expected) + ", got " +
                                         described(*entry));
        return {reinterpret_cast<const T*>(bytes.data() + entry->begin), entry->bytes / sizeof(T)};
    }
};

// Every tensor is of a known kind and begins where vector loads like it.
void check_names(const SafetensorsHeader& header) {
    if (header.tensors.size() > MAX_TENSORS)
        throw Error(VTR_CORRUPT, "expected at most " + std::to_string(MAX_TENSORS) + " tensors, got " +
                                     std::to_string(header.tensors.size()));
    for (const TensorEntry& tensor : header.tensors) {
        const std::string& name = tensor.name;
        if (SafetensorsHeader::is_padding(name)) continue;
        const bool known = name == IDS || name == PATHS || name == OFFSETS || name.starts_with(HEAD) ||
                           name.starts_with(COLUMN) || name.starts_with(SUMS);
        if (!known || name.find('\0') != name.npos) throw Error(VTR_CORRUPT, "it has an unknown tensor " + name);
        if (tensor.begin % ALIGNMENT != 0)
            throw Error(VTR_CORRUPT, "tensor " + name + " does not begin at a multiple of 64 bytes");
    }
}

std::shared_ptr<const Model> load_model(const File& file, const LoadOptions& load) {
    vtr_model_options options = parse_metadata(file.header.metadata);
    options.isa = load.isa;
    options.fast = load.fast;
    std::vector<vtr_array> head;
    for (const TensorEntry& tensor : file.header.tensors) {
        if (!tensor.name.starts_with(HEAD)) continue;
        if (tensor.dtype != "F32" || tensor.shape.size() > 4)
            throw Error(VTR_CORRUPT, "tensor " + tensor.name + ": expected F32 of up to 4 dimensions, got " +
                                         described(tensor));
        vtr_array& array = head.emplace_back();
        array.name = tensor.name.c_str() + HEAD.size();
        array.dtype = VTR_F32;
        array.ndim = static_cast<int32_t>(tensor.shape.size());
        std::copy(tensor.shape.begin(), tensor.shape.end(), array.shape);
        array.data = file.bytes.data() + tensor.begin;
    }
    try {
        return std::make_shared<const Model>(options, head);
    } catch (const Error& error) {  // the caller chose only isa and fast, which are checked before
        if (error.status == VTR_INVALID_ARGUMENT || error.status == VTR_NOT_FINITE)
            throw Error(VTR_CORRUPT, std::string("its model: ") + error.what());
        throw;
    }
}

std::span<const int64_t> load_ids(const File& file) {
    const TensorEntry* entry = file.header.find(IDS);
    if (!entry || entry->shape.size() != 1) throw Error(VTR_CORRUPT, "it has no tensor ids of one dimension");
    const auto ids = file.tensor<int64_t>({.name = IDS, .dtype = "I64", .shape = entry->shape});
    for (size_t row = 0; row < ids.size(); ++row)
        if (ids[row] < 0 || (row > 0 && ids[row] <= ids[row - 1]))
            throw Error(VTR_CORRUPT, "id " + std::to_string(ids[row]) + " of row " + std::to_string(row) +
                                         ": ids must ascend and not be negative");
    return ids;
}

std::shared_ptr<const Paths> load_paths(const File& file, std::span<const int64_t> ids,
                                        const std::shared_ptr<const void>& owner, bool thorough) {
    const TensorEntry* entry = file.header.find(PATHS);
    if (!entry && !file.header.find(OFFSETS)) return nullptr;
    const auto offsets =
        file.tensor<int64_t>({.name = OFFSETS, .dtype = "I64", .shape = {static_cast<int64_t>(ids.size()) + 1}});
    const auto bytes = file.tensor<char>(
        {.name = PATHS, .dtype = "U8", .shape = {entry ? static_cast<int64_t>(entry->bytes) : 0}});
    return std::make_shared<const Paths>(ids, offsets, bytes, owner, thorough);
}

}  // namespace

FrozenBank load_frozen(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                       const LoadOptions& options) {
    const File file{bytes, read_header(bytes)};
    parse_metadata(file.header.metadata);  // first, for what it says of files of another kind
    check_names(file.header);
    if (!options.trust) verify(bytes, file.header, options.pool);
    FrozenBank frozen;
    frozen.model = load_model(file, options);
    const std::span<const int64_t> ids = load_ids(file);
    std::vector<const std::byte*> columns;
    const Scorer& scorer = *frozen.model->scorer;
    for (const Column& column : scorer.columns)
        columns.push_back(file.tensor<std::byte>(column_entry(column, ids.size())).data());
    const auto is_column = [](const TensorEntry& tensor) { return tensor.name.starts_with(COLUMN); };
    if (std::ranges::count_if(file.header.tensors, is_column) != std::ssize(columns))
        throw Error(VTR_CORRUPT, "it has columns that its scoring does not know");
    frozen.bank = std::make_shared<Bank>(frozen.model->scorer);
    if (!ids.empty()) frozen.bank->adopt(ids, columns, owner);
    frozen.paths = load_paths(file, ids, owner, !options.trust);
    return frozen;
}

FrozenBank load_frozen(const char* path, const LoadOptions& options) {
    const auto file = std::make_shared<const MappedFile>(path);
    try {
        return load_frozen(file->bytes(), file, options);
    } catch (const Error& error) {
        throw Error(error.status, std::string(path) + ": " + error.what());
    }
}

}  // namespace vtr
