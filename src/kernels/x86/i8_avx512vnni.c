/* Int8 products with AVX-512 VNNI. A register holds a quad of columns of all 16 rows of a group.
 * One row reads the groups as they lie; for several, the codes of two groups are unpacked into a
 * panel that stays in the L1 cache while tiles of 8 rows of activations pass by. */
#define HN_LEVEL avx512vnni
#include "kernels/kernels.h"
#include "kernels/x86/unit_avx512.h"

#include <string.h>

enum {
    /* Rows whose sums are kept while the units of two groups pass by: 12 KB of sums. */
    MAX_ROWS = 96,
    TILE_ROWS = 8,
    FEW_ROWS = 8, /* at most: memory sets the pace */
    QUADS = HN_BLOCK_COLS / 4,
    /* Of 64 columns of W: with 12 KB of codes a panel stays in the L1 cache. */
    PANEL_UNITS = 6,
    PANEL_BLOCKS = PANEL_UNITS * HN_UNIT_BLOCKS,
    PANEL_COLS = 2 * HN_UNIT_ROWS, /* of Y */
    /* Prefetch distance: the largest single gain in decode (spec/kernels.md). */
    PREFETCH_BYTES = 8192,
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

HN_INLINE void one_row(hn_layout l, int64_t n_units, const uint8_t *unit, const hn_act_block *x,
                       float *y) {
    const size_t unit_bytes = hn_layout_unit_bytes(l);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t u = 0; u < n_units; u++, unit += unit_bytes) {
        for (size_t line = 0; line < unit_bytes; line += 64)
            _mm_prefetch((const char *)unit + PREFETCH_BYTES + line, _MM_HINT_T0);
#pragma GCC unroll 2
        for (int block = 0; block < HN_UNIT_BLOCKS; block++, x++) {
            __m512i v[8];
            hn_avx512_codes(l, unit, block, v);
            hn_avx512_scales w = hn_avx512_block_scales(l, unit, block);
            sum = add_block(l, v, &w, x, sum);
        }
    }
    _mm512_store_ps(y, sum);
}

/* The codes of two groups side by side, unpacked for several rows. */
typedef struct panel {
    _Alignas(64) uint8_t codes[PANEL_BLOCKS * QUADS * PANEL_COLS * 4]; /* [block][quad][32][4] */
    _Alignas(64) float scale[PANEL_UNITS * 4 * PANEL_COLS];            /* [sub-block][32] */
    _Alignas(64) float min[PANEL_UNITS * 4 * PANEL_COLS];
} panel;

/* n_units units of a group as columns 16 * at to 16 * at + 15 of a panel. */
HN_INLINE void fill_panel(hn_layout l, int64_t n_units, const uint8_t *unit, int at, panel *p) {
    const size_t unit_bytes = hn_layout_unit_bytes(l);
    const int subs = l.sub_blocks / HN_UNIT_BLOCKS;
    uint8_t *codes = p->codes + at * 64;
    float *scale = p->scale + at * HN_UNIT_ROWS, *min = p->min + at * HN_UNIT_ROWS;
    for (int64_t u = 0; u < n_units; u++, unit += unit_bytes) {
        for (size_t line = 0; line < unit_bytes; line += 64)
            _mm_prefetch((const char *)unit + PREFETCH_BYTES + line, _MM_HINT_T0);
        for (int block = 0; block < HN_UNIT_BLOCKS; block++) {
            __m512i v[QUADS];
            hn_avx512_codes(l, unit, block, v);
#pragma GCC unroll 8
            for (int q = 0; q < QUADS; q++, codes += PANEL_COLS * 4)
                _mm512_store_si512((void *)codes, v[q]);
            const hn_avx512_scales s = hn_avx512_block_scales(l, unit, block);
            for (int i = 0; i < subs; i++, scale += PANEL_COLS, min += PANEL_COLS) {
                _mm512_store_ps(scale, s.scale[i]);
                if (l.has_min)
                    _mm512_store_ps(min, s.min[i]);
            }
        }
    }
}

