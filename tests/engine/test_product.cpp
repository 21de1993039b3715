// Products of rows with probes, for every instruction set, against sums in float64.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "check.hpp"
#include "half.hpp"
#include "kernels/kernels.hpp"
#include "scratch.hpp"

using namespace vtr;

// The plain way: Σ row[k] * probe[k], and |row| |probe|, against which errors are measured.
struct Reference {
    double dot = 0, scale = 0;
    Reference(const float* row, const float* probe, size_t dim) {
        double row_square = 0, probe_square = 0;
        for (size_t k = 0; k < dim; ++k) {
            dot += static_cast<double>(row[k]) * probe[k];
            row_square += static_cast<double>(row[k]) * row[k];
            probe_square += static_cast<double>(probe[k]) * probe[k];
        }
        scale = std::sqrt(row_square) * std::sqrt(probe_square);
    }
};

// Float32 sums of up to 8192 numbers measure 3e-7 here. The matrix unit loses up to 2^-17 of either factor and the
// product of the low halves, 2^-16; `fast` rounds both factors to 8 bits, 2^-8 together.
static double tolerance(const Kernels& kernels, Precision precision) {
    if (std::strcmp(kernels.name, "amx") != 0) return 1e-6;
    return precision == Precision::exact ? 2.4e-5 : 0x1p-7;
}

static std::vector<const Kernels*> all_kernels() {
    std::vector<const Kernels*> found;
    while (const char* name = kernel_name(found.size())) found.push_back(find_kernels(name));
    return found;
}

// ---- rows as they are stored ---------------------------------------------------------------------------------

// Memory that ends where a page begins that must not be read.
class Guarded {
  public:
    explicit Guarded(size_t bytes) : bytes_(padded(bytes, PAGE) + PAGE) {
        memory_ = static_cast<std::byte*>(
            mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        CHECK(memory_ != MAP_FAILED && mprotect(memory_ + bytes_ - PAGE, PAGE, PROT_NONE) == 0);
        begin = memory_ + bytes_ - PAGE - bytes;
    }
    ~Guarded() { munmap(memory_, bytes_); }
    Guarded(const Guarded&) = delete;
    std::byte* begin;

  private:
    static constexpr size_t PAGE = 65536;  // a multiple of all pages
    size_t bytes_;
    std::byte* memory_;
};

struct Rows {
    size_t count, dim;
    Storage storage;
    std::vector<float> numbers;  // what is stored, exactly
    Guarded stored;
    size_t row_bytes() const { return dim * storage_bytes(storage); }
    const float* row(size_t index) const { return numbers.data() + index * dim; }

