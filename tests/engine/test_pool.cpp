// The pool: every task once, one thread a worker number, exceptions, many callers, fork.
#include "pool.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check.hpp"
#include "cores.hpp"

namespace {

using vtr::Pool;
using vtr::Scratch;

// One call of `tasks` tasks, checked: each is done once, and a worker number and a scratch serve one thread at a
// time.
void run_checked(Pool* pool, size_t tasks) {
    const size_t workers = pool ? pool->threads() : 1;
    std::vector<std::atomic<int>> done(tasks), busy(workers);
    vtr::run(pool, tasks, [&](size_t task, size_t worker, Scratch& scratch) {
        CHECK(worker < workers);
        CHECK(busy[worker].fetch_add(1) == 0);
        size_t* mine = scratch.slot<size_t>(task % Scratch::SLOTS, 1 + task % 100);
        *mine = task;
        if (task % 8 == 0) std::this_thread::yield();
        CHECK(*mine == task);
        CHECK(reinterpret_cast<uintptr_t>(mine) % vtr::ALIGNMENT == 0);
        busy[worker].fetch_sub(1);
        done[task].fetch_add(1);
    });
    for (const auto& times : done) CHECK(times == 1);
}

void every_task_once() {
    for (const size_t tasks : {0, 1, 2, 7, 1000}) run_checked(nullptr, tasks);
    for (size_t threads = 1; threads <= 8; ++threads) {
        Pool pool(threads);
        CHECK(pool.threads() == threads);
        for (const size_t tasks : {0, 1, 2, 7, 1000})
            for (int repeat = 0; repeat < 3; ++repeat) run_checked(&pool, tasks);
    }
}

void threads_do_work_together() {  // two tasks that wait for each other end only on two threads
    Pool pool(2);
    std::atomic<int> here{0};
    pool.run(2, [&](size_t, size_t, Scratch&) {
        const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        for (++here; here < 2 && std::chrono::steady_clock::now() < give_up;) std::this_thread::yield();
        CHECK(here == 2);
    });
}

void exceptions() {
    for (const size_t threads : {0, 1, 2, 5}) {
        std::unique_ptr<Pool> pool = threads ? std::make_unique<Pool>(threads) : nullptr;
        for (int repeat = 0; repeat < 20; ++repeat) {
            std::atomic<size_t> begun{0};
            CHECK_THROWS(VTR_CORRUPT, vtr::run(pool.get(), 100000, [&](size_t task, size_t, Scratch&) {
                             ++begun;
                             if (task == 3) throw vtr::Error(VTR_CORRUPT, "of task 3");
                             if (threads > 1) std::this_thread::sleep_for(std::chrono::microseconds(20));
                         }));
            CHECK(begun >= 4 && begun < (threads > 1 ? 100000 : 5));  // the rest was dropped
        }
        CHECK_THROWS(VTR_IO, vtr::run(pool.get(), 50, [](size_t, size_t, Scratch&) {
                         throw vtr::Error(VTR_IO, "of every task");
                     }));
        run_checked(pool.get(), 100);  // it still works
    }
}

void many_callers() {
    Pool pool(3);
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 6; ++caller)
        callers.emplace_back([&, caller] {
            for (int repeat = 0; repeat < 30; ++repeat) {
                if (caller == 0)
                    CHECK_THROWS(VTR_IO, pool.run(9, [](size_t task, size_t, Scratch&) {
                        if (task % 2) throw vtr::Error(VTR_IO, "odd");
                    }));
                else
                    run_checked(&pool, 10 * caller);
            }
        });
    for (std::thread& caller : callers) caller.join();
}

void calls_inside_calls() {  // not promised, but it must not hang
    Pool pool(2);
    std::atomic<int> done{0};
    pool.run(4, [&](size_t, size_t, Scratch&) {
        pool.run(3, [&](size_t, size_t, Scratch&) { ++done; });
        vtr::run(nullptr, 3, [&](size_t, size_t, Scratch&) { ++done; });
    });
    CHECK(done == 24);
}

void scratch_is_kept() {
    std::vector<std::byte*> seen;
    for (int repeat = 0; repeat < 2; ++repeat)
        vtr::run(nullptr, 1,
                 [&](size_t, size_t, Scratch& scratch) { seen.push_back(scratch.slot<std::byte>(0, 999)); });
    CHECK(seen[0] == seen[1]);
}

void fork_leaves_a_working_pool() {
    auto* pool = new Pool(4);
    run_checked(pool, 100);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        std::atomic<int> done{0};
        pool->run(100, [&](size_t, size_t worker, Scratch&) { done += worker == 0; });
        delete pool;
        _exit(done == 100 ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    run_checked(pool, 100);
    delete pool;
}

void sizes() {
    CHECK(vtr::usable_cores() >= 1);
    CHECK(Pool(0).threads() == vtr::usable_cores());
    CHECK_THROWS(VTR_UNSUPPORTED, Pool(5000));
    CHECK_THROWS(VTR_UNSUPPORTED, Pool(SIZE_MAX));
}

}  // namespace

int main() {
    every_task_once();
    threads_do_work_together();
    exceptions();
    many_callers();
    calls_inside_calls();
    scratch_is_kept();
    fork_leaves_a_working_pool();
    sizes();
    CHECK_DONE();
}
