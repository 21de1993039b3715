// TC-MGC in its direct form, in float64 and a pair at a time, as the paper has it; and the column "gram" of a
// video. Nothing is shared with the core.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace vtr::test {

using Doubles = std::vector<double>;
using Matrix = std::vector<Doubles>;
using Tensors = std::map<std::string, std::vector<float>>;

struct Sizes {
    size_t frames, words, dim, keep;
};

inline const std::string POOL = "conditional_transformer.pool_frames.";

inline Doubles softmax(Doubles x) {
    if (x.empty()) return x;
    const double top = *std::max_element(x.begin(), x.end());
    double total = 0;
    for (double& number : x) total += number = std::exp(number - top);
    for (double& number : x) number /= total;
    return x;
}

inline double dot(const Doubles& x, const Doubles& y) {
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
    return sum;
}

inline Doubles unit(Doubles x) {
    const double length = std::max(std::sqrt(dot(x, x)), 1e-12);
    for (double& number : x) number /= length;
    return x;
}

inline Doubles layer_norm(Doubles x, const std::vector<float>& gain, const std::vector<float>& bias) {
    double mean = 0, variance = 0;
    for (const double number : x) mean += number / double(x.size());
    for (const double number : x) variance += (number - mean) * (number - mean) / double(x.size());
    for (size_t i = 0; i < x.size(); ++i) x[i] = (x[i] - mean) / std::sqrt(variance + 1e-5) * gain[i] + bias[i];
    return x;
}

inline Doubles times(const Doubles& x, const std::vector<float>& matrix) {  // x @ matrix [n, n]
    Doubles out(x.size());
    for (size_t i = 0; i < x.size(); ++i)
        for (size_t j = 0; j < x.size(); ++j) out[j] += x[i] * matrix[i * x.size() + j];
    return out;
}

inline Doubles best(Doubles x, size_t k) {
    std::sort(x.begin(), x.end(), std::greater<>());
    x.resize(k);
    return x;
}

inline double isa(const Doubles& a, const std::vector<float>& matrix) {
    const auto scaled = [](Doubles x) {
        for (double& number : x) number *= 100;
        return x;
    };
    return dot(softmax(scaled(times(softmax(scaled(a)), matrix))), a);
}

struct Reference {
    const Sizes sizes;
    const Tensors& head;

    // A query row pools frames k = LN1(y) [F, D] into one normalised vector.
    Doubles pool(const Doubles& query, const Matrix& k) const {
        const auto of = [&](const char* name) -> const std::vector<float>& { return head.at(POOL + name); };
        const Doubles q = layer_norm(query, of("layer_norm1.weight"), of("layer_norm1.bias"));
        Doubles attention, o(sizes.dim);
        for (const Doubles& frame : k) attention.push_back(dot(q, frame) / std::sqrt(double(sizes.dim)));
        attention = softmax(attention);
        for (size_t f = 0; f < k.size(); ++f)
            for (size_t i = 0; i < sizes.dim; ++i) o[i] += attention[f] * k[f][i];
        o = layer_norm(o, of("layer_norm2.weight"), of("layer_norm2.bias"));
        const std::vector<float>&weight = of("linear_proj.weight"), &bias = of("linear_proj.bias");
        Doubles u = o;
        for (size_t i = 0; i < sizes.dim; ++i) {
            u[i] += bias[i];
            for (size_t j = 0; j < sizes.dim; ++j) u[i] += weight[i * sizes.dim + j] * o[j];
        }
        return unit(layer_norm(u, of("layer_norm3.weight"), of("layer_norm3.bias")));
    }

    double frame_word(const Matrix& w, const Matrix& r) const {
        const size_t K = sizes.keep, L = sizes.words;
        Matrix mapped, a(K, Doubles(L));  // along words for every text-conditioned frame
        for (const Doubles& word : w) mapped.push_back(times(word, head.at("local_mat_weight")));
        for (size_t j = 0; j < L; ++j) {
            Doubles column;
            for (const Doubles& word : mapped) column.push_back(dot(word, r[j]));
            column = best(column, K);
            for (size_t i = 0; i < K; ++i) a[i][j] = column[i];
        }
        for (Doubles& row : a) row = best(row, K);
        Doubles c, by_word;
        for (size_t j = 0; j < K; ++j) {
            Doubles column;
            for (const Doubles& row : a) column.push_back(row[j]);
            c.push_back(isa(column, head.at("attentive_word_mat_weight")));
        }
        for (const Doubles& row : a) by_word.push_back(isa(row, head.at("attentive_frame_word_mat_weight")));
        return (isa(c, head.at("attentive_frame_word_mat_weight2")) +
                isa(by_word, head.at("attentive_word_mat_weight2"))) /
               2;
    }

