/* Scalar bf16 products. Levels sum in orders of their own, whose results are close, not equal. */
#include "kernels/kernels.h"
#include "kernels/unit.h"

#include <math.h>

/* As vcvtneps2bf16 does: to nearest even, subnormals to zero, NaNs quiet. */
static uint16_t round_value(float x) {
    union {
        float f;
        uint32_t u;
    } bits = {x};
    const uint32_t exponent = bits.u >> 23 & 0xff;
    if (exponent == 0)
        return (uint16_t)(bits.u >> 16 & 0x8000);
    if (exponent == 0xff)
        return (uint16_t)(bits.u >> 16 | (bits.u & 0x7fffff ? 0x40 : 0));
    return (uint16_t)((bits.u + 0x7fff + (bits.u >> 16 & 1)) >> 16);
}

static void round_bf16_ref(int64_t n, const float *x, uint16_t *out) {
    for (int64_t i = 0; i < hn_round_up(n, HN_UNIT_COLS); i++)
        out[i] = i < n ? round_value(x[i]) : 0;
}

static void gemm_bf16_ref(int64_t m, int64_t width, int64_t n_units, const void *w,
                          const uint16_t *x, int64_t x_stride, float *y, int64_t y_stride,
                          bool add) {
    const int64_t k = n_units * HN_UNIT_COLS;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < width; j++) {
            const uint16_t *column =
                (const uint16_t *)w + j / HN_UNIT_ROWS * k * HN_UNIT_ROWS + j % HN_UNIT_ROWS;
            float sum = 0;
            for (int64_t c = 0; c < k; c++)
                sum = fmaf(hn_bf16_to_f32(x[i * x_stride + c]),
                           hn_bf16_to_f32(column[c * HN_UNIT_ROWS]), sum);
            float *out = y + i * y_stride + j;
            *out = add ? *out + sum : sum;
        }
}

void hn_k_bf16_init_ref(hn_kernels *table) {
    table->round_bf16 = round_bf16_ref;
    table->gemm_bf16 = gemm_bf16_ref;
}
