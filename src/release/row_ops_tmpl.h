/* Body of row_ops_base.c and row_ops_avx2.c, which define TABLE and are compiled with their level's
 * flags. Sums run in eight lanes at every level, so that all give the same bits. */
#include "release/row_ops.h"

#define FMA(a, b, c) ((a) * (b) + (c)) /* vec.h wants one */
#define VECTOR_LANES 8
#include "model/vec.h"

static hn_grid_sums round_values(const float *x, const float *w, int n, float d, float m,
                                 float top) {
    const vf magic = splat(12582912); /* see hn_grid_code */
    const vf inverse = splat(d != 0 ? 1 / d : 0), scale = splat(d), offset = splat(m);
    const vf zero = splat(0), most = splat(top);
    vf q1 = zero, q2 = zero, qx = zero, error = zero;
    for (int i = 0; i < n; i += LANES) {
        vf value = load_vf(x + i), weight = load_vf(w + i);
        vf t = min_vf(max_vf((value - offset) * inverse, zero), most);
        vf q = (t + magic) - magic, wq = weight * q, r = value - (scale * q + offset);
        q1 += wq;
        q2 += wq * q;
        qx += wq * value;
        error += weight * r * r;
    }
    return (hn_grid_sums){
        .q = sum_vf(q1), .qq = sum_vf(q2), .qx = sum_vf(qx), .error = sum_vf(error)};
}

static void add_rows(float *y, const float *c, const float *rows, int64_t n, int64_t stride,
                     int64_t width) {
    enum { AT_ONCE = 4 };
    for (int64_t j = 0; j < width; j += AT_ONCE * LANES) {
        vf sum[AT_ONCE];
        for (int k = 0; k < AT_ONCE; k++)
            sum[k] = load_vf(y + j + k * LANES);
        for (int64_t i = 0; i < n; i++) {
            const vf factor = splat(c[i]);
            for (int k = 0; k < AT_ONCE; k++)
                sum[k] += factor * load_vf(rows + i * stride + j + k * LANES);
        }
        for (int k = 0; k < AT_ONCE; k++)
            store_vf(y + j + k * LANES, sum[k]);
    }
}

const hn_row_ops TABLE = {round_values, add_rows};
