// Matrix products on the AMX unit: bfloat16 tiles, float32 sums.
//
// Precision::fast multiplies the high halves. Precision::exact takes low * high + high * high + high * low of rows
// and probes in one sum, so an element is within 2^-16 of |row| |probe|, mostly much closer.
//
// Every sum runs over dim in ascending steps of 32, and over the products within a step, whatever tile it falls
// in: a result does not depend on its place.
#include "kernels/amx_operands.hpp"

namespace vtr::VTR_ISA {
namespace {

// Steps in one go: longer sums than this rest in `out`, while the operands of a pair of tiles stay in the cache.
constexpr size_t DEPTH = 32;
constexpr size_t LINE = 64;  // bytes of a line of the cache

// ---- tiles ---------------------------------------------------------------------------------------------------

// In assembly, as the compilers' own functions do not all say that they read and write memory.
template <int TILE>
VTR_INLINE void tile_load(const void* from, size_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(TILE) : "memory");
}
template <int TILE>
VTR_INLINE void tile_store(void* to, size_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(TILE) : "memory");
}
template <int TILE>
VTR_INLINE void tile_zero() {
    __asm__ volatile("tilezero %%tmm%c0" ::"i"(TILE));
}
template <int SUMS, int ROWS, int PROBES>
VTR_INLINE void tile_multiply() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(SUMS), "i"(ROWS), "i"(PROBES));
}

// Tiles 0 to 3 are sums, 4 and 5 rows, 6 and 7 probes. The last rows of a product make shorter tiles, which read
// and write nothing beyond.
void configure(size_t rows) {
    struct {
        uint8_t palette = 1, start_row = 0, reserved[14] = {};
        uint16_t row_bytes[16] = {};
        uint8_t rows[16] = {};
    } config;
    for (int tile = 0; tile < 8; ++tile) {
        config.row_bytes[tile] = 64;
        config.rows[tile] = static_cast<uint8_t>(tile < 6 ? rows : TILE_ROWS);
    }
    __asm__ volatile("ldtilecfg (%0)" ::"r"(&config) : "memory");
}

// Other code runs cheaper, and changes of threads too, when the processor knows that the tiles are free.
void release() { __asm__ volatile("tilerelease"); }

// The vector unit stores tiles too. Unused for 0.8 us it falls asleep, and waking it takes 0.25 us: a sum in
// passing keeps it awake. (Measured on a Xeon with AMX; products in three parts gain up to a quarter.)
VTR_INLINE void keep_vector_unit_awake() { __asm__ volatile("vaddps %%zmm0, %%zmm0, %%zmm0" ::: "xmm0"); }

// ---- the product ---------------------------------------------------------------------------------------------

// How many products an element takes, which also says which halves lie in memory.
VTR_INLINE int products_of(Storage storage, Precision precision) {
    return precision == Precision::fast ? 1 : storage == Storage::bf16 ? 2 : 3;
}

// bfloat16 rows serve as they lie if they are made of whole steps.
VTR_INLINE bool as_they_lie(size_t dim, Storage storage) { return storage == Storage::bf16 && dim % STEP == 0; }

// What to fetch while tiles are multiplied: so many lines in every step.
struct Fetched {
    const char* at;
    size_t lines;
};

struct Operands {
    const char* rows;   // a tile
    size_t row_stride;  // bytes between the tile's rows
    size_t row_step;    // bytes to the next step's tile
    size_t row_tile;    // bytes to the next 16 rows
    const char* probes;
    size_t probe_step;
    size_t probe_tile;
    float* out;
    size_t lanes;
    size_t steps;
    bool first;  // sums begin at zero, else at what is in `out`
    Fetched* fetched;
};

template <int TILE>
VTR_INLINE void begin_sums(const float* out, size_t lanes, bool first) {
    if (first)
        tile_zero<TILE>();
    else
        tile_load<TILE>(out, lanes * sizeof(float));
}

