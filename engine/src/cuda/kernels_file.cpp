#include "cuda/kernels_file.hpp"

#include <algorithm>
#include <set>
#include <span>
#include <tuple>

#include "cuda/cubin.hpp"
#include "error.hpp"
#include "json.hpp"
#include "mapped_file.hpp"

namespace vtr::cuda {
namespace {

constexpr size_t MOST_JSON = size_t{1} << 20, MOST_CODE = size_t{64} << 20;
constexpr int64_t FORMAT = 1, MOST_WARPS = 32, MOST_SHARED = 1 << 20, MOST_PER = 1 << 30;

[[noreturn]] void corrupt(const std::string& message) { throw Error(VTR_CORRUPT, message); }

int64_t ranged(JsonReader& json, const char* name, int64_t least, int64_t most) {
    const int64_t value = json.whole();
    if (value < least || value > most)
        corrupt(std::string(name) + ": expected " + std::to_string(least) + " to " + std::to_string(most) +
                ", got " + std::to_string(value));
    return value;
}

ArgumentType read_type(JsonReader& json) {
    const std::string type = json.string();
    if (type == "ptr") return ArgumentType::pointer;
    if (type == "i32") return ArgumentType::i32;
    if (type == "i64") return ArgumentType::i64;
    if (type == "fp32") return ArgumentType::f32;
    corrupt("type of an argument: expected ptr, i32, i64 or fp32, got '" + type + "'");
}

std::vector<Argument> read_arguments(JsonReader& json) {
    std::vector<Argument> arguments;
    json.array([&] {
        Argument argument;
        bool typed = false;
        json.object([&](const std::string& key) {
            if (key == "name")
                argument.name = json.string();
            else if (key == "type")
                argument.type = read_type(json), typed = true;
            else
                json.skip();
        });
        if (argument.name.empty() || !typed) corrupt("an argument has no name or no type");
        arguments.push_back(std::move(argument));
    });
    return arguments;
}

GridRule read_rule(JsonReader& json) {
    GridRule rule;
    json.object([&](const std::string& key) {
        if (key == "per")
            rule.per = ranged(json, "per", 1, MOST_PER);
        else if (key == "of")
            rule.of = json.string();
        else
            corrupt("a rule of the grid has 'per' and 'of', got '" + key + "'");
    });
    if (rule.of.empty()) corrupt("a rule of the grid names nothing that it is of");
    if (rule.of == "one") rule = {};
    return rule;
}

Grid read_grid(JsonReader& json) {
    Grid grid;
    json.object([&](const std::string& axis) {
        if (axis != "x" && axis != "y" && axis != "z") corrupt("grid: expected x, y or z, got '" + axis + "'");
        grid[axis[0] - 'x'] = read_rule(json);
    });
    return grid;
}

// "sm_90", "sm_120a", "ptx"
Variant target_of(const std::string& name) {
    Variant variant;
    variant.target = name;
    if (name == "ptx") return variant;
    size_t end = 3;
    int number = 0;
    while (end < name.size() && end < 7 && name[end] >= '0' && name[end] <= '9')
        number = 10 * number + (name[end++] - '0');
    const std::string suffix = name.substr(std::min(end, name.size()));
    if (!name.starts_with("sm_") || number < 10 || (suffix != "" && suffix != "a"))
        corrupt("a variant: expected a name such as sm_90, sm_90a or ptx, got '" + name + "'");
    variant.major = number / 10;
    variant.minor = number % 10;
    variant.exact = suffix == "a";
    return variant;
}

Variant read_variant(JsonReader& json, const std::string& target) {
    Variant variant = target_of(target);
    json.object([&](const std::string& key) {
        if (key == "file")
            variant.file = json.string();
        else if (key == "shared")
            variant.shared = ranged(json, "shared", 0, MOST_SHARED);
        else if (key == "warps")
            variant.warps = ranged(json, "warps", 1, MOST_WARPS);
        else if (key == "grid")
            variant.grid = read_grid(json);
        else
            json.skip();
    });
    if (variant.file.empty() || variant.file[0] == '.' || variant.file.find('/') != std::string::npos ||
        variant.file.find('\0') != std::string::npos)
        corrupt("a kernel's file: expected a plain name in the folder, got '" + variant.file + "'");
    return variant;
}

// What a variant does not say itself.
void complete(KernelEntry& kernel, std::optional<int64_t> warps, const std::optional<Grid>& grid) {
    const auto older = [](const Variant& a, const Variant& b) {
        return std::tuple(a.ptx(), a.major, a.minor) < std::tuple(b.ptx(), b.major, b.minor);
    };
    std::sort(kernel.variants.begin(), kernel.variants.end(), older);  // PTX comes last
    for (Variant& variant : kernel.variants) {
        const Variant& oldest = kernel.variants.front();
        if (!variant.warps) variant.warps = warps ? warps : oldest.warps;
        if (!variant.grid) variant.grid = grid ? grid : oldest.grid;
        if (!variant.shared && variant.ptx()) variant.shared = oldest.shared;
        if (!variant.warps || !variant.grid || !variant.shared)
            corrupt("kernel '" + kernel.name + "' for " + variant.target +
                    " lacks its warps, grid or shared memory");
    }
}

KernelEntry read_kernel(JsonReader& json, const std::string& name) {
    KernelEntry kernel;
    kernel.name = name;
    std::optional<int64_t> warps;
    std::optional<Grid> grid;
    json.object([&](const std::string& key) {
        if (key == "symbol")
            kernel.symbol = json.string();
        else if (key == "args")
            kernel.arguments = read_arguments(json);
        else if (key == "grid")
            grid = read_grid(json);
        else if (key == "warps")
            warps = ranged(json, "warps", 1, MOST_WARPS);
        else if (key == "constants")
            json.object([&](const std::string& constant) { kernel.constants[constant] = json.whole(); });
        else if (key == "variants")
            json.object([&](const std::string& target) { kernel.variants.push_back(read_variant(json, target)); });
        else if (key == "ptx")
            kernel.variants.push_back(read_variant(json, "ptx"));
        else
            json.skip();
    });
    if (kernel.symbol.empty() || kernel.arguments.empty() || kernel.variants.empty())
        corrupt("kernel '" + name + "' lacks its symbol, args or variants");
    complete(kernel, warps, grid);
    return kernel;
}

KernelSpec read_spec(JsonReader& json) {
    KernelSpec spec;
    const std::map<std::string, int64_t*> sizes = {
        {"frames", &spec.frames}, {"words", &spec.words}, {"dim", &spec.dim}, {"keep", &spec.keep}};
    json.object([&](const std::string& key) {
        if (key == "scoring")
            spec.scoring = json.string();
        else if (key == "storage")
            spec.storage = json.string();
        else if (const auto size = sizes.find(key); size != sizes.end())
            *size->second = json.whole();
        else
            json.skip();
    });
    return spec;
}

KernelsFile parse(JsonReader json) {
    KernelsFile file;
    int64_t format = 0;
    json.object([&](const std::string& key) {
        if (key == "format")
            format = json.whole();
        else if (key == "spec")
            file.spec = read_spec(json);
        else if (key == "kernels")
            json.object([&](const std::string& name) { file.kernels[name] = read_kernel(json, name); });
        else
            json.skip();
    });
    json.end();
    if (format != FORMAT)
        throw Error(VTR_UNSUPPORTED, "expected kernels of format " + std::to_string(FORMAT) + ", got " +
                                         std::to_string(format) + ": export the bundle again with this vtr");
    return file;
}

std::string read_file(const std::string& path, size_t most) {
    const MappedFile file(path.c_str());
    if (file.bytes().size() > most)
        corrupt(path + ": expected at most " + std::to_string(most) + " bytes, got " +
                std::to_string(file.bytes().size()));
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

bool Variant::runs_on(int device_major, int device_minor) const {
    return ptx() || (major == device_major && (exact ? minor == device_minor : minor <= device_minor));
}

std::vector<const Variant*> KernelEntry::candidates(int major, int minor) const {
    std::vector<const Variant*> found;
    for (const Variant& variant : variants)
        if (variant.runs_on(major, minor)) found.push_back(&variant);
    const auto rank = [](const Variant* variant) {
        return std::tuple(variant->major, variant->minor, variant->exact);
    };
    std::sort(found.begin(), found.end(), [&](auto* a, auto* b) { return rank(a) > rank(b); });
    return found;
}

bool KernelEntry::takes(const std::string& argument) const {
    return std::any_of(arguments.begin(), arguments.end(), [&](const Argument& a) { return a.name == argument; });
}

const KernelEntry& KernelsFile::at(const std::string& name) const {
    const auto found = kernels.find(name);
    if (found == kernels.end())
        throw Error(VTR_UNSUPPORTED,
                    folder + " has no kernel '" + name + "': export the bundle again with --cuda");
    return found->second;
}

void KernelsFile::require(const KernelSpec& model) const {
    const auto same = [&](const char* what, const auto& got, const auto& expected, const auto& name) {
        if (got != expected)
            throw Error(VTR_UNSUPPORTED, folder + ": the kernels are for " + what + " " + name(got) +
                                             ", the bank's model has " + name(expected) +
                                             ": export the bundle of this model with --cuda");
    };
    const auto text = [](const std::string& value) { return "'" + value + "'"; };
    const auto number = [](int64_t value) { return std::to_string(value); };
    same("scoring", spec.scoring, model.scoring, text);
    same("storage", spec.storage, model.storage, text);
    same("dim", spec.dim, model.dim, number);
    // A model has no size, 0, where its scoring needs none; there the kernels' does not matter.
    if (model.frames > 0) same("frames", spec.frames, model.frames, number);
    if (model.words > 0) same("words", spec.words, model.words, number);
    if (model.keep > 0) same("keep", spec.keep, model.keep, number);
}

KernelsFile read_kernels(const std::string& folder) {
    const std::string path = folder + "/kernels.json", text = read_file(path, MOST_JSON);
    try {
        KernelsFile file = parse(JsonReader(text));
        file.folder = folder;
        return file;
    } catch (const Error& error) {
        throw Error(error.status, path + ": " + error.what());
    }
}

std::vector<char> read_code(const std::string& folder, const Variant& variant) {
    const std::string path = folder + "/" + variant.file, code = read_file(path, MOST_CODE);
    if (!variant.ptx()) check_cubin(path, code);
    std::vector<char> ended(code.begin(), code.end());
    ended.push_back('\0');
    return ended;
}

}  // namespace vtr::cuda
