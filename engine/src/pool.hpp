// Threads that work on searches together.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "scratch.hpp"

namespace vtr {

class Pool {
  public:
    explicit Pool(
        size_t threads);  // the calling one included; 0: one a core (sched_getaffinity and cgroup heeded)
    ~Pool();
    Pool(const Pool&) = delete;

    size_t threads() const;

    // Call work(task, worker, scratch) for every task in [0, tasks), in any order, on this thread and idle ones.
    // worker < threads() is another number for every thread that works on this call at a time, for sums of its
    // own. Returns when all are done; the first exception of a task is thrown again, and tasks not begun are
    // dropped. May be called from many threads at once, but not from inside a task.
    void run(size_t tasks, const std::function<void(size_t task, size_t worker, Scratch& scratch)>& work);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

// The same on the calling thread alone, if pool is null.
void run(Pool* pool, size_t tasks, const std::function<void(size_t, size_t, Scratch&)>& work);

}  // namespace vtr
