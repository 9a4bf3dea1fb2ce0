/* gemm_f32 in tiles of up to six rows, for AVX2 and NEON; included by a level's file after it has
 * defined TILE_ROWS as 6 and the tile itself:
 *   tile(rows, panels, k, operand, target)   C (rows, panels * 16), inlined with constant sizes
 * Few rows take more panels at once, so that there are always enough sums in flight. */
#pragma once

#include "kernels/f32_tile.h"

#define TILE(rows, panels)                                                                         \
    static __attribute__((noinline)) void tile_##rows##x##panels(int64_t k, const operand *x,      \
                                                                 const target *y) {                \
        if (x->a_k == 1)                                                                           \
            tile(rows, panels, k, (operand){x->a, x->a_row, 1, x->b, x->b_panel}, *y);             \
        else                                                                                       \
            tile(rows, panels, k, *x, *y);                                                         \
    }
TILE(1, 1)
TILE(2, 1)
TILE(3, 1)
TILE(4, 1)
TILE(5, 1)
TILE(6, 1)
TILE(1, 4)
TILE(2, 2)
TILE(3, 2)

static tile_fn *const TILE_1[TILE_ROWS + 1] = {NULL,     tile_1x1, tile_2x1, tile_3x1,
                                               tile_4x1, tile_5x1, tile_6x1};
/* For few rows: how many panels at once, and the function. */
static const int WIDE_PANELS[TILE_ROWS + 1] = {0, 4, 2, 2, 0, 0, 0};
static tile_fn *const TILE_WIDE[TILE_ROWS + 1] = {NULL, tile_1x4, tile_2x2, tile_3x2};

static void rows_by_panels(int rows, int64_t width, int64_t k, operand x, target y) {
    int64_t j = 0;
    const int wide = WIDE_PANELS[rows];
    while (j < width) {
        int64_t step = PANEL;
        if (wide && width - j >= wide * PANEL) {
            step = wide * PANEL;
            TILE_WIDE[rows](k, &x, &y);
        } else if (width - j >= PANEL) {
            TILE_1[rows](k, &x, &y);
        } else {
            tile_narrow(rows, TILE_1[rows], width - j, k, &x, &y);
        }
        j += step;
        y.c += step;
        x.b += step / PANEL * x.b_panel;
    }
}

/* A tile's rows, which lie far apart, stay in L1 while the panels stream from L2 in order: the
 * other way round the processor foresees less of what is read (5 % slower on Zen 3). */
static void gemm_f32_tile6(int64_t m, int64_t width, int64_t k, const float *a, int64_t a_row,
                           int64_t a_k, const float *b, int64_t b_panel, float *c, int64_t c_stride,
                           float alpha, float beta) {
    const int64_t full = m / TILE_ROWS * TILE_ROWS;
    for (int64_t i = 0; i < full; i += TILE_ROWS) {
        for (int64_t j = 0; j < width; j += PANEL) {
            operand x = {a + i * a_row, a_row, a_k, b + j / PANEL * b_panel, b_panel};
            target y = {c + i * c_stride + j, c_stride, alpha, beta};
            if (width - j >= PANEL)
                tile_6x1(k, &x, &y);
            else
                tile_narrow(TILE_ROWS, tile_6x1, width - j, k, &x, &y);
        }
    }
    if (m > full)
        rows_by_panels((int)(m - full), width, k,
                       (operand){a + full * a_row, a_row, a_k, b, b_panel},
                       (target){c + full * c_stride, c_stride, alpha, beta});
}
