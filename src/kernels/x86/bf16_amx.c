/* bf16 products with AMX, one row too: tdpbf16ps sums the even and the odd columns of 32 apart, in
 * an order that no other instruction gives, so that only tiles give a row the same bits alone and
 * among others. */
#include "kernels/x86/tile.h"
#include "kernels/x86/unit_avx512.h"

#include "kernels/kernels.h"

#include <string.h>

enum {
    MAX_ROWS = 96,  /* whose sums are kept while the weights of a group pass by: 6 KB */
    TILE_COLS = 32, /* of W in a tile */
    TILE_VALUES = TILE_COLS * HN_UNIT_ROWS,
    TILES_AT_ONCE = 16, /* turned into pairs before the rows pass by: 16 KB */
};

/* Columns in pairs, as tdpbf16ps wants them: [16 pairs][16 rows][2]. */
static void pair_up(int64_t n_tiles, const uint16_t *w, uint16_t *out) {
    for (int64_t i = 0; i < n_tiles * TILE_VALUES; i += 2 * HN_UNIT_ROWS)
        _mm512_store_si512((void *)(out + i), hn_avx512_pairs(w + i));
}

/* y (rows, 16) += x w over n_tiles tiles of weights, in the named tiles. */
#define MULTIPLY_ONE(rows_tile, sums_tile)                                                         \
    do {                                                                                           \
        HN_TILE_LOAD(sums_tile, y, HN_TILE_ROW_BYTES);                                             \
        for (int64_t t = 0; t < n_tiles; t++) {                                                    \
            HN_TILE_LOAD(HN_TILE_WEIGHTS, w + t * TILE_VALUES, HN_TILE_ROW_BYTES);                 \
            HN_TILE_LOAD(rows_tile, x + t * TILE_COLS, x_bytes);                                   \
            _tile_dpbf16ps(sums_tile, rows_tile, HN_TILE_WEIGHTS);                                 \
        }                                                                                          \
        HN_TILE_STORE(sums_tile, y, HN_TILE_ROW_BYTES);                                            \
    } while (0)

/* The same for 32 rows: two chains of sums share the weights. */
static void multiply_two(int64_t n_tiles, const uint16_t *w, const uint16_t *x, int64_t x_stride,
                         float *y) {
    const int64_t x_bytes = x_stride * (int64_t)sizeof *x;
    HN_TILE_LOAD(HN_TILE_SUMS_A, y, HN_TILE_ROW_BYTES);
    HN_TILE_LOAD(HN_TILE_SUMS_B, y + HN_TILE_ROWS * HN_UNIT_ROWS, HN_TILE_ROW_BYTES);
    for (int64_t t = 0; t < n_tiles; t++) {
        HN_TILE_LOAD(HN_TILE_WEIGHTS, w + t * TILE_VALUES, HN_TILE_ROW_BYTES);
        HN_TILE_LOAD(HN_TILE_ROWS_A, x + t * TILE_COLS, x_bytes);
        _tile_dpbf16ps(HN_TILE_SUMS_A, HN_TILE_ROWS_A, HN_TILE_WEIGHTS);
        HN_TILE_LOAD(HN_TILE_ROWS_B, x + HN_TILE_ROWS * x_stride + t * TILE_COLS, x_bytes);
        _tile_dpbf16ps(HN_TILE_SUMS_B, HN_TILE_ROWS_B, HN_TILE_WEIGHTS);
    }
    HN_TILE_STORE(HN_TILE_SUMS_A, y, HN_TILE_ROW_BYTES);
    HN_TILE_STORE(HN_TILE_SUMS_B, y + HN_TILE_ROWS * HN_UNIT_ROWS, HN_TILE_ROW_BYTES);
}

/* y (m, 16) += x w over n_tiles tiles of weights. */
static void multiply(int64_t m, int64_t n_tiles, const uint16_t *w, const uint16_t *x,
                     int64_t x_stride, float *y) {
    const int64_t x_bytes = x_stride * (int64_t)sizeof *x;
    for (; m >= 2 * HN_TILE_ROWS; m -= 2 * HN_TILE_ROWS) {
        multiply_two(n_tiles, w, x, x_stride, y);
        x += 2 * HN_TILE_ROWS * x_stride;
        y += 2 * HN_TILE_ROWS * HN_UNIT_ROWS;
    }
    if (m >= HN_TILE_ROWS) {
        MULTIPLY_ONE(HN_TILE_ROWS_A, HN_TILE_SUMS_A);
        m -= HN_TILE_ROWS;
        x += HN_TILE_ROWS * x_stride;
        y += HN_TILE_ROWS * HN_UNIT_ROWS;
    }
    if (m > 0)
        MULTIPLY_ONE(HN_TILE_ROWS_TAIL, HN_TILE_SUMS_TAIL);
}

static void gemm_bf16_amx(int64_t m, int64_t width, int64_t n_units, const void *w,
                          const uint16_t *x, int64_t x_stride, float *y, int64_t y_stride,
                          bool add) {
    _Alignas(64) float sum[MAX_ROWS * HN_UNIT_ROWS];
    _Alignas(64) uint16_t pairs[TILES_AT_ONCE * TILE_VALUES];
    const int64_t n_tiles = n_units * (HN_UNIT_COLS / TILE_COLS);
    for (int64_t i = 0; i < m; i += MAX_ROWS, x += MAX_ROWS * x_stride, y += MAX_ROWS * y_stride) {
        const int64_t rows = m - i < MAX_ROWS ? m - i : MAX_ROWS;
        hn_tile_begin(TILE_COLS * (int)sizeof *x, (int)(rows % HN_TILE_ROWS));
        for (int64_t j = 0; j < width; j += HN_UNIT_ROWS) {
            const uint16_t *group = (const uint16_t *)w + j / HN_UNIT_ROWS * n_tiles * TILE_VALUES;
            memset(sum, 0, (size_t)rows * HN_UNIT_ROWS * sizeof *sum);
            for (int64_t t = 0; t < n_tiles; t += TILES_AT_ONCE) {
                const int64_t n = n_tiles - t < TILES_AT_ONCE ? n_tiles - t : TILES_AT_ONCE;
                pair_up(n, group + t * TILE_VALUES, pairs);
                multiply(rows, n, pairs, x + t * TILE_COLS, x_stride, sum);
            }
            hn_avx512_write_rows(rows, width - j, sum, HN_UNIT_ROWS, y + j, y_stride, add);
        }
    }
    _tile_release();
}

void hn_k_bf16_init_amx(hn_kernels *table) {
    table->gemm_bf16 = gemm_bf16_amx;
}
