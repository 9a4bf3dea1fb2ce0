/* Rounding of activations to int8 with AVX-512: eight blocks side by side, so that what a block has
 * one of (its largest value, scale and sums) fills a register, too. */
#include "kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

#define HN_INLINE static inline __attribute__((always_inline))

enum { SIDE = 8 }; /* blocks */

_Static_assert(sizeof(hn_act_block) == HN_BLOCK_COLS + SIDE * sizeof(float),
               "a block is 32 codes and 8 values, which go in as a transposed square");

/* FOLD(name, op): lane b of the 128-bit halves of out[0] (blocks 0 to 3) and out[1] (4 to 7) is
 * block b's 4 lanes of that half of v[b], put together by op. */
#define FOLD(name, op)                                                                             \
    HN_INLINE void name(const __m256i v[SIDE], __m256i out[2]) {                                   \
        __m256i two[SIDE / 2];                                                                     \
        for (int i = 0; i < SIDE / 2; i++)                                                         \
            two[i] = op(_mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]),                             \
                        _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]));                            \
        for (int i = 0; i < 2; i++)                                                                \
            out[i] = op(_mm256_unpacklo_epi64(two[2 * i], two[2 * i + 1]),                         \
                        _mm256_unpackhi_epi64(two[2 * i], two[2 * i + 1]));                        \
    }
FOLD(fold_max, _mm256_max_epi32)
FOLD(fold_add, _mm256_add_epi32)
FOLD(fold_add_16, _mm256_add_epi16)

/* The halves of what FOLD left: lane b is block b's. */
HN_INLINE __m256i low_halves(const __m256i folded[2]) {
    return _mm256_permute2x128_si256(folded[0], folded[1], 0x20);
}
HN_INLINE __m256i high_halves(const __m256i folded[2]) {
    return _mm256_permute2x128_si256(folded[0], folded[1], 0x31);
}

/* Largest absolute values; compared as integers, so that a NaN is the largest of all. */
HN_INLINE __m256i largest_of(const float *x) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m256i v[SIDE], folded[2];
#pragma GCC unroll 8
    for (int b = 0; b < SIDE; b++, x += HN_BLOCK_COLS) {
        const __m512i low = _mm512_and_si512(_mm512_loadu_si512(x), magnitude);
        const __m512i high = _mm512_and_si512(_mm512_loadu_si512(x + 16), magnitude);
        const __m512i larger = _mm512_max_epi32(low, high);
        v[b] =
            _mm256_max_epi32(_mm512_castsi512_si256(larger), _mm512_extracti64x4_epi64(larger, 1));
    }
    fold_max(v, folded);
    return _mm256_max_epi32(low_halves(folded), high_halves(folded));
}

/* hn_act_scale of each. */
HN_INLINE __m256 scales_of(__m256i largest) {
    const __m256i bits = _mm256_castps_si256(
        _mm256_mul_ps(_mm256_castsi256_ps(largest), _mm256_set1_ps(1.0f / 127.0f)));
    const __m256 scale = _mm256_castsi256_ps(
        _mm256_and_si256(_mm256_add_epi32(bits, _mm256_set1_epi32(2)), _mm256_set1_epi32(~3)));
    return _mm256_and_ps(scale, _mm256_cmp_ps(scale, _mm256_set1_ps(HN_ACT_MIN_SCALE), _CMP_GE_OQ));
}

/* 32 values times `inverse`, nearest even. */
HN_INLINE __m256i codes_of(const float *x, float inverse) {
    const __m512 by = _mm512_set1_ps(inverse);
    const __m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), by));
    const __m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16), by));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm512_cvtsepi32_epi8(low)),
                                   _mm512_cvtsepi32_epi8(high), 1);
}