/* y (rows, 32) += a panel's n_blocks blocks times x: the 2 * rows integer sums share each load. */
HN_INLINE void tile(hn_layout l, const int rows, int64_t n_blocks, const panel *p,
                    const hn_act_block *x, int64_t x_stride, float *y) {
    const uint8_t *codes = p->codes;
    const float *scale = p->scale, *min = p->min;
    const int parts = l.sub_blocks / HN_UNIT_BLOCKS;
    for (int64_t b = 0; b < n_blocks; b++, x++) {
#pragma GCC unroll 2
        for (int part = 0; part < parts; part++, scale += PANEL_COLS, min += PANEL_COLS) {
            __m512i sum[TILE_ROWS][2];
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++) {
                const hn_act_block *a = x + i * x_stride;
                const int32_t total = parts == 2 ? a->half_sums[part] : a->sum;
                sum[i][0] = sum[i][1] = _mm512_set1_epi32(-l.offset * total);
            }
#pragma GCC unroll 8
            for (int k = 0; k < QUADS / parts; k++, codes += PANEL_COLS * 4) {
                const __m512i w0 = _mm512_load_si512((const void *)codes);
                const __m512i w1 = _mm512_load_si512((const void *)(codes + 64));
#pragma GCC unroll 8
                for (int i = 0; i < rows; i++) {
                    const __m512i a = quad(x + i * x_stride, part * QUADS / parts + k);
                    sum[i][0] = _mm512_dpbusd_epi32(sum[i][0], w0, a);
                    sum[i][1] = _mm512_dpbusd_epi32(sum[i][1], w1, a);
                }
            }
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++) {
                const hn_act_block *a = x + i * x_stride;
                const float scaled = parts == 2 ? a->scaled_half_sums[part] : a->scaled_sum;
                float *to = y + i * PANEL_COLS;
#pragma GCC unroll 2
                for (int v = 0; v < 2; v++)
                    _mm512_store_ps(to + v * 16, hn_avx512_finish(l, sum[i][v], a->scale, scaled,
                                                                  _mm512_load_ps(scale + v * 16),
                                                                  _mm512_load_ps(min + v * 16),
                                                                  _mm512_load_ps(to + v * 16)));
            }
        }
    }
}

/* y (m, 32) = x times two groups; a single one stands for both. */
HN_INLINE void several_rows(hn_layout l, int64_t m, int64_t n_units, const uint8_t *const group[2],
                            const hn_act_block *x, int64_t x_stride, float *y) {
    panel p;
    const size_t unit_bytes = hn_layout_unit_bytes(l);
    /* Few rows wait for memory: small panels keep it at work. */
    const int64_t most = m <= FEW_ROWS ? 1 : PANEL_UNITS;
    const int64_t n_panels = (n_units + most - 1) / most;
    memset(y, 0, (size_t)m * PANEL_COLS * sizeof *y);
    for (int64_t u = 0, at = 0; at < n_panels; at++) {
        const int64_t end = n_units * (at + 1) / n_panels, n_blocks = (end - u) * HN_UNIT_BLOCKS;
        for (int g = 0; g < 2; g++)
            fill_panel(l, end - u, group[g] + (size_t)u * unit_bytes, g, &p);
        const hn_act_block *row = x + u * HN_UNIT_BLOCKS;
        float *to = y;
        int64_t left = m;
        for (; left >= TILE_ROWS; left -= TILE_ROWS) {
            tile(l, TILE_ROWS, n_blocks, &p, row, x_stride, to);
            row += TILE_ROWS * x_stride;
            to += TILE_ROWS * PANEL_COLS;
        }
        if (left >= 4) {
            tile(l, 4, n_blocks, &p, row, x_stride, to);
            row += 4 * x_stride;
            to += 4 * PANEL_COLS;
            left -= 4;
        }
        for (; left > 0; left--) {
            tile(l, 1, n_blocks, &p, row, x_stride, to);
            row += x_stride;
            to += PANEL_COLS;
        }
        u = end;
    }
}

HN_INLINE void gemm(hn_layout l, int64_t m, int64_t width, int64_t n_units, const uint8_t *w,
                    const hn_act_block *x, int64_t x_stride, float *y, int64_t y_stride, bool add) {
    _Alignas(64) float sum[MAX_ROWS * PANEL_COLS];
    const size_t group_bytes = hn_layout_unit_bytes(l) * (size_t)n_units;
    if (m == 1) {
        for (int64_t j = 0; j < width; j += HN_UNIT_ROWS, w += group_bytes) {
            one_row(l, n_units, w, x, sum);
            hn_avx512_write_rows(1, width - j, sum, 0, y + j, 0, add);
        }
        return;
    }
    for (int64_t i = 0; i < m; i += MAX_ROWS, x += MAX_ROWS * x_stride, y += MAX_ROWS * y_stride) {
        const int64_t rows = m - i < MAX_ROWS ? m - i : MAX_ROWS;
        for (int64_t j = 0; j < width; j += PANEL_COLS) {
            const bool both = width - j > HN_UNIT_ROWS;
            const uint8_t *first = w + (size_t)(j / HN_UNIT_ROWS) * group_bytes;
            const uint8_t *const group[2] = {first, both ? first + group_bytes : first};
            several_rows(l, rows, n_units, group, x, x_stride, sum);
            for (int g = 0; g <= both; g++)
                hn_avx512_write_rows(rows, width - j - g * HN_UNIT_ROWS, sum + g * HN_UNIT_ROWS,
                                     PANEL_COLS, y + j + g * HN_UNIT_ROWS, y_stride, add);
        }
    }
}

#include "kernels/i8_entry.h"

void hn_k_i8_init_avx512vnni(hn_kernels *table) {
    put_products(table);
}
