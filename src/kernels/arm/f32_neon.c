/* f32 products and norms with NEON. Tile: 6 rows x 16 columns in 24 of the 32 registers. */
#include "kernels/arm/unit_neon.h"
#include "kernels/f32_tile.h"

#include <math.h>

enum { TILE_ROWS = 6, PANEL_REGISTERS = PANEL / 4 };

HN_INLINE void store_sum(float32x4_t sum, float *c, float alpha, float beta) {
    float32x4_t value = vmulq_n_f32(sum, alpha);
    if (beta != 0)
        value = vfmaq_n_f32(value, vld1q_f32(c), beta);
    vst1q_f32(c, value);
}

/* C (rows, panels * 16) in registers; all columns are there. */
HN_INLINE void tile(int rows, int panels, int64_t k, operand x, target y) {
    const int n = panels * PANEL_REGISTERS;
    float32x4_t sum[TILE_ROWS][4 * PANEL_REGISTERS];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 16
        for (int j = 0; j < n; j++)
            sum[i][j] = vdupq_n_f32(0);
    const float *a = x.a, *b = x.b;
    for (int64_t p = 0; p < k; p++, a += x.a_k, b += PANEL) {
        float32x4_t w[4 * PANEL_REGISTERS];
#pragma GCC unroll 16
        for (int j = 0; j < n; j++)
            w[j] = vld1q_f32(b + j / PANEL_REGISTERS * x.b_panel + j % PANEL_REGISTERS * 4);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            const float32x4_t v = vld1q_dup_f32(a + i * x.a_row);
#pragma GCC unroll 16
            for (int j = 0; j < n; j++)
                sum[i][j] = vfmaq_f32(sum[i][j], v, w[j]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 16
        for (int j = 0; j < n; j++)
            store_sum(sum[i][j], y.c + i * y.stride + j * 4, y.alpha, y.beta);
}

#include "kernels/f32_tile6.h"

static void panel_copy_neon(int64_t k, int64_t width, const float *src, int64_t stride,
                            float *out) {
    for (int64_t p = 0; p < k; p++, src += stride, out += PANEL) {
        if (width >= PANEL) {
            vst1q_f32_x4(out, vld1q_f32_x4(src));
            continue;
        }
        for (int j = 0; j < PANEL; j++)
            out[j] = j < width ? src[j] : 0;
    }
}

static void panel_transpose_neon(int64_t k, int64_t width, const float *src, int64_t stride,
                                 float *out) {
    int64_t p = 0;
    for (; width >= PANEL && p + 4 <= k; p += 4)
        for (int part = 0; part < PANEL_REGISTERS; part++) {
            uint32x4_t r[4];
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                r[i] = vreinterpretq_u32_f32(vld1q_f32(src + (part * 4 + i) * stride + p));
            hn_neon_transpose(r);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                vst1q_f32(out + (p + i) * PANEL + part * 4, vreinterpretq_f32_u32(r[i]));
        }
    for (; p < k; p++)
        for (int j = 0; j < PANEL; j++)
            out[p * PANEL + j] = j < width ? src[j * stride + p] : 0;
}

/* The sum of squares in double, as in the reference. */
static void rms_norm_neon(int64_t n, const float *x, const float *weight, float eps, float *out) {
    float64x2_t sums[4] = {vdupq_n_f64(0), vdupq_n_f64(0), vdupq_n_f64(0), vdupq_n_f64(0)};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            const float32x4_t v = vld1q_f32(x + i + 4 * j);
            const float64x2_t low = vcvt_f64_f32(vget_low_f32(v)), high = vcvt_high_f64_f32(v);
            sums[2 * j] = vfmaq_f64(sums[2 * j], low, low);
            sums[2 * j + 1] = vfmaq_f64(sums[2 * j + 1], high, high);
        }
    double sum = vaddvq_f64(vaddq_f64(vaddq_f64(sums[0], sums[1]), vaddq_f64(sums[2], sums[3])));
    for (; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    const float scale = 1.0f / sqrtf((float)(sum / (double)n) + eps);
    for (i = 0; i + 4 <= n; i += 4)
        vst1q_f32(out + i, vmulq_f32(vmulq_n_f32(vld1q_f32(x + i), scale), vld1q_f32(weight + i)));
    for (; i < n; i++)
        out[i] = x[i] * scale * weight[i];
}

void hn_k_f32_init_neon(hn_kernels *table) {
    table->gemm_f32 = gemm_f32_tile6;
    table->panel_copy = panel_copy_neon;
    table->panel_transpose = panel_transpose_neon;
    table->rms_norm = rms_norm_neon;
}
