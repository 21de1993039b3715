// What TC-MGC hands to the kernels of a GPU: the kernel's formulas (kernels/tcmgc.py), computed plainly from those
// arrays, give the logits of the scorer here.
#include <algorithm>
#include <functional>

#include "check.hpp"
#include "cuda/device_form.hpp"
#include "half.hpp"
#include "small_bank.hpp"

using namespace vtr;
using namespace vtr::test;

namespace {

using Row = std::vector<double>;

constexpr size_t F = FRAMES, L = WORDS, D = DIM, K = KEEP, W = 16, S = 2;  // W, S: as the kernel pads L and K
constexpr double LAMBDA = 100, EPS = 1e-5;

Row softmax(Row x) {
    const double most = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (double& number : x) sum += number = std::exp(number - most);
    for (double& number : x) number /= sum;
    return x;
}

Row scaled(Row x, double by) {
    for (double& number : x) number *= by;
    return x;
}

Row descending(Row x, size_t keep) {
    std::sort(x.begin(), x.end(), std::greater<>());
    x.resize(keep);
    return x;
}

using Matrix = std::function<double(size_t, size_t)>;

// Σ sm(λ·(sm(λ·a) @ M)) ∘ a
double isa(const Row& a, const Matrix& matrix) {
    const Row p = softmax(scaled(a, LAMBDA));
    Row t(a.size());
    for (size_t i = 0; i < a.size(); ++i)
        for (size_t j = 0; j < a.size(); ++j) t[j] += p[i] * matrix(i, j);
    t = softmax(scaled(t, LAMBDA));
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += t[i] * a[i];
    return sum;
}

struct Arrays {  // of one text and one video
    const float *probes, *offsets, *weights, *gram;
    std::vector<float> frames;

    Matrix square(size_t number) const {
        return [at = weights + number * S * S](size_t i, size_t j) { return at[i * S + j]; };
    }
    double scalar(size_t number) const { return weights[6 * S * S + 2 * S + number]; }
    double offset(size_t line, size_t j) const { return offsets[line * W + j]; }

