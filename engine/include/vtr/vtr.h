/* vtr.h: search video by text embeddings, the scoring half of vtr, with a C interface.
 *
 * A *model* holds the parameters of a scorer (CLIP4Clip-like, X-CLIP or TC-MGC). A *bank* holds what the model
 * keeps of every video. A *query* is one text or a batch, made ready to meet videos. A *pool* lends threads.
 *
 *     vtr_bank* bank;
 *     if (vtr_bank_load("videos.vtrbank", NULL, &bank) != VTR_OK) die(vtr_last_error());
 *     vtr_query* query;
 *     vtr_query_create(vtr_bank_model(bank), 1, sentence, words, NULL, &query);
 *     const vtr_search_options options = {.size = sizeof options, .k = 10};
 *     vtr_search(bank, query, &options, ids, scores, NULL);
 *
 * Rules that hold everywhere:
 * - Every function may be called from many threads at once, also on the same handle. A handle is freed once,
 *   when no other call works on it; freeing one that others were made from is safe, and so is freeing NULL.
 * - A function that returns vtr_status leaves its outputs untouched unless it returns VTR_OK (vtr_score may write
 *   part of its scores before memory runs out), and its message is then in vtr_last_error() of the calling thread.
 *   Nothing here throws, aborts or exits. NULL for what is not said to be optional is VTR_INVALID_ARGUMENT.
 * - Arrays are dense, row-major, in the machine's byte order and at a multiple of their item size; they are copied
 *   and may be freed after the call.
 * - Structures of options begin with `size`, set to sizeof of the structure: later versions may append members,
 *   whose zero means the default. A library that is older than a structure takes it if what it does not know is
 *   zero, and says VTR_UNSUPPORTED if not.
 */
#ifndef VTR_VTR_H
#define VTR_VTR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VTR_API __attribute__((visibility("default")))

#ifdef __cplusplus
#define VTR_ENUM(name) enum name : int32_t /* so that a value from C outside of it is no undefined behaviour */
#else
#define VTR_ENUM(name) enum name
#endif

#define VTR_VERSION_MAJOR 0
#define VTR_VERSION_MINOR 1
#define VTR_VERSION_PATCH 0

/* ---- status ------------------------------------------------------------------------------------------- */

typedef VTR_ENUM(vtr_status){
    VTR_OK = 0,
    VTR_INVALID_ARGUMENT = 1, /* a value, shape, name or pointer that cannot be meant */
    VTR_UNSUPPORTED = 2,      /* sound, but not by this build, machine or size */
    VTR_NOT_FINITE = 3,       /* NaN or infinity among the numbers, or too large for the storage type */
    VTR_CORRUPT = 4,          /* a file that is truncated, damaged or forged */
    VTR_IO = 5,               /* the operating system refused a file */
    VTR_OUT_OF_MEMORY = 6,
    VTR_INTERNAL = 7, /* a defect of vtr: please report it */
    VTR_DEVICE = 8    /* a GPU or its driver failed */
} vtr_status;

/* "0.1.0", of the library that is loaded. */
VTR_API const char* vtr_version(void);

/* What went wrong in the last call of this thread that did not return VTR_OK: what was expected, what came, what
 * to do. UTF-8 but for names that are not; "" if nothing went wrong yet. Never NULL; valid until the thread's next
 * call. */
VTR_API const char* vtr_last_error(void);

/* "invalid argument" and so on; never NULL. */
VTR_API const char* vtr_status_name(vtr_status status);

/* ---- threads and instruction sets --------------------------------------------------------------------- */

typedef struct vtr_pool vtr_pool;

/* A pool that works on a search with `threads` threads, the calling one included; 0 takes one a core. Many
 * searches may share a pool at once. Where a function takes a pool, NULL means: on the calling thread alone, and
 * vtr_pool_threads(NULL) is 1. Results are the same, bit for bit, at any number of threads. */
VTR_API vtr_status vtr_pool_create(size_t threads, vtr_pool** pool);
VTR_API size_t vtr_pool_threads(const vtr_pool* pool);
VTR_API void vtr_pool_free(vtr_pool* pool);

/* Instruction sets of this build that this processor runs, best first, as names: "amx", "avx512", "avx2",
 * "portable". NULL from `index` = their number on. */
