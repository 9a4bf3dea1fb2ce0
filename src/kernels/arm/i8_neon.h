/* Int8 products with 128-bit registers; included by i8_neon.c, by i8_dotprod.c with HN_DOTPROD
 * defined, and by i8_i8mm.c with HN_I8MM defined too. HN_LEVEL is the ending of the kernels' names.
 *
 * Codes are used as signed bytes: those of 8 bits with offset 128 are turned to that, the others
 * fit as they are, and their offset goes into what a sum starts with. Plain NEON: sums of smlal
 * stay inside int16 for 8 quads of 4- and 5-bit codes (8 * 31 * 127 = 31496) and for 2 quads of
 * 8-bit ones (2 * 128 * 127 = 32512). dotprod: sdot adds four products to an int32. i8mm: smmla
 * adds eight products for each of 2 rows of weights x 2 rows of activations. */
#pragma once

#include "kernels/arm/unit_neon.h"
#include "kernels/kernels.h"

#include <string.h>

enum {
    /* Rows whose sums are kept while the units of a group pass by: 6 KB of sums. */
    MAX_ROWS = 96,
    /* One row reads weights at memory speed when lines are asked for this far ahead. */
    PREFETCH_BYTES = 2048,
    HALF_PARTS = 2, /* parts whose codes stay in registers while rows of activations pass by */
};

/* Codes of 4 rows x 32 columns as add_block wants them, with their scales and minima for the
 * sub-blocks of the block. */
typedef struct part_codes {
    int8x16_t v[8];
    float32x4_t scale[2], min[2];
} part_codes;

HN_INLINE void load_part(hn_layout l, const uint8_t *unit, int block, int part, part_codes *w) {
    uint8x16_t v[8];
    hn_neon_codes(l, unit, block, part, v);
#pragma GCC unroll 8
    for (int q = 0; q < 8; q++)
        w->v[q] = vreinterpretq_s8_u8(l.offset == 128 ? veorq_u8(v[q], vdupq_n_u8(128)) : v[q]);
    const int n = l.sub_blocks / HN_UNIT_BLOCKS;
#pragma GCC unroll 2
    for (int i = 0; i < n; i++) {
        w->scale[i] = hn_neon_scales(l, unit, block * n + i, part);
        if (l.has_min)
            w->min[i] = hn_neon_mins(l, unit, block * n + i, part);
    }
}

/* What a sum over activations that sum to `of_activations` starts with. */
HN_INLINE int32_t start(hn_layout l, int32_t of_activations) {
    return l.offset == 128 ? 0 : -l.offset * of_activations;
}