// Add one product of R x P tiles; the tiles that the last product had in the registers are not loaded again.
template <int R, int P, bool LOAD_ROWS, bool LOAD_PROBES>
VTR_INLINE void multiply_step(const Operands& operands, const char* rows, const char* probes) {
    if (LOAD_ROWS) tile_load<4>(rows, operands.row_stride);
    if (LOAD_PROBES) tile_load<6>(probes, 64);
    tile_multiply<0, 4, 6>();
    if (LOAD_PROBES && P == 2) tile_load<7>(probes + operands.probe_tile, 64);
    if (P == 2) tile_multiply<1, 4, 7>();
    if (LOAD_ROWS && R == 2) tile_load<5>(rows + operands.row_tile, operands.row_stride);
    if (R == 2) tile_multiply<2, 5, 6>();
    if (R == 2 && P == 2) tile_multiply<3, 5, 7>();
}

template <int PRODUCTS, int R, int P>
void multiply_tiles(const Operands& operands) {
    const char *rows = operands.rows, *probes = operands.probes;
    const size_t lanes = operands.lanes;
    float* out = operands.out;
    begin_sums<0>(out, lanes, operands.first);
    if (P == 2) begin_sums<1>(out + LANES, lanes, operands.first);
    if (R == 2) begin_sums<2>(out + TILE_ROWS * lanes, lanes, operands.first);
    if (R == 2 && P == 2) begin_sums<3>(out + TILE_ROWS * lanes + LANES, lanes, operands.first);
    Fetched fetched = *operands.fetched;
    for (size_t step = 0; step < operands.steps; ++step) {
        keep_vector_unit_awake();
        for (size_t line = 0; line < fetched.lines; ++line, fetched.at += LINE)
            __builtin_prefetch(fetched.at, 0, 2);
        if (PRODUCTS == 3) multiply_step<R, P, true, true>(operands, rows + TILE_BYTES, probes);
        multiply_step<R, P, true, PRODUCTS != 3>(operands, rows, probes);
        if (PRODUCTS >= 2) multiply_step<R, P, false, true>(operands, rows, probes + TILE_BYTES);
        rows += operands.row_step;
        probes += operands.probe_step;
    }
    *operands.fetched = fetched;
    tile_store<0>(out, lanes * sizeof(float));
    if (P == 2) tile_store<1>(out + LANES, lanes * sizeof(float));
    if (R == 2) tile_store<2>(out + TILE_ROWS * lanes, lanes * sizeof(float));
    if (R == 2 && P == 2) tile_store<3>(out + TILE_ROWS * lanes + LANES, lanes * sizeof(float));
}

// R tiles of rows with all probes.
template <int PRODUCTS, int R>
void multiply_probes(Operands operands) {
    size_t lane = 0;
    for (; lane + 2 * LANES <= operands.lanes; lane += 2 * LANES) {
        multiply_tiles<PRODUCTS, R, 2>(operands);
        operands.probes += 2 * operands.probe_tile;
        operands.out += 2 * LANES;
    }
    if (lane < operands.lanes) multiply_tiles<PRODUCTS, R, 1>(operands);
}

// Full tiles of rows.
template <int PRODUCTS>
void multiply_rows(Operands operands, size_t tiles) {
    for (; tiles >= 2; tiles -= 2) {
        multiply_probes<PRODUCTS, 2>(operands);
        operands.rows += 2 * operands.row_tile;
        operands.out += 2 * TILE_ROWS * operands.lanes;
    }
    if (tiles > 0) multiply_probes<PRODUCTS, 1>(operands);
}

template <int PRODUCTS>
void multiply_tiled(Operands operands, size_t tiles, size_t steps) {
    for (size_t step = 0; step < steps; step += DEPTH) {
        operands.steps = steps - step < DEPTH ? steps - step : DEPTH;
        operands.first = step == 0;
        multiply_rows<PRODUCTS>(operands, tiles);
        operands.rows += DEPTH * operands.row_step;
        operands.probes += DEPTH * operands.probe_step;
    }
}

template <int PRODUCTS>
void multiply_all(Operands operands, size_t count, size_t steps) {
    const size_t tiles = count / TILE_ROWS, rest = count % TILE_ROWS;
    if (tiles > 0) {
        configure(TILE_ROWS);
        multiply_tiled<PRODUCTS>(operands, tiles, steps);
    }
    if (rest > 0) {
        configure(rest);
        operands.rows += tiles * operands.row_tile;
        operands.out += tiles * TILE_ROWS * operands.lanes;
        multiply_tiled<PRODUCTS>(operands, 1, steps);
    }
    release();
}

