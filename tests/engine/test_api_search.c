/* The C interface, used from C: search, files, no memory, any order of freeing, many threads on one bank. */
#define _DEFAULT_SOURCE

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api_cases.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static void test_search(void) {
    vtr_model *model = make_xclip(), *other = make_xclip();
    vtr_bank* bank = NULL;
    vtr_query *query = make_query(model, 2), *foreign = make_query(other, 2);
    vtr_pool* pool = NULL;
    CHECK(vtr_bank_create(model, &bank) == VTR_OK && vtr_pool_create(2, &pool) == VTR_OK);
    CHECK(vtr_query_texts(query) == 2 && vtr_query_texts(NULL) == 0);

    int64_t ids[2 * 20];
    float scores[2 * 20], all[2 * ROWS];
    size_t found[2] = {77, 77};
    vtr_search_options options = {.size = sizeof options, .k = 20};
    CHECK(vtr_search(bank, query, &options, ids, scores, found) == VTR_OK && found[0] == 0 && found[1] == 0);
    CHECK(ids[0] == -1 && ids[39] == -1 && scores[0] == -INFINITY);
    CHECK(append(bank, 5) == VTR_OK);
    CHECK(vtr_search(bank, query, &options, ids, scores, found) == VTR_OK && found[0] == ROWS && found[1] == ROWS);
    CHECK(vtr_score(bank, query, NULL, ROWS, pool, all) == VTR_OK);
    for (int text = 0; text < 2; ++text)
        for (int i = 0; i < 20; ++i) {
            const int64_t id = ids[text * 20 + i];
            CHECK((id == -1) == (i >= ROWS));
            if (id != -1) CHECK(scores[text * 20 + i] == all[text * ROWS + id - 5]);
            if (i > 0) CHECK(scores[text * 20 + i] <= scores[text * 20 + i - 1]);
        }
    const int64_t only[2] = {6, 9}, some[3] = {9, 6, 9};
    float few[6];
    options.pool = pool, options.only = only, options.only_count = 2, options.k = 3;
    CHECK(vtr_search(bank, query, &options, ids, scores, NULL) == VTR_OK);
    CHECK(ids[0] + ids[1] == 15 && ids[2] == -1);
    CHECK(vtr_score(bank, query, some, 3, NULL, few) == VTR_OK);
    CHECK(few[0] == all[4] && few[1] == all[1] && few[2] == all[4] && few[3] == all[ROWS + 4]);
    options.only_count = 0; /* among none */
    CHECK(vtr_search(bank, query, &options, ids, scores, found) == VTR_OK && found[0] == 0);
    options.only = NULL, options.candidates = 4, options.k = 5;
    CHECK(vtr_search(bank, query, &options, ids, scores, found) == VTR_OK && found[0] == 4 && ids[4] == -1);

    ids[0] = -7, found[0] = 77, scores[0] = 7;
    INVALID("bank is NULL", vtr_search(NULL, query, &options, ids, scores, found));
    INVALID("query is NULL", vtr_search(bank, NULL, &options, ids, scores, found));
    INVALID("search_options is NULL", vtr_search(bank, query, NULL, ids, scores, found));
    INVALID("ids is NULL", vtr_search(bank, query, &options, NULL, scores, found));
    INVALID("scores is NULL", vtr_search(bank, query, &options, ids, NULL, found));
    INVALID("another model", vtr_search(bank, foreign, &options, ids, scores, found));
    INVALID("another model", vtr_score(bank, foreign, NULL, ROWS, NULL, all));
    options.k = 0;
    INVALID("k", vtr_search(bank, query, &options, ids, scores, found));
    options.k = SIZE_MAX;
    INVALID("k", vtr_search(bank, query, &options, ids, scores, found));
    options.k = 1, options.only_count = 1;
    INVALID("only is NULL", vtr_search(bank, query, &options, ids, scores, found));
    options.only = some, options.only_count = 2;
    INVALID("ascending", vtr_search(bank, query, &options, ids, scores, found));
    options.size = 8;
    INVALID("search_options.size", vtr_search(bank, query, &options, ids, scores, found));
    INVALID("count", vtr_score(bank, query, some, SIZE_MAX, NULL, all));
    INVALID("8 videos", vtr_score(bank, query, NULL, 3, NULL, all));
    INVALID("scores is NULL", vtr_score(bank, query, NULL, ROWS, NULL, NULL));
    const int64_t absent = 99;
    INVALID("99", vtr_score(bank, query, &absent, 1, NULL, all));
    CHECK(ids[0] == -7 && found[0] == 77 && scores[0] == 7);

    vtr_query* made = NULL;
    float numbers[DIM * WORDS] = {1};
    INVALID("model is NULL", vtr_query_create(NULL, 1, numbers, numbers, NULL, &made));
    INVALID("sentence is NULL", vtr_query_create(model, 1, NULL, numbers, NULL, &made));
    INVALID("words is NULL", vtr_query_create(model, 1, numbers, NULL, NULL, &made));
    INVALID("query is NULL", vtr_query_create(model, 1, numbers, numbers, NULL, NULL));
    INVALID("texts", vtr_query_create(model, 0, numbers, numbers, NULL, &made));
    INVALID("texts", vtr_query_create(model, SIZE_MAX / DIM, numbers, numbers, NULL, &made));
    numbers[7] = NAN;
    REFUSED(VTR_NOT_FINITE, "0", vtr_query_create(model, 1, numbers, numbers, NULL, &made));
    CHECK(made == NULL);

    vtr_model_free(model); /* in an order that no owner would choose */
    CHECK(vtr_search(bank, query, &(vtr_search_options){.size = sizeof options, .k = 1}, ids, scores, NULL) ==
          VTR_OK);
    vtr_query* late = make_query(vtr_bank_model(bank), 1);
    vtr_bank_free(bank);
    vtr_model_free(other);
    vtr_query_free(late);
    vtr_query_free(foreign);
    vtr_pool_free(pool);
    vtr_query_free(query);
    vtr_query_free(NULL);
}

