/* Body of ops_base.c, ops_avx2.c and their like, which define VW (floats a vector), MR (rows of
 * a register tile) and TABLE, and are compiled with their level's flags. Written with GCC's vector
 * types, which both compilers turn into plain instructions of that level. */
#include "train/ops.h"

#include <math.h>
#include <string.h>

typedef float vf __attribute__((vector_size(4 * VW), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * VW), aligned(4), may_alias));

static inline vf load(const float *p) {
    return *(const vf *)p;
}

static inline void store(float *p, vf v) {
    *(vf *)p = v;
}

static inline vf splat(float x) {
    return (vf){0} + x;
}

/* Lanes are added pairwise, in an order that depends on VW alone. */
static inline float sum_lanes(vf v) {
    float lane[VW];
    memcpy(lane, &v, sizeof lane);
    for (int width = VW / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lane[i] += lane[i + width];
    return lane[0];
}

static inline vf select_lanes(vi mask, vf yes, vf no) {
    return (vf)(((vi)yes & mask) | ((vi)no & ~mask));
}

static inline vf max_lanes(vf a, vf b) {
    return select_lanes(a > b, a, b);
}

/* exp(x) to 2e-7 relative; below -87 it flushes to about 1e-38, above 88 it stays at exp(88).
 * x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial for exp(r) and n added to the exponent. */
static inline vf vexp(vf x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    x = max_lanes(x, splat(-87.0f));
    x = select_lanes(x < splat(88.0f), x, splat(88.0f));
    vf t = x * 1.44269504f + magic;
    vf n = t - magic;
    vf r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    vf p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    return (vf)((vi)p + ((vi)t << 23));
}

/* The last n % VW values go through a padded vector, so that every value is computed by the same
 * instructions wherever it stands. */
static inline vf load_part(const float *p, int64_t n, float fill) {
    float lane[VW];
    for (int i = 0; i < VW; i++)
        lane[i] = i < n ? p[i] : fill;
    return load(lane);
}

static inline void store_part(float *p, int64_t n, vf v) {
    float lane[VW];
    store(lane, v);
    memcpy(p, lane, (size_t)n * sizeof *p);
}

static float op_dot(const float *a, const float *b, int64_t n) {
    vf s0 = {0}, s1 = {0};
    int64_t i = 0;
    for (; i + 2 * VW <= n; i += 2 * VW) {
        s0 += load(a + i) * load(b + i);
        s1 += load(a + i + VW) * load(b + i + VW);
    }
    float tail = 0;
    for (; i < n; i++)
        tail += a[i] * b[i];
    return sum_lanes(s0 + s1) + tail;
}

static void op_add(float *y, const float *x, int64_t n, float scale) {
    int64_t i = 0;
    for (; i + VW <= n; i += VW)
        store(y + i, load(y + i) + load(x + i) * scale);
    for (; i < n; i++)
        y[i] += x[i] * scale;
}

static void op_rms_norm(const float *x, const float *w, int64_t n, float eps, float *y) {
    float scale = 1.0f / sqrtf(op_dot(x, x, n) / (float)n + eps);
    int64_t i = 0;
    for (; i + VW <= n; i += VW)
        store(y + i, load(x + i) * scale * load(w + i));
    for (; i < n; i++)
        y[i] = x[i] * scale * w[i];
}

/* y = s x w with s = (mean x^2 + eps)^(-1/2): dx = s (dy w) - x s^3 / n sum(dy w x). */
static void op_rms_norm_backward(const float *x, const float *w, int64_t n, float eps,
                                 const float *dy, float *dx) {
    float scale = 1.0f / sqrtf(op_dot(x, x, n) / (float)n + eps);
    vf s = {0};
    int64_t i = 0;
    for (; i + VW <= n; i += VW)
        s += load(dy + i) * load(w + i) * load(x + i);
    float sum = sum_lanes(s);
    for (; i < n; i++)
        sum += dy[i] * w[i] * x[i];
    float back = sum * scale * scale * scale / (float)n;
    for (i = 0; i + VW <= n; i += VW)
        store(dx + i, load(dx + i) + (load(dy + i) * load(w + i) * scale - load(x + i) * back));
    for (; i < n; i++)
        dx[i] += dy[i] * w[i] * scale - x[i] * back;
}

/* Both activations are x * sigmoid(z): silu with z = x, gelu's tanh form with
 * z = 2 sqrt(2 / pi) (x + 0.044715 x^3). */
#define GELU_SCALE 1.5957691216057308f
#define GELU_CUBIC 0.044715f

static inline vf gate_sigmoid(vf x, bool gelu) {
    vf z = x;
    if (gelu)
        z = GELU_SCALE * (x + GELU_CUBIC * x * x * x);
    return 1.0f / (1.0f + vexp(-z));
}

static inline vf gate_slope(vf x, bool gelu) {
    vf slope = splat(1.0f);
    if (gelu)
        slope = GELU_SCALE * (1.0f + 3.0f * GELU_CUBIC * x * x);
    return slope;
}

static void op_glu(const float *gate, const float *up, int64_t n, bool gelu, float *h) {
    for (int64_t i = 0; i < n; i += VW) {
        if (i + VW <= n) {
            vf g = load(gate + i);
            store(h + i, g * gate_sigmoid(g, gelu) * load(up + i));
        } else {
            vf g = load_part(gate + i, n - i, 0);
            store_part(h + i, n - i, g * gate_sigmoid(g, gelu) * load_part(up + i, n - i, 0));
        }
    }
}

static inline void glu_gradients(vf *g, vf *u, vf dh, bool gelu) {
    vf s = gate_sigmoid(*g, gelu);
    vf slope = s + *g * s * (1.0f - s) * gate_slope(*g, gelu);
    vf dg = dh * *u * slope;
    *u = dh * *g * s;
    *g = dg;
}

static void op_glu_backward(float *gate, float *up, const float *dh, int64_t n, bool gelu) {
    for (int64_t i = 0; i < n; i += VW) {
        bool whole = i + VW <= n;
        vf g = whole ? load(gate + i) : load_part(gate + i, n - i, 0);
        vf u = whole ? load(up + i) : load_part(up + i, n - i, 0);
        vf d = whole ? load(dh + i) : load_part(dh + i, n - i, 0);
        glu_gradients(&g, &u, d, gelu);
        if (whole) {
            store(gate + i, g);
            store(up + i, u);
        } else {
            store_part(gate + i, n - i, g);
            store_part(up + i, n - i, u);
        }
    }
}

static float row_max(const float *x, int64_t n) {
    vf m = splat(-INFINITY);
    int64_t i = 0;
    for (; i + VW <= n; i += VW)
        m = max_lanes(load(x + i), m);
    float lane[VW], best = -INFINITY;
    store(lane, m);
    for (int j = 0; j < VW; j++)
        best = lane[j] > best ? lane[j] : best;
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
    return best;
}

static void op_exp_shifted(float *x, int64_t n, float lse) {
    int64_t i = 0;
    for (; i + VW <= n; i += VW)
        store(x + i, vexp(load(x + i) - lse));
    if (i < n)
        store_part(x + i, n - i, vexp(load_part(x + i, n - i, 0) - lse));
}

/* x = exp(x - max); returns the sum, kept in double across chunks: the vocabulary is long. */
static double exp_sum(float *x, int64_t n, float max) {
    enum { CHUNK = 1024 };
    double total = 0;
    for (int64_t from = 0; from < n; from += CHUNK) {
        int64_t end = n - from < CHUNK ? n : from + CHUNK, i = from;
        vf s = {0};
        for (; i + VW <= end; i += VW) {
            vf e = vexp(load(x + i) - max);
            store(x + i, e);
            s += e;
        }
        total += (double)sum_lanes(s);
        if (i < end) {
            store_part(x + i, end - i, vexp(load_part(x + i, end - i, 0) - max));
            for (; i < end; i++)
                total += (double)x[i];
        }
    }
    return total;
}

static void scale_row(float *x, int64_t n, float scale) {
    int64_t i = 0;
    for (; i + VW <= n; i += VW)
        store(x + i, load(x + i) * scale);
    for (; i < n; i++)
        x[i] *= scale;
}

static float op_softmax(float *x, int64_t n) {
    float max = row_max(x, n);
    double sum = exp_sum(x, n, max);
    scale_row(x, n, (float)(1.0 / sum));
    return max + (float)log(sum);
}

static double op_cross_entropy(float *x, int64_t n, int32_t label, float weight, int64_t *best) {
    float max = row_max(x, n);
    int64_t at = 0;
    while (at < n - 1 && x[at] != max)
        at++;
    *best = at;
    double gap = (double)max - (double)x[label];
    double sum = exp_sum(x, n, max);
    scale_row(x, n, (float)((double)weight / sum));
    x[label] -= weight;
    return gap + log(sum);
}

#include "train/ops_distill_tmpl.h"

static void op_softmax_backward(const float *p, float *dp, int64_t n, float d) {
    int64_t i = 0;
    for (; i + VW <= n; i += VW)
        store(dp + i, load(p + i) * (load(dp + i) - d));
    for (; i < n; i++)
        dp[i] = p[i] * (dp[i] - d);
}

enum { BASES = (MR + 3) / 4 };

/* A tile of `rows` x 2 vectors of C kept in registers over all of k. Rows of A are reached from
 * every fourth: an address has a base, and one of two strides with a factor. */
static inline __attribute__((always_inline)) void tile(int rows, const float *a, int64_t a_row,
                                                       int64_t a_col, const float *b,
                                                       int64_t b_stride, float *c, int64_t c_stride,
                                                       int64_t k, bool accumulate) {
    vf acc[MR][2];
    const float *base[BASES];
    const int64_t thrice = 3 * a_row;
#pragma GCC unroll 4
    for (int i = 0; 4 * i < rows; i++)
        base[i] = a + 4 * i * a_row;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        acc[i][0] = accumulate ? load(c + i * c_stride) : (vf){0};
        acc[i][1] = accumulate ? load(c + i * c_stride + VW) : (vf){0};
    }
    for (int64_t p = 0; p < k; p++) {
        vf b0 = load(b), b1 = load(b + VW);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const int64_t at[4] = {0, a_row, 2 * a_row, thrice};
            float x = base[i / 4][at[i % 4]];
            acc[i][0] += x * b0;
            acc[i][1] += x * b1;
        }
#pragma GCC unroll 4
        for (int i = 0; 4 * i < rows; i++)
            base[i] += a_col;
        b += b_stride;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        store(c + i * c_stride, acc[i][0]);
        store(c + i * c_stride + VW, acc[i][1]);
    }
}