VTR_API const char* vtr_isa_name(size_t index);

/* ---- arrays ------------------------------------------------------------------------------------------- */

typedef VTR_ENUM(vtr_dtype){VTR_F32 = 0, VTR_F16 = 1, VTR_BF16 = 2} vtr_dtype;

typedef struct vtr_array {
    const char* name;
    vtr_dtype dtype;
    int32_t ndim; /* 0 to 4 */
    int64_t shape[4];
    const void* data;
} vtr_array;

/* ---- models ------------------------------------------------------------------------------------------- */

typedef struct vtr_model vtr_model;

typedef struct vtr_model_options {
    size_t size;
    const char* scoring; /* "holistic", "xclip" or "tcmgc" */
    int32_t frames;      /* F of a video, 1 to 64; 0 for holistic */
    int32_t words;       /* L of a text, 1 to 77; 0 for holistic */
    int32_t dim;         /* D, a multiple of 16, at most 8192 */
    int32_t keep;        /* K of TC-MGC, 1 to L; else 0 */
    const char* isa;     /* NULL or "auto": the best; or a name of vtr_isa_name, for tests */
    vtr_dtype storage;   /* of features in banks: VTR_F16 or VTR_BF16; VTR_F32 (0) means the default, VTR_F16 */
    int32_t fast;        /* 1: one bf16 product where the processor has a matrix unit; 0: as exact as fp32 */
} vtr_model_options;

/* Make a model from the tensors of a bundle's head.safetensors (any order, float32, names and shapes as there).
 *
 * VTR_INVALID_ARGUMENT: a tensor is missing, unknown or of another shape. VTR_UNSUPPORTED: sizes out of the ranges
 * above. VTR_NOT_FINITE: NaN or infinity. */
VTR_API vtr_status vtr_model_create(const vtr_model_options* options, const vtr_array* head, size_t tensors,
                                    vtr_model** model);
/* What the model was made with, into `options`, whose `size` the caller has set; `isa` says what was chosen,
 * `storage` is never VTR_F32. Strings live as long as the model. */
VTR_API vtr_status vtr_model_describe(const vtr_model* model, vtr_model_options* options);
VTR_API void vtr_model_free(vtr_model* model);

/* ---- banks -------------------------------------------------------------------------------------------- */

typedef struct vtr_bank vtr_bank;

/* An empty bank. */
VTR_API vtr_status vtr_bank_create(const vtr_model* model, vtr_bank** bank);

/* Add `rows` videos: ids of 0 or more, ascending and above all ids that the bank ever had; columns by name,
 * [rows, ...], float32, float16 or bfloat16, as `vtr index` keeps them:
 *
 *   holistic   video [rows, D]
 *   xclip      frames [rows, F, D], video [rows, D]
 *   tcmgc      frames [rows, F, D], gram [rows, 3F + 3, F] (float32), video [rows, D]
 *
 * The rows are packed into memory of the bank's own. Either all or none are added. Searches that run meanwhile see
 * the bank before or after, never half. */
VTR_API vtr_status vtr_bank_append(vtr_bank* bank, const int64_t* ids, size_t rows, const vtr_array* columns,
                                   size_t count);

/* Remove videos; ids that are not there are passed over. `removed` (may be NULL) receives how many were. Their
 * memory is freed when enough of it has gathered. */
VTR_API vtr_status vtr_bank_remove(vtr_bank* bank, const int64_t* ids, size_t count, size_t* removed);

/* Another bank with the same videos, which shares their memory: a snapshot that later changes of either do not
 * touch. Costs microseconds. */
VTR_API vtr_status vtr_bank_clone(const vtr_bank* bank, vtr_bank** clone);

typedef struct vtr_load_options {
    size_t size;
    const char* isa; /* as in vtr_model_options */
    vtr_pool* pool;  /* checks the file with these threads */
    int32_t fast;    /* as in vtr_model_options */
    int32_t trust;   /* 1: skip checksums and the search for NaN; sizes and offsets are always checked */
} vtr_load_options;

