// X-CLIP scoring against the direct form in float64, on the same stored numbers.
#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "half.hpp"
#include "head.hpp"
#include "vector_scorer.hpp"

using namespace vtr;

namespace {

// ---- the reference -----------------------------------------------------------------------------------------

using Doubles = std::vector<double>;
using Tensors = std::map<std::string, std::vector<float>>;

struct Sizes {
    size_t frames, words, dim;
};

// isa(a, M) = Σ_j (Σ_i sm(100·a)_i M_ij) · a_j
double isa(const Doubles& a, const std::vector<float>& matrix) {
    const size_t n = a.size();
    const double top = *std::max_element(a.begin(), a.end());
    double total = 0, result = 0;
    for (const double x : a) total += std::exp(100 * (x - top));
    for (size_t i = 0; i < n; ++i)
        for (size_t j = 0; j < n; ++j) result += std::exp(100 * (a[i] - top)) / total * matrix[i * n + j] * a[j];
    return result;
}

Doubles unit(const float* x, size_t dim) {
    double squares = 0;
    for (size_t i = 0; i < dim; ++i) squares += double(x[i]) * x[i];
    const double length = std::max(std::sqrt(squares), 1e-12);
    Doubles out(dim);
    for (size_t i = 0; i < dim; ++i) out[i] = x[i] / length;
    return out;
}

Doubles times(const Doubles& x, const std::vector<float>& matrix) {  // x @ matrix [D, D]
    Doubles out(x.size());
    for (size_t i = 0; i < x.size(); ++i)
        for (size_t j = 0; j < x.size(); ++j) out[j] += x[i] * matrix[i * x.size() + j];
    return out;
}

double dot(const Doubles& x, const float* y) {
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
    return sum;
}

struct Reference {  // a text
    const Sizes sizes;
    const Tensors& head;
    Doubles s, sG;
    std::vector<Doubles> w, wLm;

    Reference(Sizes sizes, const Tensors& head, const float* sentence, const float* words)
        : sizes(sizes), head(head), s(unit(sentence, sizes.dim)), sG(times(s, head.at("global_mat_weight"))) {
        for (size_t i = 0; i < sizes.words; ++i) {
            w.push_back(unit(words + i * sizes.dim, sizes.dim));
            wLm.push_back(times(w.back(), head.at("local_mat_weight")));
        }
    }

    double logit(const float* frames, const float* video) const {
        const size_t F = sizes.frames, L = sizes.words, D = sizes.dim;
        Doubles video_word(L), sentence_frame(F), c(F), r(L);
        for (size_t i = 0; i < L; ++i) video_word[i] = dot(w[i], video);
        for (size_t f = 0; f < F; ++f) sentence_frame[f] = dot(s, frames + f * D);
        std::vector<Doubles> A(L, Doubles(F));
        for (size_t i = 0; i < L; ++i)
            for (size_t f = 0; f < F; ++f) A[i][f] = dot(wLm[i], frames + f * D);
        for (size_t f = 0; f < F; ++f) {
            Doubles column(L);
            for (size_t i = 0; i < L; ++i) column[i] = A[i][f];
            c[f] = isa(column, head.at("word_mat_weight"));
        }
        for (size_t i = 0; i < L; ++i) r[i] = isa(A[i], head.at("frame_mat_weight"));
        const double frame_word = (isa(c, head.at("frame_mat_weight2")) + isa(r, head.at("word_mat_weight2"))) / 2;
        return std::exp(double(head.at("logit_scale")[0])) / 4 *
               (dot(sG, video) + isa(video_word, head.at("word_logit_weight")) +
                isa(sentence_frame, head.at("frame_logit_weight")) + frame_word);
    }
};

// ---- what is scored ------------------------------------------------------------------------------------------

class Random {
  public:
    explicit Random(unsigned seed) : engine_(seed) {}
    std::vector<float> operator()(size_t count, double size) {
        std::normal_distribution<double> normal(0, size);
        std::vector<float> numbers(count);
        for (float& number : numbers) number = float(normal(engine_));
        return numbers;
    }
    // An identity, as training starts with, and noise.
    std::vector<float> matrix(size_t n, double noise) {
        std::vector<float> numbers = (*this)(n * n, noise);
        for (size_t i = 0; i < n; ++i) numbers[i * n + i] += 1;
        return numbers;
    }

