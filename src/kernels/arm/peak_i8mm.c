/* The highest rate of int8 multiply-adds with smmla. */
#define HN_STEP(acc, x, y) vmmlaq_s32(acc, x, y)
#include "kernels/arm/peak_neon.h"

void hn_k_peak_init_i8mm(hn_kernels *table) {
    table->peak_i8 = peak_i8;
}
