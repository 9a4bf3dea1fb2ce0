/* Scalar int8 products: the oracle, to the bit, of every other level. */
#include "kernels/kernels.h"
#include "kernels/unit.h"

#include <math.h>

static void round_block(int n, const float *x, hn_act_block *out) {
    float largest = 0;
    bool finite = true;
    for (int i = 0; i < n; i++) {
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
        finite &= isfinite(x[i]);
    }
    if (!finite) {
        *out = HN_ACT_NOT_FINITE;
        return;
    }
    out->scale = hn_act_scale(largest);
    const float inverse = out->scale > 0 ? 1.0f / out->scale : 0;
    out->half_sums[0] = out->half_sums[1] = 0;
    out->pair_sums[0] = out->pair_sums[1] = 0;
    for (int i = 0; i < HN_BLOCK_COLS; i++) {
        out->q[i] = i < n ? (int8_t)lrintf(x[i] * inverse) : 0;
        out->half_sums[i / 16] += out->q[i];
        out->pair_sums[i / 2 % 2] = (int16_t)(out->pair_sums[i / 2 % 2] + out->q[i]);
    }
    out->sum = out->half_sums[0] + out->half_sums[1];
    out->scaled_sum = out->scale * (float)out->sum;
    for (int h = 0; h < 2; h++)
        out->scaled_half_sums[h] = out->scale * (float)out->half_sums[h];
}

static void round_i8_ref(int64_t n, const float *x, hn_act_block *out) {
    for (int64_t i = 0; i < hn_round_up(n, HN_UNIT_COLS); i += HN_BLOCK_COLS) {
        int64_t left = n - i;
        round_block(left < 0 ? 0 : left < HN_BLOCK_COLS ? (int)left : HN_BLOCK_COLS, x + i, out++);
    }
}

/* One output: row `row` of a group. */
static inline float dot(hn_layout l, int64_t n_units, const uint8_t *unit, int row,
                        const hn_act_block *x) {
    const int sub_values = HN_UNIT_COLS / l.sub_blocks;
    float y = 0;
    for (int64_t u = 0; u < n_units; u++, unit += hn_layout_unit_bytes(l)) {
        for (int sub = 0; sub < l.sub_blocks; sub++) {
            const hn_act_block *a = x + u * HN_UNIT_BLOCKS + sub * sub_values / HN_BLOCK_COLS;
            int sum = 0;
            for (int i = sub * sub_values; i < (sub + 1) * sub_values; i++)
                sum += a->q[i % HN_BLOCK_COLS] * (hn_unit_code(l, unit, row, i) - l.offset);
            y = fmaf((float)sum * a->scale, hn_unit_scale(l, unit, sub, row), y);
            float scaled = sub_values == 16 ? a->scaled_half_sums[sub % 2] : a->scaled_sum;
            if (l.has_min)
                y = fmaf(scaled, hn_unit_min(l, unit, sub, row), y);
        }
    }
    return y;
}

static inline void gemm(hn_layout l, int64_t m, int64_t width, int64_t n_units, const uint8_t *w,
                        const hn_act_block *x, int64_t x_stride, float *y, int64_t y_stride,
                        bool add) {
    const size_t group_bytes = hn_layout_unit_bytes(l) * (size_t)n_units;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < width; j++) {
            float value = dot(l, n_units, w + (size_t)(j / HN_UNIT_ROWS) * group_bytes,
                              (int)(j % HN_UNIT_ROWS), x + i * x_stride);
            float *out = y + i * y_stride + j;
            *out = add ? *out + value : value;
        }
}

#define X(id, bits, subs, scale, min, off)                                                         \
    static void gemm_i8_##id##_ref(int64_t m, int64_t width, int64_t n_units, const void *w,       \
                                   const hn_act_block *x, int64_t x_stride, float *y,              \
                                   int64_t y_stride, bool add) {                                   \
        gemm((hn_layout){bits, subs, scale, min, off}, m, width, n_units, w, x, x_stride, y,       \
             y_stride, add);                                                                       \
    }
HN_LAYOUT_LIST(X)
#undef X

void hn_k_i8_init_ref(hn_kernels *table) {
    table->round_i8 = round_i8_ref;
#define X(id, ...) table->gemm_i8[HN_##id] = gemm_i8_##id##_ref;
    HN_LAYOUT_LIST(X)
#undef X
}
