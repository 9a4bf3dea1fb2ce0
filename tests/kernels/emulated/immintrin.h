/* Stands before the compiler's immintrin.h when a level that this machine lacks is built for the
 * tests: SIMDe carries AVX-512 and VNNI out with AVX2. What SIMDe (0.7.4) lacks or doesn't fuse is
 * below, as two halves of 256 bits; what it has nothing of, bf16 and tiles, is in tiles.h. */
#ifndef HN_TESTS_EMULATED_IMMINTRIN_H
#define HN_TESTS_EMULATED_IMMINTRIN_H
#pragma GCC system_header /* include_next and SIMDe: no warnings */
#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include "tiles.h"

static inline simde__m512 hn_emulated_join(__m256 low, __m256 high) {
    simde__m512_private r;
    r.m256[0] = simde__m256_from_private(simde__m256_to_private(low));
    r.m256[1] = simde__m256_from_private(simde__m256_to_private(high));
    return simde__m512_from_private(r);
}

static inline simde__m512 hn_emulated_cvtph_ps(__m256i x) {
    return hn_emulated_join(_mm256_cvtph_ps(_mm256_castsi256_si128(x)),
                            _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1)));
}

static inline simde__m512i hn_emulated_cvtepi8_epi32(__m128i x) {
    simde__m512i_private r;
    r.m256i[0] = _mm256_cvtepi8_epi32(x);
    r.m256i[1] = _mm256_cvtepi8_epi32(_mm_srli_si128(x, 8));
    return simde__m512i_from_private(r);
}

static inline simde__m512i hn_emulated_cvtepu8_epi32(__m128i x) {
    simde__m512i_private r;
    r.m256i[0] = _mm256_cvtepu8_epi32(x);
    r.m256i[1] = _mm256_cvtepu8_epi32(_mm_srli_si128(x, 8));
    return simde__m512i_from_private(r);
}

static inline simde__m512i hn_emulated_cvtps_epi32(simde__m512 x) {
    simde__m512_private p = simde__m512_to_private(x);
    simde__m512i_private r;
    r.m256i[0] = _mm256_cvtps_epi32(p.m256[0]);
    r.m256i[1] = _mm256_cvtps_epi32(p.m256[1]);
    return simde__m512i_from_private(r);
}

static inline simde__m512 hn_emulated_cvtepi32_ps(simde__m512i x) {
    simde__m512i_private p = simde__m512i_to_private(x);
    return hn_emulated_join(_mm256_cvtepi32_ps(p.m256i[0]), _mm256_cvtepi32_ps(p.m256i[1]));
}

static inline simde__m512 hn_emulated_fmadd_ps(simde__m512 a, simde__m512 b, simde__m512 c) {
    simde__m512_private x = simde__m512_to_private(a), y = simde__m512_to_private(b),
                        z = simde__m512_to_private(c);
    return hn_emulated_join(_mm256_fmadd_ps(x.m256[0], y.m256[0], z.m256[0]),
                            _mm256_fmadd_ps(x.m256[1], y.m256[1], z.m256[1]));
}

static inline simde__m512 hn_emulated_dpbf16_ps(simde__m512 sum, simde__m512i a, simde__m512i b) {
    simde__m512_private r = simde__m512_to_private(sum);
    simde__m512i_private x = simde__m512i_to_private(a), y = simde__m512i_to_private(b);
    hn_emulated_dpbf16((float *)&r, &x, &y);
    return simde__m512_from_private(r);
}

static inline __m256i hn_emulated_cvtneps_pbh(simde__m512 x) {
    simde__m512_private from = simde__m512_to_private(x);
    uint16_t to[16];
    for (int i = 0; i < 16; i++)
        to[i] = hn_emulated_to_bf16(((const float *)&from)[i]);
    return _mm256_loadu_si256((const __m256i *)(const void *)to);
}

#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32 hn_emulated_cvtps_epi32
#undef _mm512_cvtepi8_epi32
#undef _mm512_cvtepu8_epi32
#undef _mm512_cvtph_ps
#undef _mm512_cvtepi32_ps
#undef _mm512_fmadd_ps
#define _mm512_cvtepi8_epi32 hn_emulated_cvtepi8_epi32
#define _mm512_cvtepu8_epi32 hn_emulated_cvtepu8_epi32
#define _mm512_cvtph_ps hn_emulated_cvtph_ps
#define _mm512_cvtepi32_ps hn_emulated_cvtepi32_ps
#define _mm512_fmadd_ps hn_emulated_fmadd_ps
#undef _mm512_dpbf16_ps
#undef _mm512_cvtneps_pbh
#define _mm512_dpbf16_ps hn_emulated_dpbf16_ps
#define _mm512_cvtneps_pbh hn_emulated_cvtneps_pbh
#define __m512bh simde__m512i
#define _mm256_dpbusd_avx_epi32 simde_mm256_dpbusd_epi32
#endif
