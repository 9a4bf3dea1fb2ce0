/* Int8 products with 256-bit registers; included by i8_avx2.c, and by i8_avxvnni.c with HN_VNNI
 * defined. HN_LEVEL is the ending of the kernels' names. One row is here, several in
 * i8_ymm_few.h and i8_ymm_panel.h.
 *
 * Plain AVX2: codes are unsigned bytes or, where they have 6 or 8 bits, signed ones; one row's sums
 * of vpmaddubsw stay inside int16 for 8 quads of 4-bit codes (8 * 2 * 15 * 127 = 30480) and 4 quads
 * of 5-bit codes (31496). The signed ones go through |w| * sign(a, w): 2 * 128 * 127 fits, once.
 * VNNI: vpdpbusd adds four products of unsigned codes to an int32. */
#pragma once

#include "kernels/kernels.h"
#include "kernels/x86/unit_avx2.h"

#include <string.h>

/* Whether sums of codes of `bits` bits are int32 already, and whether codes stay unsigned. */
#ifdef HN_VNNI
#define SUMS_ARE_I32(bits) ((bits) > 0)
#define CODES_ARE_UNSIGNED(bits) ((bits) > 0)
#else
#define SUMS_ARE_I32(bits) ((bits) >= 6)
#define CODES_ARE_UNSIGNED(bits) ((bits) < 6)
#endif

enum {
    /* Rows whose sums are kept while the units of a group pass by: 6 KB of sums. */
    MAX_ROWS = 96,
    /* One row reads weights at memory speed when lines are asked for this far ahead. */
    PREFETCH_BYTES = 4096,
};

/* Sums of one block for 8 rows of W: quads 0 to 3 (columns 0 to 15) and 4 to 7. int16 pairs for 4-
 * and 5-bit codes, else int32. */
typedef struct sums {
    __m256i low, high;
} sums;

HN_INLINE __m256i quad(const hn_act_block *a, int q) {
    int32_t four;
    memcpy(&four, a->q + 4 * q, sizeof four);
    return _mm256_set1_epi32(four);
}

/* sum += codes * a, for 8 rows x 4 columns; 6 and 8 bits: v minus offset, as signed bytes. */
HN_INLINE __m256i add_products(hn_layout l, __m256i sum, __m256i v, __m256i a) {
#ifdef HN_VNNI
    (void)l;
    return _mm256_dpbusd_avx_epi32(sum, v, a);
#else
    if (l.code_bits < 6)
        return _mm256_add_epi16(sum, _mm256_maddubs_epi16(v, a));
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(v), _mm256_sign_epi8(a, v));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

/* Codes as add_products wants them. */
HN_INLINE void center(hn_layout l, __m256i *v, int n) {
    if (CODES_ARE_UNSIGNED(l.code_bits))
        return;
#pragma GCC unroll 8
    for (int q = 0; q < n; q++)
        v[q] = _mm256_sub_epi8(v[q], _mm256_set1_epi8((char)l.offset));
}

HN_INLINE __m256i to_i32(hn_layout l, __m256i sum) {
    return SUMS_ARE_I32(l.code_bits) ? sum : _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}

HN_INLINE __m256i less_offset(hn_layout l, __m256i sum, int32_t of_activations) {
    if (!CODES_ARE_UNSIGNED(l.code_bits) || l.offset == 0)
        return sum;
    return _mm256_sub_epi32(sum, _mm256_set1_epi32(of_activations * l.offset));
}

/* Scales and minima of 8 rows for the sub-blocks of one block. */
typedef struct block_scales {
    __m256 scale[2], min[2];
} block_scales;

HN_INLINE block_scales load_scales(hn_layout l, const uint8_t *unit, int block, int half) {
    block_scales s;
    const int n = l.sub_blocks / HN_UNIT_BLOCKS;
#pragma GCC unroll 2
    for (int i = 0; i < n; i++) {
        s.scale[i] = hn_avx2_scales(l, unit, block * n + i, half);
        if (l.has_min)
            s.min[i] = hn_avx2_mins(l, unit, block * n + i, half);
    }
    return s;
}

HN_INLINE __m256 finish_sub(hn_layout l, __m256i sum, float scale, float scaled_sum, __m256 w_scale,
                            __m256 w_min, __m256 y) {
    __m256 t = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(scale));
    y = _mm256_fmadd_ps(t, w_scale, y);
    if (l.has_min)
        y = _mm256_fmadd_ps(_mm256_set1_ps(scaled_sum), w_min, y);
    return y;
}

