/* Int8 products of many rows with AMX. Codes lie in memory as tdpbsud wants them and so do rounded
 * activations: a tile of sums is 16 rows x the 16 rows of a group, over one sub-block. The float
 * end is that of the level below, which does what has few rows: the same bits either way. */
#include "kernels/kernels.h"
#include "kernels/x86/tile.h"
#include "kernels/x86/unit_avx512.h"

#include <string.h>

enum {
    /* Fewer rows than this aren't worth the tiles: a tile takes as long as 8 to 16 rows of
     * vpdpbusd. */
    MIN_ROWS = 12,
    /* Rows whose sums are kept while the units of a group pass by: 6 KB of sums. */
    MAX_ROWS = 96,
    CODES_BYTES = 512, /* of a block of 32 columns, a byte each */
    SUMS = HN_TILE_ROWS * HN_UNIT_ROWS,
};

/* The level below. */
static hn_k_gemm_i8_fn *g_few_rows[HN_DTYPE_COUNT];

/* Codes of a block as bytes [8 quads][16 rows][4]; 8-bit ones stay where they are. */
HN_INLINE const uint8_t *bytes_of(hn_layout l, const uint8_t *unit, int block, uint8_t *room) {
    if (l.code_bits == 8)
        return unit + hn_layout_codes_offset(l) + (size_t)block * hn_layout_block_bytes(l);
    __m512i v[8];
    hn_avx512_codes(l, unit, block, v);
#pragma GCC unroll 8
    for (int q = 0; q < 8; q++)
        _mm512_store_si512((void *)(room + q * 64), v[q]);
    return room;
}

/* Weights of one sub-block: what the rows of activations share. */
typedef struct sub_block {
    __m512 scale, min;
    int index; /* of the halves of a block; 0 when the block is whole */
} sub_block;

/* y (m, 16) plus the sums of one sub-block. */
HN_INLINE void finish_rows(hn_layout l, int m, const int32_t *sums, const sub_block *w,
                           const hn_act_block *x, int64_t x_stride, float *y) {
    const bool halves = l.sub_blocks == 4;
    for (int i = 0; i < m; i++, x += x_stride, y += HN_UNIT_ROWS, sums += HN_UNIT_ROWS) {
        const int32_t of_row = halves ? x->half_sums[w->index] : x->sum;
        const float scaled = halves ? x->scaled_half_sums[w->index] : x->scaled_sum;
        const __m512i sum = _mm512_sub_epi32(_mm512_load_si512((const void *)sums),
                                             _mm512_set1_epi32(of_row * l.offset));
        _mm512_store_ps(
            y, hn_avx512_finish(l, sum, x->scale, scaled, w->scale, w->min, _mm512_load_ps(y)));
    }
}

/* sums = x w for 16 rows, in the named tiles; the weights' tile is loaded. */
#define MULTIPLY(rows_tile, sums_tile, x, x_bytes, sums)                                           \
    do {                                                                                           \
        _tile_zero(sums_tile);                                                                     \
        HN_TILE_LOAD(rows_tile, x, x_bytes);                                                       \
        _tile_dpbsud(sums_tile, rows_tile, HN_TILE_WEIGHTS);                                       \
        HN_TILE_STORE(sums_tile, sums, HN_TILE_ROW_BYTES);                                         \
    } while (0)

/* y (m, 16) plus one sub-block of one group; codes: its bytes, x: its blocks. */
HN_INLINE void add_sub_block(hn_layout l, int64_t m, const uint8_t *codes, const sub_block *w,
                             const hn_act_block *x, int64_t x_stride, float *y) {
    _Alignas(64) int32_t sums[2 * SUMS];
    const int at = w->index * (HN_BLOCK_COLS / 2);
    const int64_t x_bytes = x_stride * (int64_t)sizeof *x;
    HN_TILE_LOAD(HN_TILE_WEIGHTS, codes + at * HN_UNIT_ROWS, HN_TILE_ROW_BYTES);
    int64_t i = 0;
    /* Two at a time, so that one is multiplied while the other is stored. */
    for (; i + 2 * HN_TILE_ROWS <= m; i += 2 * HN_TILE_ROWS) {
        const hn_act_block *a = x + i * x_stride, *b = a + HN_TILE_ROWS * x_stride;
        MULTIPLY(HN_TILE_ROWS_A, HN_TILE_SUMS_A, a->q + at, x_bytes, sums);
        MULTIPLY(HN_TILE_ROWS_B, HN_TILE_SUMS_B, b->q + at, x_bytes, sums + SUMS);
        finish_rows(l, 2 * HN_TILE_ROWS, sums, w, a, x_stride, y + i * HN_UNIT_ROWS);
    }
    if (i + HN_TILE_ROWS <= m) {
        const hn_act_block *a = x + i * x_stride;
        MULTIPLY(HN_TILE_ROWS_A, HN_TILE_SUMS_A, a->q + at, x_bytes, sums);
        finish_rows(l, HN_TILE_ROWS, sums, w, a, x_stride, y + i * HN_UNIT_ROWS);
        i += HN_TILE_ROWS;
    }
    if (i < m) {
        const hn_act_block *a = x + i * x_stride;
        MULTIPLY(HN_TILE_ROWS_TAIL, HN_TILE_SUMS_TAIL, a->q + at, x_bytes, sums);
        finish_rows(l, (int)(m - i), sums, w, a, x_stride, y + i * HN_UNIT_ROWS);
    }
}

