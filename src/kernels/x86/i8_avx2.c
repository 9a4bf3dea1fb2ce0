/* Int8 products with AVX2, and the rounding of activations that all x86 levels share. */
#define HN_LEVEL avx2
#include "kernels/x86/i8_ymm.h"

/* Largest of 32 absolute values; compared as integers, so that a NaN is the largest of all. */
HN_INLINE float largest_of(const __m256 x[4]) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i a[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        a[i] = _mm256_and_si256(_mm256_castps_si256(x[i]), magnitude);
    a[0] = _mm256_max_epi32(_mm256_max_epi32(a[0], a[1]), _mm256_max_epi32(a[2], a[3]));
    __m128i b = _mm_max_epi32(_mm256_castsi256_si128(a[0]), _mm256_extracti128_si256(a[0], 1));
    b = _mm_max_epi32(b, _mm_shuffle_epi32(b, 0x4e));
    b = _mm_max_epi32(b, _mm_shuffle_epi32(b, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(b));
}

/* Sum of 16 signed bytes. */
HN_INLINE int32_t sum_16(__m128i q) {
    const __m128i flip = _mm_set1_epi8((char)0x80);
    __m128i s = _mm_sad_epu8(_mm_xor_si128(q, flip), _mm_setzero_si128());
    return _mm_cvtsi128_si32(s) + _mm_extract_epi16(s, 4) - 16 * 128;
}

/* Sums of the first and of the second two of each four bytes. */
HN_INLINE void sum_pairs_of(__m256i q, int16_t out[2]) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
    __m128i s = _mm_add_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    s = _mm_add_epi16(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi16(s, _mm_shuffle_epi32(s, 0xb1));
    const int32_t both = _mm_cvtsi128_si32(s);
    memcpy(out, &both, sizeof both);
}

HN_INLINE void round_block(const float *x, hn_act_block *out) {
    __m256 v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        v[i] = _mm256_loadu_ps(x + 8 * i);
    const float largest = largest_of(v);
    if (!isfinite(largest)) {
        *out = HN_ACT_NOT_FINITE;
        return;
    }
    const float scale = hn_act_scale(largest);
    const __m256 inverse = _mm256_set1_ps(scale > 0 ? 1.0f / scale : 0);
    __m256i i32[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        i32[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    __m256i q =
        _mm256_packs_epi16(_mm256_packs_epi32(i32[0], i32[1]), _mm256_packs_epi32(i32[2], i32[3]));
    /* The packs work within 128-bit lanes: put the dwords back in order. */
    q = _mm256_permutevar8x32_epi32(q, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)out->q, q);
    out->scale = scale;
    out->half_sums[0] = sum_16(_mm256_castsi256_si128(q));
    out->half_sums[1] = sum_16(_mm256_extracti128_si256(q, 1));
    out->sum = out->half_sums[0] + out->half_sums[1];
    out->scaled_sum = scale * (float)out->sum;
    out->scaled_half_sums[0] = scale * (float)out->half_sums[0];
    out->scaled_half_sums[1] = scale * (float)out->half_sums[1];
    sum_pairs_of(q, out->pair_sums);
}

static void round_i8_avx2(int64_t n, const float *x, hn_act_block *out) {
    const int64_t padded = (n + HN_UNIT_COLS - 1) / HN_UNIT_COLS * HN_UNIT_COLS;
    for (int64_t i = 0; i < padded; i += HN_BLOCK_COLS, out++) {
        if (i + HN_BLOCK_COLS <= n) {
            round_block(x + i, out);
            continue;
        }
        float tail[HN_BLOCK_COLS] = {0};
        if (i < n)
            memcpy(tail, x + i, (size_t)(n - i) * sizeof *x);
        round_block(tail, out);
    }
}

void hn_k_i8_init_avx2(hn_kernels *table) {
    put_products(table);
    table->round_i8 = round_i8_avx2;
}