  private:
    std::mt19937 engine_;
};

Tensors make_head(Sizes sizes, double noise, unsigned seed) {
    Random random(seed);
    const auto [F, L, D] = sizes;
    Tensors head{{"logit_scale", {4.6051702f}}};  // exp: 100
    for (const char* name : {"global_mat_weight", "local_mat_weight"})
        head[name] = random.matrix(D, noise / std::sqrt(double(D)));
    for (const char* name : {"frame_logit_weight", "frame_mat_weight", "frame_mat_weight2"})
        head[name] = random.matrix(F, noise / std::sqrt(double(F)));
    for (const char* name : {"word_logit_weight", "word_mat_weight", "word_mat_weight2"})
        head[name] = random.matrix(L, noise / std::sqrt(double(L)));
    return head;
}

std::shared_ptr<const Scorer> make(const char* name, Sizes sizes, const Tensors& head, Storage storage,
                                   Precision precision) {
    std::vector<vtr_array> arrays;
    for (const auto& [name, numbers] : head) {
        vtr_array array{name.c_str(), VTR_F32, 1, {1}, numbers.data()};
        if (const auto side = int64_t(std::lround(std::sqrt(numbers.size()))); name != "logit_scale") {
            array.ndim = 2;
            array.shape[0] = array.shape[1] = side;
        }
        arrays.push_back(array);
    }
    const auto [F, L, D] = sizes;
    return make_xclip({"xclip", F, L, D, 0, storage, precision, find_kernels(name)}, Head(arrays));
}

struct Videos {
    size_t count;
    std::vector<float> frames, video;  // the stored numbers
    AlignedBytes packed[2];
};

Videos pack(const Scorer& scorer, const std::vector<float>& frames, const std::vector<float>& video) {
    const auto& options = scorer.options;
    const auto F = int64_t(options.frames), D = int64_t(options.dim);
    Videos videos{video.size() / options.dim, {}, {}, {}};
    const vtr_array arrays[] = {{"frames", VTR_F32, 3, {int64_t(videos.count), F, D}, frames.data()},
                                {"video", VTR_F32, 2, {int64_t(videos.count), D}, video.data()}};
    for (size_t column = 0; column < 2; ++column) {
        CHECK(scorer.columns[column].name == arrays[column].name);
        const size_t bytes = videos.count * scorer.columns[column].row_bytes;
        videos.packed[column] = aligned_bytes(bytes);
        scorer.pack(column, arrays[column], videos.packed[column].get());
        for (size_t at = 0; at < bytes; at += 2) {
            uint16_t half;
            std::memcpy(&half, videos.packed[column].get() + at, 2);
            const float number = options.storage == Storage::f16 ? from_f16(half) : from_bf16(half);
            (column == 0 ? videos.frames : videos.video).push_back(number);
        }
    }
    return videos;
}

// Logits [text][video], in blocks of `step` videos and parts of `part` texts.
std::vector<float> logits(const Scorer& scorer, const Query& query, const Videos& videos, size_t step,
                          size_t part) {
    std::vector<float> all(query.texts * videos.count);
    Scratch scratch;
    for (size_t slot = 0; slot < Scratch::SEARCH; ++slot)  // nothing left in it may reach a result
        std::fill_n(scratch.slot<float>(slot, 1 << 17), 1 << 17, std::numeric_limits<float>::quiet_NaN());
    for (size_t row = 0; row < videos.count; row += step)
        for (size_t first = 0; first < query.texts; first += part) {
            const size_t count = std::min(step, videos.count - row), texts = std::min(part, query.texts - first);
            Block block{count, {}};
            for (size_t column = 0; column < 2; ++column)
                block.columns[column] = videos.packed[column].get() + row * scorer.columns[column].row_bytes;
            std::vector<float> out(texts * count);
            scorer.score(query, first, texts, block, scratch, out.data());
            for (size_t text = 0; text < texts; ++text)
                std::copy_n(&out[text * count], count, &all[(first + text) * videos.count + row]);
        }
    return all;
}

struct Case {
    Sizes sizes;
    size_t texts, videos;
};

struct Data {  // texts and videos that have something in common, so that similarities differ
    std::vector<float> sentence, words, frames, video;
    Data(const Case& of, unsigned seed) {
        Random random(seed);
        const auto [F, L, D] = of.sizes;
        const auto common = random(D, 1);
        const auto mixed = [&](size_t rows, bool normal) {
            std::vector<float> numbers = random(rows * D, 1);
            for (size_t row = 0; row < rows; ++row) {
                const float share = float(row * 7 % 10) / 7;
                for (size_t i = 0; i < D; ++i) numbers[row * D + i] += share * common[i];
                if (!normal) continue;
                const Doubles n = unit(&numbers[row * D], D);
                std::copy(n.begin(), n.end(), &numbers[row * D]);
            }
            return numbers;
        };
        sentence = mixed(of.texts, false);
        words = mixed(of.texts * L, false);
        frames = mixed(of.videos * F, true);
        video = mixed(of.videos, true);
    }
};

void compare(const Scorer& scorer, Sizes sizes, const Tensors& head, const Data& data, size_t texts,
             double tolerance) {
    const auto [F, L, D] = sizes;
    const Videos videos = pack(scorer, data.frames, data.video);
    const auto query = scorer.prepare({texts, data.sentence.data(), data.words.data()});
    const auto got = logits(scorer, *query, videos, scorer.block_rows, texts);
    for (size_t text = 0; text < texts; ++text) {
        const Reference reference(sizes, head, &data.sentence[text * D], &data.words[text * L * D]);
        for (size_t video = 0; video < videos.count; ++video)
            CHECK_NEAR(got[text * videos.count + video],
                       reference.logit(&videos.frames[video * F * D], &videos.video[video * D]), tolerance);
    }
    CHECK(logits(scorer, *query, videos, 1, texts) == got);  // bit for bit
    CHECK(logits(scorer, *query, videos, std::min<size_t>(scorer.block_rows, 7), 3) == got);
}

// Of logits of scale 100. Float32 similarities are within 5e-7; softmax at 100 of them, and again at 100 of what
// comes out, makes up to ten times that of it. In bfloat16 halves up to 2^-17 of each product is lost with random
// signs, which even out over D. `fast` keeps 2^-9 of each number.
double tolerance(const char* isa, Precision precision, size_t dim) {
    const bool amx = std::strcmp(isa, "amx") == 0;
    if (amx && precision == Precision::fast) return dim < 128 ? 1 : 0.2;
    if (amx && dim < 128) return 4e-3;
    return dim < 128 ? 5e-4 : 4e-4;
}

void test_shapes(const char* isa) {
    const Case cases[] = {{{12, 32, 512}, 2, 18}, {{1, 1, 16}, 3, 5},   {{3, 5, 48}, 19, 18},
                          {{64, 64, 32}, 1, 3},   {{2, 77, 80}, 3, 17}, {{17, 16, 32}, 4, 3},
                          {{64, 1, 16}, 2, 9},    {{1, 77, 16}, 2, 17}};
    for (const Case& of : cases) {
        const Tensors head = make_head(of.sizes, 0.3, 1);
        const Data data(of, 2);
        for (const Storage storage : {Storage::f16, Storage::bf16})
            for (const Precision precision : {Precision::exact, Precision::fast}) {
                if (precision == Precision::fast && std::strcmp(isa, "amx") != 0) continue;  // the same code
                compare(*make(isa, of.sizes, head, storage, precision), of.sizes, head, data, of.texts,
                        tolerance(isa, precision, of.sizes.dim));
            }
    }
}

// ---- what few texts and videos look like ----------------------------------------------------------------------

void multiply(std::vector<float>& numbers, float factor) {
    for (float& number : numbers) number *= factor;
}

void test_adversarial(const char* isa) {
    const Case of{{5, 17, 32}, 6, 9};
    const auto [F, L, D] = of.sizes;
    Tensors head = make_head(of.sizes, 0.3, 3);
    const auto check = [&](const Data& data, double factor = 1) {
        compare(*make(isa, of.sizes, head, Storage::f16, Precision::exact), of.sizes, head, data, of.texts,
                factor * tolerance(isa, Precision::exact, D));
    };
    const Data plain(of, 4);

    Data zero = plain;  // a text's sentence, another's words, a video's vector, another's frames
    std::fill_n(zero.sentence.begin(), D, 0.0f);
    std::fill_n(zero.words.begin() + L * D, L * D, 0.0f);
    std::fill_n(zero.video.begin(), D, 0.0f);
    std::fill_n(zero.frames.begin() + F * D, F * D, 0.0f);
    check(zero);

    Data equal = plain;
    for (size_t row = 1; row < of.videos * F; ++row) std::copy_n(&equal.frames[0], D, &equal.frames[row * D]);
    for (size_t row = 1; row < of.texts * L; ++row) std::copy_n(&equal.words[0], D, &equal.words[row * D]);
    check(equal);

    Data opposite = equal;  // all similarities near -1, far below the zeros that pad lanes
    for (size_t row = 0; row < of.texts * L; ++row)
        for (size_t i = 0; i < D; ++i) opposite.words[row * D + i] = -opposite.frames[i] * (1 + 0.01f * (row % 3));
    for (size_t row = 0; row < of.texts; ++row)
        for (size_t i = 0; i < D; ++i) opposite.sentence[row * D + i] = -opposite.frames[i];
    check(opposite);

    for (const float size : {1e35f, 1e-10f, 1e-20f, 1e-38f}) {  // below 1e-12 a text counts as zero
        Data other = plain;
        multiply(other.sentence, size);
        multiply(other.words, size);
        check(other);
    }

    multiply(head["local_mat_weight"], 1e4f);  // similarities are not cosines then, but softmax must not overflow
    check(plain, 1e4);
    head = make_head(of.sizes, 0, 1);
    for (auto& [name, matrix] : head)
        if (name != "logit_scale") std::fill(matrix.begin(), matrix.end(), 0.0f);
    check(plain);
}

void test_preselect(const char* isa) {
    const Case of{{3, 4, 64}, 9, 30};
    const Tensors head = make_head(of.sizes, 0.3, 5);
    const Data data(of, 6);
    for (const size_t texts : {size_t(1), of.texts}) {
        const auto scorer = make(isa, of.sizes, head, Storage::f16, Precision::fast);
        const Videos videos = pack(*scorer, data.frames, data.video);
        const auto query = scorer->prepare({texts, data.sentence.data(), data.words.data()});
        std::vector<float> got(texts * of.videos);
        Scratch scratch;
        scorer->preselect(*query, {of.videos, {videos.packed[0].get(), videos.packed[1].get()}}, scratch,
                          got.data());
        for (size_t i = 0; i < got.size(); ++i) {
            const size_t text = i / of.videos, D = of.sizes.dim;
            const Reference reference(of.sizes, head, &data.sentence[text * D], &data.words[text * 4 * D]);
            CHECK_NEAR(got[i], dot(reference.sG, &videos.video[i % of.videos * D]), 1e-5);  // exact even so
        }
    }
}

void test_refused() {
    const Case of{{2, 3, 16}, 2, 1};
    Tensors head = make_head(of.sizes, 0.3, 7);
    const auto scorer = make("auto", of.sizes, head, Storage::f16, Precision::exact);
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        Data data(of, 8);
        data.words.back() = bad;
        CHECK_THROWS(VTR_NOT_FINITE, scorer->prepare({2, data.sentence.data(), data.words.data()}));
        data = Data(of, 8);
        data.sentence.back() = bad;
        CHECK_THROWS(VTR_NOT_FINITE, scorer->prepare({2, data.sentence.data(), data.words.data()}));
    }
    head["word_mat_weight3"] = {1};
    CHECK_THROWS(VTR_INVALID_ARGUMENT, make("auto", of.sizes, head, Storage::f16, Precision::exact));
    head.erase("word_mat_weight3");
    head["frame_mat_weight2"].resize(9);
    CHECK_THROWS(VTR_INVALID_ARGUMENT, make("auto", of.sizes, head, Storage::f16, Precision::exact));
}

}  // namespace

int main() {
    for (size_t i = 0; kernel_name(i); ++i) {
        test_shapes(kernel_name(i));
        test_adversarial(kernel_name(i));
        test_preselect(kernel_name(i));
    }
    test_refused();
    CHECK_DONE();
}
