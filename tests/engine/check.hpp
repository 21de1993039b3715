// Checks for the tests of the core: each failure is printed, the test goes on, and main returns how it went.
//
//     int main() {
//         CHECK(1 + 1 == 2);
//         CHECK_NEAR(std::sqrt(2.0), 1.4142, 1e-4);
//         CHECK_THROWS(VTR_INVALID_ARGUMENT, refuse());
//         CHECK_DONE();
//     }
#pragma once

#include <atomic>
#include <cmath>
#include <cstdio>
#include <exception>

#include "error.hpp"

namespace vtr::test {

inline std::atomic<int>& failures() {
    static std::atomic<int> number{0};
    return number;
}

inline void check(bool good, const char* what, const char* file, int line) {
    if (good) return;
    if (failures().fetch_add(1) < 20) std::fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
}

inline void check_near(double got, double expected, double tolerance, const char* what, const char* file,
                       int line) {
    if (std::fabs(got - expected) <= tolerance || got == expected) return;  // NaN fails, equal infinities pass
    if (failures().fetch_add(1) < 20)
        std::fprintf(stderr, "%s:%d: %s is %.9g, expected %.9g within %.3g\n", file, line, what, got, expected,
                     tolerance);
}

template <class Function>
void check_throws(vtr_status status, Function&& function, const char* what, const char* file, int line) {
    try {
        function();
    } catch (const Error& error) {
        if (error.status == status) return;
        failures().fetch_add(1);
        std::fprintf(stderr, "%s:%d: %s threw status %d, expected %d: %s\n", file, line, what, error.status,
                     status, error.what());
        return;
    } catch (const std::exception& error) {
        failures().fetch_add(1);
        std::fprintf(stderr, "%s:%d: %s threw, but not vtr::Error: %s\n", file, line, what, error.what());
        return;
    }
    failures().fetch_add(1);
    std::fprintf(stderr, "%s:%d: %s did not throw, expected status %d\n", file, line, what, status);
}

inline int done() {
    if (failures() != 0) std::fprintf(stderr, "%d checks failed\n", failures().load());
    return failures() != 0;
}

}  // namespace vtr::test

#define CHECK(condition) ::vtr::test::check(static_cast<bool>(condition), #condition, __FILE__, __LINE__)
#define CHECK_NEAR(got, expected, tolerance) \
    ::vtr::test::check_near(got, expected, tolerance, #got, __FILE__, __LINE__)
#define CHECK_THROWS(status, expression) \
    ::vtr::test::check_throws(status, [&] { static_cast<void>(expression); }, #expression, __FILE__, __LINE__)
#define CHECK_DONE() return ::vtr::test::done()