/* What follows the codes of 8 blocks, from a register a field. */
HN_INLINE void put_fields(const __m256i field[SIDE], hn_act_block *out) {
    __m256i two[SIDE], four[SIDE];
    for (int i = 0; i < SIDE; i += 2) {
        two[i] = _mm256_unpacklo_epi32(field[i], field[i + 1]);
        two[i + 1] = _mm256_unpackhi_epi32(field[i], field[i + 1]);
    }
    /* four[4h + c]: fields 4h to 4h + 3 of block c, and in the upper half of block 4 + c. */
    for (int i = 0; i < SIDE; i += 4)
        for (int j = 0; j < 2; j++) {
            four[i + 2 * j] = _mm256_unpacklo_epi64(two[i + j], two[i + 2 + j]);
            four[i + 2 * j + 1] = _mm256_unpackhi_epi64(two[i + j], two[i + 2 + j]);
        }
    for (int c = 0; c < SIDE / 2; c++) {
        const __m256i both[2] = {four[c], four[4 + c]};
        _mm256_storeu_si256((__m256i *)(void *)&out[c].scale, low_halves(both));
        _mm256_storeu_si256((__m256i *)(void *)&out[4 + c].scale, high_halves(both));
    }
}

HN_INLINE void round_blocks(const float *x, hn_act_block *out) {
    const __m256i largest = largest_of(x);
    const __m256 scale = scales_of(largest);
    const __m256 some = _mm256_cmp_ps(scale, _mm256_setzero_ps(), _CMP_GT_OQ);
    float inverse[SIDE];
    _mm256_storeu_ps(inverse, _mm256_and_ps(some, _mm256_div_ps(_mm256_set1_ps(1), scale)));
    __m256i fours[SIDE], pairs[SIDE], folded[2];
#pragma GCC unroll 8
    for (int b = 0; b < SIDE; b++) {
        const __m256i q = codes_of(x + b * HN_BLOCK_COLS, inverse[b]), one = _mm256_set1_epi8(1);
        _mm256_storeu_si256((__m256i *)(void *)out[b].q, q);
        fours[b] = _mm256_dpbusd_epi32(_mm256_setzero_si256(), one, q);
        pairs[b] = _mm256_maddubs_epi16(one, q);
    }
    fold_add(fours, folded);
    const __m256i low = low_halves(folded), high = high_halves(folded);
    const __m256i sum = _mm256_add_epi32(low, high);
    fold_add_16(pairs, folded);
#define SCALED(sums) _mm256_castps_si256(_mm256_mul_ps(scale, _mm256_cvtepi32_ps(sums)))
    const __m256i field[SIDE] = {_mm256_castps_si256(scale),
                                 SCALED(sum),
                                 SCALED(low),
                                 SCALED(high),
                                 sum,
                                 low,
                                 high,
                                 _mm256_add_epi16(low_halves(folded), high_halves(folded))};
#undef SCALED
    put_fields(field, out);
    const __m256i finite = _mm256_set1_epi32(0x7f7fffff);
    const int bad = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(largest, finite)));
    for (int b = 0; bad && b < SIDE; b++)
        if (bad >> b & 1)
            out[b] = HN_ACT_NOT_FINITE;
}

static void round_i8_avx512vnni(int64_t n, const float *x, hn_act_block *out) {
    const int64_t n_blocks = hn_layout_units(n) * HN_UNIT_BLOCKS;
    int64_t b = 0;
    for (; (b + SIDE) * HN_BLOCK_COLS <= n; b += SIDE)
        round_blocks(x + b * HN_BLOCK_COLS, out + b);
    if (b == n_blocks)
        return;
    float tail[SIDE * HN_BLOCK_COLS] = {0};
    hn_act_block blocks[SIDE];
    memcpy(tail, x + b * HN_BLOCK_COLS, (size_t)(n - b * HN_BLOCK_COLS) * sizeof *x);
    round_blocks(tail, blocks);
    memcpy(out + b, blocks, (size_t)(n_blocks - b) * sizeof *out);
}

void hn_k_round_init_avx512vnni(hn_kernels *table) {
    table->round_i8 = round_i8_avx512vnni;
}
