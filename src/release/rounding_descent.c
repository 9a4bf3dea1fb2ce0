/* Coordinate descent on what blocks hold: each block's scale and minimum by least squares, then
 * each of its codes, everything else being fixed. */
#include "release/rounding_internal.h"

#include <string.h>

/* The chunk's own part of the gradient follows a change of `n` values from column `at` on: less
 * holds the change with its sign turned. */
static void follow(const hn_rounding *r, float *gradient, const float *less, int64_t at,
                   int64_t n) {
    r->ops->add_rows(gradient, less, r->gram + at * r->cols + r->chunk_first, n, r->cols,
                     r->chunk_cols);
}

static float product(const float *x, const float *y, int64_t n) {
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* hx = x times the block's own part of gram. */
static void times_block(const hn_rounding *r, int64_t at, const float *x, float *hx) {
    memset(hx, 0, (size_t)r->block * sizeof *hx);
    r->ops->add_rows(hx, x, r->gram + at * r->cols + at, r->block, r->cols, r->block);
}

/* The scale and minimum (or the factors of both) that leave the least error, all else being fixed.
 * gradient: of the block. change: (block) what values moved by. False when nothing is gained. */
static bool improve_scales(const hn_rounding *r, hn_grid *grid, const uint8_t *codes, int64_t at,
                           const float *gradient, float *change) {
    float p[HN_GRID_MAX_VALUES], q[HN_GRID_MAX_VALUES], hp[HN_GRID_MAX_VALUES],
        hq[HN_GRID_MAX_VALUES];
    const int64_t n = r->block;
    bool affine = hn_grid_basis(grid, codes, p, q);
    times_block(r, at, p, hp);
    float pp = product(p, hp, n), pg = product(p, gradient, n), dd, dm = 0;
    if (!(pp > 0))
        return false;
    dd = pg / pp;
    if (affine) {
        times_block(r, at, q, hq);
        float pq = product(p, hq, n), qq = product(q, hq, n), qg = product(q, gradient, n);
        float det = pp * qq - pq * pq;
        if (det > 1e-6f * pp * qq) {
            dd = (pg * qq - qg * pq) / det;
            dm = (qg * pp - pg * pq) / det;
        }
    }
    hn_grid better = *grid;
    if (!hn_grid_rescale(&better, dd, dm))
        return false;
    for (int64_t i = 0; i < n; i++)
        change[i] =
            hn_grid_value(&better, (int)i, codes[i]) - hn_grid_value(grid, (int)i, codes[i]);
    times_block(r, at, change, hp);
    float gain = 2 * product(change, gradient, n) - product(change, hp, n);
    if (!(gain > 0))
        return false;
    *grid = better;
    return true;
}

void hn_rounding_descend(hn_rounding *r, int64_t row) {
    enum { N_PASSES = 2 };
    const int64_t first = r->chunk_first;
    float gradient[HN_GRID_MAX_VALUES], change[HN_GRID_MAX_VALUES];
    float *delta = r->delta + row * HN_GRID_MAX_VALUES;
    memcpy(gradient, r->work + row * r->cols + first, (size_t)r->chunk_cols * sizeof *gradient);
    memset(delta, 0, (size_t)r->chunk_cols * sizeof *delta);
    for (int64_t block = 0; block < r->chunk_cols; block += r->block) {
        hn_grid *grid = r->grids + (row * r->cols + first + block) / r->block;
        uint8_t *codes = r->codes + row * r->cols + first + block;
        for (int pass = 0; pass < N_PASSES; pass++) {
            bool moved = false;
            if (improve_scales(r, grid, codes, first + block, gradient + block, change)) {
                for (int64_t i = 0; i < r->block; i++) {
                    delta[block + i] += change[i];
                    change[i] = -change[i];
                }
                follow(r, gradient, change, first + block, r->block);
            }
            for (int64_t i = 0; i < r->block; i++) {
                const float value = hn_grid_value(grid, (int)i, codes[i]);
                const int64_t col = first + block + i;
                float wish = value + gradient[block + i] / r->gram[col * r->cols + col];
                float code = hn_grid_code(grid, (int)i, wish);
                float step = hn_grid_value(grid, (int)i, code) - value;
                if (code == codes[i])
                    continue;
                codes[i] = (uint8_t)code;
                delta[block + i] += step;
                step = -step;
                follow(r, gradient, &step, col, 1);
                moved = true;
            }
            if (!moved)
                break;
        }
    }
}
