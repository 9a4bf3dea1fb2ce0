/* The highest rate of multiply-adds with AVX2 and FMA: chains enough to hide the latency, and
 * nothing else. In int8 that is vpmaddubsw with its sums kept in 16 bits as long as they fit. */
#include "kernels/kernels.h"
#include "kernels/x86/unit_avx2.h"

enum { CHAINS = 12, PARTS = 6, FLUSH = 8192 };

/* The compiler shall not know the value, lest it compute something once instead of n times. */
#define HIDE(x) __asm__("" : "+x"(x))

static int64_t peak_f32_avx2(int64_t n) {
    __m256 x = _mm256_set1_ps(1), y = x, acc[CHAINS];
    HIDE(x);
    HIDE(y);
    for (int c = 0; c < CHAINS; c++)
        acc[c] = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++)
            acc[c] = _mm256_fmadd_ps(acc[c], x, y);
    }
    int64_t sum = 0;
    for (int c = 0; c < CHAINS; c++) {
        float lanes[8];
        _mm256_storeu_ps(lanes, acc[c]);
        for (int j = 0; j < 8; j++)
            sum += (int64_t)lanes[j];
    }
    return sum;
}

static int64_t sum_i32(__m256i x) {
    int32_t lanes[8];
    int64_t sum = 0;
    _mm256_storeu_si256((__m256i *)(void *)lanes, x);
    for (int j = 0; j < 8; j++)
        sum += lanes[j];
    return sum;
}

static int64_t peak_i8_avx2(int64_t n) {
    const __m256i ones16 = _mm256_set1_epi16(1);
    __m256i x = _mm256_set1_epi8(1), y = x;
    HIDE(y);
    int64_t sum = 0;
    for (int64_t done = 0; done < n;) {
        __m256i acc[PARTS];
        int64_t end = n - done < FLUSH ? n : done + FLUSH;
        for (int c = 0; c < PARTS; c++)
            acc[c] = _mm256_setzero_si256();
        for (; done < end; done++) {
#pragma GCC unroll 6
            for (int c = 0; c < PARTS; c++) {
                HIDE(x);
                /* In place: the compiler would move it from register to register. */
                __asm__("vpaddw %1, %0, %0" : "+x"(acc[c]) : "x"(_mm256_maddubs_epi16(x, y)));
            }
        }
        for (int c = 0; c < PARTS; c++)
            sum += sum_i32(_mm256_madd_epi16(acc[c], ones16));
    }
    return sum;
}

void hn_k_peak_init_avx2(hn_kernels *table) {
    table->peak_f32 = peak_f32_avx2;
    table->peak_i8 = peak_i8_avx2;
}
