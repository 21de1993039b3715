// Matrix products in float32, from one source for every instruction set without a matrix unit.
//
// Each product is one chain of fused multiply-adds over dim in ascending order (portable code without such an
// instruction multiplies and adds), whatever tile it falls in, so that tiling never shows in a result.
#include "kernels/kernels.hpp"
#include "kernels/stored.hpp"

namespace vtr::VTR_ISA {
namespace {

// A tile of the product, ROWS x PANEL vectors, is what the registers hold beside a row of the panel.
constexpr size_t ROWS = 6;
constexpr size_t PANEL = W == 16 ? 4 : 2;
// Numbers of dim at a time: as much of a panel stays in the first-level cache while rows pass by.
constexpr size_t DEPTH = 128;

// ---- rows ----------------------------------------------------------------------------------------------------

template <Storage STORAGE>
void widen_rows(const void* rows, size_t numbers, float* out) {
    for (size_t i = 0; i < numbers; i += W) store(out + i, load_stored<STORAGE>(rows, i));
}

size_t rows_bytes(size_t count, size_t dim, Storage storage, Precision) {
    return storage == Storage::f32 ? 0 : count * dim * sizeof(float);
}

const void* load_rows(const void* rows, size_t count, size_t dim, Storage storage, Precision, void* scratch) {
    if (storage == Storage::f32) return rows;
    if (storage == Storage::f16)
        widen_rows<Storage::f16>(rows, count * dim, static_cast<float*>(scratch));
    else
        widen_rows<Storage::bf16>(rows, count * dim, static_cast<float*>(scratch));
    return scratch;
}

// ---- packed probes: panels of up to PANEL * W lanes, [dim, lanes of the panel] each --------------------------

size_t packed_bytes(size_t probes, size_t dim, Precision) { return padded(probes, LANES) * dim * sizeof(float); }

VTR_INLINE size_t panel_width(size_t lanes, size_t first) {
    return lanes - first < PANEL * W ? lanes - first : PANEL * W;
}

void pack(const float* probes, size_t count, size_t dim, Precision, void* packed) {
    const size_t lanes = padded(count, LANES);
    for (size_t first = 0; first < lanes; first += PANEL * W) {
        float* panel = static_cast<float*>(packed) + first * dim;
        const size_t width = panel_width(lanes, first);
        for (size_t block = 0; block < dim; block += LANES)  // both sides stay in the cache
            for (size_t lane = 0; lane < width; ++lane)
                for (size_t k = block; k < block + LANES; ++k)
                    panel[k * width + lane] = first + lane < count ? probes[(first + lane) * dim + k] : 0;
    }
}

// ---- the product ---------------------------------------------------------------------------------------------

struct Part {  // of a product: some rows, one panel, `depth` numbers of dim
    const float* rows;
    size_t dim;
    const float* panel;
    size_t depth;
    float* out;
    size_t lanes;
    bool first;  // else sums go on from what is in `out`
};

template <size_t R, size_t P>
VTR_INLINE void multiply_tile(const Part& part) {
    V sums[R][P];
    for (size_t r = 0; r < R; ++r)
        for (size_t p = 0; p < P; ++p) sums[r][p] = part.first ? V{} : load(part.out + r * part.lanes + p * W);
    for (size_t k = 0; k < part.depth; ++k) {
        V probes[P];
        for (size_t p = 0; p < P; ++p) probes[p] = load(part.panel + (k * P + p) * W);
        for (size_t r = 0; r < R; ++r) {
            const V number = splat(part.rows[r * part.dim + k]);
            for (size_t p = 0; p < P; ++p) sums[r][p] += number * probes[p];
        }
    }
    for (size_t r = 0; r < R; ++r)
        for (size_t p = 0; p < P; ++p) store(part.out + r * part.lanes + p * W, sums[r][p]);
}

template <size_t R, size_t P>
void multiply_rest(const Part& part, size_t count) {
    if (count == R) return multiply_tile<R, P>(part);
    if constexpr (R > 1) multiply_rest<R - 1, P>(part, count);
}

template <size_t P>
void multiply_rows(Part part, size_t count) {
    for (; count >= ROWS; count -= ROWS) {
        multiply_tile<ROWS, P>(part);
        part.rows += ROWS * part.dim;
        part.out += ROWS * part.lanes;
    }
    if constexpr (ROWS > 1)
        if (count > 0) multiply_rest<ROWS - 1, P>(part, count);
}

template <size_t P>
void multiply_panel(const Part& part, size_t count, size_t width) {
    if (width == P * W) return multiply_rows<P>(part, count);
    if constexpr (P > 1) multiply_panel<P - 1>(part, count, width);
}

void multiply(const void* loaded, size_t count, size_t dim, Storage, Precision, const void* packed, size_t probes,
              float* out, Ahead) {
    const size_t lanes = padded(probes, LANES);
    for (size_t first = 0; first < lanes; first += PANEL * W) {
        const size_t width = panel_width(lanes, first);
        const float* panel = static_cast<const float*>(packed) + first * dim;
        for (size_t k = 0; k < dim; k += DEPTH) {
            const size_t depth = dim - k < DEPTH ? dim - k : DEPTH;
            multiply_panel<PANEL>(
                {static_cast<const float*>(loaded) + k, dim, panel + k * width, depth, out + first, lanes, k == 0},
                count, width);
        }
    }
}

// ---- few vectors: one pass over the stored rows --------------------------------------------------------------

constexpr size_t VECTORS = 4;   // at a time
constexpr size_t AHEAD = 6144;  // bytes from the numbers in hand to those that are fetched meanwhile

template <Storage STORAGE, size_t R, size_t N>
VTR_INLINE void dot_tile(const char* rows, size_t dim, const float* vectors, float* out, size_t count) {
    const size_t row_bytes = dim * storage_bytes(STORAGE);
    V sums[R][N] = {};
    for (size_t k = 0; k < dim; k += W) {
        V numbers[N];
        for (size_t n = 0; n < N; ++n) numbers[n] = load(vectors + n * dim + k);
        for (size_t r = 0; r < R; ++r) {
            const char* row = rows + r * row_bytes;
            __builtin_prefetch(row + k * storage_bytes(STORAGE) + AHEAD);
            const V x = load_stored<STORAGE>(row, k);
            for (size_t n = 0; n < N; ++n) sums[r][n] += x * numbers[n];
        }
    }
    for (size_t n = 0; n < N; ++n)
        for (size_t r = 0; r < R; ++r) out[n * count + r] = sum(sums[r][n]);
}

template <Storage STORAGE, size_t N>
void dot_rows(const char* rows, size_t count, size_t dim, const float* vectors, float* out) {
    constexpr size_t R = W == 16 || N <= 2 ? 4 : 2;
    const size_t row_bytes = dim * storage_bytes(STORAGE);
    size_t row = 0;
    for (; row + R <= count; row += R)
        dot_tile<STORAGE, R, N>(rows + row * row_bytes, dim, vectors, out + row, count);
    for (; row < count; ++row) dot_tile<STORAGE, 1, N>(rows + row * row_bytes, dim, vectors, out + row, count);
}

template <Storage STORAGE, size_t N>
void dot_group(const char* rows, size_t count, size_t dim, const float* vectors, size_t number, float* out) {
    if (number == N) return dot_rows<STORAGE, N>(rows, count, dim, vectors, out);
    if constexpr (N > 1) dot_group<STORAGE, N - 1>(rows, count, dim, vectors, number, out);
}

template <Storage STORAGE>
void dot_all(const void* rows, size_t count, size_t dim, const float* vectors, size_t number, float* out) {
    for (size_t first = 0; first < number; first += VECTORS) {
        const size_t here = number - first < VECTORS ? number - first : VECTORS;
        dot_group<STORAGE, VECTORS>(static_cast<const char*>(rows), count, dim, vectors + first * dim, here,
                                    out + first * count);
    }
}

void dots(const void* rows, size_t count, size_t dim, Storage storage, const float* vectors, size_t number,
          float* out) {
    if (storage == Storage::f32) return dot_all<Storage::f32>(rows, count, dim, vectors, number, out);
    if (storage == Storage::f16) return dot_all<Storage::f16>(rows, count, dim, vectors, number, out);
    dot_all<Storage::bf16>(rows, count, dim, vectors, number, out);
}

}  // namespace

const ProductKernels product = {packed_bytes, pack, rows_bytes, load_rows, multiply, dots};

}  // namespace vtr::VTR_ISA
