// The folder "kernels" of a bundle: kernels.json, which says how kernels are launched, and their compiled code.
//
//     {"format": 1,
//      "spec": {"scoring": "tcmgc", "frames": 12, "words": 32, "dim": 512, "keep": 3, "storage": "fp16"},
//      "kernels": {"tcmgc_score": {
//          "symbol": "...", "constants": {"F": 12, ...},
//          "args": [{"name": "frames", "type": "ptr"}, {"name": "count", "type": "i32"}, ...],
//          "grid": {"x": {"of": "texts"}, "y": {"of": "count", "per": 16}, "z": {"of": "one"}},
//          "variants": {"sm_90": {"file": "...", "shared": 49152, "warps": 8, "grid": {...}}},
//          "ptx": {"file": "..."}}}}
//
// A variant without warps or a grid of its own has the kernel's; PTX without them, or without shared memory, has
// those of the variant for the oldest architecture, which it was made with. Members that are not named here are
// passed over. kernels/aot.py writes this.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace vtr::cuda {

enum class ArgumentType : uint8_t { pointer, i32, i64, f32 };

struct Argument {
    std::string name;
    ArgumentType type = ArgumentType::pointer;
};

// Blocks along one axis of the grid: the number that has the name `of`, in groups of `per`; 1 if there is no name.
struct GridRule {
    std::string of;
    int64_t per = 1;
};
using Grid = std::array<GridRule, 3>;  // x, y, z

struct Variant {               // one file of code
    std::string target;        // "sm_90", "sm_90a", "ptx"
    int major = 0, minor = 0;  // of the compute capability; 0 for PTX, which the driver compiles
    bool exact = false;        // "sm_90a": for this capability and no other
    std::string file;
    std::optional<int64_t> shared, warps;  // bytes of shared memory a block; there are all three once it is read
    std::optional<Grid> grid;

    bool ptx() const { return major == 0; }
    bool runs_on(int device_major, int device_minor) const;
};

struct KernelEntry {
    std::string name, symbol;
    std::vector<Argument> arguments;           // in the order in which the code takes them
    std::map<std::string, int64_t> constants;  // compiled into the code
    std::vector<Variant> variants;

    // Those that may run on a device, best first, PTX last.
    std::vector<const Variant*> candidates(int major, int minor) const;
    bool takes(const std::string& argument) const;
};

struct KernelSpec {
    std::string scoring, storage;  // storage: "fp16" or "bf16"
    int64_t frames = 0, words = 0, dim = 0, keep = 0;
};

struct KernelsFile {
    std::string folder;
    KernelSpec spec;
    std::map<std::string, KernelEntry> kernels;

    // Throws VTR_UNSUPPORTED: there is no kernel of this name.
    const KernelEntry& at(const std::string& name) const;
    // Throws VTR_UNSUPPORTED: the kernels are not for this model; says in what they differ.
    void require(const KernelSpec& model) const;
};

// Throws VTR_IO: kernels.json cannot be opened. VTR_CORRUPT: it is not what it should be. VTR_UNSUPPORTED: it is
// of another format.
KernelsFile read_kernels(const std::string& folder);

// The code of a variant, ended by a 0 byte. The driver is not told how long a cubin is, so one that does not hold
// all that its headers speak of throws VTR_CORRUPT here. Throws VTR_IO if there is no such file.
std::vector<char> read_code(const std::string& folder, const Variant& variant);

}  // namespace vtr::cuda
