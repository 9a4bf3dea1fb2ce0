/* Checks of int8 rounding and products: the same bits as the reference, whatever the level. */
#include "check.h"

#include <stdio.h>

void check_round_i8(void) {
    static const float SCALES[] = {1, 0, 1e-30f, 1e-41f, 3e37f, 1};
    enum { N_SCALES = sizeof SCALES / sizeof *SCALES };
    for (int i = 0; i < N_CHECK_LENGTHS; i++)
        for (int s = 0; s < N_SCALES; s++) {
            int n = CHECK_LENGTHS[i];
            int64_t blocks = hn_layout_units(n) * HN_UNIT_BLOCKS;
            float *x = floats(n, SCALES[s], 4);
            if (s == N_SCALES - 1)
                spoil(x, n);
            hn_act_block *out = buffer((size_t)blocks * sizeof *out, 0);
            hn_act_block *expected = buffer((size_t)blocks * sizeof *out, 0);
            g_ref->round_i8(n, x, expected);
            g_level->round_i8(n, x, out);
            same_bits("round_i8", out, expected, (size_t)blocks * sizeof *out, "other blocks");
            end_case("round_i8");
        }
}

void check_gemm_i8(hn_dtype dtype) {
    if (!g_ref->gemm_i8[dtype])
        return;
    static const int SIZES[][3] = {{1, 16, 1},  {1, 37, 3},  {2, 16, 2},  {3, 5, 1},
                                   {4, 64, 1},  {8, 48, 2},  {13, 31, 1}, {16, 16, 2},
                                   {32, 17, 1}, {49, 32, 1}, {100, 16, 1}};
    for (size_t s = 0; s < sizeof SIZES / sizeof *SIZES; s++)
        for (int how = 0; how < ROWS_COUNT * FILL_COUNT; how++) {
            int64_t m = SIZES[s][0], width = SIZES[s][1], n_units = SIZES[s][2];
            int64_t groups = (width + 15) / 16, stride = width + 3, blocks = n_units * 2;
            uint8_t *w = units(dtype, groups * n_units, (fill)(how / ROWS_COUNT));
            hn_act_block *x = activations(m, blocks, (row_kind)(how % ROWS_COUNT));
            float *y = floats(m * stride, 1, 4), *expected = copy_of(y, m * stride);
            const float *before = copy_of(y, m * stride);
            bool add = hn_rng_u32(&g_rng) & 1;
            g_ref->gemm_i8[dtype](m, width, n_units, w, x, blocks, expected, stride, add);
            g_level->gemm_i8[dtype](m, width, n_units, w, x, blocks, y, stride, add);
            char detail[64];
            snprintf(detail, sizeof detail, "%s, %lld rows: other bits", hn_dtype_name(dtype),
                     (long long)m);
            same_floats("gemm_i8", y, expected, m * stride, detail);
            snprintf(detail, sizeof detail, "%s: a row alone has other bits than among %lld",
                     hn_dtype_name(dtype), (long long)m);
            for (int64_t i = 0; i < m; i++) {
                float *row = copy_of(before + i * stride, width);
                g_level->gemm_i8[dtype](1, width, n_units, w, x + i * blocks, blocks, row, stride,
                                        add);
                same_floats("gemm_i8", row, y + i * stride, width, detail);
                drop_last();
            }
            end_case("gemm_i8");
        }
}
