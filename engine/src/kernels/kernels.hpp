// What an instruction set offers to the scorers: a table of functions, one table an instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vtr {

struct XClipWeights;  // xclip_kernel.hpp
struct XClipSimilarities;
struct TcmgcWeights;  // tcmgc_kernel.hpp
struct TcmgcText;
struct TcmgcVideos;

enum class Storage : uint8_t { f16, bf16, f32 };  // of rows; f32 only for rows that the core itself makes
// Inlined always: as functions of the kernels' objects the linker would merge them across instruction sets.
[[gnu::always_inline]] inline constexpr size_t storage_bytes(Storage storage) {
    return storage == Storage::f32 ? 4 : 2;
}
[[gnu::always_inline]] inline constexpr size_t padded(size_t count, size_t unit) {
    return (count + unit - 1) / unit * unit;
}

// `fast` multiplies bf16 by bf16 where there is a matrix unit. `exact` is as good as float32: there it splits
// numbers into a high and a low bf16 half. Without a matrix unit both are float32 products.
enum class Precision : uint8_t { exact, fast };

inline constexpr size_t LANES = 16;      // probes are padded to a multiple of this, whatever the vector width
inline constexpr size_t ROW_BLOCK = 32;  // outputs and scratch of products have room for a multiple of this

struct Ahead {
    const char* at = nullptr;
    size_t bytes = 0;
};

// Products of rows [count, dim] with probes [probes, dim]; dim is a multiple of 16, all buffers are 64-byte
// aligned. Sums are taken in float32 in an order that depends on dim alone, so a row's result does not depend on
// its place.
struct ProductKernels {
    // Probes made ready once: bytes needed, and the packing.
    size_t (*packed_bytes)(size_t probes, size_t dim, Precision);
    void (*pack)(const float* probes, size_t count, size_t dim, Precision, void* packed);
    // Rows made ready once for all the texts that meet them: bytes of scratch needed, and the conversion, which
    // returns what to hand to `product`: the scratch, or the rows themselves if they serve as they lie.
    size_t (*rows_bytes)(size_t count, size_t dim, Storage, Precision);
    const void* (*load_rows)(const void* rows, size_t count, size_t dim, Storage, Precision, void* scratch);
    // out[row * padded(probes, LANES) + probe]; out has room for padded(count, ROW_BLOCK) rows, of which those
    // after `count` may be overwritten. Lanes after `probes` are 0.
    // `ahead` is memory that is wanted next: where a product leaves the memory idle, it fetches that meanwhile.
    void (*product)(const void* loaded, size_t count, size_t dim, Storage, Precision, const void* packed,
                    size_t probes, float* out, Ahead ahead);
    // out[vector * count + row] for a few vectors, straight from the stored rows: bound by memory, not arithmetic.
    // Always as exact as float32.
    void (*dots)(const void* rows, size_t count, size_t dim, Storage, const float* vectors, size_t number,
                 float* out);
};

struct Kernels {
    const char* name;
    ProductKernels product;
    // Some videos and one text after their products: the logits. See the two headers for the layout.
    size_t (*xclip_scratch)(const XClipWeights&);                                              // floats
    void (*xclip)(const XClipWeights&, const XClipSimilarities&, float* scratch, float* out);  // several videos
    size_t (*tcmgc_scratch)(const TcmgcWeights&);                                              // floats
    void (*tcmgc_pool)(const TcmgcWeights&, const TcmgcVideos&);  // between the two products
    void (*tcmgc)(const TcmgcWeights&, const TcmgcText&, const TcmgcVideos&, float* scratch, float* out);
};

// The table of an instruction set by name; "auto" and nullptr mean the best that this processor runs.
// nullptr if there is no such name in this build or this processor cannot run it.
const Kernels* find_kernels(const char* name);
// The names that this processor runs, best first; nullptr after the last.
const char* kernel_name(size_t index);

// Parts of the tables, defined by the kernel files, once for each instruction set.
#define VTR_DECLARE_KERNELS(isa)                                                           \
    namespace isa {                                                                        \
    extern const ProductKernels product;                                                   \
    size_t xclip_scratch(const XClipWeights&);                                             \
    void xclip(const XClipWeights&, const XClipSimilarities&, float*, float*);             \
    size_t tcmgc_scratch(const TcmgcWeights&);                                             \
    void tcmgc_pool(const TcmgcWeights&, const TcmgcVideos&);                              \
    void tcmgc(const TcmgcWeights&, const TcmgcText&, const TcmgcVideos&, float*, float*); \
    }
VTR_DECLARE_KERNELS(portable)
VTR_DECLARE_KERNELS(avx2)
VTR_DECLARE_KERNELS(avx512)
VTR_DECLARE_KERNELS(amx)

}  // namespace vtr
