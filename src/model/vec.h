/* Vectors of floats in the compiler's own terms, for loops that are written once and compiled for
 * each instruction set. The includer defines FMA(a, b, c) first, and VECTOR_LANES (4 or 8) where
 * the machine's own width isn't what it wants. */
#pragma once

#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if !defined(VECTOR_LANES)
#if defined(__AVX2__)
#define VECTOR_LANES 8
#else
#define VECTOR_LANES 4
#endif
#endif
/* Picks what is written for the width: twice the lanes of 4 make those of 8. */
#if VECTOR_LANES == 8
#define BY_WIDTH(four, eight) eight
#else
#define BY_WIDTH(four, eight) four
#endif

enum { LANES = VECTOR_LANES };

typedef float vf __attribute__((vector_size(4 * VECTOR_LANES), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * VECTOR_LANES), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline, unused))
#define LIST(...)                                                                                  \
    { __VA_ARGS__ }

INLINE vf splat(float x) {
    return (vf)BY_WIDTH(LIST(x, x, x, x), LIST(x, x, x, x, x, x, x, x));
}

/* The lanes' numbers. */
INLINE vi lanes_vi(void) {
    return (vi)BY_WIDTH(LIST(0, 1, 2, 3), LIST(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE vf load_vf(const float *x) {
    return *(const vf *)x;
}

INLINE void store_vf(float *x, vf value) {
    *(vf *)x = value;
}

INLINE vf select_vf(vi mask, vf yes, vf no) {
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

/* a > b ? a : b: b where one of them is NaN, as the instruction does it. */
INLINE vf max_vf(vf a, vf b) {
#if defined(__AVX2__) && VECTOR_LANES == 8
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return select_vf(a > b, a, b);
#endif
}

INLINE vf min_vf(vf a, vf b) {
#if defined(__AVX2__) && VECTOR_LANES == 8
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return select_vf(a < b, a, b);
#endif
}

INLINE float largest_vf(vf a) {
    float largest = a[0];
    for (int i = 1; i < LANES; i++)
        largest = a[i] > largest ? a[i] : largest;
    return largest;
}

INLINE float sum_vf(vf a) {
#if VECTOR_LANES == 8
    return ((a[0] + a[4]) + (a[1] + a[5])) + ((a[2] + a[6]) + (a[3] + a[7]));
#else
    return (a[0] + a[2]) + (a[1] + a[3]);
#endif
}

/* 2^x, relative error 2e-7: x = n + r with r in [-0.5, 0.5], Taylor's polynomial of exp(r ln 2) to
 * degree 6, and n put into the exponent. Below 2^-126 it is 0, above 2^127 it stays there. 1.5 *
 * 2^23: adding it rounds to an integer. */
#define DEFINE_EXP2(name, vf, vi, splat, min, max, fma)                                            \
    INLINE vf name(vf x) {                                                                         \
        const vf magic = splat(12582912.0f);                                                       \
        x = min(max(x, splat(-127.0f)), splat(127.0f));                                            \
        vf shifted = x + magic;                                                                    \
        vf r = x - (shifted - magic);                                                              \
        vf p = splat(1.540353039338161e-4f);                                                       \
        p = fma(p, r, splat(1.333355814642844e-3f));                                               \
        p = fma(p, r, splat(9.618129107628477e-3f));                                               \
        p = fma(p, r, splat(5.550410866482158e-2f));                                               \
        p = fma(p, r, splat(2.402265069591007e-1f));                                               \
        p = fma(p, r, splat(6.931471805599453e-1f));                                               \
        p = fma(p, r, splat(1.0f));                                                                \
        vi n = (vi)shifted - (vi)magic;                                                            \
        return p * (vf)((n + 127) << 23);                                                          \
    }
DEFINE_EXP2(exp2_vf, vf, vi, splat, min_vf, max_vf, FMA)

/* 1 / (1 + exp(-x)). */
INLINE vf sigmoid_vf(vf x) {
    return splat(1.0f) / (splat(1.0f) + exp2_vf(x * splat(-1.44269504f)));
}

#define PAIR(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)

/* Rows to columns: out[j][i] = in[i][j]. */
INLINE void transpose_vf(const vf in[LANES], vf out[LANES]) {
#if VECTOR_LANES == 8
    vf a[LANES], b[LANES];
    for (int i = 0; i < LANES; i += 2) {
        a[i] = PAIR(in[i], in[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        a[i + 1] = PAIR(in[i], in[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < LANES; i += 4) {
        b[i] = PAIR(a[i], a[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        b[i + 1] = PAIR(a[i], a[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        b[i + 2] = PAIR(a[i + 1], a[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
        b[i + 3] = PAIR(a[i + 1], a[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
    }
    for (int i = 0; i < LANES / 2; i++) {
        out[i] = PAIR(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        out[i + 4] = PAIR(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
#else
    vf a = PAIR(in[0], in[1], 0, 4, 1, 5), b = PAIR(in[0], in[1], 2, 6, 3, 7);
    vf c = PAIR(in[2], in[3], 0, 4, 1, 5), d = PAIR(in[2], in[3], 2, 6, 3, 7);
    out[0] = PAIR(a, c, 0, 1, 4, 5);
    out[1] = PAIR(a, c, 2, 3, 6, 7);
    out[2] = PAIR(b, d, 0, 1, 4, 5);
    out[3] = PAIR(b, d, 2, 3, 6, 7);
#endif
}

/* The lanes with even or with odd numbers of a, then of b. */
INLINE vf evens_vf(vf a, vf b) {
#if VECTOR_LANES == 8
    return PAIR(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
#else
    return PAIR(a, b, 0, 2, 4, 6);
#endif
}
INLINE vf odds_vf(vf a, vf b) {
#if VECTOR_LANES == 8
    return PAIR(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
    return PAIR(a, b, 1, 3, 5, 7);
#endif
}

/* Puts at x what evens_vf and odds_vf took apart. */
INLINE void store_mixed_vf(float *x, vf even, vf odd) {
#if VECTOR_LANES == 8
    store_vf(x, PAIR(even, odd, 0, 8, 1, 9, 2, 10, 3, 11));
    store_vf(x + LANES, PAIR(even, odd, 4, 12, 5, 13, 6, 14, 7, 15));
#else
    store_vf(x, PAIR(even, odd, 0, 4, 1, 5));
    store_vf(x + LANES, PAIR(even, odd, 2, 6, 3, 7));
#endif
}
