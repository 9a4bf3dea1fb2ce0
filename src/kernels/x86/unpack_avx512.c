/* Dequantisation of the packed layout into panels of f32 with AVX-512: a register holds the 16 rows
 * of a group. Floats stay with AVX2, where they are read as fast. */
#include "kernels/kernels.h"
#include "kernels/x86/unit_avx512.h"

/* What code c of a sub-block is worth: scale * c + bias. */
typedef struct line {
    __m512 scale, bias;
} line;

HN_INLINE line line_of(hn_layout l, const hn_avx512_scales *s, int sub) {
    if (l.has_min)
        return (line){s->scale[sub], s->min[sub]};
    return (line){s->scale[sub], _mm512_mul_ps(s->scale[sub], _mm512_set1_ps(-(float)l.offset))};
}

/* Sub-block within its block of columns 16 * half and on. */
HN_INLINE int sub_of(hn_layout l, int half) {
    return l.sub_blocks == 4 ? half : 0;
}

/* Byte c of each dword lane as a float. */
HN_INLINE __m512 byte_of(__m512i v, int c) {
    const __m512i byte = _mm512_set1_epi32(255);
    v = c == 0 ? v : _mm512_srli_epi32(v, 8 * (unsigned)c);
    return _mm512_cvtepi32_ps(c == 3 ? v : _mm512_and_si512(v, byte));
}

HN_INLINE void unpack_codes(hn_layout l, const uint8_t *units, int64_t n_units, float *out) {
    for (int64_t u = 0; u < n_units; u++, units += hn_layout_unit_bytes(l)) {
        for (int block = 0; block < HN_UNIT_BLOCKS; block++) {
            const hn_avx512_scales scales = hn_avx512_block_scales(l, units, block);
            __m512i v[8];
            hn_avx512_codes(l, units, block, v);
#pragma GCC unroll 8
            for (int q = 0; q < 8; q++) {
                const line value = line_of(l, &scales, sub_of(l, q / 4));
#pragma GCC unroll 4
                for (int c = 0; c < 4; c++, out += HN_UNIT_ROWS)
                    _mm512_store_ps(out,
                                    _mm512_fmadd_ps(byte_of(v[q], c), value.scale, value.bias));
            }
        }
    }
}

/* Turns 4 registers of [16 rows][4 columns] bytes into 16 columns a row: t[i] holds rows i, 4 + i,
 * 8 + i and 12 + i. */
HN_INLINE void rows_of_16(const __m512i v[4], __m512i t[4]) {
    __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
    __m512i c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
    t[0] = _mm512_unpacklo_epi64(a, c);
    t[1] = _mm512_unpackhi_epi64(a, c);
    t[2] = _mm512_unpacklo_epi64(b, d);
    t[3] = _mm512_unpackhi_epi64(b, d);
}

HN_INLINE void unpack_codes_t(hn_layout l, const uint8_t *unit, int block, float *out,
                              int64_t out_panel) {
    const hn_avx512_scales scales = hn_avx512_block_scales(l, unit, block);
    __m512i v[8];
    hn_avx512_codes(l, unit, block, v);
#pragma GCC unroll 2
    for (int panel = 0; panel < 2; panel++) {
        const line value = line_of(l, &scales, sub_of(l, panel));
        float scale[HN_UNIT_ROWS], bias[HN_UNIT_ROWS];
        __m512i t[4];
        _mm512_storeu_ps(scale, value.scale);
        _mm512_storeu_ps(bias, value.bias);
        rows_of_16(v + panel * 4, t);
        float *to = out + panel * out_panel;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const __m128i rows[4] = {
                _mm512_castsi512_si128(t[i]), _mm512_extracti32x4_epi32(t[i], 1),
                _mm512_extracti32x4_epi32(t[i], 2), _mm512_extracti32x4_epi32(t[i], 3)};
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                const int row = 4 * j + i;
                __m512 codes = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(rows[j]));
                _mm512_store_ps(
                    to + row * HN_UNIT_ROWS,
                    _mm512_fmadd_ps(codes, _mm512_set1_ps(scale[row]), _mm512_set1_ps(bias[row])));
            }
        }
    }
}

#define X(id, bits, subs, scale, min, off)                                                         \
    static void unpack_f32_##id##_avx512(const void *units, int64_t n_units, float *out) {         \
        unpack_codes((hn_layout){bits, subs, scale, min, off}, units, n_units, out);               \
    }                                                                                              \
    static void unpack_f32_t_##id##_avx512(const void *unit, int block, float *out,                \
                                           int64_t out_panel) {                                    \
        unpack_codes_t((hn_layout){bits, subs, scale, min, off}, unit, block, out, out_panel);     \
    }
HN_LAYOUT_LIST(X)
#undef X

void hn_k_unpack_init_avx512(hn_kernels *table) {
#define X(id, ...)                                                                                 \
    table->unpack_f32[HN_##id] = unpack_f32_##id##_avx512;                                         \
    table->unpack_f32_t[HN_##id] = unpack_f32_t_##id##_avx512;
    HN_LAYOUT_LIST(X)
#undef X
}
