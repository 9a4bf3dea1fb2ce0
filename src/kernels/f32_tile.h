/* What the f32 products of all levels share: a tile's operands, and panels that aren't full. */
#pragma once

#include "kernels/kernels.h"

#include <string.h>

#define HN_INLINE static inline __attribute__((always_inline))

enum { PANEL = HN_UNIT_ROWS, MAX_TILE_ROWS = 12 };

/* A tile's rows of A and its panels of B (kernels.h, gemm_f32). */
typedef struct operand {
    const float *a;
    int64_t a_row, a_k;
    const float *b;
    int64_t b_panel;
} operand;

/* Where a tile's sums go: C = alpha * sums + beta * C. */
typedef struct target {
    float *c;
    int64_t stride;
    float alpha, beta;
} target;

typedef void tile_fn(int64_t k, const operand *x, const target *y);

/* A panel of which only `width` columns exist: computed aside, by the tile for whole ones. */
static inline void tile_narrow(int rows, tile_fn *whole, int64_t width, int64_t k, const operand *x,
                               const target *y) {
    float c[MAX_TILE_ROWS * PANEL];
    const target aside = {c, PANEL, y->alpha, y->beta};
    if (y->beta != 0) {
        memset(c, 0, (size_t)rows * PANEL * sizeof *c);
        for (int i = 0; i < rows; i++)
            memcpy(c + i * PANEL, y->c + i * y->stride, (size_t)width * sizeof *c);
    }
    whole(k, x, &aside);
    for (int i = 0; i < rows; i++)
        memcpy(y->c + i * y->stride, c + i * PANEL, (size_t)width * sizeof *c);
}
