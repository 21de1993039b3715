// Rows of numbers in double precision, and what the plain formulas do with them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <vector>

namespace vtr::test {

using Row = std::vector<double>;
using Matrix = std::function<double(size_t, size_t)>;

inline constexpr double LAMBDA = 100;

inline double dot(const Row& a, const Row& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

inline Row scaled(Row x, double by) {
    for (double& number : x) number *= by;
    return x;
}

inline Row softmax(Row x) {
    const double most = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (double& number : x) sum += number = std::exp(number - most);
    return scaled(std::move(x), 1 / sum);
}

inline Row descending(Row x, size_t keep) {
    std::sort(x.begin(), x.end(), std::greater<>());
    x.resize(keep);
    return x;
}

// p @ M
inline Row times(const Row& p, const Matrix& matrix) {
    Row out(p.size());
    for (size_t i = 0; i < p.size(); ++i)
        for (size_t j = 0; j < p.size(); ++j) out[j] += p[i] * matrix(i, j);
    return out;
}

}  // namespace vtr::test
