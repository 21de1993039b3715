#include "cuda/resources.hpp"

namespace vtr::cuda {

DeviceMemory device_memory(const SharedDevice& device, size_t bytes) {
    Address address = 0;
    device->check(device->driver().memory_alloc(&address, bytes),
                  std::to_string(bytes) + " bytes of " + device->name() + " cannot be had");
    return {device, address};
}

PinnedMemory pinned_memory(const SharedDevice& device, size_t bytes) {
    void* memory = nullptr;
    device->check(device->driver().pinned_alloc(&memory, bytes, 0),
                  std::to_string(bytes) + " bytes of page-locked memory cannot be had");
    return {device, memory};
}

Stream make_stream(const SharedDevice& device) {
    StreamHandle stream = nullptr;
    device->check(device->driver().stream_create(&stream, STREAM_NON_BLOCKING), "a stream cannot be made");
    return {device, stream};
}

void synchronize(const Stream& stream) {
    const Device& device = *stream.device();
    device.check(device.driver().stream_synchronize(stream.get()), "work on " + device.name() + " failed");
}

Capture::Capture(const Stream& stream) : stream_(stream) {
    const Device& device = *stream.device();
    device.check(device.driver().capture_begin(stream.get(), CAPTURE_THREAD_LOCAL), "a capture cannot begin");
}

Capture::~Capture() {
    if (!open_) return;
    GraphHandle graph = nullptr;
    stream_.device()->driver().capture_end(stream_.get(), &graph);
    const Graph dropped(stream_.device(), graph);
}

GraphExec Capture::finish() && {
    const SharedDevice& device = stream_.device();
    GraphHandle handle = nullptr;
    open_ = false;
    const Result ended = device->driver().capture_end(stream_.get(), &handle);
    const Graph graph(device, handle);  // there may be one in spite of an error
    device->check(ended, "a capture cannot end");
    GraphExecHandle exec = nullptr;
    device->check(device->driver().graph_instantiate(&exec, graph.get(), 0), "a graph cannot be made");
    return {device, exec};
}

}  // namespace vtr::cuda
