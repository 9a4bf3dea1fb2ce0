/* Reading one unit of the packed layout (layout.h) with AVX-512, and the float end of its sums. A
 * register spans the 16 rows of a group. */
#pragma once

#include "kernels/layout.h"

#include <immintrin.h>

#ifndef HN_INLINE
#define HN_INLINE static inline __attribute__((always_inline))
#endif

/* v[q]: dword lane r holds columns 4q to 4q + 3 of row r, unsigned bytes. */
HN_INLINE void hn_avx512_codes(hn_layout l, const uint8_t *unit, int block, __m512i v[8]) {
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
    if (l.code_bits == 6) {
        const __m512i bits = _mm512_set1_epi8(48);
        const uint8_t *high = unit + hn_layout_high_offset(l) + block * 128;
#pragma GCC unroll 8
        for (int q = 0; q < 8; q++) {
            __m512i h = _mm512_load_si512((const void *)(high + q / 4 * 64));
            h = q % 4 < 2 ? _mm512_slli_epi16(h, 4 - q % 4 * 2)
                          : _mm512_srli_epi16(h, q % 4 * 2 - 4);
            v[q] = _mm512_or_si512(v[q], _mm512_and_si512(h, bits));
        }
    }
}

HN_INLINE __m512 hn_avx512_scales_at(hn_layout l, const uint8_t *scales, int sub) {
    const size_t at = (size_t)sub * HN_UNIT_ROWS;
    if (l.scale_bytes == 2)
        return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)(scales + at * 2)));
    const __m128i factors =
        _mm_load_si128((const __m128i *)(const void *)(scales + HN_UNIT_FACTORS + at));
    return _mm512_mul_ps(_mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)scales)),
                         _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(factors)));
}

/* Scales and minima of 16 rows for the sub-blocks of one block. */
typedef struct hn_avx512_scales {
    __m512 scale[2], min[2];
} hn_avx512_scales;

HN_INLINE hn_avx512_scales hn_avx512_block_scales(hn_layout l, const uint8_t *unit, int block) {
    hn_avx512_scales s;
    const int n = l.sub_blocks / HN_UNIT_BLOCKS;
#pragma GCC unroll 2
    for (int i = 0; i < n; i++) {
        s.scale[i] = hn_avx512_scales_at(l, unit, block * n + i);
        if (l.has_min)
            s.min[i] = hn_avx512_scales_at(l, unit + hn_layout_scales_bytes(l), block * n + i);
    }
    return s;
}

/* The float end of a sub-block; kernels.h has the formula. */
HN_INLINE __m512 hn_avx512_finish(hn_layout l, __m512i sum, float scale, float scaled_sum,
                                  __m512 w_scale, __m512 w_min, __m512 y) {
    __m512 t = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(scale));
    y = _mm512_fmadd_ps(t, w_scale, y);
    if (l.has_min)
        y = _mm512_fmadd_ps(_mm512_set1_ps(scaled_sum), w_min, y);
    return y;
}

/* 32 values of a unit of bf16, two columns of 16 rows, as pairs: dword lane r holds both of row r.
 */
HN_INLINE __m512i hn_avx512_pairs(const uint16_t *columns) {
    /* 0, 16, 1, 17, ... */
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, _mm512_load_si512((const void *)columns));
}

/* m rows of 16 sums to the columns that are there. */
HN_INLINE void hn_avx512_write_rows(int64_t m, int64_t width, const float *sum, int64_t sum_stride,
                                    float *y, int64_t y_stride, bool add) {
    for (int64_t i = 0; i < m; i++, y += y_stride, sum += sum_stride) {
        if (width < HN_UNIT_ROWS) {
            for (int64_t j = 0; j < width; j++)
                y[j] = add ? y[j] + sum[j] : sum[j];
            continue;
        }
        __m512 value = _mm512_load_ps(sum);
        _mm512_storeu_ps(y, add ? _mm512_add_ps(_mm512_loadu_ps(y), value) : value);
    }
}
