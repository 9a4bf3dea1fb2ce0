/* Int8 products with AVX-512 VNNI. A register holds a quad of columns of all 16 rows of a group.
 * Groups are read as they lie, whatever m is: unpacking a block anew for each tile of rows costs
 * less than a panel of bytes would, whose sums couldn't stay in registers from block to block. */
#define HN_LEVEL avx512vnni
#include "kernels/kernels.h"
#include "kernels/x86/unit_avx512.h"

#include <string.h>

enum {
    /* The sums of so many rows and a block's codes fit the registers. */
    TILE_ROWS = 8,
    /* Of the activations that all groups pass by before the next: half an L2 cache. */
    ROWS_BYTES = 512 << 10,
    /* Weights come from memory into L2 so far ahead, and from there into L1 just before they are
     * needed: 8 KB ahead into L1 alone would drive the rows' activations out of it, which costs 4
     * rows a quarter of their rate. */
    FAR_BYTES = 16384,
    NEAR_BYTES = 1920,
};

HN_INLINE __m512i quad(const hn_act_block *a, int q) {
    int32_t four;
    memcpy(&four, a->q + 4 * q, sizeof four);
    return _mm512_set1_epi32(four);
}

/* y plus one block: the float end is kernels.h's formula, sums start at -offset * sum(q). */
HN_INLINE __m512 add_block(hn_layout l, const __m512i v[8], const hn_avx512_scales *w,
                           const hn_act_block *a, __m512 y) {
    const bool halves = l.sub_blocks == 4;
    __m512i low = _mm512_set1_epi32(-l.offset * (halves ? a->half_sums[0] : a->sum));
    __m512i high = halves ? _mm512_set1_epi32(-l.offset * a->half_sums[1]) : _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) {
        low = _mm512_dpbusd_epi32(low, v[q], quad(a, q));
        high = _mm512_dpbusd_epi32(high, v[4 + q], quad(a, 4 + q));
    }
    if (!halves)
        return hn_avx512_finish(l, _mm512_add_epi32(low, high), a->scale, a->scaled_sum,
                                w->scale[0], w->min[0], y);
    y = hn_avx512_finish(l, low, a->scale, a->scaled_half_sums[0], w->scale[0], w->min[0], y);
    return hn_avx512_finish(l, high, a->scale, a->scaled_half_sums[1], w->scale[1], w->min[1], y);
}

/* y (rows, 16) = x times one group, rows known when compiled: each block's codes are taken from the
 * unit once and stay in registers, as the sums do, while the rows pass by. */
HN_INLINE void tile(hn_layout l, const int rows, int64_t n_units, const uint8_t *unit,
                    const hn_act_block *x, int64_t x_stride, float *y) {
    const size_t unit_bytes = hn_layout_unit_bytes(l);
    __m512 sum[TILE_ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
        sum[i] = _mm512_setzero_ps();
    for (int64_t u = 0; u < n_units; u++, unit += unit_bytes) {
        for (size_t line = 0; line < unit_bytes; line += 64) {
            _mm_prefetch((const char *)unit + FAR_BYTES + line, _MM_HINT_T1);
            _mm_prefetch((const char *)unit + NEAR_BYTES + line, _MM_HINT_T0);
        }
#pragma GCC unroll 2
        for (int block = 0; block < HN_UNIT_BLOCKS; block++, x++) {
            __m512i v[8];
            hn_avx512_codes(l, unit, block, v);
            hn_avx512_scales w = hn_avx512_block_scales(l, unit, block);
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++)
                sum[i] = add_block(l, v, &w, x + i * x_stride, sum[i]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
        _mm512_store_ps(y + i * HN_UNIT_ROWS, sum[i]);
}

/* y (rows, 16) = x times one group. */
HN_INLINE void some_rows(hn_layout l, int rows, int64_t n_units, const uint8_t *units,
                         const hn_act_block *x, int64_t x_stride, float *y) {
    switch (rows) {
#define TILE(n)                                                                                    \
    case n:                                                                                        \
        tile(l, n, n_units, units, x, x_stride, y);                                                \
        return;
        TILE(1)
        TILE(2)
        TILE(3)
        TILE(4)
        TILE(5)
        TILE(6)
        TILE(7)
        TILE(8)
#undef TILE
    default:
        __builtin_unreachable();
    }
}

HN_INLINE void gemm(hn_layout l, int64_t m, int64_t width, int64_t n_units, const uint8_t *w,
                    const hn_act_block *x, int64_t x_stride, float *y, int64_t y_stride, bool add) {
    _Alignas(64) float sum[TILE_ROWS * HN_UNIT_ROWS];
    const size_t group_bytes = hn_layout_unit_bytes(l) * (size_t)n_units;
    const int64_t tile_bytes = TILE_ROWS * n_units * HN_UNIT_BLOCKS * (int64_t)sizeof *x;
    const int64_t most = TILE_ROWS * (tile_bytes < ROWS_BYTES ? ROWS_BYTES / tile_bytes : 1);
    for (int64_t i = 0; i < m; i += most, x += most * x_stride, y += most * y_stride) {
        const int64_t rows = hn_min_i64(m - i, most);
        const uint8_t *group = w;
        for (int64_t j = 0; j < width; j += HN_UNIT_ROWS, group += group_bytes)
            for (int64_t r = 0; r < rows; r += TILE_ROWS) {
                const int n = (int)hn_min_i64(rows - r, TILE_ROWS);
                some_rows(l, n, n_units, group, x + r * x_stride, x_stride, sum);
                hn_avx512_write_rows(n, width - j, sum, HN_UNIT_ROWS, y + r * y_stride + j,
                                     y_stride, add);
            }
    }
}

#include "kernels/i8_entry.h"

void hn_k_i8_init_avx512vnni(hn_kernels *table) {
    put_products(table);
}
