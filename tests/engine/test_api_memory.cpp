// Every allocation behind the C interface fails once: VTR_OUT_OF_MEMORY, outputs as they were, no file half
// written.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "check.hpp"
#include "failing_new.hpp"
#include "small_bank.hpp"

using namespace vtr::test;

namespace {

// Makes `call` with its first allocation failing, then its second, until it succeeds.
template <class Call, class Unchanged>
void fail_each(const char* what, Call call, Unchanged unchanged) {
    for (long allocations = 0; allocations < 100'000; ++allocations) {
        until_failure = allocations;
        const vtr_status status = call();
        until_failure = -1;
        if (status == VTR_OK) {
            if (allocations == 0) std::fprintf(stderr, "%s allocates nothing\n", what);
            return CHECK(allocations > 0);
        }
        if (status != VTR_OUT_OF_MEMORY) std::fprintf(stderr, "%s: %s\n", what, vtr_last_error());
        CHECK(status == VTR_OUT_OF_MEMORY && std::strstr(vtr_last_error(), "memory"));
        CHECK(unchanged());
    }
    CHECK(!"it never succeeds");
}

}  // namespace

int main() {
    char folder[] = "/tmp/vtr-memory-XXXXXX";
    if (!mkdtemp(folder)) return 1;
    const std::string file = std::string(folder) + "/bank";
    const auto files = [&folder] {
        return std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator());
    };

    const std::vector<Tensor> head = small_head("xclip"), columns = small_columns("xclip", 5, 1);
    const std::vector<vtr_array> tensors = arrays(head), rows = arrays(columns);
    const std::vector<int64_t> ids = ascending(5, 1);
    const char* paths[] = {"a", "b", "c", "d", "e"};
    const float numbers[WORDS * DIM] = {1};
    vtr_model_options options{};
    options.size = sizeof options;
    options.scoring = "xclip";
    options.frames = FRAMES, options.words = WORDS, options.dim = DIM;

    vtr_pool* pool = nullptr;
    fail_each("pool", [&] { return vtr_pool_create(2, &pool); }, [&] { return pool == nullptr; });
    vtr_model* model = nullptr;
    fail_each(
        "model", [&] { return vtr_model_create(&options, tensors.data(), tensors.size(), &model); },
        [&] { return model == nullptr; });
    vtr_bank* bank = nullptr;
    fail_each("bank", [&] { return vtr_bank_create(model, &bank); }, [&] { return bank == nullptr; });
    fail_each(
        "append", [&] { return vtr_bank_append(bank, ids.data(), ids.size(), rows.data(), rows.size()); },
        [&] { return vtr_bank_count(bank) == 0; });
    vtr_bank* clone = nullptr;
    fail_each("clone", [&] { return vtr_bank_clone(bank, &clone); }, [&] { return clone == nullptr; });
    fail_each(
        "remove", [&] { return vtr_bank_remove(clone, ids.data(), 2, nullptr); },
        [&] { return vtr_bank_count(clone) == 5; });
    fail_each("save", [&] { return vtr_bank_save(bank, file.c_str(), paths); }, [&] { return files() == 0; });
    vtr_bank* loaded = nullptr;
    fail_each(
        "load", [&] { return vtr_bank_load(file.c_str(), nullptr, &loaded); }, [&] { return loaded == nullptr; });
    vtr_query* query = nullptr;
    fail_each(
        "query", [&] { return vtr_query_create(vtr_bank_model(loaded), 1, numbers, numbers, NULL, &query); },
        [&] { return query == nullptr; });
    int64_t found_ids[3] = {-7};
    float scores[3] = {7};
    size_t found = 77;
    vtr_search_options search{};
    search.size = sizeof search;
    search.k = 3, search.candidates = 4, search.pool = pool;
    fail_each(
        "search", [&] { return vtr_search(loaded, query, &search, found_ids, scores, &found); },
        [&] { return found_ids[0] == -7 && scores[0] == 7 && found == 77; });
    CHECK(found == 3);
    fail_each(
        "score", [&] { return vtr_score(loaded, query, ids.data(), 3, nullptr, scores); }, [] { return true; });

    vtr_query_free(query);
    vtr_bank_free(loaded);
    vtr_bank_free(clone);
    vtr_bank_free(bank);
    vtr_model_free(model);
    vtr_pool_free(pool);
    std::filesystem::remove_all(folder);
    CHECK_DONE();
}
