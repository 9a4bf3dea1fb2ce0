/* The vectors of attention's products and weights: as wide as the machine has them, for a lane is
 * one key's or dimension's own, whatever stands beside it. What is summed over lanes keeps the
 * vectors of vec.h, so that a wider machine gets the same bits. The includer of attention_tile.h
 * defines WIDE_LANES 16 for AVX-512. */
#pragma once

#include "model/kv_codec.h"

#if defined(WIDE_LANES) && WIDE_LANES == 16

typedef float wf __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t wi __attribute__((vector_size(64), aligned(4), may_alias));

INLINE wf splat_wf(float x) {
    return (wf)_mm512_set1_ps(x);
}
INLINE wf fma_wf(wf a, wf b, wf c) {
    return (wf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
INLINE wf min_wf(wf a, wf b) {
    return (wf)_mm512_min_ps((__m512)a, (__m512)b);
}
INLINE wf max_wf(wf a, wf b) {
    return (wf)_mm512_max_ps((__m512)a, (__m512)b);
}
/* Its vectors of vec.h, of which there are WIDE_LANES / LANES. */
INLINE vf part_of_wf(wf x, const int part) {
    return (vf)(part ? _mm512_extractf32x8_ps((__m512)x, 1) : _mm512_castps512_ps256((__m512)x));
}
DEFINE_EXP2(exp2_wf, wf, wi, splat_wf, min_wf, max_wf, fma_wf)

INLINE wf wf_of_f16(const uint16_t *x) {
    return (wf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)x));
}
INLINE __m512i load_s8_wide(const uint8_t *x) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)x));
}
INLINE wf wf_of_q8(const uint8_t *codes) {
    return (wf)_mm512_cvtepi32_ps(load_s8_wide(codes));
}
INLINE wf wf_of_q4(const uint8_t *codes, const int high) {
    __m512i pair = load_s8_wide(codes);
    if (!high)
        pair = _mm512_slli_epi32(pair, 28);
    return (wf)_mm512_cvtepi32_ps(_mm512_srai_epi32(pair, high ? 4 : 28));
}

#else

#undef WIDE_LANES
#define WIDE_LANES VECTOR_LANES

typedef vf wf;

INLINE wf splat_wf(float x) {
    return splat(x);
}
INLINE wf fma_wf(wf a, wf b, wf c) {
    return FMA(a, b, c);
}
INLINE wf max_wf(wf a, wf b) {
    return max_vf(a, b);
}
INLINE vf part_of_wf(wf x, const int part) {
    (void)part;
    return x;
}
INLINE wf exp2_wf(wf x) {
    return exp2_vf(x);
}
INLINE wf wf_of_f16(const uint16_t *x) {
    return load_f16(x);
}
INLINE wf wf_of_q8(const uint8_t *codes) {
    return load_code_q8(codes);
}
INLINE wf wf_of_q4(const uint8_t *codes, const int high) {
    return load_code_q4(codes, high);
}

#endif

INLINE wf load_wf(const float *x) {
    return *(const wf *)x;
}
INLINE void store_wf(float *x, wf value) {
    *(wf *)x = value;
}
