#include "world.hpp"

#include <utility>

namespace fake_cuda {

World& world() {
    static World& world = *new World;  // never destroyed: handles may be given back at exit
    return world;
}

std::vector<Context>& context_stack() {
    thread_local std::vector<Context> stack;
    return stack;
}

Result misuse(const std::string& what, Result result) {
    const std::lock_guard lock(world().mutex);
    world().misuses.push_back(what);
    return result;
}

bool captures(const World& w) {
    for (const StreamTag* stream : w.streams)
        if (stream->capture && stream->captured_by == std::this_thread::get_id()) return true;
    return false;
}

bool is_pinned(const World& w, const void* at, size_t bytes) {
    const auto* first = static_cast<const std::byte*>(at);
    auto after = w.pinned.upper_bound(first);
    if (after == w.pinned.begin()) return false;
    const auto& [begin, size] = *--after;
    return first + bytes <= begin + size;
}

bool there(const World& w, Address address, size_t bytes) {
    auto after = w.memory.upper_bound(address);
    if (after == w.memory.begin()) return false;
    const auto& [begin, size] = *--after;
    return address + bytes <= begin + size;
}

void run(World& w, std::vector<Work>& pending) {
    for (Work& work : std::exchange(pending, {})) {
        if (w.lost != SUCCESS) return;
        try {
            work();
        } catch (const IllegalAddress& error) {
            misuse(error.what());
            w.lost = ILLEGAL_ADDRESS;
        } catch (const std::exception& error) {  // a kernel that is launched as it cannot be meant
            misuse(error.what());
            w.lost = LAUNCH_FAILED;
        }
    }
}

Result put(World& w, StreamHandle stream, Work work) {
    if (!w.streams.contains(stream)) return misuse("work on no stream", INVALID_HANDLE);
    if (stream->capture && stream->captured_by != std::this_thread::get_id())
        return misuse("work on a stream that another thread captures");
    (stream->capture ? stream->capture->nodes : stream->pending).push_back(std::move(work));
    return SUCCESS;
}

void* memory(Address address, size_t bytes) {
    if (!there(world(), address, bytes)) throw IllegalAddress("a kernel touches memory that is not there");
    return reinterpret_cast<void*>(address - NOT_OF_THE_HOST);
}

void add_kernel(const std::string& symbol, std::vector<size_t> argument_bytes,
                std::function<void(const Launch&)> function) {
    const std::lock_guard lock(world().mutex);
    world().kernels[symbol] = {std::move(argument_bytes), std::move(function)};
}

void reset(const Machine& machine) {
    World& w = world();
    const std::lock_guard lock(w.mutex);
    w.machine = machine;
    w.failures.clear();
    w.failing_kernels.clear();
    w.calls.clear();
    w.launches.clear();
    w.misuses.clear();
    w.lost = SUCCESS;
}

void fail(const std::string& function, Result result, size_t good) {
    const std::lock_guard lock(world().mutex);
    world().failures[function] = {good, result};
}

void fail_running(const std::string& symbol, Result result) {
    const std::lock_guard lock(world().mutex);
    world().failing_kernels[symbol] = result;
}

size_t calls(const std::string& function) {
    const std::lock_guard lock(world().mutex);
    return world().calls[function];
}

size_t launches(const std::string& symbol) {
    const std::lock_guard lock(world().mutex);
    return world().launches[symbol];
}

size_t device_bytes() {
    const std::lock_guard lock(world().mutex);
    size_t sum = 0;
    for (const auto& [address, bytes] : world().memory) sum += bytes;
    return sum;
}

size_t resources() {
    World& w = world();
    const std::lock_guard lock(w.mutex);
    return w.memory.size() + w.pinned.size() + w.modules.size() + w.streams.size() + w.graphs.size() +
           w.execs.size();
}

int contexts() {
    const std::lock_guard lock(world().mutex);
    return world().contexts;
}

size_t context_depth() { return context_stack().size(); }

std::vector<std::string> misuses() {
    const std::lock_guard lock(world().mutex);
    return world().misuses;
}

}  // namespace fake_cuda
