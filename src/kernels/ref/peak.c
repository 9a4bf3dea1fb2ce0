/* The rate of multiply-adds that plain C reaches, where no instruction set does better. */
#include "kernels/kernels.h"

enum { CHAINS = 32 };

static int64_t peak_f32_ref(int64_t n) {
    volatile float one = 1;
    const float x = one, y = one;
    float acc[CHAINS] = {0};
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < CHAINS; c++)
            acc[c] = acc[c] * x + y;
    int64_t sum = 0;
    for (int c = 0; c < CHAINS; c++)
        sum += (int64_t)acc[c];
    return sum;
}

static int64_t peak_i8_ref(int64_t n) {
    volatile int8_t one = 1;
    const int8_t x = one, y = one;
    int32_t acc[CHAINS] = {0};
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < CHAINS; c++)
            acc[c] = acc[c] * x + y;
    int64_t sum = 0;
    for (int c = 0; c < CHAINS; c++)
        sum += acc[c];
    return sum;
}

void hn_k_peak_init_ref(hn_kernels *table) {
    table->peak_f32 = peak_f32_ref;
    table->peak_i8 = peak_i8_ref;
}
