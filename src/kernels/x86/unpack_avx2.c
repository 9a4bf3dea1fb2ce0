/* Dequantisation of the packed layout into panels of f32 with AVX2. */
#define HN_LEVEL avx2
#include "kernels/kernels.h"
#include "kernels/x86/unit_avx2.h"

/* 8 values of u16 floats as f32. */
HN_INLINE __m256 widen(hn_dtype dtype, __m128i x) {
    if (dtype == HN_F16)
        return _mm256_cvtph_ps(x);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

HN_INLINE void unpack_floats(hn_dtype dtype, const uint8_t *units, int64_t n_units, float *out) {
    const uint16_t *src = (const uint16_t *)(const void *)units;
    for (int64_t i = 0; i < n_units * HN_UNIT_ROWS * HN_UNIT_COLS; i += 8)
        _mm256_store_ps(out + i, widen(dtype, _mm_load_si128((const __m128i *)(src + i))));
}

HN_INLINE void unpack_codes(hn_layout l, const uint8_t *units, int64_t n_units, float *out) {
    const __m256i byte = _mm256_set1_epi32(255);
    for (int64_t u = 0; u < n_units; u++, units += hn_layout_unit_bytes(l)) {
        for (int block = 0; block < HN_UNIT_BLOCKS; block++) {
            for (int half = 0; half < 2; half++) {
                __m256i v[8];
                hn_avx2_codes(l, units, block, half, v);
                float *to = out + block * HN_BLOCK_COLS * HN_UNIT_ROWS + half * 8;
#pragma GCC unroll 8
                for (int q = 0; q < 8; q++) {
                    const int sub = hn_avx2_sub(l, block, q);
                    __m256 scale = hn_avx2_scales(l, units, sub, half);
                    __m256 bias = hn_avx2_biases(l, units, sub, half, scale);
#pragma GCC unroll 4
                    for (int c = 0; c < 4; c++) {
                        __m256i code = _mm256_and_si256(_mm256_srli_epi32(v[q], 8 * c), byte);
                        _mm256_store_ps(to + (q * 4 + c) * HN_UNIT_ROWS,
                                        _mm256_fmadd_ps(_mm256_cvtepi32_ps(code), scale, bias));
                    }
                }
            }
        }
        out += HN_UNIT_COLS * HN_UNIT_ROWS;
    }
}

/* Turns 4 registers of [8 rows][4 columns] bytes into 16 columns a row: t[i] holds row i in its low
 * and row 4 + i in its high half. */
HN_INLINE void rows_of_16(const __m256i v[4], __m256i t[4]) {
    __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpackhi_epi32(v[0], v[1]);
    __m256i c = _mm256_unpacklo_epi32(v[2], v[3]), d = _mm256_unpackhi_epi32(v[2], v[3]);
    t[0] = _mm256_unpacklo_epi64(a, c);
    t[1] = _mm256_unpackhi_epi64(a, c);
    t[2] = _mm256_unpacklo_epi64(b, d);
    t[3] = _mm256_unpackhi_epi64(b, d);
}

/* 16 codes of a row to floats. */
HN_INLINE void store_16(__m128i codes, __m256 scale, __m256 bias, float *out) {
    __m256 lo = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes));
    __m256 hi = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(codes, 8)));
    _mm256_store_ps(out, _mm256_fmadd_ps(lo, scale, bias));
    _mm256_store_ps(out + 8, _mm256_fmadd_ps(hi, scale, bias));
}

HN_INLINE void unpack_codes_t(hn_layout l, const uint8_t *unit, int block, float *out,
                              int64_t out_panel) {
    for (int half = 0; half < 2; half++) {
        __m256i v[8], t[4];
        hn_avx2_codes(l, unit, block, half, v);
#pragma GCC unroll 2
        for (int panel = 0; panel < 2; panel++) {
            float scale[8], bias[8];
            const int sub = l.sub_blocks == 4 ? block * 2 + panel : block;
            __m256 scales = hn_avx2_scales(l, unit, sub, half);
            _mm256_storeu_ps(scale, scales);
            _mm256_storeu_ps(bias, hn_avx2_biases(l, unit, sub, half, scales));
            rows_of_16(v + panel * 4, t);
            float *to = out + panel * out_panel + half * 8 * HN_UNIT_ROWS;
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                store_16(_mm256_castsi256_si128(t[i]), _mm256_set1_ps(scale[i]),
                         _mm256_set1_ps(bias[i]), to + i * HN_UNIT_ROWS);
                store_16(_mm256_extracti128_si256(t[i], 1), _mm256_set1_ps(scale[i + 4]),
                         _mm256_set1_ps(bias[i + 4]), to + (i + 4) * HN_UNIT_ROWS);
            }
        }
    }
}

/* Units of floats are [column][row] and the panels [row][column]: plain C is fast enough, for only
 * unquantised models take this way. */
HN_INLINE void unpack_floats_t(hn_dtype dtype, const void *unit, int block, float *out,
                               int64_t out_panel) {
    for (int c = 0; c < HN_BLOCK_COLS; c++) {
        const int64_t at = (int64_t)(block * HN_BLOCK_COLS + c) * HN_UNIT_ROWS;
        float row[HN_UNIT_ROWS];
        for (int h = 0; h < 2; h++) {
            __m256 x =
                dtype == HN_F32
                    ? _mm256_loadu_ps((const float *)unit + at + h * 8)
                    : widen(dtype,
                            _mm_loadu_si128((const __m128i *)((const uint16_t *)unit + at) + h));
            _mm256_storeu_ps(row + h * 8, x);
        }
        float *to = out + c / HN_UNIT_ROWS * out_panel + c % HN_UNIT_ROWS;
        for (int r = 0; r < HN_UNIT_ROWS; r++)
            to[r * HN_UNIT_ROWS] = row[r];
    }
}

#include "kernels/unpack_entry.h"

void hn_k_unpack_init_avx2(hn_kernels *table) {
    put_unpacking(table);
}
