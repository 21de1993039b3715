// Searching a device's memory: graphs, what fails on the way, threads beside a writer, the C interface.
#include <stdlib.h>

#include <atomic>
#include <thread>

#include "device_cases.hpp"

using namespace vtr;
using namespace vtr::test;
using cuda::DeviceBank;

namespace {

struct Case {
    FakeBundle bundle;
    std::mt19937 random{5};
    std::shared_ptr<Bank> bank = whole_bank();
    std::unique_ptr<DeviceBank> device_bank;

    explicit Case(size_t videos = 150, size_t slab = 64) {
        fake_cuda::reset();
        bundle.write();
        append_whole(*bank, random, videos, 0);
        device_bank = std::make_unique<DeviceBank>(open_device(), bank, bundle.folder, slabs_of(slab));
    }
    void check_search(size_t texts = 2, SearchOptions options = {.k = 4}) {
        const std::vector<float> sentences = whole_sentences(random, texts);
        CHECK(search_device(*device_bank, sentences, options) == search_host(*bank, sentences, options));
    }
};

void graph_is_replayed() {
    Case test;
    test.check_search();  // launched one by one: 3 slabs, two kernels each
    CHECK(fake_cuda::calls("cuLaunchKernel") == 6 && fake_cuda::calls("cuGraphLaunch") == 0);
    test.check_search();  // captured
    CHECK(fake_cuda::calls("cuLaunchKernel") == 12 && fake_cuda::calls("cuGraphLaunch") == 1);
    for (int repeat = 0; repeat < 5; ++repeat) test.check_search();  // with other texts every time
    test.check_search(2, {.k = 1});                                  // k is cut on the host
    CHECK(fake_cuda::calls("cuLaunchKernel") == 12 && fake_cuda::calls("cuGraphLaunch") == 7);
    CHECK(fake_cuda::calls("cuGraphInstantiateWithFlags") == 1);
    CHECK(fake_cuda::launches("fake_holistic") == 3 * 8 && fake_cuda::launches("fake_topk") == 3 * 8);

    test.check_search(1);  // another shape
    CHECK(fake_cuda::calls("cuLaunchKernel") == 18 && fake_cuda::calls("cuGraphLaunch") == 7);
    const std::vector<int64_t> only = {1, 2, 149};  // two slabs
    test.check_search(1, {.k = 2, .only = only});
    CHECK(fake_cuda::calls("cuLaunchKernel") == 22 && fake_cuda::calls("cuGraphLaunch") == 7);
    test.bank->remove(only);
    test.device_bank->update();  // another state: nothing of the old graph is used
    test.check_search(1);
    CHECK(fake_cuda::calls("cuGraphLaunch") == 7);
    for (int repeat = 0; repeat < 2; ++repeat) test.check_search(1);
    CHECK(fake_cuda::calls("cuGraphLaunch") == 9);
    CHECK(fake_cuda::calls("cuMemHostAlloc") <= 4);  // of the smaller and the larger shape
}

void many_texts() {
    Case test;
    for (const size_t texts : {63, 64, 65, 200}) {
        test.check_search(texts);
        test.check_search(texts, {.k = 7});
    }
}

// Calls that fail once: the caller hears of it, the outputs are untouched, the next search is right.
void passing_failures() {
    Case test;
    const std::vector<float> sentences = whole_sentences(test.random, 2);
    for (const size_t k : {4, 7})
        for (const char* function :
             {"cuMemAlloc_v2", "cuMemHostAlloc", "cuStreamCreate", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2",
              "cuLaunchKernel", "cuStreamSynchronize", "cuStreamBeginCapture_v2", "cuStreamEndCapture",
              "cuGraphInstantiateWithFlags", "cuGraphLaunch", "cuCtxPushCurrent_v2"}) {
            size_t failures = 0;
            for (size_t good = 0; good < 12; ++good) {
                fake_cuda::reset();
                DeviceBank bank(open_device(), test.bank, test.bundle.folder, slabs_of(64));
                fake_cuda::fail(function, 701, good);
                for (int repeat = 0; repeat < 3; ++repeat) {  // one by one, captured, replayed
                    Answer answer(2, k);
                    try {
                        bank.search({2, sentences.data(), nullptr}, {.k = k}, answer.ids.data(),
                                    answer.scores.data(), answer.found.data());
                        CHECK(answer == search_host(*test.bank, sentences, {.k = k}));
                    } catch (const Error& error) {
                        ++failures;
                        CHECK(error.status == VTR_DEVICE);
                        CHECK(std::string(error.what()).find("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES") !=
                              std::string::npos);
                        CHECK(answer == Answer(2, k));
                    }
                }
                fake_cuda::reset();
                CHECK(search_device(bank, sentences, {.k = k}) == search_host(*test.bank, sentences, {.k = k}));
            }
            const bool graphs = std::string(function).find("Graph") != std::string::npos ||
                                std::string(function).find("Capture") != std::string::npos;
            if (k == 4 || !graphs) CHECK(failures > 0);
        }
}

void broken_kernel_loses_the_device() {
    for (const char* symbol : {"fake_holistic", "fake_topk"})
        for (int replays = 0; replays < 3; ++replays) {
            Case test;
            for (int replay = 0; replay < replays; ++replay) test.check_search();
            fake_cuda::fail_running(symbol, cuda::LAUNCH_FAILED);
            const std::vector<float> sentences = whole_sentences(test.random, 2);
            const auto search = [&] { search_device(*test.device_bank, sentences, {.k = 4}); };
            CHECK_THROWS(VTR_DEVICE, search());
            CHECK_THROWS(VTR_DEVICE, search());
            append_whole(*test.bank, test.random, 10, 1000);
            CHECK_THROWS(VTR_DEVICE, test.device_bank->update());
            CHECK(test.device_bank->count() == 150);
            try {
                search();
            } catch (const Error& error) {
                CHECK(std::string(error.what()).find("lost to this process since CUDA_ERROR_LAUNCH_FAILED") !=
                      std::string::npos);
            }
            test.device_bank = nullptr;
            check_clean();
        }
}

void wrong_answers_of_a_kernel_are_refused() {
    Case test;
    fake_cuda::add_kernel("fake_topk", {8, 8, 4, 4, 4, 8}, [](const fake_cuda::Launch& launch) {
        fake_topk(launch);
        *launch.array<int64_t>(1, 1) = plain_key(1, 1 << 20);
    });
    CHECK_THROWS(VTR_DEVICE, search_device(*test.device_bank, whole_sentences(test.random, 1), {.k = 1}));
    add_fake_kernels();
    fake_cuda::add_kernel("fake_holistic", {8, 8, 4, 8, 4, 8, 8}, [](const fake_cuda::Launch& launch) {
        fake_holistic(launch);
        launch.array<float>(3, 2)[1] = NAN;  // passed over, as on the host
    });
    for (const size_t k : {4, 150}) {
        const Answer answer = search_device(*test.device_bank, whole_sentences(test.random, 1), {.k = k});
        for (const float score : answer.scores) CHECK(score == score);
        for (const int64_t id : answer.ids) CHECK(id % 64 != 1);
    }
    add_fake_kernels();
}

// One kernel that scores and chooses, as kernels/holistic.py has it; more than it finds are ranked here.
void fused_kernel() {
    fake_cuda::reset();
    FakeBundle bundle;
    bundle.fused = true;
    bundle.write();
    std::mt19937 random(6);
    const auto bank = whole_bank();
    append_whole(*bank, random, 150, 0);
    DeviceBank device_bank(open_device(), bank, bundle.folder, slabs_of(64));
    const auto same = [&](size_t texts, size_t k) {
        const std::vector<float> sentences = whole_sentences(random, texts);
        CHECK(search_device(device_bank, sentences, {.k = k}) == search_host(*bank, sentences, {.k = k}));
    };
    for (const size_t texts : {1, 3, 70})
        for (int repeat = 0; repeat < 3; ++repeat) same(texts, 4);
    CHECK(fake_cuda::launches("fake_holistic") == 0);
    for (const size_t texts : {1, 3, 70}) same(texts, 5);
    CHECK(fake_cuda::launches("fake_holistic") > 0);
    const std::vector<int64_t> gone = {7, 8, 9, 70};
    bank->remove(gone);
    device_bank.update();
    for (const size_t k : {1, 4, 5}) same(3, k);
}

// So many keys that the device merges them: of a slab of 3,000 rows 94 blocks of 4, which become 24 of 4, then 6.
void keys_are_merged_on_the_device() {
    for (const bool fused : {false, true}) {
        std::vector<size_t> merges;
        for (const bool merge : {false, true}) {
            fake_cuda::reset();
            FakeBundle bundle;
            bundle.fused = fused;
            bundle.merge = merge;
            bundle.write();
            std::mt19937 random(7);
            const auto bank = whole_bank();
            append_whole(*bank, random, 3500, 0);
            DeviceBank device_bank(open_device(), bank, bundle.folder, slabs_of(3008));
            std::vector<int64_t> odd;
            for (int64_t id = 1; id < 3500; id += 2) odd.push_back(id);
            const auto same = [&](size_t texts, SearchOptions options) {
                const std::vector<float> sentences = whole_sentences(random, texts);
                const size_t before = fake_cuda::launches("fake_merge");
                CHECK(search_device(device_bank, sentences, options) == search_host(*bank, sentences, options));
                merges.push_back(fake_cuda::launches("fake_merge") - before);
            };
            for (int repeat = 0; repeat < 3; ++repeat) same(64, {.k = 4});  // one by one, captured, replayed
            same(65, {.k = 3});
            same(1, {.k = 4});
            same(64, {.k = 4, .only = odd});
            bank->remove(std::span(odd).first(900));
            device_bank.update();
            same(64, {.k = 4});
        }
        // The second slab has 512 rows: 64 keys a text, which is few.
        CHECK(merges == (std::vector<size_t>{0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 0, 2, 2}));
    }
}

void unsound_searches_are_refused() {
    Case test;
    std::vector<float> sentence = whole_sentences(test.random, 1);
    const std::vector<int64_t> falling = {3, 2};
    CHECK_THROWS(VTR_INVALID_ARGUMENT, search_device(*test.device_bank, sentence, {.k = 0}));
    CHECK_THROWS(VTR_INVALID_ARGUMENT, search_device(*test.device_bank, sentence, {.k = 1, .only = falling}));
    CHECK_THROWS(VTR_UNSUPPORTED, search_device(*test.device_bank, sentence, {.k = 1, .candidates = 5}));
    sentence[3] = NAN;
    CHECK_THROWS(VTR_NOT_FINITE, search_device(*test.device_bank, sentence, {.k = 1}));
    CHECK(fake_cuda::calls("cuLaunchKernel") == 0);
}

// The writer adds blocks of seven videos and removes them again, five later. A reader sees whole blocks.
void readers_beside_a_writer() {
    fake_cuda::reset();
    FakeBundle bundle;
    bundle.write();
    const auto bank = whole_bank();
    DeviceBank device_bank(open_device(), bank, bundle.folder, slabs_of(64));
    constexpr int64_t BLOCK = 7, LASTING = 5;
    const std::vector<float> sentence(FAKE_DIM, 3);
    std::atomic<bool> ended{false};
    std::atomic<int> searches{0};
    std::vector<std::thread> readers;
    for (int reader = 0; reader < 6; ++reader)  // more than there are workspaces
        readers.emplace_back([&, reader] {
            while (!ended) {
                const size_t k = reader % 2 ? 4 : 60;
                const Answer answer = search_device(device_bank, sentence, {.k = k});
                if (k == 60) CHECK(answer.found[0] % BLOCK == 0 && answer.found[0] <= (LASTING + 1) * BLOCK);
                for (size_t i = 0; i < answer.found[0]; ++i)  // block b scores 4 · (b % 100)
                    CHECK(answer.scores[i] == 4.0f * float(answer.ids[i] / BLOCK % 100));
                ++searches;
            }
        });
    for (int64_t block = 0; block < 120 || searches < 60; ++block) {
        const std::vector<float> video(BLOCK * FAKE_DIM, float(block % 100));
        const vtr_array column{"video", VTR_F32, 2, {BLOCK, int64_t(FAKE_DIM)}, video.data()};
        std::vector<int64_t> ids, gone;
        for (int64_t i = 0; i < BLOCK; ++i) {
            ids.push_back(block * BLOCK + i);
            gone.push_back(ids.back() - LASTING * BLOCK);
        }
        bank->append(ids, {&column, 1});
        device_bank.update();
        bank->remove(gone);
        device_bank.update();
    }
    ended = true;
    for (std::thread& reader : readers) reader.join();
    CHECK(device_bank.count() == size_t(LASTING * BLOCK));
}

#define STATUS(expected, part, call) \
    CHECK((call) == (expected) && std::string(vtr_last_error()).find(part) != std::string::npos)

void c_interface() {
    fake_cuda::reset();
    FakeBundle bundle;
    bundle.write();
    const float logit_scale = 0;
    const vtr_array head{"logit_scale", VTR_F32, 1, {1}, &logit_scale};
    vtr_model_options options{};
    options.size = sizeof options;
    options.scoring = "holistic";
    options.dim = FAKE_DIM;
    vtr_model* model = nullptr;
    vtr_bank* bank = nullptr;
    CHECK(vtr_model_create(&options, &head, 1, &model) == VTR_OK && vtr_bank_create(model, &bank) == VTR_OK);
    const std::vector<float> video(5 * FAKE_DIM, 1), sentence(FAKE_DIM, 3);
    const vtr_array column{"video", VTR_F32, 2, {5, int64_t(FAKE_DIM)}, video.data()};
    const int64_t ids[5] = {2, 3, 5, 7, 11};
    CHECK(vtr_bank_append(bank, ids, 5, &column, 1) == VTR_OK);

    vtr_device* device = nullptr;
    STATUS(VTR_INVALID_ARGUMENT, "device is NULL", vtr_device_open(0, nullptr));
    STATUS(VTR_UNSUPPORTED, "no GPU of number 1", vtr_device_open(1, &device));
    CHECK(device == nullptr && vtr_device_open(0, &device) == VTR_OK);
    vtr_device_info info{};
    STATUS(VTR_INVALID_ARGUMENT, "device_info.size", vtr_device_describe(device, &info));
    info.size = sizeof info;
    STATUS(VTR_INVALID_ARGUMENT, "device is NULL", vtr_device_describe(nullptr, &info));
    CHECK(vtr_device_describe(device, &info) == VTR_OK && info.major == 9 && info.minor == 0);
    CHECK(info.total_bytes == 1 << 30 && std::string(info.name) == "Stand-in GPU");

    vtr_device_bank* device_bank = nullptr;
    const vtr_device_bank_options slabs = {.size = sizeof slabs, .slab_bytes = 4096};
    const char* folder = bundle.folder.c_str();
    STATUS(VTR_INVALID_ARGUMENT, "device is NULL",
           vtr_device_bank_create(nullptr, bank, folder, &slabs, &device_bank));
    STATUS(VTR_INVALID_ARGUMENT, "bank is NULL",
           vtr_device_bank_create(device, nullptr, folder, &slabs, &device_bank));
    STATUS(VTR_INVALID_ARGUMENT, "kernels is NULL",
           vtr_device_bank_create(device, bank, nullptr, &slabs, &device_bank));
    STATUS(VTR_INVALID_ARGUMENT, "device_bank is NULL",
           vtr_device_bank_create(device, bank, folder, &slabs, nullptr));
    STATUS(VTR_IO, "kernels.json", vtr_device_bank_create(device, bank, "/nonexistent", nullptr, &device_bank));
    CHECK(vtr_device_bank_create(device, bank, folder, &slabs, &device_bank) == VTR_OK);
    CHECK(vtr_device_bank_count(device_bank) == 5 && vtr_device_bank_count(nullptr) == 0);
    CHECK(vtr_device_bank_bytes(device_bank) > 5 * 32 && vtr_device_bank_bytes(nullptr) == 0);
    CHECK(std::string(vtr_device_bank_target(device_bank)) == "sm_90" && !vtr_device_bank_target(nullptr));

    int64_t best[6];
    float scores[6];
    size_t found = 0;
    vtr_search_options search{};
    search.size = sizeof search;
    search.k = 6;
    const auto ask = [&](vtr_device_bank* of, const vtr_search_options* how, int64_t* to) {
        return vtr_device_search(of, 1, sentence.data(), nullptr, how, to, scores, &found);
    };
    CHECK(ask(device_bank, &search, best) == VTR_OK && found == 5);
    CHECK(best[0] == 2 && best[4] == 11 && best[5] == -1 && scores[0] == 4 && scores[5] == -INFINITY);
    STATUS(VTR_INVALID_ARGUMENT, "device_bank is NULL", ask(nullptr, &search, best));
    STATUS(VTR_INVALID_ARGUMENT, "search_options is NULL", ask(device_bank, nullptr, best));
    STATUS(VTR_INVALID_ARGUMENT, "ids is NULL", ask(device_bank, &search, nullptr));
    STATUS(VTR_INVALID_ARGUMENT, "texts",
           vtr_device_search(device_bank, 0, sentence.data(), nullptr, &search, best, scores, &found));

    CHECK(vtr_bank_remove(bank, ids, 2, nullptr) == VTR_OK && vtr_device_bank_count(device_bank) == 5);
    STATUS(VTR_INVALID_ARGUMENT, "device_bank is NULL", vtr_device_bank_update(nullptr));
    CHECK(vtr_device_bank_update(device_bank) == VTR_OK && vtr_device_bank_count(device_bank) == 3);
    vtr_bank* clone = nullptr;
    CHECK(vtr_bank_clone(bank, &clone) == VTR_OK && vtr_bank_remove(clone, ids + 4, 1, nullptr) == VTR_OK);
    STATUS(VTR_INVALID_ARGUMENT, "device_bank is NULL", vtr_device_bank_follow(nullptr, clone));
    STATUS(VTR_INVALID_ARGUMENT, "bank is NULL", vtr_device_bank_follow(device_bank, nullptr));
    CHECK(vtr_device_bank_follow(device_bank, clone) == VTR_OK && vtr_device_bank_count(device_bank) == 2);
    STATUS(VTR_INVALID_ARGUMENT, "1 videos that were removed", vtr_device_bank_follow(device_bank, bank));
    vtr_bank_free(clone);
    fake_cuda::fail("cuLaunchKernel", 701);
    found = 77;
    STATUS(VTR_DEVICE, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", ask(device_bank, &search, best));
    CHECK(found == 77 && std::string(vtr_status_name(VTR_DEVICE)) == "device error");

    vtr_device_free(device);  // in an order that no owner would choose
    vtr_bank_free(bank);
    vtr_model_free(model);
    CHECK(ask(device_bank, &search, best) == VTR_OK && best[0] == 5 && found == 2);
    vtr_device_bank_free(device_bank);
    vtr_device_bank_free(nullptr);
    vtr_device_free(nullptr);
}

}  // namespace

int main() {
    setenv("VTR_CUDA_LIBRARY", FAKE_CUDA, 1);
    add_fake_kernels();
    graph_is_replayed();
    many_texts();
    passing_failures();
    broken_kernel_loses_the_device();
    wrong_answers_of_a_kernel_are_refused();
    fused_kernel();
    keys_are_merged_on_the_device();
    unsound_searches_are_refused();
    readers_beside_a_writer();
    c_interface();
    check_clean();
    CHECK_DONE();
}
