/* Checks of bf16 rounding and products. Levels sum in orders of their own: what they give is close
 * to the reference, and a row has the same bits alone and among others. */
#include "check.h"

#include <math.h>
#include <stdio.h>

void check_round_bf16(void) {
    static const float SCALES[] = {1, 0, 1e-30f, 1e-39f, 3.4e38f, 1};
    enum { N_SCALES = sizeof SCALES / sizeof *SCALES };
    for (int i = 0; i < N_CHECK_LENGTHS; i++)
        for (int s = 0; s < N_SCALES; s++) {
            const int n = CHECK_LENGTHS[i];
            const int64_t padded = hn_layout_units(n) * HN_UNIT_COLS;
            float *x = floats(n, SCALES[s], 4);
            if (s == N_SCALES - 1)
                spoil(x, n);
            uint16_t *out = buffer((size_t)padded * sizeof *out, 2);
            uint16_t *expected = buffer((size_t)padded * sizeof *out, 2);
            g_ref->round_bf16(n, x, expected);
            g_level->round_bf16(n, x, out);
            same_bits("round_bf16", out, expected, (size_t)padded * sizeof *out, "other values");
            end_case("round_bf16");
        }
}

/* Sums of up to 320 products of values within +-1 and +-0.5, each rounded a few times. */
static const float SUM_LIMIT = 320 * 0.5f * 0x1p-23f;

void check_gemm_bf16(void) {
    static const int SIZES[][3] = {{1, 16, 1},  {1, 64, 5},  {1, 37, 3},  {2, 16, 2},
                                   {3, 5, 1},   {4, 80, 1},  {8, 48, 2},  {13, 31, 1},
                                   {16, 16, 2}, {32, 17, 1}, {49, 32, 1}, {100, 16, 1}};
    for (size_t s = 0; s < sizeof SIZES / sizeof *SIZES; s++)
        for (int variant = 0; variant < 4; variant++) {
            const int64_t m = SIZES[s][0], width = SIZES[s][1], n_units = SIZES[s][2];
            const int64_t groups = (width + 15) / 16, stride = width + 3;
            const int64_t cols = n_units * HN_UNIT_COLS, x_stride = cols + 7;
            const uint8_t *w = units(HN_BF16, groups * n_units, FILL_RANDOM);
            float *plain = floats(m * cols, 1, 0);
            if (variant == 3)
                spoil(plain, m * cols);
            uint16_t *x = buffer((size_t)(m * x_stride) * sizeof *x, 2);
            for (int64_t i = 0; i < m; i++)
                g_ref->round_bf16(cols, plain + i * cols, x + i * x_stride);
            float *y = floats(m * stride, 1, 4), *expected = copy_of(y, m * stride);
            const float *before = copy_of(y, m * stride);
            const bool add = variant & 1;
            g_ref->gemm_bf16(m, width, n_units, w, x, x_stride, expected, stride, add);
            g_level->gemm_bf16(m, width, n_units, w, x, x_stride, y, stride, add);
            close_to("gemm_bf16", y, expected, m * stride, 0, SUM_LIMIT);
            char detail[64];
            snprintf(detail, sizeof detail, "a row alone has other bits than among %lld",
                     (long long)m);
            for (int64_t i = 0; i < m; i++) {
                float *row = copy_of(before + i * stride, width);
                g_level->gemm_bf16(1, width, n_units, w, x + i * x_stride, x_stride, row, stride,
                                   add);
                same_floats("gemm_bf16", row, y + i * stride, width, detail);
                drop_last();
            }
            end_case("gemm_bf16");
        }
}