// The lines of `ahead`, shared out among the steps of the products of pairs of tiles.
Fetched share_out(Ahead ahead, size_t count, size_t dim, size_t lanes) {
    const size_t pairs = padded(count, ROW_BLOCK) / ROW_BLOCK * (padded(lanes, 2 * LANES) / (2 * LANES));
    const size_t steps = steps_of(dim) * pairs;
    return {ahead.at, (ahead.bytes / LINE + steps - 1) / steps};
}

void multiply(const void* loaded, size_t count, size_t dim, Storage storage, Precision precision,
              const void* packed, size_t probes, float* out, Ahead ahead) {
    const int products = products_of(storage, precision);
    const size_t steps = steps_of(dim);
    Operands operands = {};
    operands.rows = static_cast<const char*>(loaded);
    operands.probes = static_cast<const char*>(packed);
    operands.out = out;
    operands.lanes = padded(probes, LANES);
    Fetched fetched = share_out(ahead, count, dim, operands.lanes);
    operands.fetched = &fetched;
    operands.probe_step = TILE_BYTES * (precision == Precision::exact ? 2 : 1);
    operands.probe_tile = steps * operands.probe_step;
    if (as_they_lie(dim, storage)) {
        operands.row_stride = dim * 2;
        operands.row_step = STEP * 2;
        operands.row_tile = TILE_ROWS * dim * 2;
    } else {
        operands.row_stride = 64;
        operands.row_step = TILE_BYTES * (products == 3 ? 2 : 1);
        operands.row_tile = steps * operands.row_step;
    }
    if (products == 1)
        multiply_all<1>(operands, count, steps);
    else if (products == 2)
        multiply_all<2>(operands, count, steps);
    else
        multiply_all<3>(operands, count, steps);
}

// ---- making ready --------------------------------------------------------------------------------------------

size_t packed_bytes(size_t probes, size_t dim, Precision precision) {
    return padded(probes, LANES) / LANES * steps_of(dim) * TILE_BYTES * (precision == Precision::exact ? 2 : 1);
}

void pack(const float* probes, size_t count, size_t dim, Precision precision, void* packed) {
    if (precision == Precision::exact)
        pack_tiles<true>(probes, count, dim, static_cast<char*>(packed));
    else
        pack_tiles<false>(probes, count, dim, static_cast<char*>(packed));
}

size_t rows_bytes(size_t count, size_t dim, Storage storage, Precision precision) {
    if (as_they_lie(dim, storage)) return 0;
    return padded(count, TILE_ROWS) / TILE_ROWS * steps_of(dim) * TILE_BYTES *
           (products_of(storage, precision) == 3 ? 2 : 1);
}

const void* load_rows(const void* rows, size_t count, size_t dim, Storage storage, Precision precision,
                      void* scratch) {
    if (as_they_lie(dim, storage)) return rows;
    const char* from = static_cast<const char*>(rows);
    char* out = static_cast<char*>(scratch);
    const bool exact = precision == Precision::exact;
    if (storage == Storage::bf16)
        load_tiles<Storage::bf16, false>(from, count, dim, out);
    else if (storage == Storage::f16)
        (exact ? load_tiles<Storage::f16, true> : load_tiles<Storage::f16, false>)(from, count, dim, out);
    else
        (exact ? load_tiles<Storage::f32, true> : load_tiles<Storage::f32, false>)(from, count, dim, out);
    return scratch;
}

// Bound by memory: nothing for a matrix unit to do.
void dots(const void* rows, size_t count, size_t dim, Storage storage, const float* vectors, size_t number,
          float* out) {
    avx512::product.dots(rows, count, dim, storage, vectors, number, out);
}

}  // namespace

const ProductKernels product = {packed_bytes, pack, rows_bytes, load_rows, multiply, dots};

}  // namespace vtr::VTR_ISA