    double logit(const Doubles& sentence, const Matrix& words, const Matrix& k) const {
        const size_t K = sizes.keep;
        const Doubles s = unit(sentence), v = pool(sentence, k);
        Matrix w, r;
        Doubles with_video, with_sentence;
        for (const Doubles& word : words) {
            w.push_back(unit(word));
            r.push_back(pool(word, k));
            with_video.push_back(dot(w.back(), v));
            with_sentence.push_back(dot(s, r.back()));
        }
        with_sentence = best(with_sentence, sizes.words);
        const Doubles rest(with_sentence.begin() + std::ptrdiff_t(K), with_sentence.end());
        with_sentence.resize(K);
        with_sentence.push_back(dot(softmax(rest), rest));
        Doubles four{dot(times(s, head.at("global_mat_weight")), v),
                     isa(best(with_video, K), head.at("attentive_word_logit_weight")),
                     isa(with_sentence, head.at("concat_frame_word_logit_weight")), frame_word(w, r)};
        for (double& score : four) score *= std::exp(double(head.at("logit_scale")[0]));
        const bool has = head.count("logit_weight");
        return dot(softmax(has ? times(four, head.at("logit_weight")) : four), four);
    }
};

// The column "gram" [3F + 3, F] of a video, as vtr/scoring/gram.py defines it.
inline std::vector<float> gram_of(const Tensors& head, const Matrix& k) {
    const size_t F = k.size(), D = k[0].size();
    const auto of = [&](const char* name) {
        return Doubles(head.at(POOL + name).begin(), head.at(POOL + name).end());
    };
    const Doubles g2 = of("layer_norm2.weight"), b2 = of("layer_norm2.bias"), g3 = of("layer_norm3.weight");
    const Doubles b3 = of("layer_norm3.bias"), weight = of("linear_proj.weight");
    const auto centred = [](Doubles x) {
        double mean = 0;
        for (const double number : x) mean += number / double(x.size());
        for (double& number : x) number -= mean;
        return x;
    };
    const auto mapped = [&](const Doubles& x) {  // A·x
        Doubles out = x;
        for (size_t i = 0; i < D; ++i)
            for (size_t j = 0; j < D; ++j) out[i] += weight[i * D + j] * x[j];
        return out;
    };
    const auto by = [](Doubles x, const Doubles& y) {
        for (size_t i = 0; i < x.size(); ++i) x[i] *= y[i];
        return x;
    };
    const Doubles bias = of("linear_proj.bias");
    Doubles c = mapped(b2);
    for (size_t i = 0; i < D; ++i) c[i] += bias[i];
    const Doubles cc = centred(c);
    Matrix kc, uc, ug;
    for (const Doubles& frame : k) {
        kc.push_back(centred(frame));
        uc.push_back(centred(mapped(by(kc.back(), g2))));
        ug.push_back(by(uc.back(), g3));
    }
    std::vector<float> gram;
    const std::pair<const Matrix*, double> squares[] = {{&kc, double(D)}, {&uc, double(D)}, {&ug, 1.0}};
    for (const auto& [rows, divisor] : squares)
        for (size_t f = 0; f < F; ++f)
            for (size_t g = 0; g < F; ++g) gram.push_back(float(dot((*rows)[f], (*rows)[g]) / divisor));
    for (size_t f = 0; f < F; ++f) gram.push_back(float(dot(uc[f], cc) / double(D)));
    for (size_t f = 0; f < F; ++f) gram.push_back(float(dot(ug[f], by(cc, g3))));
    for (size_t f = 0; f < F; ++f) gram.push_back(float(dot(ug[f], b3)));
    return gram;
}

}  // namespace vtr::test
