// What is taken from a device and given back when it goes: memory, page-locked memory, streams, graphs, modules.
//
// All are made and used while the device is Current; giving back takes care of that itself. Errors of giving back
// are not looked at: a lost device frees everything when the process ends.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "cuda/device.hpp"

namespace vtr::cuda {

using SharedDevice = std::shared_ptr<const Device>;

// Owns one handle; Give(driver, handle) gives it back.
template <class Handle, auto Give>
class Owned {
  public:
    Owned() = default;
    Owned(SharedDevice device, Handle handle) : device_(std::move(device)), handle_(handle) {}
    Owned(Owned&& other) noexcept { swap(other); }
    Owned& operator=(Owned&& other) noexcept {
        Owned old(std::move(other));
        swap(old);
        return *this;
    }
    ~Owned() {
        if (!handle_) return;
        const Current current(*device_, std::nothrow);
        (device_->driver().*Give)(handle_);
    }

    Handle get() const { return handle_; }
    explicit operator bool() const { return handle_ != Handle{}; }
    const SharedDevice& device() const { return device_; }

  private:
    void swap(Owned& other) noexcept {
        std::swap(device_, other.device_);
        std::swap(handle_, other.handle_);
    }

    SharedDevice device_;
    Handle handle_{};
};

// Memory of the device, on a boundary of 256 bytes. Throws VTR_OUT_OF_MEMORY.
using DeviceMemory = Owned<Address, &Driver::memory_free>;
DeviceMemory device_memory(const SharedDevice& device, size_t bytes);

// Memory of this machine that copies on a stream read and write while the program goes on.
using PinnedMemory = Owned<void*, &Driver::pinned_free>;
PinnedMemory pinned_memory(const SharedDevice& device, size_t bytes);

// Work in order; independent of the default stream and of other streams.
using Stream = Owned<StreamHandle, &Driver::stream_destroy>;
Stream make_stream(const SharedDevice& device);
void synchronize(const Stream& stream);  // waits; throws what the work met

using Module = Owned<ModuleHandle, &Driver::module_unload>;
using Graph = Owned<GraphHandle, &Driver::graph_destroy>;
using GraphExec = Owned<GraphExecHandle, &Driver::graph_exec_destroy>;

// What is put on `stream` between its making and `finish` is kept, not done. Ends in any case when it goes: a
// stream that stayed in capture could not even be given back.
class Capture {
  public:
    explicit Capture(const Stream& stream);
    ~Capture();
    Capture(const Capture&) = delete;
    GraphExec finish() &&;

  private:
    const Stream& stream_;
    bool open_ = true;
};

}  // namespace vtr::cuda
