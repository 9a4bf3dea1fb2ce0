/* The low-rank part of a product (hn_low_rank), added to a block of results that was just written:
 * alone it would read and write all of them for a handful of multiply-adds each. */
#pragma once

#include "kernels/compute.h"

/* Bytes of one thread's panels of the second factor, HN_PANEL_GROUPS of 16 columns. */
static inline size_t hn_low_rank_bytes(int64_t r) {
    return (size_t)(HN_PANEL_GROUPS * HN_UNIT_ROWS * r) * sizeof(float);
}

/* Columns [col, col + width) of M into panels, width <= 16 * HN_PANEL_GROUPS; `cols`: of M, where
 * it lies as it is, 0 = it lies transposed. */
static inline void hn_low_rank_unpack(const hn_kernels *kernels, const hn_low_rank *l, int64_t cols,
                                      int64_t col, int64_t width, float *panels) {
    for (int64_t p = 0; p < width; p += HN_UNIT_ROWS, panels += l->r * HN_UNIT_ROWS)
        if (cols)
            kernels->panel_copy(l->r, width - p, l->m + col + p, cols, panels);
        else
            kernels->panel_transpose(l->r, width - p, l->m + (col + p) * l->r, l->r, panels);
}

/* y (n, width) += scale * rows [first, first + n) of T times those columns. */
static inline void hn_low_rank_add(const hn_kernels *kernels, const hn_low_rank *l, int64_t first,
                                   int64_t n, int64_t width, const float *panels, float *y,
                                   int64_t y_stride) {
    const int64_t chunk = hn_f32_chunk(l->r);
    for (int64_t k = 0; k < l->r; k += chunk)
        kernels->gemm_f32(n, width, l->r - k < chunk ? l->r - k : chunk,
                          l->t + first * l->t_stride + k, l->t_stride, 1, panels + k * HN_UNIT_ROWS,
                          l->r * HN_UNIT_ROWS, y, y_stride, l->scale, 1);
}
