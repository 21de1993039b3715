#include "fake_cuda.hpp"

#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

using namespace vtr::cuda;

namespace {

constexpr Result INVALID_VALUE = 1, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, CAPTURE_UNSUPPORTED = 900,
                 CAPTURE_INVALIDATED = 901;
constexpr Address NOT_OF_THE_HOST = Address{1} << 60;  // added to make device addresses

using Work = std::function<void()>;

}  // namespace

// What handles point to.
namespace vtr::cuda {
struct ContextTag {};
struct ModuleTag {
    std::set<std::unique_ptr<FunctionTag>> functions;
};
struct FunctionTag {
    std::string symbol;
    std::vector<size_t> argument_bytes;
    size_t shared = 48 << 10;
};
struct StreamTag {
    std::vector<Work> pending;
    GraphTag* capture = nullptr;
    std::thread::id captured_by;
};
struct GraphTag {
    std::vector<Work> nodes;
    bool invalid = false;
};
struct GraphExecTag {
    std::vector<Work> nodes;
};
}  // namespace vtr::cuda

namespace {

struct Kernel {
    std::vector<size_t> argument_bytes;
    std::function<void(const fake_cuda::Launch&)> function;
};

struct Failure {
    size_t good;
    Result result;
};

struct World {
    std::recursive_mutex mutex;
    fake_cuda::Machine machine;
    std::map<std::string, Kernel> kernels;
    std::map<std::string, Failure> failures;
    std::map<std::string, Result> failing_kernels;
    std::map<std::string, size_t> calls, launches;
    std::map<Address, size_t> memory;
    std::map<const std::byte*, size_t> pinned;
    std::set<ModuleTag*> modules;
    std::set<StreamTag*> streams;
    std::set<GraphTag*> graphs;
    std::set<GraphExecTag*> execs;
    std::vector<std::string> misuses;
    ContextTag context;
    int contexts = 0;
    Result lost = SUCCESS;
};

World& world() {
    static World& world = *new World;  // never destroyed: handles may be given back at exit
    return world;
}

thread_local std::vector<Context> context_stack;

Result misuse(const std::string& what, Result result = INVALID_VALUE) {
    world().misuses.push_back(what);
    return result;
}

// The body of a call, between what all calls have in common.
enum class Needs { nothing, context, sound };  // a context; one whose device is not lost

template <class Body>
Result call(const char* name, Needs needs, Body body) {
    World& w = world();
    const std::lock_guard lock(w.mutex);
    ++w.calls[name];
    const auto failure = w.failures.find(name);
    if (failure != w.failures.end() && failure->second.good-- == 0) {
        const Result result = failure->second.result;
        w.failures.erase(failure);
        return result;
    }
    if (needs != Needs::nothing && (context_stack.empty() || context_stack.back() != &w.context))
        return misuse(std::string(name) + " without a context", INVALID_CONTEXT);
    if (needs == Needs::sound && w.lost != SUCCESS) return w.lost;
    return body(w);
}

bool captures(const World& w) {  // the calling thread
    for (const StreamTag* stream : w.streams)
        if (stream->capture && stream->captured_by == std::this_thread::get_id()) return true;
    return false;
}

// Calls that a thread may not make while it captures.
template <class Body>
Result unsafe_call(const char* name, Body body, Needs needs = Needs::sound) {
    return call(name, needs, [&](World& w) {
        if (captures(w)) return misuse(std::string(name) + " while capturing", CAPTURE_UNSUPPORTED);
        return body(w);
    });
}

// Giving back works on a lost device too: here, so that leaks can be told.
template <class Body>
Result unsafe_give_back(const char* name, Body body) {
    return unsafe_call(name, std::move(body), Needs::context);
}

void run(World& w, std::vector<Work>& pending) {
    for (Work& work : std::exchange(pending, {})) {
        if (w.lost != SUCCESS) return;
        try {
            work();
        } catch (const fake_cuda::IllegalAddress& error) {
            misuse(error.what());
            w.lost = ILLEGAL_ADDRESS;
        }
    }
}

// The work is done later, or becomes part of a graph.
Result put(World& w, StreamHandle stream, Work work) {
    if (!w.streams.contains(stream)) return misuse("work on no stream", INVALID_HANDLE);
    if (stream->capture && stream->captured_by != std::this_thread::get_id())
        return misuse("work on a stream that another thread captures");
    (stream->capture ? stream->capture->nodes : stream->pending).push_back(std::move(work));
    return SUCCESS;
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

void run_kernel(const std::string& symbol, const fake_cuda::Launch& launch) {
    World& w = world();
    ++w.launches[symbol];
    const auto failing = w.failing_kernels.find(symbol);
    if (failing != w.failing_kernels.end()) {
        w.lost = failing->second;
        w.failing_kernels.erase(failing);
        return;
    }
    w.kernels.at(symbol).function(launch);
}

template <class Handle>
Result give_back(const char* name, std::set<Handle*>& handles, Handle* handle) {
    return call(name, Needs::context, [&](World&) {
        if (handles.erase(handle) == 0) return misuse(std::string(name) + " of none", INVALID_HANDLE);
        delete handle;
        return SUCCESS;
    });
}

}  // namespace

namespace fake_cuda {

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

size_t context_depth() { return context_stack.size(); }

std::vector<std::string> misuses() {
    const std::lock_guard lock(world().mutex);
    return world().misuses;
}

}  // namespace fake_cuda

extern "C" {

Result cuInit(unsigned) {
    return call("cuInit", Needs::nothing, [](World& w) { return w.machine.devices == 0 ? NO_DEVICE : SUCCESS; });
}

Result cuGetErrorName(Result result, const char** name) {
    static const std::map<Result, const char*> names = {{INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
                                                        {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
                                                        {NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
                                                        {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
                                                        {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
                                                        {NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
                                                        {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
                                                        {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
                                                        {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"},
                                                        {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"}};
    const auto found = names.find(result);
    if (found == names.end()) return INVALID_VALUE;
    *name = found->second;
    return SUCCESS;
}

Result cuGetErrorString(Result, const char** text) {
    *text = "as the stand-in was told";
    return SUCCESS;
}

Result cuDeviceGetCount(int* count) {
    return call("cuDeviceGetCount", Needs::nothing, [&](World& w) { return *count = w.machine.devices, SUCCESS; });
}

Result cuDeviceGet(DeviceNumber* device, int ordinal) {
    return call("cuDeviceGet", Needs::nothing, [&](World& w) {
        if (ordinal < 0 || ordinal >= w.machine.devices) return INVALID_DEVICE;
        *device = 100 + ordinal;  // a number of the driver's own
        return SUCCESS;
    });
}

Result cuDeviceGetName(char* name, int size, DeviceNumber) {
    return call("cuDeviceGetName", Needs::nothing, [&](World&) {
        std::strncpy(name, "Stand-in GPU", static_cast<size_t>(size));
        return SUCCESS;
    });
}

Result cuDeviceGetAttribute(int* value, DeviceAttribute attribute, DeviceNumber device) {
    return call("cuDeviceGetAttribute", Needs::nothing, [&](World& w) {
        if (device < 100) return misuse("an ordinal taken for a device", INVALID_DEVICE);
        switch (attribute) {
            case COMPUTE_CAPABILITY_MAJOR:
                return *value = w.machine.major, SUCCESS;
            case COMPUTE_CAPABILITY_MINOR:
                return *value = w.machine.minor, SUCCESS;
            case MAX_SHARED_MEMORY_OPTIN:
                return *value = w.machine.shared, SUCCESS;
        }
        return INVALID_VALUE;
    });
}

Result cuDevicePrimaryCtxRetain(Context* context, DeviceNumber) {
    return call("cuDevicePrimaryCtxRetain", Needs::nothing, [&](World& w) {
        *context = &w.context;
        ++w.contexts;
        return SUCCESS;
    });
}

Result cuDevicePrimaryCtxRelease_v2(DeviceNumber) {
    return call("cuDevicePrimaryCtxRelease_v2", Needs::nothing, [](World& w) {
        if (--w.contexts == 0 && fake_cuda::resources() > 0) misuse("a context goes before what is in it");
        return w.contexts < 0 ? misuse("a context released too often") : SUCCESS;
    });
}

Result cuCtxPushCurrent_v2(Context context) {
    return call("cuCtxPushCurrent_v2", Needs::nothing, [&](World& w) {
        if (w.contexts == 0) return misuse("a context that is gone", INVALID_CONTEXT);
        return context_stack.push_back(context), SUCCESS;
    });
}

Result cuCtxPopCurrent_v2(Context* context) {
    return call("cuCtxPopCurrent_v2", Needs::nothing, [&](World&) {
        if (context_stack.empty()) return misuse("no context to pop", INVALID_CONTEXT);
        *context = context_stack.back();
        context_stack.pop_back();
        return SUCCESS;
    });
}

Result cuMemGetInfo_v2(size_t* free, size_t* total) {
    return call("cuMemGetInfo_v2", Needs::sound, [&](World& w) {
        *total = w.machine.memory;
        *free = w.machine.memory - fake_cuda::device_bytes();
        return SUCCESS;
    });
}

Result cuMemAlloc_v2(Address* address, size_t bytes) {
    return unsafe_call("cuMemAlloc_v2", [&](World& w) {
        if (bytes == 0) return misuse("an allocation of no bytes");
        if (bytes > w.machine.memory - fake_cuda::device_bytes()) return OUT_OF_MEMORY;
        void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
        std::memset(memory, 0xfe, bytes);  // NaN in every type: nothing that is not written is to be used
        *address = reinterpret_cast<Address>(memory) + NOT_OF_THE_HOST;
        w.memory[*address] = bytes;
        return SUCCESS;
    });
}

Result cuMemFree_v2(Address address) {
    return unsafe_give_back("cuMemFree_v2", [&](World& w) {
        if (!w.memory.contains(address)) return misuse("device memory freed that is not there");
        for (StreamTag* stream : w.streams) run(w, stream->pending);  // as the driver waits for the device
        w.memory.erase(address);
        std::free(reinterpret_cast<void*>(address - NOT_OF_THE_HOST));
        return w.lost;
    });
}

Result cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
    return unsafe_call("cuMemHostAlloc", [&](World& w) {
        if (bytes == 0) return misuse("an allocation of no bytes");
        *memory = std::malloc(bytes);
        std::memset(*memory, 0xfe, bytes);
        w.pinned[static_cast<std::byte*>(*memory)] = bytes;
        return SUCCESS;
    });
}

Result cuMemFreeHost(void* memory) {
    return unsafe_give_back("cuMemFreeHost", [&](World& w) {
        for (StreamTag* stream : w.streams) run(w, stream->pending);
        if (w.pinned.erase(static_cast<std::byte*>(memory)) == 0)
            return misuse("host memory freed that is not there");
        std::free(memory);
        return SUCCESS;
    });
}

Result cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, StreamHandle stream) {
    return call("cuMemcpyHtoDAsync_v2", Needs::sound, [&](World& w) {
        if (!there(w, to, bytes)) return misuse("a copy to memory that is not there");
        if (is_pinned(w, from, bytes))
            return put(w, stream, [=] { std::memcpy(fake_cuda::memory(to, bytes), from, bytes); });
        if (stream->capture) return misuse("a capture of memory that is not page-locked", CAPTURE_UNSUPPORTED);
        const auto* first = static_cast<const std::byte*>(from);
        std::vector<std::byte> staged(first, first + bytes);
        return put(w, stream, [=] { std::memcpy(fake_cuda::memory(to, bytes), staged.data(), bytes); });
    });
}

Result cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, StreamHandle stream) {
    return call("cuMemcpyDtoHAsync_v2", Needs::sound, [&](World& w) {
        if (!there(w, from, bytes)) return misuse("a copy from memory that is not there");
        if (!is_pinned(w, to, bytes)) return misuse("a copy to memory that is not page-locked");
        return put(w, stream, [=] { std::memcpy(to, fake_cuda::memory(from, bytes), bytes); });
    });
}

Result cuMemsetD8Async(Address to, unsigned char value, size_t bytes, StreamHandle stream) {
    return call("cuMemsetD8Async", Needs::sound, [&](World& w) {
        return put(w, stream, [=] { std::memset(fake_cuda::memory(to, bytes), value, bytes); });
    });
}

Result cuStreamCreate(StreamHandle* stream, unsigned flags) {
    return call("cuStreamCreate", Needs::sound, [&](World& w) {
        if (flags != STREAM_NON_BLOCKING) return misuse("a stream that waits for the default stream");
        w.streams.insert(*stream = new StreamTag);
        return SUCCESS;
    });
}

Result cuStreamDestroy_v2(StreamHandle stream) {
    const std::lock_guard lock(world().mutex);
    if (stream->capture) misuse("a stream destroyed while it is captured");
    if (world().lost == SUCCESS && !stream->pending.empty()) misuse("a stream destroyed before its work is done");
    return give_back("cuStreamDestroy_v2", world().streams, stream);
}

Result cuStreamSynchronize(StreamHandle stream) {
    return call("cuStreamSynchronize", Needs::sound, [&](World& w) {
        if (stream->capture) {
            stream->capture->invalid = true;
            return misuse("a wait while capturing", CAPTURE_UNSUPPORTED);
        }
        run(w, stream->pending);
        return w.lost;
    });
}

Result cuStreamBeginCapture_v2(StreamHandle stream, CaptureMode mode) {
    return call("cuStreamBeginCapture_v2", Needs::sound, [&](World& w) {
        if (stream->capture || mode != CAPTURE_THREAD_LOCAL) return misuse("a capture that cannot begin");
        w.graphs.insert(stream->capture = new GraphTag);
        stream->captured_by = std::this_thread::get_id();
        return SUCCESS;
    });
}

Result cuStreamEndCapture(StreamHandle stream, GraphHandle* graph) {
    const std::lock_guard lock(world().mutex);
    *graph = nullptr;
    const Result result = call("cuStreamEndCapture", Needs::sound, [&](World& w) {
        if (!stream->capture || stream->captured_by != std::this_thread::get_id())
            return misuse("the end of a capture that did not begin");
        if (stream->capture->invalid) return CAPTURE_INVALIDATED;
        *graph = std::exchange(stream->capture, nullptr);
        return w.lost;
    });
    if (stream->capture) {  // it ends in any case
        world().graphs.erase(stream->capture);
        delete std::exchange(stream->capture, nullptr);
    }
    return result;
}

Result cuGraphInstantiateWithFlags(GraphExecHandle* exec, GraphHandle graph, unsigned long long) {
    return call("cuGraphInstantiateWithFlags", Needs::sound, [&](World& w) {
        w.execs.insert(*exec = new GraphExecTag{graph->nodes});
        return SUCCESS;
    });
}

Result cuGraphLaunch(GraphExecHandle exec, StreamHandle stream) {
    return call("cuGraphLaunch", Needs::sound, [&](World& w) {
        if (!w.execs.contains(exec)) return misuse("a graph that is gone", INVALID_HANDLE);
        if (!w.streams.contains(stream)) return misuse("a graph on no stream", INVALID_HANDLE);
        stream->pending.insert(stream->pending.end(), exec->nodes.begin(), exec->nodes.end());
        return SUCCESS;
    });
}

Result cuGraphDestroy(GraphHandle graph) { return give_back("cuGraphDestroy", world().graphs, graph); }

Result cuGraphExecDestroy(GraphExecHandle exec) { return give_back("cuGraphExecDestroy", world().execs, exec); }

// An image is an ELF header with "sm_90" or so after it, or text that begins with ".version": PTX.
Result cuModuleLoadData(ModuleHandle* module, const void* image) {
    return unsafe_call("cuModuleLoadData", [&](World& w) {
        const char* text = static_cast<const char*>(image);
        if (std::strncmp(text, ".version", 8) != 0) {
            if (std::memcmp(text,
                            "\x7f"
                            "ELF",
                            4) != 0)
                return INVALID_IMAGE;
            int number = 0;
            for (const char* digit = text + 64 + 3; *digit >= '0' && *digit <= '9'; ++digit)
                number = 10 * number + *digit - '0';
            if (number / 10 != w.machine.major || number % 10 > w.machine.minor) return NO_BINARY_FOR_GPU;
        }
        w.modules.insert(*module = new ModuleTag);
        return SUCCESS;
    });
}

Result cuModuleUnload(ModuleHandle module) { return give_back("cuModuleUnload", world().modules, module); }

Result cuModuleGetFunction(FunctionHandle* function, ModuleHandle module, const char* name) {
    return call("cuModuleGetFunction", Needs::sound, [&](World& w) {
        const auto kernel = w.kernels.find(name);
        if (kernel == w.kernels.end()) return NOT_FOUND;
        auto made = std::make_unique<FunctionTag>(FunctionTag{name, kernel->second.argument_bytes});
        *function = made.get();
        module->functions.insert(std::move(made));
        return SUCCESS;
    });
}

Result cuFuncSetAttribute(FunctionHandle function, FunctionAttribute attribute, int value) {
    return call("cuFuncSetAttribute", Needs::sound, [&](World& w) {
        if (attribute != MAX_DYNAMIC_SHARED_MEMORY || value < 0 || value > w.machine.shared) return INVALID_VALUE;
        function->shared = static_cast<size_t>(value);
        return SUCCESS;
    });
}

Result cuLaunchKernel(FunctionHandle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared, StreamHandle stream, void** arguments,
                      void**) {
    return call("cuLaunchKernel", Needs::sound, [&](World& w) {
        if (grid_x == 0 || grid_y == 0 || grid_z == 0 || block_x == 0 || block_y != 1 || block_z != 1)
            return misuse("a launch of nothing");
        if (shared > function->shared) return misuse("more shared memory than was asked for");
        fake_cuda::Launch launch{{grid_x, grid_y, grid_z}, block_x, shared, {}};
        for (size_t i = 0; i < function->argument_bytes.size(); ++i) {
            const auto* first = static_cast<const std::byte*>(arguments[i]);
            launch.arguments.emplace_back(first, first + function->argument_bytes[i]);
        }
        const std::string& symbol = function->symbol;
        return put(w, stream, [symbol, launch] { run_kernel(symbol, launch); });
    });
}

}  // extern "C"
