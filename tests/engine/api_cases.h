/* Small models and banks, and checks, for the tests of the C interface. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "vtr/vtr.h"

enum { FRAMES = 3, WORDS = 4, DIM = 16, ROWS = 8 };

static int failures = 0;

static inline void fail(const char* file, int line) {
    __atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
    fprintf(stderr, "%s:%d: ", file, line);
}

#define CHECK(condition)                                                                \
    do {                                                                                \
        if (condition) break;                                                           \
        fail(__FILE__, __LINE__);                                                       \
        fprintf(stderr, "not so: %s (last error: %s)\n", #condition, vtr_last_error()); \
    } while (0)

/* The call must return `status` and say `message`. */
#define REFUSED(status, message, call)                                                                       \
    do {                                                                                                     \
        const vtr_status returned = call;                                                                    \
        if (returned == (status) && strstr(vtr_last_error(), message)) break;                                \
        fail(__FILE__, __LINE__);                                                                            \
        fprintf(stderr, "%s: '%s'; expected '%s', '%s'\n", #call, vtr_last_error(), vtr_status_name(status), \
                message);                                                                                    \
    } while (0)
#define INVALID(message, call) REFUSED(VTR_INVALID_ARGUMENT, message, call)

static inline int finish(void) { /* what main returns */
    if (failures) fprintf(stderr, "%d checks failed\n", failures);
    return failures != 0;
}

static inline float random_number(void) { /* in [-1, 1], the same in every run */
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / (float)(1 << 23) - 1.0f;
}

static inline void fill(float* numbers, size_t count) {
    for (size_t i = 0; i < count; ++i) numbers[i] = random_number();
}

static inline vtr_array array(const char* name, const float* data, int ndim, int64_t a, int64_t b, int64_t c) {
    vtr_array array = {.name = name, .dtype = VTR_F32, .ndim = ndim, .shape = {a, b, c}, .data = data};
    return array;
}

static inline vtr_model_options holistic_options(void) {
    vtr_model_options options = {.size = sizeof options, .scoring = "holistic", .dim = DIM};
    return options;
}

static const float logit_scale[1] = {2.0f};

static inline vtr_model* make_holistic(void) {
    const vtr_model_options options = holistic_options();
    const vtr_array head = array("logit_scale", logit_scale, 1, 1, 0, 0);
    vtr_model* model = NULL;
    CHECK(vtr_model_create(&options, &head, 1, &model) == VTR_OK);
    return model;
}

static inline vtr_model* make_xclip(void) {
    static float squares[DIM * DIM];
    fill(squares, DIM * DIM);
    const vtr_array head[] = {
        array("logit_scale", logit_scale, 1, 1, 0, 0),
        array("global_mat_weight", squares, 2, DIM, DIM, 0),
        array("local_mat_weight", squares, 2, DIM, DIM, 0),
        array("word_logit_weight", squares, 2, WORDS, WORDS, 0),
        array("word_mat_weight", squares, 2, WORDS, WORDS, 0),
        array("word_mat_weight2", squares, 2, WORDS, WORDS, 0),
        array("frame_logit_weight", squares, 2, FRAMES, FRAMES, 0),
        array("frame_mat_weight", squares, 2, FRAMES, FRAMES, 0),
        array("frame_mat_weight2", squares, 2, FRAMES, FRAMES, 0),
    };
    vtr_model_options options = {
        .size = sizeof options, .scoring = "xclip", .frames = FRAMES, .words = WORDS, .dim = DIM};
    vtr_model* model = NULL;
    CHECK(vtr_model_create(&options, head, sizeof head / sizeof *head, &model) == VTR_OK);
    return model;
}

/* ROWS videos from `first` on. */
static inline vtr_status append(vtr_bank* bank, int64_t first) {
    float video[ROWS * DIM], frames[ROWS * FRAMES * DIM];
    int64_t ids[ROWS];
    vtr_model_options options = {.size = sizeof options};
    for (int i = 0; i < ROWS; ++i) ids[i] = first + i;
    for (int i = 0; i < ROWS * DIM; ++i) video[i] = (float)((first + i) % 17) - 8.0f;
    for (int i = 0; i < ROWS * FRAMES * DIM; ++i) frames[i] = (float)((first + i) % 23) - 11.0f;
    const vtr_array columns[] = {array("video", video, 2, ROWS, DIM, 0),
                                 array("frames", frames, 3, ROWS, FRAMES, DIM)};
    vtr_model_describe(vtr_bank_model(bank), &options);
    return vtr_bank_append(bank, ids, ROWS, columns, options.frames > 0 ? 2 : 1);
}

static inline vtr_query* make_query(const vtr_model* model, size_t texts) {
    static float sentence[4 * DIM], words[4 * WORDS * DIM];
    if (sentence[0] == 0) fill(sentence, 4 * DIM), fill(words, 4 * WORDS * DIM);
    vtr_query* query = NULL;
    CHECK(vtr_query_create(model, texts, sentence, words, NULL, &query) == VTR_OK);
    return query;
}