/* Map a frozen bank that `vtr freeze` or vtr_bank_save wrote, model included. The file is mapped, not read into
 * memory: it may be deleted or replaced by renaming another over it, but must not be altered while the bank or a
 * clone of it lives; where it is cut short, reading what is gone raises SIGBUS. The bank can be changed like any
 * other; the file stays as it is. options may be NULL.
 *
 * VTR_IO: the file cannot be opened. VTR_CORRUPT: it is not a sound frozen bank; the message says where.
 * VTR_UNSUPPORTED: it is of another version of the format. */
VTR_API vtr_status vtr_bank_load(const char* path, const vtr_load_options* options, vtr_bank** bank);

/* Write a bank, its model included, to one file that vtr_bank_load maps: under a temporary name in the same folder
 * (.vtr-*.tmp, which only a crash leaves behind), made durable, then renamed over `path`, which is as it was if
 * this fails. Removed videos are not written.
 *
 * paths [count of videos], in ascending order of ids, each ended by 0, or NULL where a video has none; or NULL for
 * no paths at all. If other threads may change the bank, clone it, take the ids of the clone and save that.
 *
 * VTR_IO: the file cannot be written. */
VTR_API vtr_status vtr_bank_save(const vtr_bank* bank, const char* path, const char* const* paths);

/* The model of a bank; a new handle is not made: it lives as long as the bank, and vtr_model_free leaves it alone.
 */
VTR_API const vtr_model* vtr_bank_model(const vtr_bank* bank);

/* Videos in it; bytes of memory or mapped file that hold them. */
VTR_API size_t vtr_bank_count(const vtr_bank* bank);
VTR_API size_t vtr_bank_bytes(const vtr_bank* bank);

/* The ids of all videos, ascending, into `ids` [capacity] (may be NULL if that is 0); at most capacity of them.
 * `count` receives how many the bank has. */
VTR_API vtr_status vtr_bank_ids(const vtr_bank* bank, int64_t* ids, size_t capacity, size_t* count);

/* The path of a video that the bank was loaded with, as bytes ended by 0, also if it was removed since; NULL for
 * others. Clones know the same. Valid as long as the bank. */
VTR_API const char* vtr_bank_path(const vtr_bank* bank, int64_t id);

VTR_API void vtr_bank_free(vtr_bank* bank);

/* ---- queries ------------------------------------------------------------------------------------------ */

typedef struct vtr_query vtr_query;

/* Make `texts` texts, 1 or more, ready: sentence [texts, D] and words [texts, L, D] (not read for holistic, may be
 * NULL), float32 as the text tower gives them, un-normalised. The query is for this model and its banks alone.
 * Several texts of TC-MGC share the threads of `pool`. About 0.3 MB a text for TC-MGC at L = 32, D = 512. */
VTR_API vtr_status vtr_query_create(const vtr_model* model, size_t texts, const float* sentence,
                                    const float* words, vtr_pool* pool, vtr_query** query);
VTR_API size_t vtr_query_texts(const vtr_query* query);
VTR_API void vtr_query_free(vtr_query* query);

/* ---- search ------------------------------------------------------------------------------------------- */

typedef struct vtr_search_options {
    size_t size;
    size_t k;            /* answers for each text, at least 1 */
    size_t candidates;   /* 0: score every video with the full model; n: only the n best by holistic vector */
    const int64_t* only; /* ascending ids to search among, or NULL for all; unknown ones are passed over */
    size_t only_count;
    vtr_pool* pool;
} vtr_search_options;

/* The k best videos for each text, best first, ties to the smaller id: ids [texts, k] and scores [texts, k] (the
 * family's logits). Where there are fewer than k, the rest is id -1 and score -infinity, and found [texts] (may be
 * NULL) says how many there are. No memory that grows with the bank is used, but for `candidates` and k. */
VTR_API vtr_status vtr_search(const vtr_bank* bank, const vtr_query* query, const vtr_search_options* options,
                              int64_t* ids, float* scores, size_t* found);

/* The logits [texts, count] of the videos `ids` [count], in that order; with ids NULL of all videos, ascending by
 * id, and `count` must be their number. VTR_INVALID_ARGUMENT: the bank has no such video. */
VTR_API vtr_status vtr_score(const vtr_bank* bank, const vtr_query* query, const int64_t* ids, size_t count,
                             vtr_pool* pool, float* scores);

