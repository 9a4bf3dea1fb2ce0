/* The highest rate of int8 multiply-adds with sdot. */
#define HN_STEP(acc, x, y) vdotq_s32(acc, x, y)
#include "kernels/arm/peak_neon.h"

void hn_k_peak_init_dotprod(hn_kernels *table) {
    table->peak_i8 = peak_i8;
}