#ifdef HN_DOTPROD
/* sum + codes * activations, 4 rows x 16 columns (4 quads). */
HN_INLINE int32x4_t add_quads(hn_layout l, int32x4_t sum, const int8x16_t v[4], const int8_t *a) {
    (void)l;
    const int8x16_t x = vld1q_s8(a);
    sum = vdotq_laneq_s32(sum, v[0], x, 0);
    sum = vdotq_laneq_s32(sum, v[1], x, 1);
    sum = vdotq_laneq_s32(sum, v[2], x, 2);
    return vdotq_laneq_s32(sum, v[3], x, 3);
}
#else
HN_INLINE int8x16_t quad(const int8_t *a) {
    int32_t four;
    memcpy(&four, a, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

HN_INLINE int32x4_t add_quads(hn_layout l, int32x4_t sum, const int8x16_t v[4], const int8_t *a) {
    const int n = l.code_bits == 8 ? 2 : 4; /* quads that an int16 holds the sum of */
#pragma GCC unroll 2
    for (int first = 0; first < 4; first += n) {
        const int8x16_t x = quad(a + 4 * first);
        int16x8_t low = vmull_s8(vget_low_s8(v[first]), vget_low_s8(x));
        int16x8_t high = vmull_high_s8(v[first], x);
#pragma GCC unroll 3
        for (int q = first + 1; q < first + n; q++) {
            const int8x16_t y = quad(a + 4 * q);
            low = vmlal_s8(low, vget_low_s8(v[q]), vget_low_s8(y));
            high = vmlal_high_s8(high, v[q], y);
        }
        sum = vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
    }
    return sum;
}
#endif

/* The float end of a sub-block; kernels.h has the formula. */
HN_INLINE float32x4_t finish(hn_layout l, int32x4_t sum, float scale, float scaled_sum,
                             float32x4_t w_scale, float32x4_t w_min, float32x4_t y) {
    y = vfmaq_f32(y, vmulq_n_f32(vcvtq_f32_s32(sum), scale), w_scale);
    return l.has_min ? vfmaq_n_f32(y, w_min, scaled_sum) : y;
}

/* y plus one block of 4 rows of W. */
HN_INLINE float32x4_t add_block(hn_layout l, const part_codes *w, const hn_act_block *a,
                                float32x4_t y) {
    if (l.sub_blocks == 2) {
        int32x4_t sum = vdupq_n_s32(start(l, a->sum));
        sum = add_quads(l, sum, w->v, a->q);
        sum = add_quads(l, sum, w->v + 4, a->q + 16);
        return finish(l, sum, a->scale, a->scaled_sum, w->scale[0], w->min[0], y);
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        int32x4_t sum = vdupq_n_s32(start(l, a->half_sums[h]));
        sum = add_quads(l, sum, w->v + 4 * h, a->q + 16 * h);
        y = finish(l, sum, a->scale, a->scaled_half_sums[h], w->scale[h], w->min[h], y);
    }
    return y;
}

HN_INLINE void one_row(hn_layout l, int64_t n_units, const uint8_t *unit, const hn_act_block *x,
                       float *y) {
    const size_t unit_bytes = hn_layout_unit_bytes(l);
    float32x4_t sum[HN_NEON_PARTS];
#pragma GCC unroll 4
    for (int part = 0; part < HN_NEON_PARTS; part++)
        sum[part] = vdupq_n_f32(0);
    for (int64_t u = 0; u < n_units; u++, unit += unit_bytes) {
        for (size_t line = 0; line < unit_bytes; line += 64)
            __builtin_prefetch(unit + PREFETCH_BYTES + line);
        for (int block = 0; block < HN_UNIT_BLOCKS; block++, x++)
#pragma GCC unroll 4
            for (int part = 0; part < HN_NEON_PARTS; part++) {
                part_codes w;
                load_part(l, unit, block, part, &w);
                sum[part] = add_block(l, &w, x, sum[part]);
            }
    }
#pragma GCC unroll 4
    for (int part = 0; part < HN_NEON_PARTS; part++)
        vst1q_f32(y + part * HN_NEON_ROWS, sum[part]);
}

#ifdef HN_I8MM
/* Codes of 2 rows x 8 columns in one register: [columns / 8][row pairs of a part]. */
typedef struct pair_codes {
    int8x16_t v[4][2];
} pair_codes;

HN_INLINE void pair_up(const int8x16_t v[8], pair_codes *out) {
#pragma GCC unroll 4
    for (int step = 0; step < 4; step++) {
        const int32x4_t even = vreinterpretq_s32_s8(v[2 * step]);
        const int32x4_t odd = vreinterpretq_s32_s8(v[2 * step + 1]);
        out->v[step][0] = vreinterpretq_s8_s32(vzip1q_s32(even, odd));
        out->v[step][1] = vreinterpretq_s8_s32(vzip2q_s32(even, odd));
    }
}

/* The same columns of two rows of activations: [columns / 8]. */
HN_INLINE void pair_activations(const hn_act_block *const a[2], int8x16_t out[4]) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        const int64x2_t x = vreinterpretq_s64_s8(vld1q_s8(a[0]->q + 16 * h));
        const int64x2_t y = vreinterpretq_s64_s8(vld1q_s8(a[1]->q + 16 * h));
        out[2 * h] = vreinterpretq_s8_s64(vzip1q_s64(x, y));
        out[2 * h + 1] = vreinterpretq_s8_s64(vzip2q_s64(x, y));
    }
}

/* sums[i] (4 rows of W) of activation row i over columns 8 * first to 8 * (first + steps) - 1. */
HN_INLINE void multiply_pairs(const pair_codes *p, const int8x16_t x[4], int first, int steps,
                              const int32_t starts[2], int32x4_t sums[2]) {
    int32x4_t tile[2]; /* [pair of rows of W]: two sums of row 0, two of row 1 */
    tile[0] = tile[1] = vcombine_s32(vdup_n_s32(starts[0]), vdup_n_s32(starts[1]));
#pragma GCC unroll 4
    for (int step = first; step < first + steps; step++) {
        tile[0] = vmmlaq_s32(tile[0], x[step], p->v[step][0]);
        tile[1] = vmmlaq_s32(tile[1], x[step], p->v[step][1]);
    }
    const int64x2_t a = vreinterpretq_s64_s32(tile[0]), b = vreinterpretq_s64_s32(tile[1]);
    sums[0] = vreinterpretq_s32_s64(vzip1q_s64(a, b));
    sums[1] = vreinterpretq_s32_s64(vzip2q_s64(a, b));
}

