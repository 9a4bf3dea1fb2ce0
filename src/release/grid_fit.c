/* Choosing scale and minimum of one group of values by search. From each of several starting
 * scales, codes and (scale, minimum) are improved in turn: codes by rounding, scale and minimum by
 * weighted least squares for those codes, rounded to f16 where the file holds f16, so that the
 * error that is compared is the error of what is written. */
#include "release/row_ops.h"

#include <math.h>
#include <string.h>

/* A trained adapter's change is small beside the steps of the grid that its base was quantised to.
 * With more codes than that grid has, a search for the least error finds it again, every other code
 * left out, and takes the change back: a small error, but the same one in every row. A grid whose
 * errors have no pattern is better, as long as they are no more than this many times as large
 * (squared; docs/quantisation.md has the figures). */
static const float OFF_GRID_COST = 8;
static const float COARSEST_TOP = 15; /* 4 bits: the coarsest grid that bases come in */

uint16_t hn_grid_half(float value) {
    const float largest = 65504;
    if (value > largest)
        value = largest;
    if (value < -largest)
        value = -largest;
    return hn_f32_to_f16(value);
}

static float stored(float value, bool f16) {
    return f16 ? hn_f16_to_f32(hn_grid_half(value)) : value;
}

/* Weighted sums of the values alone. */
static void value_sums(const float *x, const float *w, int n, float *sw, float *sx) {
    *sw = *sx = 0;
    for (int i = 0; i < n; i++) {
        *sw += w[i];
        *sx += w[i] * x[i];
    }
}

void hn_grid_fit_symmetric(const float *x, const float *w, int n, float zero, float top, bool f16,
                           bool quick, float *d) {
    /* Starting scales put the largest value between the last code and some way beyond it (which
     * clips it): with few levels clipping pays, with 8 bits it never does. Either end of the range
     * of codes may take it, hence the two signs. */
    const float first = -0.6f, step = (top > 100 ? 0.15f : 0.2f) * (quick ? 2 : 1);
    const int n_all = top > 100 ? 9 : top > 20 ? 14 : 18;
    const int n_starts = quick ? (n_all + 1) / 2 : n_all, n_rounds = quick ? 1 : 2;
    const hn_row_ops *ops = hn_row_ops_get();
    float largest = 0, sw, sx, best_error = INFINITY;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(largest))
            largest = x[i];
    *d = 0;
    if (largest == 0)
        return;
    value_sums(x, w, n, &sw, &sx);
    for (int start = 0; start < 2 * n_starts; start++) {
        float beyond = first + step * (float)(start / 2);
        float level = start & 1 ? top - zero + beyond : -(zero + beyond);
        float trial = stored(largest / level, f16);
        for (int round = 0; round <= n_rounds; round++) {
            hn_grid_sums s = ops->round(x, w, n, trial, -zero * trial, top);
            if (s.error < best_error) {
                best_error = s.error;
                *d = trial;
            }
            float xl = s.qx - zero * sx, ll = s.qq - 2 * zero * s.q + zero * zero * sw;
            float better = ll > 0 ? stored(xl / ll, f16) : trial;
            if (better == trial || !isfinite(better))
                break;
            trial = better;
        }
    }
}

/* The least-squares (d, m) for the codes of sums s. */
static bool solve_affine(const hn_grid_sums *s, float sw, float sx, bool f16, bool m_negative,
                         float *d, float *m) {
    float det = sw * s->qq - s->q * s->q;
    if (!(det > 0))
        return false;
    float scale = (sw * s->qx - s->q * sx) / det, min = (sx - scale * s->q) / sw;
    if (m_negative && min > 0) {
        min = 0;
        scale = s->qx / s->qq;
    }
    scale = stored(scale, f16);
    min = stored((sx - scale * s->q) / sw, f16); /* the minimum that suits the rounded scale */
    if (m_negative && min > 0)
        min = 0;
    if (!isfinite(scale) || !isfinite(min) || (scale == *d && min == *m))
        return false;
    *d = scale;
    *m = min;
    return true;
}

/* Whether nearly all codes are even, or odd: the values lie near a grid half as fine. */
static bool is_near_coarser_grid(const float *x, int n, float d, float m, float top) {
    int odd = 0;
    for (int i = 0; i < n; i++) {
        float code = d != 0 ? roundf((x[i] - m) / d) : 0;
        code = code < 0 ? 0 : code > top ? top : code;
        odd += (int)code & 1;
    }
    return 8 * odd <= n || 8 * (n - odd) <= n;
}

