/* The C interface, used from C: every function but search and files, and what each refuses. */
#include <math.h>
#include <stdlib.h>

#include "api_cases.h"

static void test_names(void) {
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", VTR_VERSION_MAJOR, VTR_VERSION_MINOR, VTR_VERSION_PATCH);
    CHECK(strcmp(vtr_version(), version) == 0);
    CHECK(strcmp(vtr_last_error(), "") == 0);
    CHECK(strcmp(vtr_status_name(VTR_OK), "ok") == 0);
    CHECK(strcmp(vtr_status_name(VTR_INTERNAL), "internal error") == 0);
    CHECK(strcmp(vtr_status_name((vtr_status)99), "unknown status") == 0);
    CHECK(strcmp(vtr_status_name((vtr_status)-1), "unknown status") == 0);
    size_t names = 0;
    while (vtr_isa_name(names)) ++names;
    CHECK(names >= 1 && strcmp(vtr_isa_name(names - 1), "portable") == 0);
    CHECK(vtr_isa_name(SIZE_MAX) == NULL);
}

static void test_pool(void) {
    vtr_pool* pool = NULL;
    CHECK(vtr_pool_create(3, &pool) == VTR_OK && vtr_pool_threads(pool) == 3);
    vtr_pool_free(pool);
    CHECK(vtr_pool_create(0, &pool) == VTR_OK && vtr_pool_threads(pool) >= 1);
    vtr_pool_free(pool);
    vtr_pool_free(NULL);
    CHECK(vtr_pool_threads(NULL) == 1);
    INVALID("pool is NULL", vtr_pool_create(1, NULL));
    REFUSED(VTR_UNSUPPORTED, "threads", vtr_pool_create(SIZE_MAX, &pool));
}

static void test_model(void) {
    vtr_model* model = NULL;
    vtr_array head[2] = {array("logit_scale", logit_scale, 1, 1, 0, 0), array("other", logit_scale, 1, 1, 0, 0)};
    vtr_model_options options = holistic_options();
    options.storage = VTR_BF16;
    options.fast = 1;
    for (size_t i = 0; vtr_isa_name(i); ++i) {
        options.isa = vtr_isa_name(i);
        CHECK(vtr_model_create(&options, head, 1, &model) == VTR_OK);
        vtr_model_options got = {.size = sizeof got};
        CHECK(vtr_model_describe(model, &got) == VTR_OK);
        CHECK(strcmp(got.scoring, "holistic") == 0 && strcmp(got.isa, options.isa) == 0 && got.size == sizeof got);
        CHECK(got.frames == 0 && got.words == 0 && got.dim == DIM && got.keep == 0);
        CHECK(got.storage == VTR_BF16 && got.fast == 1);
        vtr_model_free(model);
    }
    vtr_model_free(NULL);
    model = NULL;

    INVALID("model_options is NULL", vtr_model_create(NULL, head, 1, &model));
    options = holistic_options();
    INVALID("head is NULL", vtr_model_create(&options, NULL, 1, &model));
    INVALID("model is NULL", vtr_model_create(&options, head, 1, NULL));
    INVALID("missing", vtr_model_create(&options, NULL, 0, &model));
    INVALID("unknown", vtr_model_create(&options, head, 2, &model));
    INVALID("too many", vtr_model_create(&options, head, SIZE_MAX, &model));
    options.scoring = NULL;
    INVALID("scoring is NULL", vtr_model_create(&options, head, 1, &model));
    options.scoring = "best";
    INVALID("'best'", vtr_model_create(&options, head, 1, &model));
    options = holistic_options();
    options.fast = 2;
    INVALID("fast", vtr_model_create(&options, head, 1, &model));
    options = holistic_options();
    options.storage = (vtr_dtype)17;
    INVALID("17", vtr_model_create(&options, head, 1, &model));
    options = holistic_options();
    options.dim = 24;
    REFUSED(VTR_UNSUPPORTED, "24", vtr_model_create(&options, head, 1, &model));
    options = holistic_options();
    options.isa = "abacus";
    REFUSED(VTR_UNSUPPORTED, "abacus", vtr_model_create(&options, head, 1, &model));
    options = holistic_options();

    vtr_array bad = head[0];
    bad.name = NULL;
    INVALID("no name", vtr_model_create(&options, &bad, 1, &model));
    bad = head[0], bad.dtype = (vtr_dtype)17;
    INVALID("float32", vtr_model_create(&options, &bad, 1, &model));
    bad = head[0], bad.ndim = -1;
    INVALID("dimensions", vtr_model_create(&options, &bad, 1, &model));
    bad = head[0], bad.ndim = 5;
    INVALID("dimensions", vtr_model_create(&options, &bad, 1, &model));
    bad = head[0], bad.shape[0] = -1;
    INVALID("-1", vtr_model_create(&options, &bad, 1, &model));
    bad = head[0], bad.ndim = 2, bad.shape[0] = bad.shape[1] = INT64_MAX;
    INVALID("memory", vtr_model_create(&options, &bad, 1, &model));
    bad = head[0], bad.data = NULL;
    INVALID("NULL", vtr_model_create(&options, &bad, 1, &model));
    const float infinite[1] = {INFINITY};
    bad = head[0], bad.data = infinite;
    REFUSED(VTR_NOT_FINITE, "logit_scale", vtr_model_create(&options, &bad, 1, &model));
    CHECK(model == NULL);
}

