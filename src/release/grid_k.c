/* The K types: sub-block scales and minima are small integers times f16 factors that 256 values
 * share. First every sub-block is fitted by itself, then the integers and the two factors are
 * improved in turn against the error of what will be stored. */
#include "release/row_ops.h"

#include <math.h>
#include <string.h>

enum { N_AFFINE = 8, AFFINE_GROUP = 32, MAX_SIX_BITS = 63, N_SYMMETRIC = 16, SYMMETRIC_GROUP = 16 };

static int clamp_round(float value, int low, int high) {
    if (!(value > (float)low))
        return low;
    if (value > (float)high)
        return high;
    return (int)lrintf(value);
}

typedef struct affine {
    float d, dmin; /* as f16 holds them */
    int sub[N_AFFINE], min[N_AFFINE];
    hn_grid_sums sums[N_AFFINE];
    float error;
} affine;

static hn_grid_sums round_group(const affine *a, const float *x, const float *w, int g, int sub,
                                int min, float top) {
    return hn_row_ops_get()->round(x + g * AFFINE_GROUP, w + g * AFFINE_GROUP, AFFINE_GROUP,
                                   a->d * (float)sub, -(a->dmin * (float)min), top);
}

/* Tries the neighbours of each sub-block's two integers, then their neighbours, while it pays. */
static void improve_integers(affine *a, const float *x, const float *w, float top) {
    a->error = 0;
    for (int g = 0; g < N_AFFINE; g++) {
        a->sums[g] = round_group(a, x, w, g, a->sub[g], a->min[g], top);
        for (int moves = 0; moves < 4; moves++) {
            int sub = a->sub[g], min = a->min[g];
            for (int step = 0; step < 9; step++) {
                int s = sub + step / 3 - 1, m = min + step % 3 - 1;
                if (step == 4 || s < 0 || m < 0 || s > MAX_SIX_BITS || m > MAX_SIX_BITS)
                    continue;
                hn_grid_sums sums = round_group(a, x, w, g, s, m, top);
                if (sums.error < a->sums[g].error) {
                    a->sums[g] = sums;
                    a->sub[g] = s;
                    a->min[g] = m;
                }
            }
            if (a->sub[g] == sub && a->min[g] == min)
                break;
        }
        a->error += a->sums[g].error;
    }
}

/* Least squares for the two factors over all 256 values, the codes and integers being fixed. */
static bool improve_factors(affine *a, const float *sw, const float *sx) {
    double ss = 0, sm = 0, mm = 0, sx_sum = 0, mx_sum = 0;
    for (int g = 0; g < N_AFFINE; g++) {
        double sub = a->sub[g], min = a->min[g];
        ss += sub * sub * (double)a->sums[g].qq;
        sm -= sub * min * (double)a->sums[g].q;
        mm += min * min * (double)sw[g];
        sx_sum += sub * (double)a->sums[g].qx;
        mx_sum -= min * (double)sx[g];
    }
    double det = ss * mm - sm * sm, d = a->d, dmin = a->dmin;
    if (det > 1e-9 * ss * mm) {
        d = (sx_sum * mm - mx_sum * sm) / det;
        dmin = (ss * mx_sum - sm * sx_sum) / det;
    } else if (ss > 0) {
        d = sx_sum / ss;
    }
    float d16 = hn_f16_to_f32(hn_grid_half((float)d)),
          dmin16 = hn_f16_to_f32(hn_grid_half((float)dmin));
    if (!(d16 > 0) || !(dmin16 >= 0) || (d16 == a->d && dmin16 == a->dmin))
        return false;
    a->d = d16;
    a->dmin = dmin16;
    return true;
}