/* The float end of a block; kernels.h has the formula. */
HN_INLINE __m256 finish(hn_layout l, sums s, const hn_act_block *a, const block_scales *w,
                        __m256 y) {
    if (l.sub_blocks == 2) {
        __m256i sum = l.code_bits == 4 && !SUMS_ARE_I32(4)
                          ? to_i32(l, _mm256_add_epi16(s.low, s.high))
                          : _mm256_add_epi32(to_i32(l, s.low), to_i32(l, s.high));
        return finish_sub(l, less_offset(l, sum, a->sum), a->scale, a->scaled_sum, w->scale[0],
                          w->min[0], y);
    }
    y = finish_sub(l, less_offset(l, to_i32(l, s.low), a->half_sums[0]), a->scale,
                   a->scaled_half_sums[0], w->scale[0], w->min[0], y);
    return finish_sub(l, less_offset(l, to_i32(l, s.high), a->half_sums[1]), a->scale,
                      a->scaled_half_sums[1], w->scale[1], w->min[1], y);
}

/* One row: both halves of a group side by side, so that each quad of activations is spread once. */
HN_INLINE void one_row(hn_layout l, int64_t n_units, const uint8_t *unit, const hn_act_block *x,
                       float *y) {
    __m256 out[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    const size_t unit_bytes = hn_layout_unit_bytes(l);
    for (int64_t u = 0; u < n_units; u++, unit += unit_bytes) {
        for (size_t line = 0; line < unit_bytes; line += 64)
            _mm_prefetch((const char *)unit + PREFETCH_BYTES + line, _MM_HINT_T0);
#pragma GCC unroll 2
        for (int block = 0; block < HN_UNIT_BLOCKS; block++, x++) {
            sums s[2] = {{_mm256_setzero_si256(), _mm256_setzero_si256()},
                         {_mm256_setzero_si256(), _mm256_setzero_si256()}};
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                const __m256i low = quad(x, j), high = quad(x, 4 + j);
#pragma GCC unroll 2
                for (int half = 0; half < 2; half++) {
                    __m256i v[2];
                    hn_avx2_code_pair(l, unit, block, half, j, v);
                    center(l, v, 2);
                    s[half].low = add_products(l, s[half].low, v[0], low);
                    s[half].high = add_products(l, s[half].high, v[1], high);
                }
            }
#pragma GCC unroll 2
            for (int half = 0; half < 2; half++) {
                block_scales w = load_scales(l, unit, block, half);
                out[half] = finish(l, s[half], x, &w, out[half]);
            }
        }
    }
    _mm256_storeu_ps(y, out[0]);
    _mm256_storeu_ps(y + 8, out[1]);
}

#include "kernels/x86/i8_ymm_panel.h"

#include "kernels/x86/i8_ymm_few.h"

static void write_rows(int64_t m, int64_t width, const float *sum, float *y, int64_t y_stride,
                       bool add) {
    for (int64_t i = 0; i < m; i++, y += y_stride, sum += HN_UNIT_ROWS) {
        if (width < HN_UNIT_ROWS) {
            for (int64_t j = 0; j < width; j++)
                y[j] = add ? y[j] + sum[j] : sum[j];
            continue;
        }
        __m256 lo = _mm256_load_ps(sum), hi = _mm256_load_ps(sum + 8);
        if (add) {
            lo = _mm256_add_ps(_mm256_loadu_ps(y), lo);
            hi = _mm256_add_ps(_mm256_loadu_ps(y + 8), hi);
        }
        _mm256_storeu_ps(y, lo);
        _mm256_storeu_ps(y + 8, hi);
    }
}

HN_INLINE void gemm(hn_layout l, int64_t m, int64_t width, int64_t n_units, const uint8_t *w,
                    const hn_act_block *x, int64_t x_stride, float *y, int64_t y_stride, bool add) {
    _Alignas(32) float sum[MAX_ROWS * HN_UNIT_ROWS];
    const size_t group_bytes = hn_layout_unit_bytes(l) * (size_t)n_units;
    for (int64_t i = 0; i < m; i += MAX_ROWS, x += MAX_ROWS * x_stride, y += MAX_ROWS * y_stride) {
        const int64_t rows = m - i < MAX_ROWS ? m - i : MAX_ROWS;
        for (int64_t j = 0; j < width; j += HN_UNIT_ROWS) {
            const uint8_t *unit = w + (size_t)(j / HN_UNIT_ROWS) * group_bytes;
            if (rows == 1)
                one_row(l, n_units, unit, x, sum);
            else if (rows <= FEW_ROWS && goes_without_panel(l))
                few_rows(l, rows, n_units, unit, x, x_stride, sum);
            else
                several_rows(l, rows, n_units, unit, x, x_stride, sum);
            write_rows(rows, width - j, sum, y + j, y_stride, add);
        }
    }
}

#include "kernels/i8_entry.h"
