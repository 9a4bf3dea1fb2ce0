/* The values that a block of a quantised type can take, chosen before the codes: every type here
 * is value = scale[g] * code + offset[g] with code in 0..top, g the sub-block. Choosing the grid
 * and choosing the codes are apart so that error feedback (feedback.h) can come between them.
 * Private to release/. */
#pragma once

#include "base/dtype.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { HN_GRID_MAX_GROUPS = 16, HN_GRID_MAX_VALUES = 256 };

typedef struct hn_grid {
    hn_dtype dtype;
    int n_values; /* of a block: 32 or 256 */
    int group;    /* values that share scale and offset: 16 or 32 */
    float top;    /* the largest code */
    float scale[HN_GRID_MAX_GROUPS], offset[HN_GRID_MAX_GROUPS];
    uint16_t d, m;               /* f16 as stored: scale and minimum (or the factors of both) */
    int sub[HN_GRID_MAX_GROUPS]; /* K types: small integer scales ... */
    int min[HN_GRID_MAX_GROUPS]; /* ... and minima */
} hn_grid;

/* True for the types below: q8_0 q4_0 q4_1 q5_0 q5_1 q4_k q5_k q6_k. */
bool hn_grid_supports(hn_dtype dtype);
/* The grid of one block that makes sum weight * (x - nearest value)^2 small. x, weight: (n_values
 * of the type), weights positive. quick: from a part of the starting
 * points; before a descent that improves scales itself that is enough. */
void hn_grid_fit(hn_grid *grid, hn_dtype dtype, const float *x, const float *weight, bool quick);
/* The nearest code of value i of the block. */
static inline float hn_grid_code(const hn_grid *grid, int i, float x) {
    const float magic = 12582912; /* 1.5 * 2^23: adding it rounds to the nearest whole number */
    float scale = grid->scale[i / grid->group], offset = grid->offset[i / grid->group];
    float t = scale != 0 ? (x - offset) / scale : 0;
    t = t > 0 ? t : 0;
    t = t < grid->top ? t : grid->top;
    return (t + magic) - magic;
}
static inline float hn_grid_value(const hn_grid *grid, int i, float code) {
    return grid->scale[i / grid->group] * code + grid->offset[i / grid->group];
}
/* With codes fixed the block's values are d * p + m * q, d and m being what the block stores in
 * f16. p, q: (n_values); false when there is no m and q isn't set. */
bool hn_grid_basis(const hn_grid *grid, const uint8_t *codes, float *p, float *q);
/* Moves d and m by dd and dm, as f16 holds them. False, with the grid as it was, when nothing would
 * change or the type can't hold it. */
bool hn_grid_rescale(hn_grid *grid, float dd, float dm);
/* Writes the block's bytes as GGUF holds them. */
void hn_grid_pack(const hn_grid *grid, const uint8_t *codes, uint8_t *block);

/* A row of cols values (whole blocks) into `out`, float types included; weights: (cols), positive,
 * or NULL = all alike. HN_BAD_INPUT for infinities and NaN, naming the column. */
HN_MUST_CHECK hn_status hn_row_quantise(hn_dtype dtype, const float *x, const float *weights,
                                        int64_t cols, uint8_t *out, hn_error *err);

/* Importance (cols; NULL = all alike) as weights of mean 1 with a floor: a column that the
 * calibration never used still counts for something, and sums stay far from f32's limits. */
HN_MUST_CHECK hn_status hn_importance_weights(const float *importance, int64_t cols, float *weights,
                                              hn_error *err);

/* For grid_fit.c and grid_k.c. */

/* Weighted sums over a group whose values were rounded to the grid (d, m): of codes, their
 * squares, codes times values, and the squared error. */
typedef struct hn_grid_sums {
    float q, qq, qx, error;
} hn_grid_sums;

/* Best (d, m) of a group; f16 says whether both are stored as f16 as they are. In the symmetric
 * case m = -zero * d. */
void hn_grid_fit_symmetric(const float *x, const float *w, int n, float zero, float top, bool f16,
                           bool quick, float *d);
void hn_grid_fit_affine(const float *x, const float *w, int n, float top, bool f16, bool m_negative,
                        bool quick, float *d, float *m);
void hn_grid_fit_k_affine(hn_grid *grid, const float *x, const float *w, bool quick);
void hn_grid_fit_k_symmetric(hn_grid *grid, const float *x, const float *w, bool quick);
/* f16 nearest to value, kept finite. */
uint16_t hn_grid_half(float value);