static void test_files(const char* folder) {
    char path[256], missing[256];
    snprintf(path, sizeof path, "%s/bank", folder);
    snprintf(missing, sizeof missing, "%s/none/bank", folder);
    vtr_model* model = make_holistic();
    vtr_bank *bank = NULL, *loaded = NULL;
    vtr_pool* pool = NULL;
    CHECK(vtr_bank_create(model, &bank) == VTR_OK && append(bank, 0) == VTR_OK &&
          vtr_pool_create(2, &pool) == VTR_OK);
    const char* paths[ROWS] = {"a.mp4", "b.mp4", NULL, "d.mp4", "e.mp4", "f.mp4", "g.mp4", "h.mp4"};
    CHECK(vtr_bank_save(bank, path, paths) == VTR_OK);
    CHECK(vtr_bank_load(path, NULL, &loaded) == VTR_OK && vtr_bank_count(loaded) == ROWS);
    vtr_bank* clone = NULL;
    CHECK(vtr_bank_clone(loaded, &clone) == VTR_OK);
    vtr_bank_free(loaded);
    CHECK(strcmp(vtr_bank_path(clone, 1), "b.mp4") == 0);
    CHECK(vtr_bank_path(clone, 2) == NULL && vtr_bank_path(clone, 8) == NULL && vtr_bank_path(clone, -1) == NULL);
    vtr_bank_free(clone);

    loaded = NULL;
    vtr_load_options options = {.size = sizeof options, .isa = "portable", .fast = 1, .pool = pool, .trust = 1};
    CHECK(vtr_bank_load(path, &options, &loaded) == VTR_OK);
    vtr_model_options described = {.size = sizeof described};
    CHECK(vtr_model_describe(vtr_bank_model(loaded), &described) == VTR_OK);
    CHECK(strcmp(described.isa, "portable") == 0 && described.fast == 1);
    vtr_query* query = make_query(model, 1);
    float score;
    const int64_t id = 3;
    INVALID("another model", vtr_score(loaded, query, &id, 1, NULL, &score));
    vtr_query_free(query);
    vtr_bank_free(loaded);

    loaded = NULL;
    options.trust = 2;
    INVALID("trust", vtr_bank_load(path, &options, &loaded));
    options.trust = 0, options.fast = -1;
    INVALID("fast", vtr_bank_load(path, &options, &loaded));
    options.fast = 0, options.isa = "abacus";
    REFUSED(VTR_UNSUPPORTED, "abacus", vtr_bank_load(path, &options, &loaded));
    INVALID("path is NULL", vtr_bank_load(NULL, NULL, &loaded));
    INVALID("bank is NULL", vtr_bank_load(path, NULL, NULL));
    REFUSED(VTR_IO, "none/bank cannot be opened: No such file", vtr_bank_load(missing, NULL, &loaded));
    INVALID("bank is NULL", vtr_bank_save(NULL, path, NULL));
    INVALID("path is NULL", vtr_bank_save(bank, NULL, NULL));
    REFUSED(VTR_IO, "none/bank cannot be written", vtr_bank_save(bank, missing, NULL));
    char* long_path = malloc(8001);
    memset(long_path, 'x', 8000), long_path[8000] = 0;
    REFUSED(VTR_IO, " ... ", vtr_bank_load(long_path, NULL, &loaded)); /* only the middle of the message is lost */
    CHECK(strstr(vtr_last_error(), "too long") != NULL && strlen(vtr_last_error()) < 2048);
    free(long_path);

    FILE* file = fopen(path, "r+b");
    CHECK(file && fseek(file, 700, SEEK_SET) == 0 && fputc(0x5A, file) == 0x5A && fclose(file) == 0);
    REFUSED(VTR_CORRUPT, path, vtr_bank_load(path, NULL, &loaded));
    CHECK(loaded == NULL);
    remove(path);
    vtr_pool_free(pool);
    vtr_bank_free(bank);
    vtr_model_free(model);
}

