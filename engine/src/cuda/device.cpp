#include "cuda/device.hpp"

#include "error.hpp"

namespace vtr::cuda {

Device::Device(std::shared_ptr<const Driver> driver, int ordinal) : driver_(std::move(driver)) {
    int count = 0;
    driver_->check(driver_->device_count(&count), "the GPUs cannot be counted");
    if (ordinal < 0 || ordinal >= count)
        throw Error(VTR_UNSUPPORTED, "no GPU of number " + std::to_string(ordinal) + ": there are " +
                                         std::to_string(count) + ", counted from 0");
    driver_->check(driver_->device_get(&number_, ordinal), "GPU " + std::to_string(ordinal) + " cannot be had");
    char name[256] = "";
    driver_->check(driver_->device_name(name, sizeof name - 1, number_), "the GPU's name cannot be had");
    name_ = name;
    attribute_major_ = attribute(COMPUTE_CAPABILITY_MAJOR);
    attribute_minor_ = attribute(COMPUTE_CAPABILITY_MINOR);
    shared_ = static_cast<size_t>(attribute(MAX_SHARED_MEMORY_OPTIN));
    driver_->check(driver_->context_retain(&context_, number_), "the context of " + name_ + " cannot be had");
}

Device::~Device() { driver_->context_release(number_); }

int Device::attribute(DeviceAttribute attribute) const {
    int value = 0;
    driver_->check(driver_->device_attribute(&value, attribute, number_), "an attribute of " + name_);
    return value;
}

Device::Memory Device::memory() const {
    const Current current(*this);
    Memory memory{};
    check(driver_->memory_info(&memory.free, &memory.total), "the memory of " + name_ + " cannot be asked for");
    return memory;
}

void Device::check(Result result, const std::string& attempted) const {
    if (lasting(result)) lost_ = result;
    driver_->check(result, attempted);
}

Current::Current(const Device& device) : device_(device) {
    if (const Result lost = device.lost_; lost != SUCCESS)
        throw Error(VTR_DEVICE, device.name() + " is lost to this process since " +
                                    device.driver().describe(lost) + ": start it again");
    device.check(device.driver().context_push(device.context_), "the context of " + device.name());
    entered_ = true;
}

Current::Current(const Device& device, const std::nothrow_t&) noexcept
    : device_(device), entered_(device.driver().context_push(device.context_) == SUCCESS) {}

Current::~Current() {
    Context gone;
    if (entered_) device_.driver().context_pop(&gone);
}

}  // namespace vtr::cuda