    Row with_frames(size_t group, size_t j) const {  // every frame with one probe
        const float* probe = probes + (2 * W * (group / 2) + 2 * j + group % 2) * D;
        Row out(F);
        for (size_t f = 0; f < F; ++f)
            for (size_t i = 0; i < D; ++i) out[f] += double(frames[f * D + i]) * probe[i];
        return out;
    }
};

double dot(const Row& a, const Row& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

// What turns a·(k·p̂), e and d into p·n(z), of the attention a.
struct Factors {
    double product, e, d;
    double operator()(double products, double e_of, double d_of) const {
        return product * products + e * e_of + d * d_of;
    }
};

Factors factors(const Arrays& arrays, const Row& a) {
    const auto form = [&](size_t square) {
        double sum = 0;
        for (size_t f = 0; f < F; ++f)
            for (size_t g = 0; g < F; ++g) sum += a[f] * a[g] * arrays.gram[square * F * F + f * F + g];
        return std::max(sum, 0.0);
    };
    const auto line = [&](size_t number) {
        double sum = 0;
        for (size_t f = 0; f < F; ++f) sum += a[f] * arrays.gram[3 * F * F + number * F + f];
        return sum;
    };
    const double i2 = 1 / std::sqrt(form(0) + EPS);
    const double i3 = 1 / std::sqrt(std::max((form(1) * i2 + 2 * line(0)) * i2 + arrays.scalar(1), EPS));
    const double total =
        ((form(2) * i2 + 2 * line(1)) * i2 + arrays.scalar(2)) * i3 + 2 * (line(2) * i2 + arrays.scalar(3));
    const double inverse = 1 / std::sqrt(std::max(total * i3 + arrays.scalar(4), arrays.scalar(5)));
    return {i2 * i3 * inverse, i3 * inverse, inverse};
}

double frame_word(const Arrays& arrays, const std::vector<Row>& a, const std::vector<Factors>& of) {
    std::vector<Row> kept(L);  // [L frames, K words]
    for (size_t j = 0; j < L; ++j) {
        Row x(L);
        for (size_t i = 0; i < L; ++i)
            x[i] = of[j](dot(a[j], arrays.with_frames(1, i)), arrays.offset(0, i), arrays.offset(1, i));
        kept[j] = descending(x, K);
    }
    std::vector<Row> words(K), frames(K, Row(K));  // [words, frames], [frames, words]
    for (size_t word = 0; word < K; ++word) {
        Row x;
        for (const Row& row : kept) x.push_back(row[word]);
        words[word] = descending(x, K);
        for (size_t frame = 0; frame < K; ++frame) frames[frame][word] = words[word][frame];
    }
    Row c, r;
    for (const Row& row : frames) c.push_back(isa(row, arrays.square(2)));
    for (const Row& row : words) r.push_back(isa(row, arrays.square(3)));
    return (isa(c, arrays.square(5)) + isa(r, arrays.square(4))) / 2;
}

double sentence_frame(const Arrays& arrays, const std::vector<Row>& a, const std::vector<Factors>& of) {
    Row x(L);
    for (size_t j = 0; j < L; ++j)
        x[j] = of[j](dot(a[j], arrays.with_frames(3, 1)), arrays.offset(4, 0), arrays.offset(4, 1));
    x = descending(x, L);
    const Row rest(x.begin() + K, x.end());
    x.resize(K);
    x.push_back(dot(softmax(rest), rest));
    const float* edge = arrays.weights + 6 * S * S;
    return isa(x, [&](size_t i, size_t j) -> double {
        if (i < K && j < K) return arrays.square(1)(i, j);
        if (i == K && j == K) return arrays.scalar(0);
        return i == K ? edge[j] : edge[S + i];
    });
}

double logit(const Arrays& arrays) {
    std::vector<Row> a;
    std::vector<Factors> of;
    for (size_t j = 0; j < L; ++j) {
        a.push_back(softmax(arrays.with_frames(0, j)));
        of.push_back(factors(arrays, a.back()));
    }
    const Row s = softmax(arrays.with_frames(3, 0));
    const Factors of_sentence = factors(arrays, s);
    Row words(L);
    for (size_t j = 0; j < L; ++j)
        words[j] = of_sentence(dot(s, arrays.with_frames(2, j)), arrays.offset(2, j), arrays.offset(3, j));
    Row l = {of_sentence(dot(s, arrays.with_frames(3, 2)), arrays.offset(4, 2), arrays.offset(4, 3)),
             isa(descending(words, K), arrays.square(0)), sentence_frame(arrays, a, of),
             frame_word(arrays, a, of)};
    l = scaled(l, arrays.scalar(6));
    Row t(4);
    for (size_t i = 0; i < 4; ++i)
        for (size_t j = 0; j < 4; ++j) t[j] += l[i] * arrays.scalar(8 + 4 * i + j);
    return dot(softmax(t), l);
}

const PlainArray& named(const std::vector<PlainArray>& arrays, const char* name) {
    for (const PlainArray& array : arrays)
        if (array.name == name) return array;
    CHECK(false);
    return arrays.front();
}

void logits_are_the_scorers(unsigned seed) {
    constexpr size_t ROWS = 5, TEXTS = 2;
    const auto model = small_model("tcmgc");
    const Scorer& scorer = *model->scorer;
    Bank bank(model->scorer);
    const std::vector<Tensor> columns = small_columns("tcmgc", ROWS, seed);
    bank.append(ascending(ROWS, 0), arrays(columns));
    const std::vector<float> expected = scores(bank);  // of both texts of small_query

    std::mt19937 random(3);  // the same texts
    const Tensor sentence = random_tensor("", {2, DIM}, random),
                 words = random_tensor("", {2, WORDS, DIM}, random);
    const auto query = scorer.plain_query({TEXTS, sentence.numbers.data(), words.numbers.data()});
    const PlainParameters parameters = scorer.plain_parameters();
    const PlainArray &probes = named(query, "probes"), &offsets = named(query, "offsets");
    CHECK(probes.storage == Storage::f16 && probes.numbers.size() == TEXTS * 4 * W * D);
    CHECK(offsets.storage == Storage::f32 && offsets.numbers.size() == TEXTS * 5 * W);
    const std::vector<float>& weights = named(parameters.arrays, "weights").numbers;
    CHECK(weights.size() == 6 * S * S + 2 * S + 32);

    const auto form = cuda::device_columns(scorer);
    CHECK(form.size() == 2 && form[0].name == "frames" && !form[0].unpack && form[1].name == "gram");
    CHECK(form[1].row_bytes == (3 * F + 3) * F * sizeof(float));
    const Block block = bank.state()->parts[0].chunk->block(scorer, 0, ROWS);
    std::vector<float> grams(ROWS * (3 * F + 3) * F);
    form[1].unpack(scorer, block.columns[form[1].number], ROWS, reinterpret_cast<std::byte*>(grams.data()));
    for (const Tensor& column : columns)  // symmetric, and halves of doubles: the same bits come back
        if (column.name == "gram") CHECK(column.numbers == grams);

    const auto* halves = reinterpret_cast<const uint16_t*>(block.columns[form[0].number]);
    for (size_t text = 0; text < TEXTS; ++text)
        for (size_t row = 0; row < ROWS; ++row) {
            Arrays arrays{&probes.numbers[text * 4 * W * D],
                          &offsets.numbers[text * 5 * W],
                          weights.data(),
                          &grams[row * (3 * F + 3) * F],
                          {}};
            for (size_t i = 0; i < F * D; ++i) arrays.frames.push_back(from_f16(halves[row * F * D + i]));
            // λ = 100, twice and in three levels, enlarges the rounding of float32 similarities near 1.
            CHECK_NEAR(logit(arrays), expected[text * ROWS + row], 2e-3);
        }
}

}  // namespace

int main() {
    for (unsigned seed = 0; seed < 4; ++seed) logits_are_the_scorers(seed);
    CHECK_DONE();
}