/* add_block for two rows of activations; the same integers, the same float end. */
HN_INLINE void add_block_pair(hn_layout l, const part_codes *w, const pair_codes *p,
                              const hn_act_block *const a[2], const int8x16_t x[4],
                              float32x4_t y[2]) {
    int32x4_t sums[2];
    if (l.sub_blocks == 2) {
        const int32_t starts[2] = {start(l, a[0]->sum), start(l, a[1]->sum)};
        multiply_pairs(p, x, 0, 4, starts, sums);
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++)
            y[i] = finish(l, sums[i], a[i]->scale, a[i]->scaled_sum, w->scale[0], w->min[0], y[i]);
        return;
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        const int32_t starts[2] = {start(l, a[0]->half_sums[h]), start(l, a[1]->half_sums[h])};
        multiply_pairs(p, x, 2 * h, 2, starts, sums);
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++)
            y[i] = finish(l, sums[i], a[i]->scale, a[i]->scaled_half_sums[h], w->scale[h],
                          w->min[h], y[i]);
    }
}

/* Whole pairs of rows; returns how many rows those are. */
HN_INLINE int64_t pairs_of_rows(hn_layout l, int64_t m, const part_codes w[HALF_PARTS],
                                const hn_act_block *x, int64_t x_stride, float *y) {
    pair_codes p[HALF_PARTS];
#pragma GCC unroll 2
    for (int k = 0; k < HALF_PARTS; k++)
        pair_up(w[k].v, &p[k]);
    int64_t i = 0;
    for (; i + 2 <= m; i += 2, x += 2 * x_stride, y += 2 * HN_UNIT_ROWS) {
        const hn_act_block *const a[2] = {x, x + x_stride};
        int8x16_t paired[4];
        pair_activations(a, paired);
#pragma GCC unroll 2
        for (int k = 0; k < HALF_PARTS; k++) {
            float *to[2] = {y + k * HN_NEON_ROWS, y + HN_UNIT_ROWS + k * HN_NEON_ROWS};
            float32x4_t sums[2] = {vld1q_f32(to[0]), vld1q_f32(to[1])};
            add_block_pair(l, &w[k], &p[k], a, paired, sums);
            vst1q_f32(to[0], sums[0]);
            vst1q_f32(to[1], sums[1]);
        }
    }
    return i;
}
#endif

/* Several rows: the codes of 8 rows of W x 32 columns stay in registers while the rows pass by. */
HN_INLINE void block_by_rows(hn_layout l, int64_t m, const uint8_t *unit, int block, int half,
                             const hn_act_block *x, int64_t x_stride, float *y) {
    part_codes w[HALF_PARTS];
#pragma GCC unroll 2
    for (int k = 0; k < HALF_PARTS; k++)
        load_part(l, unit, block, half * HALF_PARTS + k, &w[k]);
    int64_t i = 0;
#ifdef HN_I8MM
    i = pairs_of_rows(l, m, w, x, x_stride, y);
#endif
    for (; i < m; i++) {
        float *to = y + i * HN_UNIT_ROWS;
#pragma GCC unroll 2
        for (int k = 0; k < HALF_PARTS; k++, to += HN_NEON_ROWS)
            vst1q_f32(to, add_block(l, &w[k], x + i * x_stride, vld1q_f32(to)));
    }
}

static void write_rows(int64_t m, int64_t width, const float *sum, float *y, int64_t y_stride,
                       bool add) {
    for (int64_t i = 0; i < m; i++, y += y_stride, sum += HN_UNIT_ROWS)
        for (int64_t j = 0; j < width && j < HN_UNIT_ROWS; j++)
            y[j] = add ? y[j] + sum[j] : sum[j];
}

HN_INLINE void gemm(hn_layout l, int64_t m, int64_t width, int64_t n_units, const uint8_t *w,
                    const hn_act_block *x, int64_t x_stride, float *y, int64_t y_stride, bool add) {
    float sum[MAX_ROWS * HN_UNIT_ROWS];
    const size_t unit_bytes = hn_layout_unit_bytes(l), group_bytes = unit_bytes * (size_t)n_units;
    for (int64_t i = 0; i < m; i += MAX_ROWS, x += MAX_ROWS * x_stride, y += MAX_ROWS * y_stride) {
        const int64_t rows = m - i < MAX_ROWS ? m - i : MAX_ROWS;
        for (int64_t j = 0; j < width; j += HN_UNIT_ROWS) {
            const uint8_t *unit = w + (size_t)(j / HN_UNIT_ROWS) * group_bytes;
            if (rows == 1) {
                one_row(l, n_units, unit, x, sum);
            } else {
                memset(sum, 0, (size_t)rows * HN_UNIT_ROWS * sizeof *sum);
                for (int64_t u = 0; u < n_units; u++, unit += unit_bytes)
                    for (int quarter = 0; quarter < 4; quarter++)
                        block_by_rows(l, rows, unit, quarter / 2, quarter % 2,
                                      x + u * HN_UNIT_BLOCKS + quarter / 2, x_stride,
                                      sum + quarter % 2 * HALF_PARTS * HN_NEON_ROWS);
            }
            write_rows(rows, width - j, sum, y + j, y_stride, add);
        }
    }
}

#include "kernels/i8_entry.h"
