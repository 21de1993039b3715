// TC-MGC scoring against the direct form in float64, on the same stored numbers.
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
#include "tcmgc_reference.hpp"
#include "vector_scorer.hpp"

using namespace vtr;
using namespace vtr::test;

namespace {

// ---- what is scored --------------------------------------------------------------------------------------------

std::vector<float> random(std::mt19937& engine, size_t count, double size, double centre = 0) {
    std::normal_distribution<double> normal(centre, size);
    std::vector<float> numbers(count);
    for (float& number : numbers) number = float(normal(engine));
    return numbers;
}

// Identities, as training starts with, and noise.
Tensors make_head(Sizes sizes, double noise, unsigned seed) {
    std::mt19937 engine(seed);
    const auto [F, L, D, K] = sizes;
    const auto square = [&](size_t n, double size) {
        std::vector<float> numbers = random(engine, n * n, size);
        for (size_t i = 0; i < n; ++i) numbers[i * n + i] += 1;
        return numbers;
    };
    Tensors head{{"logit_scale", {4.6051702f}}};  // exp: 100
    for (const char* name : {"global_mat_weight", "local_mat_weight"})
        head[name] = square(D, noise / std::sqrt(double(D)));
    for (const char* name : {"word_logit_weight", "word_mat_weight", "frame_word_mat_weight", "word_mat_weight2",
                             "frame_word_mat_weight2"})
        head[std::string("attentive_") + name] = square(K, noise);
    head["concat_frame_word_logit_weight"] = square(K + 1, noise);
    head["logit_weight"] = square(4, noise);
    for (const char* number : {"1", "2", "3"}) {
        head[POOL + "layer_norm" + number + ".weight"] = random(engine, D, noise, 1);
        head[POOL + "layer_norm" + number + ".bias"] = random(engine, D, noise);
    }
    head[POOL + "linear_proj.weight"] = random(engine, D * D, 1 / std::sqrt(double(D)));
    head[POOL + "linear_proj.bias"] = random(engine, D, noise);
    return head;
}

std::shared_ptr<const Scorer> make(const char* isa, Sizes sizes, const Tensors& head, Storage storage,
                                   Precision precision) {
    std::vector<vtr_array> arrays;
    for (const auto& [name, numbers] : head) {
        vtr_array array{name.c_str(), VTR_F32, 1, {int64_t(numbers.size())}, numbers.data()};
        if (name.find("mat_weight") != name.npos || name.find("logit_weight") != name.npos ||
            name == POOL + "linear_proj.weight") {
            array.ndim = 2;
            array.shape[0] = array.shape[1] = std::lround(std::sqrt(numbers.size()));
        }
        arrays.push_back(array);
    }
    const auto [F, L, D, K] = sizes;
    return make_tcmgc({"tcmgc", F, L, D, K, storage, precision, find_kernels(isa)}, Head(arrays));
}

struct Data {
    size_t texts, videos;
    std::vector<float> sentence, words, y;  // y [videos, F, D]: frames before LN1