/* A child that may take a little memory more than it has: all that fails must say so and leave the bank as it was.
 */
static void test_no_memory(void) {
    if (SANITIZED) return; /* they need a great deal of address space */
    const pid_t child = fork();
    if (child == 0) {
        enum { MANY = 1 << 22 }; /* 128 MB in the bank: more than malloc has set aside for threads */
        vtr_model* model = make_holistic();
        vtr_bank* bank = NULL;
        CHECK(vtr_bank_create(model, &bank) == VTR_OK);
        float* video = calloc(MANY, DIM * sizeof *video);
        int64_t* ids = malloc(MANY * sizeof *ids);
        for (int i = 0; i < MANY; ++i) ids[i] = i;
        const vtr_array column = array("video", video, 2, MANY, DIM, 0);
        long pages = 0;
        FILE* memory = fopen("/proc/self/statm", "r");
        if (!memory || fscanf(memory, "%ld", &pages) != 1) _exit(0);
        fclose(memory);
        const rlim_t most = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (4 << 20);
        setrlimit(RLIMIT_AS, &(struct rlimit){most, most});
        REFUSED(VTR_OUT_OF_MEMORY, "memory", vtr_bank_append(bank, ids, MANY, &column, 1));
        CHECK(vtr_bank_count(bank) == 0);
        _exit(failures != 0);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

/* Threads that search one bank while another appends, removes and clones. */
struct shared {
    vtr_bank* bank;
    vtr_pool* pool;
    int stop;
};

static void* searcher(void* argument) {
    struct shared* shared = argument;
    vtr_query* query = make_query(vtr_bank_model(shared->bank), 2);
    for (size_t round = 0; round < 10 || !__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE); ++round) {
        int64_t ids[2 * 5];
        float scores[2 * 5];
        size_t found[2];
        vtr_search_options options = {.size = sizeof options, .k = 5, .pool = round % 2 ? shared->pool : NULL};
        CHECK(vtr_search(shared->bank, query, &options, ids, scores, found) == VTR_OK);
        CHECK(found[0] == 5 && found[1] == 5); /* there are always at least ROWS */
        INVALID("k of", vtr_search(shared->bank, query, &(vtr_search_options){.size = sizeof options}, ids, scores,
                                   found));
    }
    vtr_query_free(query);
    return NULL;
}

static void* writer(void* argument) {
    struct shared* shared = argument;
    for (int64_t round = 1; round < 60; ++round) {
        CHECK(append(shared->bank, round * ROWS) == VTR_OK);
        int64_t old[ROWS];
        for (int i = 0; i < ROWS; ++i) old[i] = (round - 1) * ROWS + i;
        vtr_bank* clone = NULL;
        CHECK(vtr_bank_clone(shared->bank, &clone) == VTR_OK && vtr_bank_count(clone) == 2 * ROWS);
        size_t removed = 0;
        CHECK(vtr_bank_remove(shared->bank, old, ROWS, &removed) == VTR_OK && removed == ROWS);
        CHECK(vtr_bank_count(clone) == 2 * ROWS);
        vtr_bank_free(clone);
        INVALID("ascend", append(shared->bank, 0)); /* each thread has its own last error */
    }
    __atomic_store_n(&shared->stop, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void test_threads(void) {
    struct shared shared = {NULL, NULL, 0};
    vtr_model* model = make_xclip();
    CHECK(vtr_bank_create(model, &shared.bank) == VTR_OK && append(shared.bank, 0) == VTR_OK);
    CHECK(vtr_pool_create(2, &shared.pool) == VTR_OK);
    vtr_query_free(make_query(model, 1)); /* its numbers are made here, not by the threads */
    vtr_model_free(model);
    pthread_t threads[4];
    for (int i = 0; i < 4; ++i) CHECK(pthread_create(&threads[i], NULL, i == 0 ? writer : searcher, &shared) == 0);
    for (int i = 0; i < 4; ++i) pthread_join(threads[i], NULL);
    vtr_bank_free(shared.bank);
    vtr_pool_free(shared.pool);
}

int main(void) {
    char folder[] = "/tmp/vtr-api-XXXXXX";
    if (!mkdtemp(folder)) return 1;
    test_search();
    test_files(folder);
    test_no_memory();
    test_threads();
    rmdir(folder);
    return finish();
}
