/* A block's two stored factors as coordinates: with codes and small integers fixed, the block's
 * values are d * p + m * q. */
#include "release/grid.h"

#include <math.h>

/* The code that stands for 0 in types without a minimum. */
static float zero_code(hn_dtype dtype) {
    return dtype == HN_Q8_0 ? 127 : dtype == HN_Q4_0 ? 8 : dtype == HN_Q5_0 ? 16 : 32;
}

bool hn_grid_basis(const hn_grid *grid, const uint8_t *codes, float *p, float *q) {
    const bool k_affine = grid->dtype == HN_Q4_K || grid->dtype == HN_Q5_K;
    const bool affine = grid->dtype == HN_Q4_1 || grid->dtype == HN_Q5_1;
    const float zero = affine || k_affine ? 0 : zero_code(grid->dtype);
    for (int i = 0; i < grid->n_values; i++) {
        int g = i / grid->group;
        float sub = k_affine || grid->dtype == HN_Q6_K ? (float)grid->sub[g] : 1;
        p[i] = sub * ((float)codes[i] - zero);
        if (affine || k_affine)
            q[i] = affine ? 1 : -(float)grid->min[g];
    }
    return affine || k_affine;
}

bool hn_grid_rescale(hn_grid *grid, float dd, float dm) {
    const bool k_affine = grid->dtype == HN_Q4_K || grid->dtype == HN_Q5_K;
    const bool affine = grid->dtype == HN_Q4_1 || grid->dtype == HN_Q5_1;
    float d = hn_f16_to_f32(grid->d) + dd, m = hn_f16_to_f32(grid->m) + dm;
    if (!isfinite(d) || !isfinite(m))
        return false;
    uint16_t d16 = hn_grid_half(d), m16 = affine || k_affine ? hn_grid_half(m) : 0;
    d = hn_f16_to_f32(d16);
    m = hn_f16_to_f32(m16);
    bool same = d16 == grid->d && m16 == (affine || k_affine ? grid->m : 0);
    if (same || d == 0 || (k_affine && (d < 0 || m < 0)))
        return false;
    grid->d = d16;
    if (affine || k_affine)
        grid->m = m16;
    for (int g = 0; g < grid->n_values / grid->group; g++) {
        float sub = k_affine || grid->dtype == HN_Q6_K ? (float)grid->sub[g] : 1;
        grid->scale[g] = d * sub;
        grid->offset[g] = affine     ? m
                          : k_affine ? -(m * (float)grid->min[g])
                                     : -zero_code(grid->dtype) * grid->scale[g];
    }
    return true;
}