    // Texts and videos share something, so that similarities differ; frames of a video resemble each other.
    Data(Sizes sizes, size_t texts, size_t videos, unsigned seed) : texts(texts), videos(videos) {
        std::mt19937 engine(seed);
        const auto [F, L, D, K] = sizes;
        const std::vector<float> common = random(engine, D, 1);
        sentence = random(engine, texts * D, 5);
        words = random(engine, texts * L * D, 3);
        y = random(engine, videos * F * D, 0.5);
        for (size_t row = 0; row < texts * L; ++row)
            for (size_t i = 0; i < D; ++i) words[row * D + i] += float(row % 7) * common[i];
        for (size_t video = 0; video < videos; ++video) {
            const std::vector<float> scene = random(engine, D, 1);
            for (size_t at = 0; at < F * D; ++at)
                y[video * F * D + at] += scene[at % D] + float(video % 3) * common[at % D];
        }
    }
};

struct Videos {  // the numbers that banks of a storage keep, and what comes out
    Storage storage;
    size_t count;
    std::vector<float> k, gram, video;
    Doubles expected;  // logits [text, video]
};

Videos expect(Sizes sizes, const Tensors& head, const Data& data, Storage storage) {
    const auto [F, L, D, K] = sizes;
    Videos videos{storage, data.videos, {}, {}, std::vector<float>(data.videos * D, 1), {}};
    std::vector<Matrix> all;
    for (size_t video = 0; video < data.videos; ++video) {
        Matrix frames;
        for (size_t f = 0; f < F; ++f) {
            const float* y = &data.y[(video * F + f) * D];
            Doubles row = layer_norm(Doubles(y, y + D), head.at(POOL + "layer_norm1.weight"),
                                     head.at(POOL + "layer_norm1.bias"));
            for (double& number : row)
                number =
                    storage == Storage::f16 ? from_f16(to_f16(float(number))) : from_bf16(to_bf16(float(number)));
            videos.k.insert(videos.k.end(), row.begin(), row.end());
            frames.push_back(row);
        }
        const std::vector<float> gram = gram_of(head, frames);
        videos.gram.insert(videos.gram.end(), gram.begin(), gram.end());
        all.push_back(frames);
    }
    const Reference reference{sizes, head};
    for (size_t text = 0; text < data.texts; ++text) {
        const float *sentence = &data.sentence[text * D], *word = &data.words[text * L * D];
        Matrix words;
        for (size_t i = 0; i < L; ++i) words.emplace_back(word + i * D, word + (i + 1) * D);
        for (const Matrix& frames : all)
            videos.expected.push_back(reference.logit(Doubles(sentence, sentence + D), words, frames));
    }
    return videos;
}

using Columns = std::vector<AlignedBytes>;

Columns pack(const Scorer& scorer, const Videos& videos) {
    const auto count = int64_t(videos.count), F = int64_t(scorer.options.frames), D = int64_t(scorer.options.dim);
    const vtr_array arrays[] = {{"frames", VTR_F32, 3, {count, F, D}, videos.k.data()},
                                {"gram", VTR_F32, 3, {count, 3 * F + 3, F}, videos.gram.data()},
                                {"video", VTR_F32, 2, {count, D}, videos.video.data()}};
    Columns columns;
    for (size_t column = 0; column < 3; ++column) {
        CHECK(scorer.columns[column].name == arrays[column].name);
        columns.push_back(aligned_bytes(videos.count * scorer.columns[column].row_bytes));
        scorer.pack(column, arrays[column], columns.back().get());
    }
    return columns;
}

// Logits [text, video], in blocks of `step` videos and parts of `part` texts.
std::vector<float> logits(const Scorer& scorer, const Query& query, const Columns& columns, size_t videos,
                          size_t step, size_t part) {
    std::vector<float> all(query.texts * videos);
    Scratch scratch;
    for (size_t row = 0; row < videos; row += step)
        for (size_t first = 0; first < query.texts; first += part) {
            const size_t count = std::min(step, videos - row), texts = std::min(part, query.texts - first);
            Block block{count, {}};
            for (size_t column = 0; column < 3; ++column)
                block.columns[column] = columns[column].get() + row * scorer.columns[column].row_bytes;
            std::vector<float> out(texts * count);
            scorer.score(query, first, texts, block, scratch, out.data());
            for (size_t text = 0; text < texts; ++text)
                std::copy_n(&out[text * count], count, &all[(first + text) * videos + row]);
        }
    return all;
}

// Of logits of scale 100, about 50 in size. Float32 similarities are within 5e-7, and isa at 100 of them makes
// little of that, as what is weighted alike is alike. In bfloat16 halves up to 2^-17 of each product is lost with
// random signs, which even out over D. `fast` keeps 2^-9 of each number.
double tolerance(const char* isa, Precision precision, size_t dim) {
    if (std::strcmp(isa, "amx") != 0) return 1e-4;
    if (precision == Precision::fast) return dim < 128 ? 0.5 : 0.1;
    return dim < 128 ? 2e-3 : 2e-4;
}

void compare(const char* isa, Precision precision, Sizes sizes, const Tensors& head, const Data& data,
             const Videos& videos, double tolerance) {
    const auto scorer = make(isa, sizes, head, videos.storage, precision);
    const Columns columns = pack(*scorer, videos);
    const auto query = scorer->prepare({data.texts, data.sentence.data(), data.words.data()});
    const auto got = logits(*scorer, *query, columns, videos.count, scorer->block_rows, data.texts);
    for (size_t i = 0; i < got.size(); ++i) CHECK_NEAR(got[i], videos.expected[i], tolerance);
    // Bit for bit, with a video alone or in another block.
    CHECK(logits(*scorer, *query, columns, videos.count, sizes.words < 32 ? 1 : 7, 1) == got);
}

void compare_everywhere(Sizes sizes, const Tensors& head, const Data& data, double factor = 1) {
    for (const Storage storage : {Storage::f16, Storage::bf16}) {
        const Videos videos = expect(sizes, head, data, storage);
        for (size_t i = 0; kernel_name(i); ++i)
            for (const Precision precision : {Precision::exact, Precision::fast})
                compare(kernel_name(i), precision, sizes, head, data, videos,
                        factor * tolerance(kernel_name(i), precision, sizes.dim));
    }
}

void test_shapes() {
    const Sizes many[] = {{1, 1, 16, 1},    {1, 2, 16, 1},    {3, 5, 48, 5},    {17, 16, 32, 7}, {5, 17, 32, 6},
                          {13, 40, 64, 33}, {64, 64, 64, 44}, {2, 77, 80, 77},  {4, 77, 16, 70}, {6, 50, 32, 8},
                          {12, 33, 48, 16}, {12, 32, 48, 31}, {12, 32, 48, 32}, {7, 48, 16, 24}};
    for (const Sizes& sizes : many) {
        const Tensors head = make_head(sizes, 0.1, 1);
        compare_everywhere(sizes, head, Data(sizes, sizes.words < 50 ? 2 : 1, 18, 2));
    }
    for (const size_t keep : {3, 22}) {
        const Sizes sizes{12, 32, 512, keep};
        Tensors head = make_head(sizes, 0.1, 3);
        compare_everywhere(sizes, head, Data(sizes, 1, 3, 4));
        if (keep == 22) continue;
        head.erase("logit_weight");  // then it is the identity
        compare_everywhere(sizes, head, Data(sizes, 1, 2, 5));
    }
}

// ---- awkward numbers -----------------------------------------------------------------------------------------

void test_awkward_videos() {
    const Sizes sizes{5, 19, 64, 8};
    const auto [F, L, D, K] = sizes;
    std::mt19937 engine(6);
    const std::vector<float> one = random(engine, D, 1), noise = random(engine, F * D, 1);
    const std::pair<float, float> affine[] = {{1e4f, 0}, {1e-4f, 0}, {1e-3f, 3}, {0, 2.5f},
                                              {0, 0},    {1, 100},   {1e-30f, 0}};
    Data data(sizes, 2, std::size(affine) + 4, 7);
    for (size_t at = 0; at < F * D; ++at) {
        const size_t f = at / D, i = at % D;
        const auto y = [&, at = at](size_t video) -> float& {
            return data.y[video * sizes.frames * sizes.dim + at];
        };
        for (size_t video = 0; video < std::size(affine); ++video)
            y(video) = affine[video].first * noise[at] + affine[video].second;
        y(std::size(affine)) = one[i];                               // all alike
        y(std::size(affine) + 1) = one[i] * (f % 2 ? 1.0f : -1.0f);  // opposite
        y(std::size(affine) + 2) = f == 0 ? noise[at] : 0;           // zero padding
        y(std::size(affine) + 3) = i == f ? 1e3f : 0;                // one hot
    }
    Tensors head = make_head(sizes, 0.1, 8);
    compare_everywhere(sizes, head, data);
    // Without biases nothing is left of frames that are all zero: a vector of no length.
    for (const char* bias : {"layer_norm1.bias", "layer_norm2.bias", "layer_norm3.bias", "linear_proj.bias"})
        std::fill(head[POOL + bias].begin(), head[POOL + bias].end(), 0.0f);
    compare_everywhere(sizes, head, data);
}

// Similarities beyond those of unit vectors, and isa that turns their order round: no softmax may overflow.
void test_large_similarities() {
    for (const size_t keep : {5, 9}) {
        const Sizes sizes{6, 20, 48, keep};
        Tensors head = make_head(sizes, 1, 13);
        for (float& number : head["local_mat_weight"]) number *= 10;
        for (const char* name : {"word_mat_weight", "frame_word_mat_weight"})  // the highest draw on the lowest
            std::reverse(head[std::string("attentive_") + name].begin(),
                         head[std::string("attentive_") + name].end());
        Data data(sizes, 2, 17, 14);
        compare_everywhere(sizes, head, data, 100);        // logits of 500
        for (size_t at = 0; at < data.words.size(); ++at)  // similarities below -1
            data.words[at] = 0.1f * data.words[at] - data.y[at % sizes.dim];
        for (size_t at = 0; at < data.y.size(); ++at) data.y[at] = data.y[at % sizes.dim] + 0.1f * data.y[at];
        compare_everywhere(sizes, head, data, 100);
    }
}

void test_awkward_texts() {
    const Sizes sizes{3, 18, 32, 9};
    const auto [F, L, D, K] = sizes;
    const Tensors head = make_head(sizes, 0.1, 9);
    const Data plain(sizes, 3, 4, 10);

    Data zero = plain;
    std::fill_n(zero.sentence.begin(), D, 0.0f);
    std::fill_n(zero.words.begin() + std::ptrdiff_t(L * D), 3 * D, 0.0f);
    compare_everywhere(sizes, head, zero);

    Data equal = plain;
    for (size_t row = 1; row < 3 * L; ++row) std::copy_n(&equal.words[0], D, &equal.words[row * D]);
    compare_everywhere(sizes, head, equal);

    for (const float size : {1e30f, 1e-10f, 1e-20f, 1e-38f}) {  // below 1e-12 a text counts as zero
        Data other = plain;
        for (float& number : other.sentence) number *= size;
        for (float& number : other.words) number *= size;
        compare_everywhere(sizes, head, other);
    }

    Data opposite = plain;  // similarities far below the zeros that pad lanes
    for (size_t row = 0; row < 3 * L; ++row)
        for (size_t i = 0; i < D; ++i) opposite.words[row * D + i] = -opposite.y[i] * (1 + 0.01f * float(row % 3));
    compare_everywhere(sizes, head, opposite);
}

// ---- the rest --------------------------------------------------------------------------------------------------

void test_refused() {
    const Sizes sizes{2, 3, 16, 2};
    Tensors head = make_head(sizes, 0.1, 11);
    const Data data(sizes, 1, 2, 12);
    const Videos videos = expect(sizes, head, data, Storage::f16);
    const auto scorer = make("auto", sizes, head, Storage::f16, Precision::exact);
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        Data texts = data;
        texts.words.back() = bad;
        CHECK_THROWS(VTR_NOT_FINITE, scorer->prepare({1, texts.sentence.data(), texts.words.data()}));
        Videos other = videos;
        other.k.back() = bad;
        CHECK_THROWS(VTR_NOT_FINITE, pack(*scorer, other));
        for (size_t at = 0; at < other.gram.size(); at += 5) {
            other = videos;
            other.gram[at] = bad;
            CHECK_THROWS(VTR_NOT_FINITE, pack(*scorer, other));
        }
    }
    Videos large = videos;  // twice this is not a number any more
    large.gram[1] = large.gram[2] = 3e38f;
    CHECK_THROWS(VTR_NOT_FINITE, pack(*scorer, large));
    for (const auto& [name, numbers] : Tensors(head)) {
        if (name == "logit_weight") continue;
        Tensors other = head;
        other.erase(name);
        CHECK_THROWS(VTR_INVALID_ARGUMENT, make("auto", sizes, other, Storage::f16, Precision::exact));
    }
}

}  // namespace

int main() {
    test_shapes();
    test_awkward_videos();
    test_awkward_texts();
    test_large_similarities();
    test_refused();
    CHECK_DONE();
}
