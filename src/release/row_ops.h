/* The inner loops of quantising, compiled for each vector width. No fused products: what is written
 * is the same on every x86. Private to release/. */
#pragma once

#include "release/grid.h"

typedef struct hn_row_ops {
    /* Rounds n values (a multiple of 8) to the grid (d, m) with codes 0..top. */
    hn_grid_sums (*round)(const float *x, const float *w, int n, float d, float m, float top);
    /* y (width) += sum over i < n of c[i] * rows[i * stride ...]; width: a multiple of 32. */
    void (*add_rows)(float *y, const float *c, const float *rows, int64_t n, int64_t stride,
                     int64_t width);
} hn_row_ops;

extern const hn_row_ops hn_row_ops_base;
#if defined(__x86_64__)
extern const hn_row_ops hn_row_ops_avx2;
#endif
/* Those of the level in HONE_ISA, or the best for this machine. */
const hn_row_ops *hn_row_ops_get(void);
