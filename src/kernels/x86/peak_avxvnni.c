/* The highest rate of int8 multiply-adds with AVX-VNNI. */
#include "kernels/kernels.h"

#include <immintrin.h>

enum { CHAINS = 12 };

static int64_t peak_i8_avxvnni(int64_t n) {
    __m256i x = _mm256_set1_epi8(1), y = x, acc[CHAINS];
    __asm__("" : "+x"(x), "+x"(y)); /* values that the compiler doesn't know */
    for (int c = 0; c < CHAINS; c++)
        acc[c] = _mm256_setzero_si256();
    for (int64_t i = 0; i < n; i++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++)
            acc[c] = _mm256_dpbusd_avx_epi32(acc[c], x, y);
    }
    int64_t sum = 0;
    for (int c = 0; c < CHAINS; c++) {
        int32_t lanes[8];
        _mm256_storeu_si256((__m256i *)(void *)lanes, acc[c]);
        for (int j = 0; j < 8; j++)
            sum += lanes[j];
    }
    return sum;
}

void hn_k_peak_init_avxvnni(hn_kernels *table) {
    table->peak_i8 = peak_i8_avxvnni;
}
