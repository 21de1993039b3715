// A GPU: its context, what it can do, and whether it still works.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "cuda/driver.hpp"

namespace vtr::cuda {

// Shares the device's primary context with whatever else in the process uses CUDA.
class Device {
  public:
    // Throws VTR_UNSUPPORTED: there is no GPU of this number.
    Device(std::shared_ptr<const Driver> driver, int ordinal);
    ~Device();
    Device(const Device&) = delete;

    const Driver& driver() const { return *driver_; }
    const std::string& name() const { return name_; }
    int major() const { return attribute_major_; }  // of the compute capability: 9.0
    int minor() const { return attribute_minor_; }
    size_t shared_memory() const { return shared_; }  // bytes that a block may ask for

    struct Memory {
        size_t free, total;  // bytes
    };
    Memory memory() const;

    // As Driver::check. An error that lasts makes the device lost: `enter` refuses it from then on.
    void check(Result result, const std::string& attempted) const;
    bool lost() const { return lost_ != SUCCESS; }

  private:
    friend class Current;
    int attribute(DeviceAttribute attribute) const;

    const std::shared_ptr<const Driver> driver_;
    DeviceNumber number_ = 0;
    std::string name_;
    int attribute_major_ = 0, attribute_minor_ = 0;
    size_t shared_ = 0;
    Context context_ = nullptr;
    mutable std::atomic<Result> lost_{SUCCESS};
};

// Makes the device's context the calling thread's while it lives; what was current before comes back after it.
class Current {
  public:
    explicit Current(const Device& device);                         // throws VTR_DEVICE if the device is lost
    Current(const Device& device, const std::nothrow_t&) noexcept;  // to give things back
    ~Current();
    Current(const Current&) = delete;

  private:
    const Device& device_;
    bool entered_ = false;
};

}  // namespace vtr::cuda
