// What one search works in: a stream, buffers, and the graph of its launches, kept for the next search.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda/slab.hpp"

namespace vtr::cuda {

class Workspace {
  public:
    explicit Workspace(const SharedDevice& device) : stream(make_stream(device)) {}
    ~Workspace();  // waits for the stream
    Workspace(const Workspace&) = delete;

    // Room for at least so many bytes. The graph goes if memory moves. Throws VTR_OUT_OF_MEMORY.
    void reserve(size_t device_bytes, size_t in_bytes, size_t out_bytes);

    Address memory() const { return memory_.get(); }
    std::byte* in() const { return static_cast<std::byte*>(in_.get()); }    // copied to the device
    std::byte* out() const { return static_cast<std::byte*>(out_.get()); }  // copied from it

    // The work that was put on the stream last, other than for listed videos; and a graph of it, made when the
    // same comes a second time.
    void remember(const std::shared_ptr<const DeviceState>& state, size_t texts);
    bool remembers(const std::shared_ptr<const DeviceState>& state, size_t texts) const {
        return state_.lock() == state && texts_ == texts;
    }

    const Stream stream;
    GraphExec graph;

  private:
    const SharedDevice& device() const { return stream.device(); }

    // Whose addresses are in the graph. Who searches keeps it alive; it need not stay for the graph's sake.
    std::weak_ptr<const DeviceState> state_;
    size_t texts_ = 0;
    size_t device_bytes_ = 0, in_bytes_ = 0, out_bytes_ = 0;
    DeviceMemory memory_;
    PinnedMemory in_, out_;
};

// A few workspaces for any number of threads: more would not make a device faster. Who finds none waits.
class Workspaces {
  public:
    explicit Workspaces(SharedDevice device) : device_(std::move(device)) { idle_.reserve(MOST); }

    // Gives the workspace back after `keep`; without, something went wrong with it, and it is not used again.
    class Lease {
      public:
        explicit Lease(Workspaces& of);
        ~Lease();
        Lease(const Lease&) = delete;
        Workspace* operator->() const { return workspace_.get(); }
        Workspace& operator*() const { return *workspace_; }
        void keep() { sound_ = true; }

      private:
        void give_back();

        Workspaces& of_;
        std::unique_ptr<Workspace> workspace_;
        bool sound_ = false;
    };

  private:
    static constexpr size_t MOST = 4;

    const SharedDevice device_;
    std::mutex changing_;
    std::condition_variable returned_;
    std::vector<std::unique_ptr<Workspace>> idle_;
    size_t lent_ = 0;
};

}  // namespace vtr::cuda
