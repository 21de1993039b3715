// Which instruction sets there are, how they are named, and that each runs on every thread.
#include <cstring>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "kernels/kernels.hpp"
#include "scratch.hpp"

using namespace vtr;

static std::vector<std::string> names() {
    std::vector<std::string> found;
    while (const char* name = kernel_name(found.size())) found.push_back(name);
    return found;
}

static void test_names() {
    const std::vector<std::string> found = names(), order = {"amx", "avx512", "avx2", "portable"};
    CHECK(!found.empty() && found.back() == "portable");
    size_t place = 0;  // best first: what is found keeps the order
    for (const std::string& name : found) {
        while (place < order.size() && order[place] != name) ++place;
        CHECK(place < order.size());
    }
    CHECK(kernel_name(found.size()) == nullptr && kernel_name(SIZE_MAX) == nullptr);
    CHECK(names() == found);
}

static void test_tables() {
    for (const std::string& name : names()) {
        const Kernels* kernels = find_kernels(name.c_str());
        CHECK(kernels != nullptr && kernels->name == name);
        CHECK(kernels == find_kernels(name.c_str()));
        for (const std::string& other : names())
            CHECK((find_kernels(other.c_str()) == kernels) == (other == name));
    }
    CHECK(find_kernels("auto") == find_kernels(kernel_name(0)));
    CHECK(find_kernels(nullptr) == find_kernels(kernel_name(0)));
    for (const char* unknown : {"", "AMX", "avx", "avx2 ", "neon", "automatic"})
        CHECK(find_kernels(unknown) == nullptr);
}

// 1 * 1 + 2 * 2 + … with rows and probes of the numbers 1 to 16.
static float squares(const Kernels& kernels) {
    constexpr size_t DIM = 16;
    const ProductKernels& product = kernels.product;
    AlignedBytes row = aligned_bytes(DIM * sizeof(float)), out = aligned_bytes(ROW_BLOCK * LANES * sizeof(float));
    float* numbers = reinterpret_cast<float*>(row.get());
    for (size_t i = 0; i < DIM; ++i) numbers[i] = static_cast<float>(i + 1);
    AlignedBytes packed = aligned_bytes(product.packed_bytes(1, DIM, Precision::exact));
    AlignedBytes scratch = aligned_bytes(product.rows_bytes(1, DIM, Storage::f32, Precision::exact) + 1);
    product.pack(numbers, 1, DIM, Precision::exact, packed.get());
    const void* loaded = product.load_rows(numbers, 1, DIM, Storage::f32, Precision::exact, scratch.get());
    float* sums = reinterpret_cast<float*>(out.get());
    product.product(loaded, 1, DIM, Storage::f32, Precision::exact, packed.get(), 1, sums, {});
    return sums[0];
}

// A thread that was there before the processor was asked may use what was granted afterwards.
static void test_threads() {
    std::promise<void> asked;
    std::vector<float> early;
    std::thread thread([&] {
        asked.get_future().wait();
        for (const std::string& name : names()) early.push_back(squares(*find_kernels(name.c_str())));
    });
    const size_t number = names().size();
    asked.set_value();
    thread.join();
    CHECK(early.size() == number);
    for (const float sum : early) CHECK(sum == 16 * 17 * 33 / 6);
    std::vector<std::thread> threads;
    std::vector<float> sums(8);
    for (float& sum : sums) threads.emplace_back([&sum] { sum = squares(*find_kernels("auto")); });
    for (std::thread& each : threads) each.join();
    for (const float sum : sums) CHECK(sum == 16 * 17 * 33 / 6);
}

int main() {
    test_threads();  // first: it asks
    test_names();
    test_tables();
    CHECK_DONE();
}
