/* f32 products and norms with AVX2 and FMA. Tile: 6 rows x 16 columns in 12 of the 16 registers;
 * fewer rows take more columns, so that there are always about 12 sums in flight. */
#include "kernels/f32_tile.h"

#include <immintrin.h>
#include <math.h>

enum { TILE_ROWS = 6 };

HN_INLINE void store_sum(__m256 sum, float *c, float alpha, float beta) {
    __m256 value = _mm256_mul_ps(sum, _mm256_set1_ps(alpha));
    if (beta != 0)
        value = _mm256_fmadd_ps(_mm256_set1_ps(beta), _mm256_loadu_ps(c), value);
    _mm256_storeu_ps(c, value);
}

/* C (rows, panels * 16) in registers; all columns are there. */
HN_INLINE void tile(int rows, int panels, int64_t k, operand x, target y) {
    __m256 sum[TILE_ROWS][8];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < 2 * panels; j++)
            sum[i][j] = _mm256_setzero_ps();
    const float *a0 = x.a, *a3 = x.a + 3 * x.a_row;
    const float *b = x.b;
#pragma GCC unroll 4
    for (int64_t p = 0; p < k; p++) {
        __m256 w[8];
#pragma GCC unroll 8
        for (int j = 0; j < 2 * panels; j++)
            w[j] = _mm256_load_ps(b + j / 2 * x.b_panel + j % 2 * 8);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            __m256 a = _mm256_broadcast_ss(i < 3 ? a0 + i * x.a_row : a3 + (i - 3) * x.a_row);
#pragma GCC unroll 8
            for (int j = 0; j < 2 * panels; j++)
                sum[i][j] = _mm256_fmadd_ps(a, w[j], sum[i][j]);
        }
        a0 += x.a_k;
        a3 += x.a_k;
        b += PANEL;
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < 2 * panels; j++)
            store_sum(sum[i][j], y.c + i * y.stride + j * 8, y.alpha, y.beta);
}

#include "kernels/f32_tile6.h"

static void panel_copy_avx2(int64_t k, int64_t width, const float *src, int64_t stride,
                            float *out) {
    if (width >= PANEL) {
        for (int64_t p = 0; p < k; p++, src += stride, out += PANEL) {
            _mm256_store_ps(out, _mm256_loadu_ps(src));
            _mm256_store_ps(out + 8, _mm256_loadu_ps(src + 8));
        }
        return;
    }
    for (int64_t p = 0; p < k; p++, src += stride, out += PANEL)
        for (int j = 0; j < PANEL; j++)
            out[j] = j < width ? src[j] : 0;
}

/* 8 x 8 transpose: column i of the rows becomes row i. */
HN_INLINE void transpose_8x8(__m256 r[8]) {
    __m256 t[8], u[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
    }
}

static void panel_transpose_avx2(int64_t k, int64_t width, const float *src, int64_t stride,
                                 float *out) {
    int64_t p = 0;
    if (width >= PANEL) {
        for (; p + 8 <= k; p += 8) {
            for (int half = 0; half < 2; half++) {
                __m256 r[8];
#pragma GCC unroll 8
                for (int i = 0; i < 8; i++)
                    r[i] = _mm256_loadu_ps(src + (half * 8 + i) * stride + p);
                transpose_8x8(r);
#pragma GCC unroll 8
                for (int i = 0; i < 8; i++)
                    _mm256_store_ps(out + (p + i) * PANEL + half * 8, r[i]);
            }
        }
    }
    for (; p < k; p++)
        for (int j = 0; j < PANEL; j++)
            out[p * PANEL + j] = j < width ? src[j * stride + p] : 0;
}

/* The sum of squares in double, as in the reference: an f32 sum would depend on the vector length
 * in its last bits, and norms are a small part of the time. */
static void rms_norm_avx2(int64_t n, const float *x, const float *weight, float eps, float *out) {
    __m256d sums[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(),
                       _mm256_setzero_pd()};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            __m256d v = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4 * j));
            sums[j] = _mm256_fmadd_pd(v, v, sums[j]);
        }
    __m256d all = _mm256_add_pd(_mm256_add_pd(sums[0], sums[1]), _mm256_add_pd(sums[2], sums[3]));
    double lanes[4];
    _mm256_storeu_pd(lanes, all);
    double sum = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    for (; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    const float scale = 1.0f / sqrtf((float)(sum / (double)n) + eps);
    const __m256 s = _mm256_set1_ps(scale);
    for (i = 0; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), s),
                                                _mm256_loadu_ps(weight + i)));
    for (; i < n; i++)
        out[i] = x[i] * scale * weight[i];
}

void hn_k_f32_init_avx2(hn_kernels *table) {
    table->gemm_f32 = gemm_f32_tile6;
    table->panel_copy = panel_copy_avx2;
    table->panel_transpose = panel_transpose_avx2;
    table->rms_norm = rms_norm_avx2;
}
