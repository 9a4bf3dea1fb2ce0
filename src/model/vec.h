/* Vectors of eight floats in the compiler's own terms, for loops that are written once and compiled
 * for each instruction set. The includer defines FMA(a, b, c) first. */
#pragma once

#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t i8 __attribute__((vector_size(32), aligned(4), may_alias));

enum { LANES = 8 };

#define INLINE static inline __attribute__((always_inline, unused))

INLINE v8 splat(float x) {
    return (v8){x, x, x, x, x, x, x, x};
}

INLINE v8 load_v8(const float *x) {
    return *(const v8 *)x;
}

INLINE void store_v8(float *x, v8 value) {
    *(v8 *)x = value;
}

INLINE v8 select_v8(i8 mask, v8 yes, v8 no) {
    return (v8)((mask & (i8)yes) | (~mask & (i8)no));
}

/* a > b ? a : b: b where one of them is NaN, as the instruction does it. */
INLINE v8 max_v8(v8 a, v8 b) {
#if defined(__AVX2__)
    return (v8)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return select_v8(a > b, a, b);
#endif
}

INLINE v8 min_v8(v8 a, v8 b) {
#if defined(__AVX2__)
    return (v8)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return select_v8(a < b, a, b);
#endif
}

INLINE float largest_v8(v8 a) {
    float largest = a[0];
    for (int i = 1; i < LANES; i++)
        largest = a[i] > largest ? a[i] : largest;
    return largest;
}

INLINE float sum_v8(v8 a) {
    return ((a[0] + a[4]) + (a[1] + a[5])) + ((a[2] + a[6]) + (a[3] + a[7]));
}

/* 2^x, relative error 2e-7: x = n + r with r in [-0.5, 0.5], Taylor's polynomial of exp(r ln 2) to
 * degree 6, and n put into the exponent. Below 2^-126 it is 0, above 2^127 it stays there. */
INLINE v8 exp2_v8(v8 x) {
    const v8 magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    x = min_v8(max_v8(x, splat(-127.0f)), splat(127.0f));
    v8 shifted = x + magic;
    v8 r = x - (shifted - magic);
    v8 p = splat(1.540353039338161e-4f);
    p = FMA(p, r, splat(1.333355814642844e-3f));
    p = FMA(p, r, splat(9.618129107628477e-3f));
    p = FMA(p, r, splat(5.550410866482158e-2f));
    p = FMA(p, r, splat(2.402265069591007e-1f));
    p = FMA(p, r, splat(6.931471805599453e-1f));
    p = FMA(p, r, splat(1.0f));
    i8 n = (i8)shifted - (i8)magic;
    return p * (v8)((n + 127) << 23);
}

/* 1 / (1 + exp(-x)). */
INLINE v8 sigmoid_v8(v8 x) {
    return splat(1.0f) / (splat(1.0f) + exp2_v8(x * splat(-1.44269504f)));
}

#define PAIR(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)

/* Rows to columns: out[j][i] = in[i][j]. */
INLINE void transpose_v8(const v8 in[LANES], v8 out[LANES]) {
    v8 a[LANES], b[LANES];
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
}
