// A kernel loaded on a device, and its launch.
#pragma once

#include <initializer_list>
#include <string>
#include <variant>
#include <vector>

#include "cuda/kernels_file.hpp"
#include "cuda/resources.hpp"

namespace vtr::cuda {

// What a kernel is launched with: addresses, whole numbers and float32 numbers, by the names of its arguments.
class Values {
  public:
    void set(std::string name, Address address) { set_any(std::move(name), address); }
    void set(std::string name, int64_t number) { set_any(std::move(name), number); }
    void set(std::string name, float number) { set_any(std::move(name), number); }

    using Value = std::variant<Address, int64_t, float>;
    const Value* find(const std::string& name) const;

  private:
    void set_any(std::string name, Value value);  // a name that is there already takes the new value
    struct Named {
        std::string name;
        Value value;
    };
    std::vector<Named> values_;
};

class Kernel {
  public:
    // Loads the best code for the device. Throws VTR_UNSUPPORTED: there is none, or it wants more shared memory
    // than the device has; VTR_CORRUPT: the driver refuses the code.
    Kernel(SharedDevice device, const KernelsFile& file, const std::string& name);

    // Puts the kernel on the stream. Throws VTR_UNSUPPORTED: it takes an argument that `values` does not have, or
    // of another type; VTR_DEVICE: the launch fails.
    void launch(const Stream& stream, const Values& values) const;

    const KernelEntry& entry() const { return entry_; }
    const std::string& target() const { return variant_.target; }  // of the code that was taken

    // The blocks that a launch with these values takes along an axis, 0 to 2.
    int64_t blocks(size_t axis, const Values& values) const;
    // The same along the axis that goes over the number `name`; 1 if there is none.
    int64_t blocks_of(const std::string& name, const Values& values) const;
    // The largest such number whose grid a device takes.
    int64_t most_of(const std::string& name) const;

  private:
    void load(const KernelsFile& file);
    void set_shared();

    const SharedDevice device_;
    const KernelEntry entry_;
    Variant variant_;
    Module module_;
    FunctionHandle function_ = nullptr;
    unsigned shared_ = 0;
};

}  // namespace vtr::cuda
