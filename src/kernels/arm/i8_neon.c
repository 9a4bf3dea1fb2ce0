/* Int8 products with plain NEON, and the rounding of activations that all arm64 levels share. */
#define HN_LEVEL neon
#include "kernels/arm/i8_neon.h"

/* Of the absolute values; compared as integers, so that a NaN is the largest of all. */
HN_INLINE float largest_of(const float32x4_t x[8]) {
    uint32x4_t largest = vdupq_n_u32(0);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(x[i])));
    union {
        uint32_t u;
        float f;
    } bits = {vmaxvq_u32(largest)};
    return bits.f;
}

HN_INLINE void round_block(const float *x, hn_act_block *out) {
    float32x4_t v[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        v[i] = vld1q_f32(x + 4 * i);
    const float largest = largest_of(v);
    if (!isfinite(largest)) {
        *out = HN_ACT_NOT_FINITE;
        return;
    }
    const float scale = hn_act_scale(largest);
    const float inverse = scale > 0 ? 1.0f / scale : 0;
    int16x8_t pairs = vdupq_n_s16(0);
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        int16x4_t narrow[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            narrow[i] = vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(v[4 * h + i], inverse)));
        const int8x16_t q = vcombine_s8(vqmovn_s16(vcombine_s16(narrow[0], narrow[1])),
                                        vqmovn_s16(vcombine_s16(narrow[2], narrow[3])));
        vst1q_s8(out->q + 16 * h, q);
        out->half_sums[h] = vaddlvq_s8(q);
        pairs = vpadalq_s8(pairs, q);
        out->scaled_half_sums[h] = scale * (float)out->half_sums[h];
    }
    out->scale = scale;
    out->sum = out->half_sums[0] + out->half_sums[1];
    out->scaled_sum = scale * (float)out->sum;
    out->pair_sums[0] = vaddvq_s16(vuzp1q_s16(pairs, vdupq_n_s16(0)));
    out->pair_sums[1] = vaddvq_s16(vuzp2q_s16(pairs, vdupq_n_s16(0)));
}

static void round_i8_neon(int64_t n, const float *x, hn_act_block *out) {
    const int64_t padded = hn_round_up(n, HN_UNIT_COLS);
    for (int64_t i = 0; i < padded; i += HN_BLOCK_COLS, out++) {
        if (i + HN_BLOCK_COLS <= n) {
            round_block(x + i, out);
        } else {
            float tail[HN_BLOCK_COLS] = {0};
            for (int64_t j = i; j < n; j++)
                tail[j - i] = x[j];
            round_block(tail, out);
        }
    }
}

void hn_k_i8_init_neon(hn_kernels *table) {
    table->round_i8 = round_i8_neon;
    put_products(table);
}
