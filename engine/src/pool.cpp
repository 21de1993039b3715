#include "pool.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cores.hpp"
#include "error.hpp"

namespace vtr {

namespace {

using Work = std::function<void(size_t, size_t, Scratch&)>;

constexpr size_t MOST_THREADS = 4096;

// Scratch of calling threads, kept from call to call. Without locks, so that it works after fork(), whatever other
// threads were doing then.
class Spares {
  public:
    ~Spares() {
        for (auto& spare : spares_) delete spare.load();
    }

    std::unique_ptr<Scratch> take() {
        for (auto& spare : spares_)
            if (spare.load(std::memory_order_relaxed))
                if (Scratch* scratch = spare.exchange(nullptr)) return std::unique_ptr<Scratch>(scratch);
        return std::make_unique<Scratch>();
    }

    void give(std::unique_ptr<Scratch> scratch) {
        for (auto& spare : spares_) {
            Scratch* none = nullptr;
            if (spare.compare_exchange_strong(none, scratch.get())) {
                static_cast<void>(scratch.release());
                return;
            }
        }
    }

  private:
    std::atomic<Scratch*> spares_[32] = {};
};

class Borrowed {  // from spares, until the end of a call
  public:
    explicit Borrowed(Spares& spares) : spares_(spares), scratch_(spares.take()) {}
    ~Borrowed() { spares_.give(std::move(scratch_)); }
    Borrowed(const Borrowed&) = delete;
    Scratch& operator*() { return *scratch_; }

  private:
    Spares& spares_;
    std::unique_ptr<Scratch> scratch_;
};

Spares& spares_without_pool() {
    static Spares* spares = new Spares;  // never freed: threads may still search while the process exits
    return *spares;
}

void run_alone(Spares& spares, size_t tasks, const Work& work) {
    Borrowed scratch(spares);
    for (size_t task = 0; task < tasks; ++task) work(task, 0, *scratch);
}

struct Job {  // one call of `run`, on the stack of its caller
    const size_t tasks;
    const Work& work;
    std::atomic<size_t> next{0};
    size_t helpers = 0;        // at work on it; the pool's mutex guards this and `error`
    std::exception_ptr error;  // the first
    std::condition_variable left;

    bool begun() const { return next.load(std::memory_order_relaxed) >= tasks; }  // all of them
};

}  // namespace

struct Pool::State {
    const pid_t process = getpid();
    std::mutex mutex;
    std::condition_variable wake;
    std::vector<Job*> jobs;  // that may have tasks which are not begun
    size_t turn = 0;         // spreads helpers over them
    bool ending = false;
    std::vector<std::thread> threads;
    Spares spares;

    void help(size_t worker);
    void end();
    void work_on(Job& job, size_t worker, Scratch& scratch);
};

void Pool::State::work_on(Job& job, size_t worker, Scratch& scratch) {
    try {
        for (size_t task; (task = job.next.fetch_add(1, std::memory_order_relaxed)) < job.tasks;)
            job.work(task, worker, scratch);
    } catch (...) {
        job.next.store(job.tasks, std::memory_order_relaxed);
        const std::lock_guard lock(mutex);
        if (!job.error) job.error = std::current_exception();
    }
}

// The life of a thread of the pool.
void Pool::State::help(size_t worker) {
    Scratch scratch;
    std::unique_lock lock(mutex);
    for (;;) {
        std::erase_if(jobs, [](const Job* job) { return job->begun(); });
        if (jobs.empty()) {
            if (ending) return;
            wake.wait(lock);
            continue;
        }
        Job& job = *jobs[turn++ % jobs.size()];
        ++job.helpers;
        lock.unlock();
        work_on(job, worker, scratch);
        lock.lock();
        if (--job.helpers == 0) job.left.notify_one();  // with the lock held: the job is gone soon after
    }
}

void Pool::State::end() {
    {
        const std::lock_guard lock(mutex);
        ending = true;
    }
    wake.notify_all();
    for (std::thread& thread : threads) thread.join();
}

Pool::Pool(size_t threads) : state_(std::make_unique<State>()) {
    if (threads == 0) threads = std::min(usable_cores(), MOST_THREADS);
    if (threads > MOST_THREADS)
        throw Error(VTR_UNSUPPORTED, "expected at most " + std::to_string(MOST_THREADS) + " threads, got " +
                                         std::to_string(threads));
    state_->threads.reserve(threads - 1);
    sigset_t all, before;  // signals are for the threads of the program, not for these
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        for (size_t worker = 1; worker < threads; ++worker)
            state_->threads.emplace_back([state = state_.get(), worker] { state->help(worker); });
    } catch (const std::exception&) {  // std::system_error, or no memory to keep the thread in
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        const size_t started = state_->threads.size() + 1;
        state_->end();
        throw Error(VTR_OUT_OF_MEMORY, "the system gave " + std::to_string(started) + " of " +
                                           std::to_string(threads) + " threads: ask for fewer");
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Pool::~Pool() {
    // After fork() the child has none of the threads: waiting for them would never end, so what they used stays.
    if (state_->process != getpid())
        static_cast<void>(state_.release());
    else
        state_->end();
}

size_t Pool::threads() const { return state_->threads.size() + 1; }

void Pool::run(size_t tasks, const Work& work) {
    State& state = *state_;
    const size_t helpers = std::min(state.threads.size(), tasks > 0 ? tasks - 1 : 0);
    if (helpers == 0 || state.process != getpid()) return run_alone(state.spares, tasks, work);

    Borrowed scratch(state.spares);
    Job job{.tasks = tasks, .work = work, .error = {}, .left = {}};
    {
        const std::lock_guard lock(state.mutex);
        state.jobs.push_back(&job);
    }
    for (size_t i = 0; i < helpers; ++i) state.wake.notify_one();
    state.work_on(job, 0, *scratch);

    std::unique_lock lock(state.mutex);
    std::erase(state.jobs, &job);
    job.left.wait(lock, [&] { return job.helpers == 0; });
    if (job.error) std::rethrow_exception(job.error);
}

void run(Pool* pool, size_t tasks, const Work& work) {
    pool ? pool->run(tasks, work) : run_alone(spares_without_pool(), tasks, work);
}

}  // namespace vtr
