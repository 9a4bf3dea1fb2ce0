/* Scalar f32 products and norms: the oracle. */
#include "kernels/kernels.h"

#include <math.h>

static void gemm_f32_ref(int64_t m, int64_t width, int64_t k, const float *a, int64_t a_row,
                         int64_t a_k, const float *b, int64_t b_panel, float *c, int64_t c_stride,
                         float alpha, float beta) {
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j0 = 0; j0 < width; j0 += HN_UNIT_ROWS) {
            const float *panel = b + j0 / HN_UNIT_ROWS * b_panel;
            float sum[HN_UNIT_ROWS] = {0};
            for (int64_t p = 0; p < k; p++) {
                float value = a[i * a_row + p * a_k];
                for (int j = 0; j < HN_UNIT_ROWS; j++)
                    sum[j] = fmaf(value, panel[p * HN_UNIT_ROWS + j], sum[j]);
            }
            for (int64_t j = j0; j < width && j < j0 + HN_UNIT_ROWS; j++) {
                float *out = c + i * c_stride + j;
                float value = alpha * sum[j - j0];
                *out = beta == 0 ? value : fmaf(beta, *out, value);
            }
        }
    }
}

static void panel_copy_ref(int64_t k, int64_t width, const float *src, int64_t stride, float *out) {
    for (int64_t p = 0; p < k; p++)
        for (int j = 0; j < HN_UNIT_ROWS; j++)
            out[p * HN_UNIT_ROWS + j] = j < width ? src[p * stride + j] : 0;
}

static void panel_transpose_ref(int64_t k, int64_t width, const float *src, int64_t stride,
                                float *out) {
    for (int64_t p = 0; p < k; p++)
        for (int j = 0; j < HN_UNIT_ROWS; j++)
            out[p * HN_UNIT_ROWS + j] = j < width ? src[j * stride + p] : 0;
}

static void rms_norm_ref(int64_t n, const float *x, const float *weight, float eps, float *out) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    float scale = 1.0f / sqrtf((float)(sum / (double)n) + eps);
    for (int64_t i = 0; i < n; i++)
        out[i] = x[i] * scale * weight[i];
}

void hn_k_f32_init_ref(hn_kernels *table) {
    table->gemm_f32 = gemm_f32_ref;
    table->panel_copy = panel_copy_ref;
    table->panel_transpose = panel_transpose_ref;
    table->rms_norm = rms_norm_ref;
}
