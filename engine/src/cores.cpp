#include "cores.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace vtr {

namespace {

size_t affinity() {
#if defined(__linux__)
    for (int most = 1024; most <= 1 << 20; most *= 2) {  // the kernel refuses sets smaller than its own
        cpu_set_t* set = CPU_ALLOC(most);
        if (set == nullptr) break;
        const size_t bytes = CPU_ALLOC_SIZE(most);
        const bool known = sched_getaffinity(0, bytes, set) == 0;
        const int count = known ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (known) return count;
    }
#endif
    return std::thread::hardware_concurrency();  // 0 if unknown
}

// A file cpu.max says "quota period", or "max period" where there is no limit.
double cgroup_limit(const std::string& folder) {
    std::ifstream file(folder + "/cpu.max");
    double quota = 0, period = 0;
    if (file >> quota >> period && quota > 0 && period > 0) return quota / period;
    return HUGE_VAL;
}

// The least limit of this process's cgroup and those above it.
double cgroup_limits() {
    const std::string root = "/sys/fs/cgroup";
    double least = cgroup_limit(root);
    std::ifstream file("/proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {
        if (line.rfind("0::/", 0) != 0) continue;
        for (std::string path = line.substr(3); path.size() > 1; path.resize(path.rfind('/')))
            least = std::min(least, cgroup_limit(root + path));
    }
    return least;
}

}  // namespace

size_t usable_cores() {
    const double cores = std::min<double>(affinity(), std::ceil(cgroup_limits()));
    return std::max<size_t>(1, static_cast<size_t>(cores));
}

}  // namespace vtr
