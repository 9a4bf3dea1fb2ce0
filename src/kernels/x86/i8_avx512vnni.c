/* Int8 products with AVX-512 VNNI. A register holds a quad of columns of all 16 rows of a group;
 * the 8 quads of a block stay in registers while the rows of activations pass by. */
#include "kernels/kernels.h"
#include "kernels/x86/unit_avx512.h"

#include <string.h>

enum {
    /* Rows whose sums are kept while the units of a group pass by: 6 KB of sums. */
    MAX_ROWS = 96,
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

HN_INLINE void several_rows(hn_layout l, int64_t m, int64_t n_units, const uint8_t *unit,
                            const hn_act_block *x, int64_t x_stride, float *y) {
    memset(y, 0, (size_t)m * HN_UNIT_ROWS * sizeof *y);
    for (int64_t u = 0; u < n_units; u++, unit += hn_layout_unit_bytes(l)) {
        for (int block = 0; block < HN_UNIT_BLOCKS; block++, x++) {
            __m512i v[8];
            hn_avx512_codes(l, unit, block, v);
            const hn_avx512_scales w = hn_avx512_block_scales(l, unit, block);
            for (int64_t i = 0; i < m; i++) {
                float *sum = y + i * HN_UNIT_ROWS;
                _mm512_store_ps(sum, add_block(l, v, &w, x + i * x_stride, _mm512_load_ps(sum)));
            }
        }
    }
}

HN_INLINE void gemm(hn_layout l, int64_t m, int64_t width, int64_t n_units, const uint8_t *w,
                    const hn_act_block *x, int64_t x_stride, float *y, int64_t y_stride, bool add) {
    _Alignas(64) float sum[MAX_ROWS * HN_UNIT_ROWS];
    const size_t group_bytes = hn_layout_unit_bytes(l) * (size_t)n_units;
    for (int64_t i = 0; i < m; i += MAX_ROWS, x += MAX_ROWS * x_stride, y += MAX_ROWS * y_stride) {
        const int64_t rows = m - i < MAX_ROWS ? m - i : MAX_ROWS;
        for (int64_t j = 0; j < width; j += HN_UNIT_ROWS) {
            const uint8_t *group = w + (size_t)(j / HN_UNIT_ROWS) * group_bytes;
            if (rows == 1)
                one_row(l, n_units, group, x, sum);
            else
                several_rows(l, rows, n_units, group, x, x_stride, sum);
            hn_avx512_write_rows(rows, width - j, sum, y + j, y_stride, add);
        }
    }
}

#define X(id, bits, subs, scale, min, off)                                                         \
    static void gemm_i8_##id##_avx512vnni(int64_t m, int64_t width, int64_t n_units,               \
                                          const void *w, const hn_act_block *x, int64_t x_stride,  \
                                          float *y, int64_t y_stride, bool add) {                  \
        gemm((hn_layout){bits, subs, scale, min, off}, m, width, n_units, w, x, x_stride, y,       \
             y_stride, add);                                                                       \
    }
HN_LAYOUT_LIST(X)
#undef X

void hn_k_i8_init_avx512vnni(hn_kernels *table) {
#define X(id, ...) table->gemm_i8[HN_##id] = gemm_i8_##id##_avx512vnni;
    HN_LAYOUT_LIST(X)
#undef X
}