void hn_grid_fit_k_affine(hn_grid *grid, const float *x, const float *w, bool quick) {
    /* How far the largest scale lies from the largest integer; several, because the integers of
     * the other sub-blocks round differently under each. */
    static const float STRETCH[5] = {1, 0.96f, 1.04f, 1.1f, 0.92f};
    float scale[N_AFFINE], min[N_AFFINE], sw[N_AFFINE] = {0}, sx[N_AFFINE] = {0};
    float max_scale = 0, max_min = 0;
    affine best = {.error = INFINITY};
    for (int g = 0; g < N_AFFINE; g++) {
        const float *gx = x + g * AFFINE_GROUP, *gw = w + g * AFFINE_GROUP;
        hn_grid_fit_affine(gx, gw, AFFINE_GROUP, grid->top, false, true, quick, &scale[g], &min[g]);
        for (int i = 0; i < AFFINE_GROUP; i++) {
            sw[g] += gw[i];
            sx[g] += gw[i] * gx[i];
        }
        max_scale = scale[g] > max_scale ? scale[g] : max_scale;
        max_min = -min[g] > max_min ? -min[g] : max_min;
    }
    for (int t = 0; t < (quick ? 1 : 5); t++) {
        affine trial = {0};
        trial.d = hn_f16_to_f32(hn_grid_half(max_scale * STRETCH[t] / MAX_SIX_BITS));
        trial.dmin = hn_f16_to_f32(hn_grid_half(max_min * STRETCH[t] / MAX_SIX_BITS));
        for (int g = 0; g < N_AFFINE; g++) {
            trial.sub[g] = trial.d > 0 ? clamp_round(scale[g] / trial.d, 0, MAX_SIX_BITS) : 0;
            trial.min[g] = trial.dmin > 0 ? clamp_round(-min[g] / trial.dmin, 0, MAX_SIX_BITS) : 0;
        }
        for (int round = 0; round < 3; round++) {
            improve_integers(&trial, x, w, grid->top);
            if (trial.error < best.error)
                best = trial;
            if (!improve_factors(&trial, sw, sx))
                break;
        }
    }
    grid->d = hn_f32_to_f16(best.d);
    grid->m = hn_f32_to_f16(best.dmin);
    for (int g = 0; g < N_AFFINE; g++) {
        grid->sub[g] = best.sub[g];
        grid->min[g] = best.min[g];
        grid->scale[g] = best.d * (float)best.sub[g];
        grid->offset[g] = -(best.dmin * (float)best.min[g]);
    }
}

typedef struct symmetric {
    float d;
    int sub[N_SYMMETRIC];
    float error, xl, ll; /* error, and the sums that give the best d for these codes */
} symmetric;

static void improve_symmetric(symmetric *s, const float *x, const float *w, const float *sw,
                              const float *sx) {
    const float zero = 32, top = 63;
    s->error = s->xl = s->ll = 0;
    for (int g = 0; g < N_SYMMETRIC; g++) {
        hn_grid_sums best = {.error = INFINITY};
        int start = s->sub[g];
        for (int step = -1; step <= 1; step++) {
            int sub = start + step;
            if (sub < -128 || sub > 127)
                continue;
            float scale = s->d * (float)sub;
            hn_grid_sums sums =
                hn_row_ops_get()->round(x + g * SYMMETRIC_GROUP, w + g * SYMMETRIC_GROUP,
                                        SYMMETRIC_GROUP, scale, -zero * scale, top);
            if (sums.error < best.error) {
                best = sums;
                s->sub[g] = sub;
            }
        }
        float sub = (float)s->sub[g];
        s->error += best.error;
        s->xl += sub * (best.qx - zero * sx[g]);
        s->ll += sub * sub * (best.qq - 2 * zero * best.q + zero * zero * sw[g]);
    }
}

void hn_grid_fit_k_symmetric(hn_grid *grid, const float *x, const float *w, bool quick) {
    static const float STRETCH[4] = {1, 0.98f, 1.02f, 1.05f};
    float scale[N_SYMMETRIC], sw[N_SYMMETRIC] = {0}, sx[N_SYMMETRIC] = {0}, largest = 0;
    symmetric best = {.error = INFINITY};
    for (int g = 0; g < N_SYMMETRIC; g++) {
        const float *gx = x + g * SYMMETRIC_GROUP, *gw = w + g * SYMMETRIC_GROUP;
        hn_grid_fit_symmetric(gx, gw, SYMMETRIC_GROUP, 32, 63, false, quick, &scale[g]);
        for (int i = 0; i < SYMMETRIC_GROUP; i++) {
            sw[g] += gw[i];
            sx[g] += gw[i] * gx[i];
        }
        if (fabsf(scale[g]) > fabsf(largest))
            largest = scale[g];
    }
    for (int t = 0; t < (quick ? 1 : 4); t++) {
        symmetric trial = {.d = hn_f16_to_f32(hn_grid_half(largest * STRETCH[t] / -128))};
        for (int g = 0; g < N_SYMMETRIC; g++)
            trial.sub[g] = trial.d != 0 ? clamp_round(scale[g] / trial.d, -128, 127) : 0;
        for (int round = 0; round < 3; round++) {
            improve_symmetric(&trial, x, w, sw, sx);
            if (trial.error < best.error)
                best = trial;
            float d = trial.ll > 0 ? hn_f16_to_f32(hn_grid_half(trial.xl / trial.ll)) : trial.d;
            if (d == trial.d)
                break;
            trial.d = d;
        }
    }
    grid->d = hn_f32_to_f16(best.d);
    for (int g = 0; g < N_SYMMETRIC; g++) {
        grid->sub[g] = best.sub[g];
        grid->scale[g] = best.d * (float)best.sub[g];
        grid->offset[g] = -32 * grid->scale[g];
    }
}