    template <class Number>
    Rows(size_t count, size_t dim, Storage storage, Number number)
        : count(count),
          dim(dim),
          storage(storage),
          numbers(count * dim),
          stored(count * dim * storage_bytes(storage)) {
        for (size_t i = 0; i < count * dim; ++i) {
            const float x = number(i);
            const uint16_t half = storage == Storage::f16 ? to_f16(x) : to_bf16(x);
            if (storage == Storage::f32) {
                std::memcpy(stored.begin + i * 4, &x, 4);
                numbers[i] = x;
            } else {
                std::memcpy(stored.begin + i * 2, &half, 2);
                numbers[i] = storage == Storage::f16 ? from_f16(half) : from_bf16(half);
            }
        }
    }
};

// ---- running a kernel, with every buffer as small as promised ------------------------------------------------

struct Buffer {  // 64-byte aligned, followed by bytes that must stay
    explicit Buffer(size_t bytes) : bytes(bytes), memory(aligned_bytes(bytes + MARGIN)) {
        std::memset(memory.get(), 0x5a, bytes + MARGIN);
    }
    ~Buffer() {
        CHECK(std::all_of(memory.get() + bytes, memory.get() + bytes + MARGIN,
                          [](std::byte byte) { return byte == std::byte{0x5a}; }));
    }
    static constexpr size_t MARGIN = 4096;
    size_t bytes;
    AlignedBytes memory;
};

struct Probes {
    size_t count, dim;
    Guarded memory;  // 64-byte aligned too, as dim is a multiple of 16
    Probes(size_t count, size_t dim) : count(count), dim(dim), memory(count * dim * sizeof(float)) {}
    template <class Number>
    Probes(size_t count, size_t dim, Number number) : Probes(count, dim) {
        for (size_t i = 0; i < count * dim; ++i) row(0)[i] = number(i);
    }
    float* row(size_t index) { return reinterpret_cast<float*>(memory.begin) + index * dim; }
    const float* row(size_t index) const { return reinterpret_cast<const float*>(memory.begin) + index * dim; }
};

// [count, padded(probes)] of rows [first, first + count).
static std::vector<float> multiply(const Kernels& kernels, const Rows& rows, size_t first, size_t count,
                                   const Probes& probes, Precision precision) {
    const ProductKernels& product = kernels.product;
    const size_t dim = rows.dim, lanes = padded(probes.count, LANES);
    Buffer packed(product.packed_bytes(probes.count, dim, precision));
    Buffer scratch(product.rows_bytes(count, dim, rows.storage, precision));
    Buffer out(padded(count, ROW_BLOCK) * lanes * sizeof(float));
    product.pack(probes.row(0), probes.count, dim, precision, packed.memory.get());
    const void* loaded = product.load_rows(rows.stored.begin + first * rows.row_bytes(), count, dim, rows.storage,
                                           precision, scratch.memory.get());
    float* sums = reinterpret_cast<float*>(out.memory.get());
    product.product(loaded, count, dim, rows.storage, precision, packed.memory.get(), probes.count, sums, {});
    return std::vector<float>(sums, sums + count * lanes);
}

// [vectors, count] of rows [first, first + count).
static std::vector<float> dots(const Kernels& kernels, const Rows& rows, size_t first, size_t count,
                               const Probes& vectors, size_t number) {
    Buffer out(number * count * sizeof(float));
    float* sums = reinterpret_cast<float*>(out.memory.get());
    kernels.product.dots(rows.stored.begin + first * rows.row_bytes(), count, rows.dim, rows.storage,
                         vectors.row(0), number, sums);
    return std::vector<float>(sums, sums + number * count);
}

static bool same_bits(const float* a, const float* b, size_t count) {
    return std::memcmp(a, b, count * sizeof(float)) == 0;
}

// ---- the tests -----------------------------------------------------------------------------------------------

static std::mt19937 generator(7);

// Mostly features as they come, with zeros, tiny, subnormal (of float16) and huge ones among them.
static float feature(size_t index) {
    const float x = std::uniform_real_distribution<float>(-1, 1)(generator);
    if (index % 101 == 0) return 0;
    if (index % 103 == 0) return x * 1e-6f;
    if (index % 1009 == 0) return x * 100;
    return x;
}

static Probes random_probes(size_t count, size_t dim) {
    return Probes(count, dim, [](size_t i) { return feature(i + 1); });
}

static void check_product(const Kernels& kernels, const Rows& rows, const Probes& probes, Precision precision) {
    const size_t lanes = padded(probes.count, LANES), pairs = rows.count * probes.count;
    const std::vector<float> out = multiply(kernels, rows, 0, rows.count, probes, precision);
    const double allowed = tolerance(kernels, precision);
    const size_t every = pairs / 2000 + 1;  // a sample, if there are many
    for (size_t pair = 0; pair < pairs; pair += every) {
        const size_t row = pair / probes.count, probe = pair % probes.count;
        const Reference reference(rows.row(row), probes.row(probe), rows.dim);
        CHECK_NEAR(out[row * lanes + probe], reference.dot, allowed * reference.scale);
    }
    for (size_t row = 0; row < rows.count; ++row)
        for (size_t lane = probes.count; lane < lanes; ++lane) CHECK(out[row * lanes + lane] == 0);
}

static void check_dots(const Kernels& kernels, const Rows& rows, const Probes& probes, size_t number) {
    const std::vector<float> out = dots(kernels, rows, 0, rows.count, probes, number);
    for (size_t row = 0; row < rows.count; row += rows.count / 100 + 1)
        for (size_t vector = 0; vector < number; ++vector) {
            const Reference reference(rows.row(row), probes.row(vector), rows.dim);
            CHECK_NEAR(out[vector * rows.count + row], reference.dot, 1e-6 * reference.scale);
        }
}

static void test_shapes() {
    struct Shape {
        size_t rows, dim, probes;
    };
    const Shape shapes[] = {{1, 16, 1},    {33, 16, 17},   {12, 48, 15},   {31, 48, 99},      {31, 512, 16},
                            {12, 512, 99}, {64, 512, 65},  {33, 768, 17},  {12, 1024, 234},   {5, 1040, 33},
                            {17, 8192, 1}, {33, 8192, 99}, {1, 8192, 234}, {64 * 77, 512, 17}};
    for (const Shape& shape : shapes)
        for (const Storage storage : {Storage::f16, Storage::bf16, Storage::f32}) {
            const Rows rows(shape.rows, shape.dim, storage, feature);
            const Probes probes = random_probes(shape.probes, shape.dim);
            for (const Kernels* kernels : all_kernels()) {
                for (const Precision precision : {Precision::exact, Precision::fast})
                    check_product(*kernels, rows, probes, precision);
                for (const size_t number : {1, 2, 3, 4, 5, 9})
                    if (number <= shape.probes) check_dots(*kernels, rows, probes, number);
            }
        }
}

// A row gives the same, bit for bit, wherever it stands, however many others and probes there are.
static void test_place() {
    for (const size_t dim : {16, 48, 512, 1040})
        for (const Storage storage : {Storage::f16, Storage::bf16, Storage::f32}) {
            constexpr size_t COUNT = 70, PROBES = 67;
            const Rows rows(COUNT, dim, storage, feature);
            const Probes probes = random_probes(PROBES, dim);
            Probes some(19, dim);
            std::memcpy(some.row(0), probes.row(37), some.count * dim * sizeof(float));
            for (const Kernels* kernels : all_kernels()) {
                for (const Precision precision : {Precision::exact, Precision::fast}) {
                    const std::vector<float> whole = multiply(*kernels, rows, 0, COUNT, probes, precision);
                    for (const size_t first : {0, 1, 13, 32})
                        for (const size_t count : {1, 6, 12, 16, 31, 33}) {
                            const std::vector<float> part =
                                multiply(*kernels, rows, first, count, some, precision);
                            for (size_t row = 0; row < count; ++row)
                                CHECK(same_bits(&part[row * 32], &whole[(first + row) * 80 + 37], some.count));
                        }
                }
                const std::vector<float> whole = dots(*kernels, rows, 0, COUNT, probes, 6);
                for (const size_t count : {1, 2, 3, 5, 11})
                    for (size_t number = 1; number <= 6; ++number) {
                        const std::vector<float> part = dots(*kernels, rows, 29, count, probes, number);
                        for (size_t vector = 0; vector < number; ++vector)
                            CHECK(same_bits(&part[vector * count], &whole[vector * COUNT + 29], count));
                    }
            }
        }
}

// Every number that rows can hold, alone in its sum: one in a thousand wrong bits would show.
static void test_every_number() {
    constexpr size_t DIM = 512;
    const Probes ones(DIM, DIM, [](size_t i) { return i % (DIM + 1) == 0 ? 1.0f : 0.0f; });
    for (const Storage storage : {Storage::f16, Storage::bf16}) {
        // Positive ones in even places, negative ones in odd ones; infinity and NaN are never stored.
        const uint32_t finite = storage == Storage::f16 ? 0x7c00 : 0x7f80;
        const Rows rows(2 * finite / DIM, DIM, storage, [&](size_t i) {
            const uint16_t half = static_cast<uint16_t>(i / 2 | (i % 2) << 15);
            return storage == Storage::f16 ? from_f16(half) : from_bf16(half);
        });
        for (const Kernels* kernels : all_kernels()) {
            const bool amx = std::strcmp(kernels->name, "amx") == 0;
            const double lost = amx ? 1.2e-38 : 0;  // the matrix unit takes subnormal bfloat16 as zero
            const std::vector<float> exact = multiply(*kernels, rows, 0, rows.count, ones, Precision::exact);
            const std::vector<float> fast = multiply(*kernels, rows, 0, rows.count, ones, Precision::fast);
            const std::vector<float> single = dots(*kernels, rows, 0, rows.count, ones, DIM);
            for (size_t i = 0; i < rows.numbers.size(); ++i) {
                const float number = rows.numbers[i];
                CHECK_NEAR(exact[i], number, lost);
                CHECK_NEAR(single[i % DIM * rows.count + i / DIM], number, 0);
                CHECK_NEAR(fast[i], amx ? from_bf16(to_bf16(number)) : number, lost);
            }
        }
    }
}

// Float32 as large as they come keep their sign and size: half of a number must not round to infinity.
static void test_huge() {
    constexpr size_t DIM = 32;
    constexpr float largest = 3.4028235e38f;
    const Rows rows(DIM, DIM, Storage::f32,
                    [&](size_t i) { return i % (DIM + 1) == 0 ? (i % 2 ? -largest : largest) : 0; });
    const Probes probes(1, DIM, [](size_t) { return 0.5f; }), huge(1, DIM, [](size_t) { return largest; });
    const Rows small(1, DIM, Storage::f32, [](size_t i) { return i == 3 ? 0.25f : 0; });
    for (const Kernels* kernels : all_kernels()) {
        const double allowed = tolerance(*kernels, Precision::exact);
        const std::vector<float> out = multiply(*kernels, rows, 0, DIM, probes, Precision::exact);
        for (size_t row = 0; row < DIM; ++row)
            CHECK_NEAR(out[row * LANES] / largest, row % 2 ? -0.5 : 0.5, allowed);
        CHECK_NEAR(multiply(*kernels, small, 0, 1, huge, Precision::exact)[0] / largest, 0.25, allowed);
    }
}

// A thread of the caller's may flush subnormal numbers to zero, as some numeric libraries switch it on: no float16
// and no sum of such becomes subnormal on the way.
static void test_flush_to_zero() {
#if defined(__SSE__)
    const unsigned before = _mm_getcsr();
    const Rows rows(3, 64, Storage::f16, [](size_t i) { return std::ldexp(static_cast<float>(i + 1), -24); });
    const Probes probes = random_probes(5, 64);
    for (const Kernels* kernels : all_kernels()) {
        const std::vector<float> normal = multiply(*kernels, rows, 0, 3, probes, Precision::exact);
        const std::vector<float> normal_dots = dots(*kernels, rows, 0, 3, probes, 5);
        _mm_setcsr(before | 0x8040);
        const std::vector<float> flushed = multiply(*kernels, rows, 0, 3, probes, Precision::exact);
        const std::vector<float> flushed_dots = dots(*kernels, rows, 0, 3, probes, 5);
        _mm_setcsr(before);
        CHECK(same_bits(normal.data(), flushed.data(), normal.size()));
        CHECK(same_bits(normal_dots.data(), flushed_dots.data(), normal_dots.size()));
    }
#endif
}

int main() {
    test_shapes();
    test_place();
    test_every_number();
    test_huge();
    test_flush_to_zero();
    CHECK_DONE();
}
