/* Writes a small X-CLIP bank to a file, and to standard output two texts and what they find: for each text a line
 * of its numbers, sentence first, and lines "id score path". Built against an installed libvtr by test_package.sh.
 */
#include <stdio.h>
#include <stdlib.h>
#include <vtr/vtr.h>

enum { FRAMES = 2, WORDS = 3, DIM = 16, VIDEOS = 6, TEXTS = 2, K = 4, LARGEST = VIDEOS * FRAMES * DIM };

static float numbers[LARGEST], sentence[TEXTS * DIM], words[TEXTS * WORDS * DIM];

static void check(vtr_status status) {
    if (status == VTR_OK) return;
    fprintf(stderr, "%s: %s\n", vtr_status_name(status), vtr_last_error());
    exit(1);
}

static void fill(float* to, int count) { /* multiples of 1/8, which survive printing */
    static unsigned state = 1;
    for (int i = 0; i < count; ++i) {
        state = state * 1664525u + 1013904223u;
        to[i] = (float)(state >> 28) / 8.0f - 1.0f;
    }
}

static vtr_array array(const char* name, int32_t ndim, int64_t a, int64_t b, int64_t c) {
    const vtr_array array = {.name = name, .dtype = VTR_F32, .ndim = ndim, .shape = {a, b, c}, .data = numbers};
    return array;
}

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    fill(numbers, LARGEST);
    fill(sentence, TEXTS * DIM);
    fill(words, TEXTS * WORDS * DIM);
    const vtr_array head[] = {
        array("logit_scale", 1, 1, 0, 0),
        array("global_mat_weight", 2, DIM, DIM, 0),
        array("local_mat_weight", 2, DIM, DIM, 0),
        array("word_logit_weight", 2, WORDS, WORDS, 0),
        array("word_mat_weight", 2, WORDS, WORDS, 0),
        array("word_mat_weight2", 2, WORDS, WORDS, 0),
        array("frame_logit_weight", 2, FRAMES, FRAMES, 0),
        array("frame_mat_weight", 2, FRAMES, FRAMES, 0),
        array("frame_mat_weight2", 2, FRAMES, FRAMES, 0),
    };
    const vtr_array columns[] = {array("frames", 3, VIDEOS, FRAMES, DIM), array("video", 2, VIDEOS, DIM, 0)};
    const vtr_model_options options = {
        .size = sizeof options, .scoring = "xclip", .frames = FRAMES, .words = WORDS, .dim = DIM};
    const int64_t videos[VIDEOS] = {1, 2, 3, 5, 8, 13};
    const char* const paths[VIDEOS] = {"a.mp4", "b c.mp4", "d.mp4", NULL, "caf\303\251.mp4", "f.mp4"};

    vtr_model* model;
    vtr_bank* bank;
    vtr_query* query;
    check(vtr_model_create(&options, head, sizeof head / sizeof *head, &model));
    check(vtr_bank_create(model, &bank));
    check(vtr_bank_append(bank, videos, VIDEOS, columns, 2));
    check(vtr_bank_save(bank, argv[1], paths));
    vtr_bank_free(bank);
    check(vtr_bank_load(argv[1], NULL, &bank));
    check(vtr_query_create(vtr_bank_model(bank), TEXTS, sentence, words, NULL, &query));

    int64_t ids[TEXTS * K];
    float scores[TEXTS * K];
    check(vtr_search(bank, query, &(vtr_search_options){.size = sizeof(vtr_search_options), .k = K}, ids, scores,
                     NULL));
    for (int text = 0; text < TEXTS; ++text) {
        for (int i = 0; i < DIM; ++i) printf("%g ", sentence[text * DIM + i]);
        for (int i = 0; i < WORDS * DIM; ++i) printf("%g ", words[text * WORDS * DIM + i]);
        printf("\n");
        for (int i = text * K; i < (text + 1) * K; ++i) {
            const char* path = vtr_bank_path(bank, ids[i]);
            printf("%lld %.9g %s\n", (long long)ids[i], scores[i], path ? path : "");
        }
    }
    vtr_query_free(query);
    vtr_bank_free(bank);
    vtr_model_free(model);
    return 0;
}
