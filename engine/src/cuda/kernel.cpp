#include "cuda/kernel.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "error.hpp"

namespace vtr::cuda {
namespace {

constexpr size_t SHARED_WITHOUT_ASKING = 48 << 10;
constexpr unsigned WARP = 32;
constexpr int64_t MOST_BLOCKS[3] = {INT32_MAX, 65535, 65535};

// One argument as the kernel finds it.
union Slot {
    Address pointer;
    int32_t i32;
    int64_t i64;
    float f32;
};

[[noreturn]] void mismatch(const KernelEntry& kernel, const std::string& argument) {
    throw Error(VTR_UNSUPPORTED,
                "kernel '" + kernel.name + "' takes an argument '" + argument +
                    "' that this library does not give it: export the bundle again with this vtr");
}

int64_t whole(const KernelEntry& kernel, const Values& values, const std::string& name) {
    const auto* value = values.find(name);
    const auto* number = value ? std::get_if<int64_t>(value) : nullptr;
    if (!number) mismatch(kernel, name);
    return *number;
}

Slot slot(const KernelEntry& kernel, const Argument& argument, const Values& values) {
    Slot slot{};
    const auto* value = values.find(argument.name);
    if (!value) mismatch(kernel, argument.name);
    if (argument.type == ArgumentType::pointer) {
        const auto* address = std::get_if<Address>(value);
        if (!address) mismatch(kernel, argument.name);
        slot.pointer = *address;
    } else if (argument.type == ArgumentType::f32) {
        const auto* number = std::get_if<float>(value);
        if (!number) mismatch(kernel, argument.name);
        slot.f32 = *number;
    } else {
        slot.i64 = whole(kernel, values, argument.name);
        if (argument.type == ArgumentType::i32) {
            if (slot.i64 != static_cast<int32_t>(slot.i64))
                throw Error(VTR_INTERNAL, "argument '" + argument.name + "' of kernel '" + kernel.name +
                                              "' does not fit 32 bits: " + std::to_string(slot.i64));
            slot.i32 = static_cast<int32_t>(slot.i64);
        }
    }
    return slot;
}

}  // namespace

const Values::Value* Values::find(const std::string& name) const {
    for (const Named& named : values_)
        if (named.name == name) return &named.value;
    return nullptr;
}

void Values::set_any(std::string name, Value value) {
    for (Named& named : values_)
        if (named.name == name) {
            named.value = value;
            return;
        }
    values_.push_back({std::move(name), value});
}

Kernel::Kernel(SharedDevice device, const KernelsFile& file, const std::string& name)
    : device_(std::move(device)), entry_(file.at(name)) {
    load(file);
    device_->check(device_->driver().module_function(&function_, module_.get(), entry_.symbol.c_str()),
                   "kernel '" + name + "' has no function " + entry_.symbol);
    set_shared();
}

// Code that the driver does not know for its device makes room for the next: what is compiled for one exact
// architecture may be named as if it ran on its successors.
void Kernel::load(const KernelsFile& file) {
    std::optional<Error> refused;
    for (const Variant* variant : entry_.candidates(device_->major(), device_->minor())) {
        const std::vector<char> code = read_code(file.folder, *variant);
        ModuleHandle module = nullptr;
        const Result result = device_->driver().module_load(&module, code.data());
        if (result == SUCCESS) {
            module_ = {device_, module};
            variant_ = *variant;
            return;
        }
        try {
            device_->check(result, file.folder + "/" + variant->file + " cannot be loaded");
        } catch (const Error& error) {
            if (error.status != VTR_UNSUPPORTED) throw;
            if (!refused) refused.emplace(error);
        }
    }
    if (refused) throw Error(*refused);
    std::string there;
    for (const Variant& variant : entry_.variants) there += (there.empty() ? "" : ", ") + variant.target;
    throw Error(VTR_UNSUPPORTED, "kernel '" + entry_.name + "' has no code for " + device_->name() + " (sm_" +
                                     std::to_string(device_->major()) + std::to_string(device_->minor()) +
                                     "), only for " + there);
}

void Kernel::set_shared() {
    const auto bytes = static_cast<size_t>(*variant_.shared);
    if (bytes > device_->shared_memory())
        throw Error(VTR_UNSUPPORTED, "kernel '" + entry_.name + "' wants " + std::to_string(bytes) +
                                         " bytes of shared memory, " + device_->name() + " has " +
                                         std::to_string(device_->shared_memory()));
    shared_ = static_cast<unsigned>(bytes);
    if (bytes > SHARED_WITHOUT_ASKING)
        device_->check(
            device_->driver().function_attribute(function_, MAX_DYNAMIC_SHARED_MEMORY, static_cast<int>(bytes)),
            "kernel '" + entry_.name + "' cannot have its shared memory");
}

int64_t Kernel::blocks(size_t axis, const Values& values) const {
    const GridRule& rule = (*variant_.grid)[axis];
    if (rule.of.empty()) return 1;
    const int64_t number = whole(entry_, values, rule.of);
    return number / rule.per + (number % rule.per > 0);
}

int64_t Kernel::blocks_of(const std::string& name, const Values& values) const {
    for (size_t axis = 0; axis < 3; ++axis)
        if ((*variant_.grid)[axis].of == name) return blocks(axis, values);
    return 1;
}

int64_t Kernel::most_of(const std::string& name) const {
    int64_t most = INT32_MAX;
    for (size_t axis = 0; axis < 3; ++axis)
        if (const GridRule& rule = (*variant_.grid)[axis]; rule.of == name)
            most = std::min(most, MOST_BLOCKS[axis] * rule.per);  // below 2^62: see MOST_PER
    return most;
}

void Kernel::launch(const Stream& stream, const Values& values) const {
    std::vector<Slot> slots;
    slots.reserve(entry_.arguments.size());
    for (const Argument& argument : entry_.arguments) slots.push_back(slot(entry_, argument, values));
    std::vector<void*> arguments;
    for (Slot& slot : slots) arguments.push_back(&slot);
    unsigned grid[3];
    for (size_t axis = 0; axis < 3; ++axis) {
        const int64_t number = blocks(axis, values);
        if (number < 1 || number > MOST_BLOCKS[axis])
            throw Error(VTR_INTERNAL, "kernel '" + entry_.name + "' would take " + std::to_string(number) +
                                          " blocks along axis " + std::to_string(axis));
        grid[axis] = static_cast<unsigned>(number);
    }
    device_->check(device_->driver().launch(function_, grid[0], grid[1], grid[2],
                                            static_cast<unsigned>(*variant_.warps) * WARP, 1, 1, shared_,
                                            stream.get(), arguments.data(), nullptr),
                   "kernel '" + entry_.name + "' cannot be launched");
}

}  // namespace vtr::cuda