/* Structures of older and newer callers. */
static void test_sizes(void) {
    const vtr_array head = array("logit_scale", logit_scale, 1, 1, 0, 0);
    struct {
        vtr_model_options known;
        char more[24];
    } newer;
    vtr_model* model = NULL;
    memset(&newer, 0, sizeof newer);
    newer.known = holistic_options();
    newer.known.size = sizeof newer;
    CHECK(vtr_model_create(&newer.known, &head, 1, &model) == VTR_OK);
    memset(newer.more, 1, sizeof newer.more);
    CHECK(vtr_model_describe(model, &newer.known) == VTR_OK);
    CHECK(newer.known.size == sizeof newer && newer.known.dim == DIM && newer.more[0] == 0 && newer.more[23] == 0);
    vtr_model_free(model);
    model = NULL;
    newer.more[23] = 1;
    REFUSED(VTR_UNSUPPORTED, "newer than this library", vtr_model_create(&newer.known, &head, 1, &model));
    for (size_t i = 0; i < 3; ++i) {
        newer.known.size = (size_t[]){0, sizeof(vtr_model_options) - 1, SIZE_MAX}[i];
        INVALID("model_options.size", vtr_model_create(&newer.known, &head, 1, &model));
        INVALID("model_options.size", vtr_model_describe(model = make_holistic(), &newer.known));
        vtr_model_free(model);
        model = NULL;
    }
    vtr_bank* bank = NULL;
    const vtr_load_options load = {.size = 1};
    INVALID("load_options.size", vtr_bank_load("none", &load, &bank));
}

static void test_bank(void) {
    vtr_model* model = make_holistic();
    vtr_bank *bank = NULL, *clone = NULL;
    CHECK(vtr_bank_create(model, &bank) == VTR_OK);
    CHECK(vtr_bank_count(bank) == 0);
    CHECK(append(bank, 10) == VTR_OK && append(bank, 30) == VTR_OK);
    CHECK(vtr_bank_count(bank) == 2 * ROWS && vtr_bank_bytes(bank) >= 2 * ROWS * DIM * 2);
    CHECK(vtr_bank_clone(bank, &clone) == VTR_OK);

    int64_t ids[3] = {10, 12, 99}, got[4] = {-7, -7, -7, -7};
    size_t count = 77;
    CHECK(vtr_bank_remove(bank, ids, 3, &count) == VTR_OK && count == 2);
    CHECK(vtr_bank_remove(bank, ids, 3, NULL) == VTR_OK && vtr_bank_remove(bank, NULL, 0, NULL) == VTR_OK);
    CHECK(vtr_bank_count(bank) == 2 * ROWS - 2 && vtr_bank_count(clone) == 2 * ROWS);
    CHECK(vtr_bank_ids(bank, got, 3, &count) == VTR_OK && count == 2 * ROWS - 2);
    CHECK(got[0] == 11 && got[1] == 13 && got[2] == 14 && got[3] == -7);
    CHECK(vtr_bank_ids(bank, NULL, 0, &count) == VTR_OK);
    CHECK(vtr_bank_path(bank, 11) == NULL);

    INVALID("ascend", append(bank, 30));
    INVALID("ids: expected 0 or more", append(bank, -1));
    CHECK(vtr_bank_append(bank, NULL, 0, (vtr_array[]){array("video", NULL, 2, 0, DIM, 0)}, 1) == VTR_OK);
    float numbers[DIM] = {0};
    vtr_array column = array("video", numbers, 2, 1, DIM, 0);
    const int64_t next = 100;
    INVALID("bank is NULL", vtr_bank_append(NULL, &next, 1, &column, 1));
    INVALID("ids is NULL", vtr_bank_append(bank, NULL, 1, &column, 1));
    INVALID("columns is NULL", vtr_bank_append(bank, &next, 1, NULL, 1));
    INVALID("missing", vtr_bank_append(bank, &next, 1, NULL, 0));
    INVALID("too many", vtr_bank_append(bank, &next, SIZE_MAX, &column, 1));
    column.shape[0] = 2;
    INVALID("shape", vtr_bank_append(bank, &next, 1, &column, 1));
    column.shape[0] = 1, column.dtype = (vtr_dtype)-5;
    INVALID("dtype", vtr_bank_append(bank, &next, 1, &column, 1));
    column.dtype = VTR_F32, numbers[3] = NAN;
    REFUSED(VTR_NOT_FINITE, "row 0", vtr_bank_append(bank, &next, 1, &column, 1));
    CHECK(vtr_bank_count(bank) == 2 * ROWS - 2);

    INVALID("model is NULL", vtr_bank_create(NULL, &clone));
    INVALID("bank is NULL", vtr_bank_create(model, NULL));
    INVALID("bank is NULL", vtr_bank_clone(NULL, &clone));
    INVALID("clone is NULL", vtr_bank_clone(bank, NULL));
    INVALID("ids is NULL", vtr_bank_remove(bank, NULL, 1, NULL));
    INVALID("ids is NULL", vtr_bank_ids(bank, NULL, 1, &count));
    INVALID("count is NULL", vtr_bank_ids(bank, got, 1, NULL));
    INVALID("bank is NULL", vtr_bank_ids(NULL, got, 1, &count));
    CHECK(vtr_bank_count(NULL) == 0 && vtr_bank_bytes(NULL) == 0);
    CHECK(vtr_bank_model(NULL) == NULL && vtr_bank_path(NULL, 0) == NULL);
    vtr_model_free((vtr_model*)vtr_bank_model(bank)); /* does nothing: it belongs to the bank */
    CHECK(append(bank, 200) == VTR_OK);
    vtr_bank_free(bank);
    vtr_bank_free(clone);
    vtr_bank_free(NULL);
    vtr_model_free(model);
}

int main(void) {
    test_names();
    test_pool();
    test_model();
    test_sizes();
    test_bank();
    return finish();
}
