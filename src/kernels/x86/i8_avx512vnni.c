/* Int8 products with AVX-512 VNNI. A register holds a quad of columns of all 16 rows of a group;
 * the 8 quads of a block stay in registers while the rows of activations pass by. */
#include "kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    /* Rows whose sums are kept while the units of a group pass by: 6 KB of sums. */
    MAX_ROWS = 96,
    /* Prefetch distance: the largest single gain in decode (spec/kernels.md). */
    PREFETCH_BYTES = 8192,
};

/* v[q]: dword lane r holds columns 4q to 4q + 3 of row r, unsigned bytes. */
INLINE void load_codes(hn_layout l, const uint8_t *unit, int block, __m512i v[8]) {
    const uint8_t *codes =
        unit + hn_layout_codes_offset(l) + (size_t)block * hn_layout_block_bytes(l);
    if (l.code_bits == 8) {
#pragma GCC unroll 8
        for (int q = 0; q < 8; q++)
            v[q] = _mm512_load_si512((const void *)(codes + q * 64));
        return;
    }
    const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i x = _mm512_load_si512((const void *)(codes + j * 64));
        v[j] = _mm512_and_si512(x, low);
        v[4 + j] = _mm512_and_si512(_mm512_srli_epi16(x, 4), low);
    }
    if (l.code_bits == 5) {
        const __m512i bit = _mm512_set1_epi8(16);
        __m512i h = _mm512_load_si512((const void *)(unit + hn_layout_high_offset(l) + block * 64));
        /* Bit q of each byte belongs to v[q]; shifts cross bytes, the mask drops what comes over.
         */
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            v[j] = _mm512_or_si512(v[j], _mm512_and_si512(_mm512_slli_epi16(h, 4 - j), bit));
            v[4 + j] = _mm512_or_si512(v[4 + j], _mm512_and_si512(_mm512_srli_epi16(h, j), bit));
        }
    }
}

INLINE __m512 load_scales_at(hn_layout l, const uint8_t *scales, int sub) {
    const uint8_t *p = scales + (size_t)sub * HN_UNIT_ROWS * l.scale_bytes;
    if (l.scale_bytes == 2)
        return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)p));
    return _mm512_load_ps((const float *)(const void *)p);
}

/* Scales and minima of 16 rows for the sub-blocks of one block. */
typedef struct block_scales {
    __m512 scale[2], min[2];
} block_scales;

INLINE block_scales load_scales(hn_layout l, const uint8_t *unit, int block) {
    block_scales s;
    const int n = l.sub_blocks / HN_UNIT_BLOCKS;
#pragma GCC unroll 2
    for (int i = 0; i < n; i++) {
        s.scale[i] = load_scales_at(l, unit, block * n + i);
        if (l.has_min)
            s.min[i] = load_scales_at(l, unit + hn_layout_scales_bytes(l), block * n + i);
    }
    return s;
}

INLINE __m512i quad(const hn_act_block *a, int q) {
    int32_t four;
    memcpy(&four, a->q + 4 * q, sizeof four);
    return _mm512_set1_epi32(four);
}

INLINE __m512 finish_sub(hn_layout l, __m512i sum, float scale, float scaled_sum, __m512 w_scale,
                         __m512 w_min, __m512 y) {
    __m512 t = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(scale));
    y = _mm512_fmadd_ps(t, w_scale, y);
    if (l.has_min)
        y = _mm512_fmadd_ps(_mm512_set1_ps(scaled_sum), w_min, y);
    return y;
}

/* y plus one block: the float end is kernels.h's formula, sums start at -offset * sum(q). */
INLINE __m512 add_block(hn_layout l, const __m512i v[8], const block_scales *w,
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
        return finish_sub(l, _mm512_add_epi32(low, high), a->scale, a->scaled_sum, w->scale[0],
                          w->min[0], y);
    y = finish_sub(l, low, a->scale, a->scaled_half_sums[0], w->scale[0], w->min[0], y);
    return finish_sub(l, high, a->scale, a->scaled_half_sums[1], w->scale[1], w->min[1], y);
}

INLINE void one_row(hn_layout l, int64_t n_units, const uint8_t *unit, const hn_act_block *x,
                    float *y) {
    const size_t unit_bytes = hn_layout_unit_bytes(l);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t u = 0; u < n_units; u++, unit += unit_bytes) {
        for (size_t line = 0; line < unit_bytes; line += 64)
            _mm_prefetch((const char *)unit + PREFETCH_BYTES + line, _MM_HINT_T0);
#pragma GCC unroll 2
        for (int block = 0; block < HN_UNIT_BLOCKS; block++, x++) {
            __m512i v[8];
            load_codes(l, unit, block, v);
            block_scales w = load_scales(l, unit, block);
            sum = add_block(l, v, &w, x, sum);
        }
    }
    _mm512_store_ps(y, sum);
}

INLINE void several_rows(hn_layout l, int64_t m, int64_t n_units, const uint8_t *unit,
                         const hn_act_block *x, int64_t x_stride, float *y) {
    memset(y, 0, (size_t)m * HN_UNIT_ROWS * sizeof *y);
    for (int64_t u = 0; u < n_units; u++, unit += hn_layout_unit_bytes(l)) {
        for (int block = 0; block < HN_UNIT_BLOCKS; block++, x++) {
            __m512i v[8];
            load_codes(l, unit, block, v);
            const block_scales w = load_scales(l, unit, block);
            for (int64_t i = 0; i < m; i++) {
                float *sum = y + i * HN_UNIT_ROWS;
                _mm512_store_ps(sum, add_block(l, v, &w, x + i * x_stride, _mm512_load_ps(sum)));
            }
        }
    }
}

static void write_rows(int64_t m, int64_t width, const float *sum, float *y, int64_t y_stride,
                       bool add) {
    for (int64_t i = 0; i < m; i++, y += y_stride, sum += HN_UNIT_ROWS) {
        if (width < HN_UNIT_ROWS) {
            for (int64_t j = 0; j < width; j++)
                y[j] = add ? y[j] + sum[j] : sum[j];
            continue;
        }
        __m512 value = _mm512_load_ps(sum);
        _mm512_storeu_ps(y, add ? _mm512_add_ps(_mm512_loadu_ps(y), value) : value);
    }
}

INLINE void gemm(hn_layout l, int64_t m, int64_t width, int64_t n_units, const uint8_t *w,
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
            write_rows(rows, width - j, sum, y + j, y_stride, add);
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
