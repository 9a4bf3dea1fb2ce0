/* Loads from the packed layout (layout.h) with AVX2. The layout is always a constant where these
 * are called, so that each dtype gets straight code. */
#pragma once

#include "kernels/layout.h"

#include <immintrin.h>

#define HN_INLINE static inline __attribute__((always_inline))

/* Two quads of columns of 8 rows (half 0: rows 0 to 7) of a block of 32: dword lane r of v[0] holds
 * columns 4j to 4j + 3 of row r, that of v[1] columns 16 + 4j to 16 + 4j + 3; unsigned bytes. */
HN_INLINE void hn_avx2_code_pair(hn_layout l, const uint8_t *unit, int block, int half, int j,
                                 __m256i v[2]) {
    const uint8_t *codes = unit + hn_layout_codes_offset(l) +
                           (size_t)block * hn_layout_block_bytes(l) + (size_t)(j * 64 + half * 32);
    __m256i x = _mm256_load_si256((const __m256i *)codes);
    if (l.code_bits == 8) {
        v[0] = x;
        v[1] = _mm256_load_si256((const __m256i *)(codes + 4 * 64));
        return;
    }
    const __m256i low = _mm256_set1_epi8(15);
    v[0] = _mm256_and_si256(x, low);
    v[1] = _mm256_and_si256(_mm256_srli_epi16(x, 4), low);
    if (l.code_bits == 5) {
        const uint8_t *high = unit + hn_layout_high_offset(l) + block * 64 + half * 32;
        const __m256i bit = _mm256_set1_epi8(16);
        __m256i h = _mm256_load_si256((const __m256i *)high);
        /* Bits j and 4 + j of each byte; shifts cross bytes, the mask drops what comes over. */
        v[0] = _mm256_or_si256(v[0], _mm256_and_si256(_mm256_slli_epi16(h, 4 - j), bit));
        v[1] = _mm256_or_si256(v[1], _mm256_and_si256(_mm256_srli_epi16(h, j), bit));
    }
    if (l.code_bits == 6) {
        const uint8_t *high = unit + hn_layout_high_offset(l) + block * 128 + half * 32;
        const __m256i bits = _mm256_set1_epi8(48);
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            __m256i h = _mm256_load_si256((const __m256i *)(high + i * 64));
            h = j < 2 ? _mm256_slli_epi16(h, 4 - 2 * j) : _mm256_srli_epi16(h, 2 * j - 4);
            v[i] = _mm256_or_si256(v[i], _mm256_and_si256(h, bits));
        }
    }
}

/* All quads: v[q] holds columns 4q to 4q + 3. */
HN_INLINE void hn_avx2_codes(hn_layout l, const uint8_t *unit, int block, int half, __m256i v[8]) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m256i pair[2];
        hn_avx2_code_pair(l, unit, block, half, j, pair);
        v[j] = pair[0];
        v[4 + j] = pair[1];
    }
}

HN_INLINE __m256 hn_avx2_scales_at(hn_layout l, const uint8_t *scales, int sub, int half) {
    const size_t at = (size_t)(sub * HN_UNIT_ROWS + half * 8);
    if (l.scale_bytes == 2)
        return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(scales + at * 2)));
    const __m128i factors = _mm_loadl_epi64((const __m128i *)(scales + HN_UNIT_FACTORS + at));
    return _mm256_mul_ps(_mm256_cvtph_ps(_mm_load_si128((const __m128i *)scales + half)),
                         _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(factors)));
}

/* Scales of 8 rows for sub-block `sub` (0 to sub_blocks - 1) of a unit. */
HN_INLINE __m256 hn_avx2_scales(hn_layout l, const uint8_t *unit, int sub, int half) {
    return hn_avx2_scales_at(l, unit, sub, half);
}

/* The minima; only where the layout has them. */
HN_INLINE __m256 hn_avx2_mins(hn_layout l, const uint8_t *unit, int sub, int half) {
    return hn_avx2_scales_at(l, unit + hn_layout_scales_bytes(l), sub, half);
}

/* What to add to scale * code: the minimum, or -offset * scale (exact). */
HN_INLINE __m256 hn_avx2_biases(hn_layout l, const uint8_t *unit, int sub, int half, __m256 scale) {
    if (l.has_min)
        return hn_avx2_mins(l, unit, sub, half);
    return _mm256_mul_ps(scale, _mm256_set1_ps(-(float)l.offset));
}

/* Sub-block of a unit that columns 4q to 4q + 3 of a block belong to. */
HN_INLINE int hn_avx2_sub(hn_layout l, int block, int q) {
    return l.sub_blocks == 4 ? block * 2 + q / 4 : block;
}
