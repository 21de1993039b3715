// What the stand-in driver knows, and what its calls have in common. Of the library alone: tests see
// fake_cuda.hpp.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "fake_cuda.hpp"

namespace fake_cuda {

using Work = std::function<void()>;

}  // namespace fake_cuda

// What handles point to.
namespace vtr::cuda {
struct ContextTag {};
struct ModuleTag {
    fake_cuda::Constants constants;
    std::set<std::unique_ptr<FunctionTag>> functions;
};
struct FunctionTag {
    std::string symbol;
    fake_cuda::Constants constants;
    std::vector<size_t> argument_bytes;
    size_t shared = 48 << 10;
};
struct StreamTag {
    std::vector<fake_cuda::Work> pending;
    GraphTag* capture = nullptr;
    std::thread::id captured_by;
};
struct GraphTag {
    std::vector<fake_cuda::Work> nodes;
    bool invalid = false;
};
struct GraphExecTag {
    std::vector<fake_cuda::Work> nodes;
};
}  // namespace vtr::cuda

namespace fake_cuda {

using namespace vtr::cuda;

inline constexpr Result INVALID_VALUE = 1, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, CAPTURE_UNSUPPORTED = 900,
                        CAPTURE_INVALIDATED = 901;
inline constexpr Address NOT_OF_THE_HOST = Address{1} << 60;  // added to make device addresses

struct Kernel {
    std::vector<size_t> argument_bytes;
    std::function<void(const Launch&)> function;
};

struct Failure {
    size_t good;
    Result result;
};

struct World {
    std::recursive_mutex mutex;
    Machine machine;
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

World& world();

std::vector<Context>& context_stack();  // of the calling thread

Result misuse(const std::string& what, Result result = INVALID_VALUE);

bool captures(const World& w);  // the calling thread

// `bytes` at `address` are part of one allocation of the device; of one of page-locked memory.
bool there(const World& w, Address address, size_t bytes);
bool is_pinned(const World& w, const void* at, size_t bytes);

// Does what is pending, unless the device is lost on the way.
void run(World& w, std::vector<Work>& pending);

// The work is done later, or becomes part of a graph.
Result put(World& w, StreamHandle stream, Work work);

enum class Needs { nothing, context, sound };  // of a call: a context; one whose device is not lost

// The body of a call, between what all calls have in common.
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
    if (needs != Needs::nothing && (context_stack().empty() || context_stack().back() != &w.context))
        return misuse(std::string(name) + " without a context", INVALID_CONTEXT);
    if (needs == Needs::sound && w.lost != SUCCESS) return w.lost;
    return body(w);
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

template <class Handle>
Result give_back(const char* name, std::set<Handle*>& handles, Handle* handle) {
    return call(name, Needs::context, [&](World&) {
        if (handles.erase(handle) == 0) return misuse(std::string(name) + " of none", INVALID_HANDLE);
        delete handle;
        return SUCCESS;
    });
}

}  // namespace fake_cuda