static void columns_left(const float *a, int64_t a_row, int64_t a_col, const float *b,
                         int64_t b_stride, float *c, int64_t c_stride, int64_t m, int64_t n,
                         int64_t k, bool accumulate) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float sum = accumulate ? c[i * c_stride + j] : 0;
            for (int64_t p = 0; p < k; p++)
                sum += a[i * a_row + p * a_col] * b[p * b_stride + j];
            c[i * c_stride + j] = sum;
        }
}

static void op_product(const float *a, int64_t a_row, int64_t a_col, const float *b,
                       int64_t b_stride, float *c, int64_t c_stride, int64_t m, int64_t n,
                       int64_t k, bool accumulate) {
    int64_t j = 0;
    for (; j + 2 * VW <= n; j += 2 * VW) {
        int64_t i = 0;
        for (; i + MR <= m; i += MR)
            tile(MR, a + i * a_row, a_row, a_col, b + j, b_stride, c + i * c_stride + j, c_stride,
                 k, accumulate);
        for (; i + 4 <= m; i += 4)
            tile(4, a + i * a_row, a_row, a_col, b + j, b_stride, c + i * c_stride + j, c_stride, k,
                 accumulate);
        for (; i + 2 <= m; i += 2)
            tile(2, a + i * a_row, a_row, a_col, b + j, b_stride, c + i * c_stride + j, c_stride, k,
                 accumulate);
        for (; i < m; i++)
            tile(1, a + i * a_row, a_row, a_col, b + j, b_stride, c + i * c_stride + j, c_stride, k,
                 accumulate);
    }
    if (j < n)
        columns_left(a, a_row, a_col, b + j, b_stride, c + j, c_stride, m, n - j, k, accumulate);
}

static void op_adamw(float *p, const float *g, float *m, float *v, int64_t n,
                     const hn_adamw_step *s) {
    for (int64_t i = 0; i < n; i++) {
        float grad = g[i] * s->grad_scale;
        m[i] = s->beta1 * m[i] + (1.0f - s->beta1) * grad;
        v[i] = s->beta2 * v[i] + (1.0f - s->beta2) * grad * grad;
        float denominator = sqrtf(v[i]) * s->inv_sqrt_c2 + s->eps;
        p[i] = p[i] * s->decay - s->step_size * (m[i] / denominator);
    }
}

const hn_train_ops TABLE = {
    .vector_floats = VW,
    .rms_norm = op_rms_norm,
    .rms_norm_backward = op_rms_norm_backward,
    .glu = op_glu,
    .glu_backward = op_glu_backward,
    .cross_entropy = op_cross_entropy,
    .distill = op_distill,
    .divergence = op_divergence,
    .log_prob = op_log_prob,
    .exp_shifted = op_exp_shifted,
    .softmax = op_softmax,
    .softmax_backward = op_softmax_backward,
    .dot = op_dot,
    .add = op_add,
    .product = op_product,
    .adamw = op_adamw,
};
