#include "cuda/workspace.hpp"

namespace vtr::cuda {

Workspace::~Workspace() {
    const Current current(*device(), std::nothrow);
    device()->driver().stream_synchronize(stream.get());
}

void Workspace::reserve(size_t device_bytes, size_t in_bytes, size_t out_bytes) {
    const auto grow = [&](auto& memory, size_t& there, size_t wanted, auto make) {
        if (wanted <= there) return;
        remember(nullptr, 0);
        memory = {};
        there = 0;
        memory = make(device(), wanted);
        there = wanted;
    };
    grow(memory_, device_bytes_, device_bytes, device_memory);
    grow(in_, in_bytes_, in_bytes, pinned_memory);
    grow(out_, out_bytes_, out_bytes, pinned_memory);
}

void Workspace::remember(const std::shared_ptr<const DeviceState>& state, size_t texts) {
    graph = {};
    state_ = state;
    texts_ = texts;
}

Workspaces::Lease::Lease(Workspaces& of) : of_(of) {
    std::unique_lock lock(of.changing_);
    of.returned_.wait(lock, [&] { return !of.idle_.empty() || of.lent_ < MOST; });
    ++of.lent_;
    if (!of.idle_.empty()) {
        workspace_ = std::move(of.idle_.back());
        of.idle_.pop_back();
        return;
    }
    lock.unlock();
    try {
        workspace_ = std::make_unique<Workspace>(of.device_);
    } catch (...) {
        give_back();
        throw;
    }
}

Workspaces::Lease::~Lease() {
    if (!sound_) workspace_ = nullptr;
    give_back();
}

void Workspaces::Lease::give_back() {
    const std::lock_guard lock(of_.changing_);
    if (workspace_) of_.idle_.push_back(std::move(workspace_));  // there is room: see Workspaces()
    --of_.lent_;
    of_.returned_.notify_one();
}

}  // namespace vtr::cuda