/* ---- GPUs --------------------------------------------------------------------------------------------- */

typedef struct vtr_device vtr_device;

/* The GPU `ordinal`, counted from 0, by NVIDIA's driver libcuda.so.1, which is looked for now and not before; the
 * environment's VTR_CUDA_LIBRARY names another. Shares the primary context with what else in the process uses
 * CUDA, and leaves every thread's current context as it was. A process must not go on with it after fork().
 *
 * VTR_UNSUPPORTED: there is no driver, no GPU, or none of this number.
 *
 * VTR_DEVICE, here and below: the driver failed; the message has its name for the error. After some errors, such
 * as a kernel's illegal access, the driver does nothing more in this process: all later calls say VTR_DEVICE. */
VTR_API vtr_status vtr_device_open(int32_t ordinal, vtr_device** device);

typedef struct vtr_device_info {
    size_t size;
    const char* name;     /* lives as long as the device */
    int32_t major, minor; /* of its compute capability: 9, 0 */
    uint64_t free_bytes, total_bytes;
} vtr_device_info;

/* What is known of it, into `info`, whose `size` the caller has set. */
VTR_API vtr_status vtr_device_describe(const vtr_device* device, vtr_device_info* info);
VTR_API void vtr_device_free(vtr_device* device);

typedef struct vtr_device_bank vtr_device_bank;

typedef struct vtr_device_bank_options {
    size_t size;
    uint64_t slab_bytes; /* device memory is taken in pieces of up to this; 0: 256 MiB */
} vtr_device_bank_options;

/* A copy of a bank in the memory of a GPU, with the kernels of a bundle: `kernels` is the folder of that name that
 * `vtr export --cuda` made for the model. Their files are checked against their own sizes, not their checksums:
 * `vtr verify` does that. options may be NULL. The bank's own memory stays, and must for as long as this lives.
 *
 * VTR_UNSUPPORTED: the kernels are for another model or not for this GPU, or the model's matrices of attention
 * hold numbers of 65504 and more. VTR_IO, VTR_CORRUPT: a file is not there or not sound. VTR_OUT_OF_MEMORY: of the
 * device. */
VTR_API vtr_status vtr_device_bank_create(const vtr_device* device, const vtr_bank* bank, const char* kernels,
                                          const vtr_device_bank_options* options, vtr_device_bank** device_bank);

/* Take over what was appended to the bank, or removed from it, since. All or nothing; searches that run meanwhile
 * see the videos before or after. VTR_OUT_OF_MEMORY: the copy is as it was. */
VTR_API vtr_status vtr_device_bank_update(vtr_device_bank* device_bank);

/* Take over the videos of another bank, and copy that one from now on: a clone of the one so far, or of a clone of
 * it and so on, each with what was appended and removed; or any bank of the model if there was no video yet. A
 * newer snapshot costs what changed. All or nothing. VTR_INVALID_ARGUMENT: the bank is of another model, or has
 * videos again that were removed before. */
VTR_API vtr_status vtr_device_bank_follow(vtr_device_bank* device_bank, const vtr_bank* bank);

/* Videos in it; bytes of device memory that they take, without what searches work in; the architecture whose code
 * was taken, "sm_90" or "ptx". */
VTR_API size_t vtr_device_bank_count(const vtr_device_bank* device_bank);
VTR_API size_t vtr_device_bank_bytes(const vtr_device_bank* device_bank);
VTR_API const char* vtr_device_bank_target(const vtr_device_bank* device_bank);
VTR_API void vtr_device_bank_free(vtr_device_bank* device_bank);

/* As vtr_query_create and vtr_search in one, on the GPU. Scores differ from vtr_search's by rounding: texts are
 * stored in the bank's type. `candidates` must be 0; `pool` shares the work on texts. VTR_NOT_FINITE: a text has
 * numbers beyond that type. */
VTR_API vtr_status vtr_device_search(vtr_device_bank* device_bank, size_t texts, const float* sentence,
                                     const float* words, const vtr_search_options* options, int64_t* ids,
                                     float* scores, size_t* found);

#ifdef __cplusplus
}
#endif
#endif
