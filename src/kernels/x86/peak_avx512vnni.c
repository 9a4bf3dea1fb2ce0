/* The highest rates of multiply-adds with AVX-512 and VNNI. */
#include "kernels/kernels.h"

#include <immintrin.h>

enum { CHAINS = 12 };

static int64_t peak_f32_avx512(int64_t n) {
    __m512 x = _mm512_set1_ps(1), y = x, acc[CHAINS];
    __asm__("" : "+x"(x), "+x"(y)); /* values that the compiler doesn't know */
    for (int c = 0; c < CHAINS; c++)
        acc[c] = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++)
            acc[c] = _mm512_fmadd_ps(acc[c], x, y);
    }
    int64_t sum = 0;
    for (int c = 0; c < CHAINS; c++) {
        float lanes[16];
        _mm512_storeu_ps(lanes, acc[c]);
        for (int j = 0; j < 16; j++)
            sum += (int64_t)lanes[j];
    }
    return sum;
}

static int64_t peak_i8_avx512vnni(int64_t n) {
    __m512i x = _mm512_set1_epi8(1), y = x, acc[CHAINS];
    __asm__("" : "+x"(x), "+x"(y));
    for (int c = 0; c < CHAINS; c++)
        acc[c] = _mm512_setzero_si512();
    for (int64_t i = 0; i < n; i++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++)
            acc[c] = _mm512_dpbusd_epi32(acc[c], x, y);
    }
    int64_t sum = 0;
    for (int c = 0; c < CHAINS; c++) {
        int32_t lanes[16];
        _mm512_storeu_si512(lanes, acc[c]);
        for (int j = 0; j < 16; j++)
            sum += lanes[j];
    }
    return sum;
}

void hn_k_peak_init_avx512vnni(hn_kernels *table) {
    table->peak_f32 = peak_f32_avx512;
    table->peak_i8 = peak_i8_avx512vnni;
}
