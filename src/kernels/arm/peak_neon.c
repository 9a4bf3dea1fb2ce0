/* The highest rates of multiply-adds with NEON alone: smull, smlal2 and sadalp in int8. */
#define HN_STEP(acc, x, y)                                                                         \
    vpadalq_s16(acc, vmlal_high_s8(vmull_s8(vget_low_s8(x), vget_low_s8(y)), x, y))
#include "kernels/arm/peak_neon.h"

static int64_t peak_f32_neon(int64_t n) {
    float32x4_t x = vdupq_n_f32(1), y = x, acc[CHAINS];
    HIDE(x);
    HIDE(y);
    for (int c = 0; c < CHAINS; c++)
        acc[c] = vdupq_n_f32(0);
    for (int64_t i = 0; i < n; i++) {
#pragma GCC unroll 16
        for (int c = 0; c < CHAINS; c++)
            acc[c] = vfmaq_f32(y, acc[c], x);
    }
    int64_t sum = 0;
    for (int c = 0; c < CHAINS; c++)
        for (int j = 0; j < 4; j++) {
            float lanes[4];
            vst1q_f32(lanes, acc[c]);
            sum += (int64_t)lanes[j];
        }
    return sum;
}

void hn_k_peak_init_neon(hn_kernels *table) {
    table->peak_f32 = peak_f32_neon;
    table->peak_i8 = peak_i8;
}