void hn_grid_fit_affine(const float *x, const float *w, int n, float top, bool f16, bool m_negative,
                        bool quick, float *d, float *m) {
    const int n_shifts = quick ? 1 : 3, n_starts = quick ? 6 : 3 * 12, n_rounds = quick ? 2 : 3;
    static const float SHIFTS[3] = {0, 0.3f, -0.3f}; /* of the minimum, in steps */
    const hn_row_ops *ops = hn_row_ops_get();
    float low = x[0], high = x[0], sw, sx, best_error = INFINITY, known_error = INFINITY;
    float known_d = 0, known_m = 0;
    for (int i = 1; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    if (m_negative && low > 0)
        low = 0;
    *d = 0;
    *m = stored(low, f16);
    if (high == low)
        return;
    value_sums(x, w, n, &sw, &sx);
    for (int start = 0; start < n_starts; start++) {
        /* From a little coarser than the range needs to so fine that the ends are clipped. */
        float steps = top - 0.8f + (quick ? 0.5f : 0.25f) * (float)(start / n_shifts);
        float scale = stored((high - low) / steps, f16);
        float min = stored(low + SHIFTS[start % n_shifts] * scale, f16);
        if (m_negative && min > 0)
            min = 0;
        for (int round = 0; round <= n_rounds; round++) {
            hn_grid_sums s = ops->round(x, w, n, scale, min, top);
            bool known = top > COARSEST_TOP && s.error < best_error &&
                         is_near_coarser_grid(x, n, scale, min, top);
            if (known && s.error < known_error) {
                known_error = s.error;
                known_d = scale;
                known_m = min;
            } else if (!known && s.error < best_error) {
                best_error = s.error;
                *d = scale;
                *m = min;
            }
            if (!solve_affine(&s, sw, sx, f16, m_negative, &scale, &min))
                break;
        }
    }
    if (known_error * OFF_GRID_COST < best_error) {
        *d = known_d;
        *m = known_m;
    }
}

static void fit_plain(hn_grid *grid, const float *x, const float *w, float zero, bool affine,
                      bool quick) {
    if (affine) {
        hn_grid_fit_affine(x, w, grid->n_values, grid->top, true, false, quick, &grid->scale[0],
                           &grid->offset[0]);
    } else {
        hn_grid_fit_symmetric(x, w, grid->n_values, zero, grid->top, true, quick, &grid->scale[0]);
        grid->offset[0] = -zero * grid->scale[0];
    }
    grid->d = hn_f32_to_f16(grid->scale[0]);
    grid->m = hn_f32_to_f16(grid->offset[0]);
}

bool hn_grid_supports(hn_dtype dtype) {
    switch (dtype) {
    case HN_Q8_0:
    case HN_Q4_0:
    case HN_Q4_1:
    case HN_Q5_0:
    case HN_Q5_1:
    case HN_Q4_K:
    case HN_Q5_K:
    case HN_Q6_K:
        return true;
    default:
        return false;
    }
}

void hn_grid_fit(hn_grid *grid, hn_dtype dtype, const float *x, const float *weight, bool quick) {
    memset(grid, 0, sizeof *grid);
    grid->dtype = dtype;
    grid->n_values = (int)hn_dtype_get(dtype)->block_values;
    grid->group = dtype == HN_Q6_K ? 16 : 32;
    switch (dtype) {
    case HN_Q8_0:
        grid->top = 254; /* -127 to 127: -128 has no counterpart and SIMD code avoids it */
        fit_plain(grid, x, weight, 127, false, quick);
        break;
    case HN_Q4_0:
        grid->top = 15;
        fit_plain(grid, x, weight, 8, false, quick);
        break;
    case HN_Q5_0:
        grid->top = 31;
        fit_plain(grid, x, weight, 16, false, quick);
        break;
    case HN_Q4_1:
        grid->top = 15;
        fit_plain(grid, x, weight, 0, true, quick);
        break;
    case HN_Q5_1:
        grid->top = 31;
        fit_plain(grid, x, weight, 0, true, quick);
        break;
    case HN_Q6_K:
        grid->top = 63;
        hn_grid_fit_k_symmetric(grid, x, weight, quick);
        break;
    default: /* q4_k and q5_k */
        grid->top = dtype == HN_Q4_K ? 15 : 31;
        hn_grid_fit_k_affine(grid, x, weight, quick);
        break;
    }
}
