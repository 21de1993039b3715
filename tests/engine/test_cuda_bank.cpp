// A bank in the memory of a device: the same answers as the search on the host, whatever was appended and removed,
// and nothing half done when memory runs out.
#include <stdlib.h>

#include "device_cases.hpp"

using namespace vtr;
using namespace vtr::test;
using cuda::DeviceBank;
using cuda::OUT_OF_MEMORY;

namespace {

void check_same(const Bank& bank, DeviceBank& device_bank, std::mt19937& random) {
    CHECK(device_bank.count() == bank.count());
    for (const size_t texts : {1, 3}) {
        const std::vector<float> sentences = whole_sentences(random, texts);
        for (const size_t k : {1, 4, 5, 1000}) {  // the kernel finds 4; more are ranked on the host
            SearchOptions options{.k = k};
            CHECK(search_device(device_bank, sentences, options) == search_host(bank, sentences, options));
            std::vector<int64_t> only;
            for (int64_t id = -2; id < 3000; id += 1 + random() % (random() % 2 ? 3 : 200)) only.push_back(id);
            options.only = only;
            CHECK(search_device(device_bank, sentences, options) == search_host(bank, sentences, options));
            options.only = std::span(only).first(0);
            CHECK(search_device(device_bank, sentences, options) == search_host(bank, sentences, options));
        }
    }
}

void random_changes(unsigned seed, bool topk, bool fused) {
    fake_cuda::reset();
    FakeBundle bundle;
    bundle.topk = topk;
    bundle.fused = fused;
    bundle.write();
    std::mt19937 random(seed);
    const auto bank = whole_bank();
    int64_t next = 0;
    const auto append = [&](size_t count) {
        const int64_t step = 1 + random() % 3;
        next = append_whole(*bank, random, count, next, step).back() + 1 + random() % 5;
    };
    if (seed % 2) append(200);
    DeviceBank device_bank(open_device(), bank, bundle.folder, slabs_of(seed % 3 ? 64 : 1 << 20));
    check_same(*bank, device_bank, random);
    for (int round = 0; round < 6; ++round) {
        for (unsigned changes = random() % 3; changes-- > 0;) append(1 + random() % (round % 2 ? 5 : 150));
        std::vector<int64_t> gone;
        const unsigned one_in = 1 + random() % 4;
        for (int64_t id = random() % 50; id < next; ++id)
            if (random() % 8 == 0 ? random() % one_in == 0 : id % 200 < int64_t(40 * one_in - 40))
                gone.push_back(id);
        if (random() % 2) bank->remove(gone);
        if (random() % 3 == 0) continue;
        device_bank.update();
        check_same(*bank, device_bank, random);
    }
    const std::vector<int64_t> all = [&] {
        std::vector<int64_t> ids(bank->count());
        bank->ids(ids);
        return ids;
    }();
    bank->remove(all);
    device_bank.update();
    check_same(*bank, device_bank, random);
    CHECK(device_bank.bytes() == 0);
    append(3);
    device_bank.update();
    check_same(*bank, device_bank, random);
}

void equal_scores_go_by_id() {
    fake_cuda::reset();
    FakeBundle bundle;
    bundle.write();
    const auto bank = whole_bank();
    const std::vector<float> video(500 * FAKE_DIM, 1), sentence(FAKE_DIM, 3);
    const vtr_array column{"video", VTR_F32, 2, {500, int64_t(FAKE_DIM)}, video.data()};
    std::vector<int64_t> ids(500);
    for (size_t i = 0; i < 500; ++i) ids[i] = int64_t(i);
    bank->append(ids, {&column, 1});
    DeviceBank device_bank(open_device(), bank, bundle.folder, slabs_of(64));
    bank->remove(std::span(ids).subspan(1, 70));  // what is left of the first slabs moves behind the others
    device_bank.update();
    const Answer answer = search_device(device_bank, sentence, {.k = 3});
    CHECK(answer.ids == (std::vector<int64_t>{0, 71, 72}) && answer.found[0] == 3);
}

void slabs_grow_and_never_move() {
    fake_cuda::reset();
    FakeBundle bundle;
    bundle.write();
    const auto bank = whole_bank();
    std::mt19937 random(1);
    DeviceBank device_bank(open_device(), bank, bundle.folder, slabs_of(1 << 20));
    int64_t next = 0;
    std::vector<std::shared_ptr<cuda::Slab>> slabs;
    for (int round = 0; round < 40; ++round) {
        append_whole(*bank, random, 199, next);
        next += 199;
        device_bank.update();
        const auto state = device_bank.state();
        CHECK(state->slabs.size() >= slabs.size());
        for (size_t i = 0; i < slabs.size(); ++i) CHECK(state->slabs[i].slab == slabs[i]);
        slabs.clear();
        for (const auto& view : state->slabs) slabs.push_back(view.slab);
    }
    CHECK(slabs.size() >= 3 && slabs.size() <= 5);  // 1024, 1024, 2048, 4096
    CHECK(device_bank.bytes() <= 2.1 * bank->count() * (FAKE_DIM * 2 + 1));
    device_bank.update();  // nothing changed
    const size_t copies = fake_cuda::calls("cuMemcpyHtoDAsync_v2");
    device_bank.update();
    CHECK(fake_cuda::calls("cuMemcpyHtoDAsync_v2") == copies);
    // Nearly all of it goes, again and again: slabs stay few, and so does their memory.
    for (int round = 0; round < 60; ++round) {
        const auto added = append_whole(*bank, random, 3000, next);
        next += 3000;
        device_bank.update();
        bank->remove(std::span(added).subspan(5));
        device_bank.update();
        CHECK(device_bank.count() == bank->count());
        CHECK(device_bank.state()->slabs.size() <= 20);
    }
    CHECK(device_bank.bytes() < size_t{40000} * (FAKE_DIM * 2 + 1));
    check_same(*bank, device_bank, random);
}

// Banks that descend from each other by clones, as snapshots of an index do.
void another_bank_is_followed() {
    fake_cuda::reset();
    FakeBundle bundle;
    bundle.write();
    std::mt19937 random(8);
    const auto empty = whole_bank();
    DeviceBank device_bank(open_device(), empty, bundle.folder, slabs_of(64));
    std::shared_ptr<Bank> bank = empty->clone();
    append_whole(*bank, random, 150, 0);
    device_bank.follow(bank);
    check_same(*bank, device_bank, random);
    const auto older = bank->clone();
    bank = bank->clone();
    const std::vector<int64_t> gone = {3, 4, 5, 80};
    bank->remove(gone);
    append_whole(*bank, random, 40, 1000);
    const size_t copies = fake_cuda::calls("cuMemcpyHtoDAsync_v2");
    device_bank.follow(bank);
    CHECK(fake_cuda::calls("cuMemcpyHtoDAsync_v2") - copies <= 6);  // new rows and marks, not every video
    check_same(*bank, device_bank, random);
    append_whole(*bank, random, 5, 2000);
    device_bank.update();  // of the bank that is followed
    check_same(*bank, device_bank, random);

    const auto state = device_bank.state();
    CHECK_THROWS(VTR_INVALID_ARGUMENT, device_bank.follow(whole_bank()));  // another model
    CHECK_THROWS(VTR_INVALID_ARGUMENT, device_bank.follow(older));         // has what was removed
    CHECK(device_bank.state() == state);
    device_bank.update();
    check_same(*bank, device_bank, random);
}

// Every allocation and copy of an update fails once; the device bank is as it was each time, and whole afterwards.
void failures_change_nothing(const char* function, cuda::Result result, vtr_status status) {
    fake_cuda::reset();
    FakeBundle bundle;
    bundle.write();
    std::mt19937 random(2);
    const auto bank = whole_bank();
    append_whole(*bank, random, 150, 0);
    DeviceBank device_bank(open_device(), bank, bundle.folder, slabs_of(64));
    const auto before = bank->clone();
    append_whole(*bank, random, 300, 1000);
    const std::vector<int64_t> gone = {3, 4, 5, 80};
    bank->remove(gone);
    const auto state = device_bank.state();
    size_t failures = 0;
    for (size_t good = 0;; ++good) {
        const size_t bytes = fake_cuda::device_bytes();
        fake_cuda::fail(function, result, good);
        try {
            device_bank.update();
        } catch (const Error& error) {
            ++failures;
            CHECK(error.status == status);
            CHECK(std::string(error.what()).find("cannot be") != std::string::npos);
            CHECK(device_bank.state() == state && fake_cuda::device_bytes() == bytes);
            if (good % 3 == 0) check_same(*before, device_bank, random);
            continue;
        }
        break;
    }
    fake_cuda::reset();
    CHECK(failures >= 5);
    check_same(*bank, device_bank, random);
}

void memory_that_is_full() {
    fake_cuda::reset({.memory = 64 << 10});
    FakeBundle bundle;
    bundle.write();
    std::mt19937 random(3);
    const auto bank = whole_bank();
    append_whole(*bank, random, 600, 0);
    DeviceBank device_bank(open_device(), bank, bundle.folder, slabs_of(128));
    const auto before = bank->clone();
    append_whole(*bank, random, 3000, 1000);
    CHECK_THROWS(VTR_OUT_OF_MEMORY, device_bank.update());
    check_same(*before, device_bank, random);
    std::vector<int64_t> gone;  // fewer than half of every slab are left, and there is no room to move them
    for (int64_t id = 0; id < 600; ++id)
        if (id % 3 != 0) gone.push_back(id);
    for (int64_t id = 1000; id < 4000; ++id) gone.push_back(id);
    bank->remove(gone);
    fake_cuda::reset({.memory = fake_cuda::device_bytes() + 1500});  // for the marks alone
    const size_t slabs = device_bank.state()->slabs.size();
    device_bank.update();
    CHECK(device_bank.state()->slabs.size() == slabs);
    fake_cuda::reset();
    check_same(*bank, device_bank, random);
}

void creation_that_fails_leaves_nothing() {
    FakeBundle bundle;
    bundle.write();
    std::mt19937 random(4);
    const auto bank = whole_bank();
    append_whole(*bank, random, 150, 0);
    for (const char* function : {"cuModuleLoadData", "cuModuleGetFunction", "cuStreamCreate", "cuMemAlloc_v2",
                                 "cuMemcpyHtoDAsync_v2", "cuStreamSynchronize", "cuCtxPushCurrent_v2"}) {
        fake_cuda::reset();
        for (size_t good = 0;; ++good) {
            fake_cuda::fail(function, OUT_OF_MEMORY, good);
            try {
                const DeviceBank made(open_device(), bank, bundle.folder, slabs_of(64));
                fake_cuda::reset();
            } catch (const Error& error) {
                CHECK(error.status == VTR_OUT_OF_MEMORY);
                check_clean();
                continue;
            }
            CHECK(good > 0);
            break;
        }
    }
    fake_cuda::reset();
    bundle.dim = 32;
    bundle.write();
    CHECK_THROWS(VTR_UNSUPPORTED, DeviceBank(open_device(), bank, bundle.folder, slabs_of(64)));
    CHECK(fake_cuda::calls("cuModuleLoadData") == 0);
}

void kernels_that_cannot_be_used_are_refused() {
    fake_cuda::reset();
    const auto refused = [](vtr_status status, auto change) {
        FakeBundle bundle;
        change(bundle);
        bundle.write();
        CHECK_THROWS(status, DeviceBank(open_device(), whole_bank(), bundle.folder, slabs_of(64)));
    };
    refused(VTR_UNSUPPORTED, [](FakeBundle& bundle) { bundle.live = false; });
    refused(VTR_UNSUPPORTED, [](FakeBundle& bundle) { bundle.live = false, bundle.fused = true; });
    refused(VTR_CORRUPT, [](FakeBundle& bundle) { bundle.merged = FAKE_K + 1; });
}

}  // namespace

int main() {
    setenv("VTR_CUDA_LIBRARY", FAKE_CUDA, 1);
    add_fake_kernels();
    for (unsigned seed = 0; seed < 12; ++seed) random_changes(seed, seed % 4 != 3, seed % 4 == 2);
    equal_scores_go_by_id();
    slabs_grow_and_never_move();
    another_bank_is_followed();
    failures_change_nothing("cuMemAlloc_v2", OUT_OF_MEMORY, VTR_OUT_OF_MEMORY);
    failures_change_nothing("cuMemcpyHtoDAsync_v2", 1, VTR_DEVICE);
    memory_that_is_full();
    creation_that_fails_leaves_nothing();
    kernels_that_cannot_be_used_are_refused();
    check_clean();
    CHECK_DONE();
}
