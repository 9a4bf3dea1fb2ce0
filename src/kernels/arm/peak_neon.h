/* The highest rate of int8 multiply-adds of an arm64 level: the including file says with HN_STEP
 * how an accumulator of four 32-bit lanes takes one more product of x and y, values that are all
 * one. Chains enough to hide the latency, and nothing else. */
#include "kernels/kernels.h"

#include <arm_neon.h>

enum { CHAINS = 16 };

/* The compiler shall not know the value, lest it compute something once instead of n times. */
#define HIDE(x) __asm__("" : "+w"(x))

static int64_t peak_i8(int64_t n) {
    int8x16_t x = vdupq_n_s8(1), y = x;
    int32x4_t acc[CHAINS];
    HIDE(y);
    for (int c = 0; c < CHAINS; c++)
        acc[c] = vdupq_n_s32(0);
    for (int64_t i = 0; i < n; i++) {
#pragma GCC unroll 16
        for (int c = 0; c < CHAINS; c++) {
            HIDE(x);
            acc[c] = HN_STEP(acc[c], x, y);
        }
    }
    int64_t sum = 0;
    for (int c = 0; c < CHAINS; c++)
        sum += vaddlvq_s32(acc[c]);
    return sum;
}