/* y (m, 16) = x w^T for one group. */
HN_INLINE void one_group(hn_layout l, int64_t m, int64_t n_units, const uint8_t *unit,
                         const hn_act_block *x, int64_t x_stride, float *y) {
    _Alignas(64) uint8_t room[CODES_BYTES];
    const int subs = l.sub_blocks / HN_UNIT_BLOCKS;
    memset(y, 0, (size_t)m * HN_UNIT_ROWS * sizeof *y);
    for (int64_t u = 0; u < n_units; u++, unit += hn_layout_unit_bytes(l))
        for (int block = 0; block < HN_UNIT_BLOCKS; block++, x++) {
            const uint8_t *codes = bytes_of(l, unit, block, room);
            const hn_avx512_scales scales = hn_avx512_block_scales(l, unit, block);
            for (int s = 0; s < subs; s++) {
                const sub_block w = {scales.scale[s], scales.min[s], s};
                add_sub_block(l, m, codes, &w, x, x_stride, y);
            }
        }
}

HN_INLINE void gemm(hn_layout l, int64_t m, int64_t width, int64_t n_units, const uint8_t *w,
                    const hn_act_block *x, int64_t x_stride, float *y, int64_t y_stride, bool add) {
    _Alignas(64) float sum[MAX_ROWS * HN_UNIT_ROWS];
    const size_t group_bytes = hn_layout_unit_bytes(l) * (size_t)n_units;
    const int k_bytes = HN_UNIT_COLS / l.sub_blocks;
    for (int64_t i = 0; i < m; i += MAX_ROWS, x += MAX_ROWS * x_stride, y += MAX_ROWS * y_stride) {
        const int64_t rows = m - i < MAX_ROWS ? m - i : MAX_ROWS;
        hn_tile_begin(k_bytes, (int)(rows % HN_TILE_ROWS));
        for (int64_t j = 0; j < width; j += HN_UNIT_ROWS) {
            one_group(l, rows, n_units, w + (size_t)(j / HN_UNIT_ROWS) * group_bytes, x, x_stride,
                      sum);
            hn_avx512_write_rows(rows, width - j, sum, HN_UNIT_ROWS, y + j, y_stride, add);
        }
    }
    _tile_release(); /* else the system saves 8 KB at each switch of threads */
}

#define X(id, bits, subs, scale, min, off)                                                         \
    static void gemm_i8_##id##_amx(int64_t m, int64_t width, int64_t n_units, const void *w,       \
                                   const hn_act_block *x, int64_t x_stride, float *y,              \
                                   int64_t y_stride, bool add) {                                   \
        if (m < MIN_ROWS)                                                                          \
            g_few_rows[HN_##id](m, width, n_units, w, x, x_stride, y, y_stride, add);              \
        else                                                                                       \
            gemm((hn_layout){bits, subs, scale, min, off}, m, width, n_units, w, x, x_stride, y,   \
                 y_stride, add);                                                                   \
    }
HN_LAYOUT_LIST(X)
#undef X

void hn_k_i8_init_amx(hn_kernels *table) {
#define X(id, ...)                                                                                 \
    g_few_rows[HN_##id] = table->gemm_i8[HN_##id];                                                 \
    table->gemm_i8[HN_##id] = gemm_i8_##id##_amx;
    HN_LAYOUT_LIST(X)
#undef X
}
