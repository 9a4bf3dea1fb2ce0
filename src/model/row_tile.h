/* Inner loops over rows of activations, written once over vectors and compiled for each instruction
 * set by the file that includes this (after defining FMA and NAME(function)). What an element gets
 * doesn't depend on how the work was cut. */
#include "model/rows.h"

#include "model/vec.h"

enum { UP_ROWS = 4 };

INLINE vf silu_vf(vf x) {
    return x * sigmoid_vf(x);
}

/* gelu in its tanh form (Hendrycks and Gimpel, 2016): (1 + tanh u) / 2 = sigmoid(2u). */
INLINE vf gelu_vf(vf x) {
    vf u = splat(0.7978845608f) * FMA(splat(0.044715f) * x * x, x, x); /* sqrt(2 / pi) */
    return x * sigmoid_vf(u + u);
}

INLINE void activate(const int gelu, const float *gate, const float *up, float *out, long n) {
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf x = load_vf(gate + i);
        store_vf(out + i, (gelu ? gelu_vf(x) : silu_vf(x)) * load_vf(up + i));
    }
    if (i == n)
        return;
    float tail[LANES] = {0};
    memcpy(tail, gate + i, (size_t)(n - i) * sizeof *gate);
    vf x = load_vf(tail);
    store_vf(tail, gelu ? gelu_vf(x) : silu_vf(x));
    for (long k = i; k < n; k++)
        out[k] = tail[k - i] * up[k];
}

static void silu_mul(const float *gate, const float *up, float *out, long n) {
    activate(0, gate, up, out, n);
}

static void gelu_mul(const float *gate, const float *up, float *out, long n) {
    activate(1, gate, up, out, n);
}

/* Turns pairs (a[i], b[i]) by angles (LANES). */
INLINE void turn(vf *a, vf *b, const float *angles) {
    const vf t = load_vf(angles), u = load_vf(angles + LANES), first = *a, second = *b;
    const vf c = evens_vf(t, u), s = odds_vf(t, u);
    *a = first * c - second * s;
    *b = first * s + second * c;
}

/* Fewer than LANES pairs: values `apart` from each other, the second ones `other` behind. In whole
 * vectors, too: gcc 12 makes fused multiply-adds of the plain loop, though told not to contract. */
INLINE void rotate_rest(float *x, const float *angles, int n, int apart, int other) {
    float first[LANES] = {0}, second[LANES] = {0}, rest[2 * LANES] = {0};
    for (int i = 0; i < n; i++) {
        first[i] = x[i * apart];
        second[i] = x[i * apart + other];
    }
    memcpy(rest, angles, 2 * (size_t)n * sizeof *angles);
    vf a = load_vf(first), b = load_vf(second);
    turn(&a, &b, rest);
    for (int i = 0; i < n; i++) {
        x[i * apart] = a[i];
        x[i * apart + other] = b[i];
    }
}

static void rotate_pairs(float *x, const float *angles, int n) {
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        const vf low = load_vf(x + 2 * i), high = load_vf(x + 2 * i + LANES);
        vf a = evens_vf(low, high), b = odds_vf(low, high);
        turn(&a, &b, angles + 2 * i);
        store_mixed_vf(x + 2 * i, a, b);
    }
    if (i < n)
        rotate_rest(x + 2 * i, angles + 2 * i, n - i, 2, 1);
}

static void rotate_halves(float *x, const float *angles, int n) {
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf a = load_vf(x + i), b = load_vf(x + i + n);
        turn(&a, &b, angles + 2 * i);
        store_vf(x + i, a);
        store_vf(x + i + n, b);
    }
    if (i < n)
        rotate_rest(x + i, angles + 2 * i, n - i, 1, n);
}

/* Dot products of x with `count` rows of a, each in eight lanes. */
INLINE void dots(const float *x, const float *a, int64_t n, const int count, float scale,
                 float *out) {
    vf sum[LORA_DOTS];
    for (int j = 0; j < count; j++)
        sum[j] = splat(0);
    int64_t k = 0;
    for (; k + LANES <= n; k += LANES) {
        vf value = load_vf(x + k);
        for (int j = 0; j < count; j++)
            sum[j] = FMA(value, load_vf(a + j * n + k), sum[j]);
    }
    for (int j = 0; j < count; j++) {
        float tail = 0;
        for (int64_t t = k; t < n; t++)
            tail += x[t] * a[j * n + t];
        out[j] = scale * (sum_vf(sum[j]) + tail);
    }
}

static void lora_down(const hn_lora *lora, const float *x, float *u, int first, int last) {
    int j = first;
    for (; j + LORA_DOTS <= last; j += LORA_DOTS)
        dots(x, lora->a + j * lora->in, lora->in, LORA_DOTS, lora->scale, u + j);
    for (; j < last; j++)
        dots(x, lora->a + j * lora->in, lora->in, 1, lora->scale, u + j);
}

/* Eight rows of B, `ranks` long and `stride` apart, as columns: bt (ranks, 8). */
INLINE void turn_rows(const float *b, int stride, int ranks, float *bt) {
    int j = 0;
    for (; j + LANES <= ranks; j += LANES) {
        vf in[LANES], out[LANES];
        for (int o = 0; o < LANES; o++)
            in[o] = load_vf(b + (int64_t)o * stride + j);
        transpose_vf(in, out);
        for (int k = 0; k < LANES; k++)
            store_vf(bt + (j + k) * LANES, out[k]);
    }
    for (; j < ranks; j++)
        for (int o = 0; o < LANES; o++)
            bt[j * LANES + o] = b[(int64_t)o * stride + j];
}

/* Eight outputs of `count` rows from row `i` on, `ranks` of the adapter's ranks from `rank` on;
 * bt: (ranks, 8). Rows side by side hide the latency of each one's sum. */
INLINE void up_tile(const hn_lora_rows *rows, const float *bt, int rank, int ranks, int64_t at,
                    int i, const int count) {
    vf sum[UP_ROWS];
    const float *u = rows->u + i * rows->u_stride + rank;
    float *y = rows->y + i * rows->y_stride + at;
    for (int c = 0; c < count; c++)
        sum[c] = load_vf(y + c * rows->y_stride);
    for (int j = 0; j < ranks; j++) {
        vf b = load_vf(bt + j * LANES);
        for (int c = 0; c < count; c++)
            sum[c] = FMA(splat(u[c * rows->u_stride + j]), b, sum[c]);
    }
    for (int c = 0; c < count; c++)
        store_vf(y + c * rows->y_stride, sum[c]);
}

INLINE void up_rows(const hn_lora_rows *rows, const float *bt, int rank, int ranks, int64_t at) {
    int i = 0;
    for (; i + UP_ROWS <= rows->n; i += UP_ROWS)
        up_tile(rows, bt, rank, ranks, at, i, UP_ROWS);
    for (; i < rows->n; i++)
        up_tile(rows, bt, rank, ranks, at, i, 1);
}

static void up_single(const hn_lora_rows *rows, int64_t at) {
    const hn_lora *lora = rows->lora;
    for (int i = 0; i < rows->n; i++) {
        const float *u = rows->u + (int64_t)i * rows->u_stride;
        float *y = rows->y + (int64_t)i * rows->y_stride + at;
        vf sum = splat(*y);
        for (int j = 0; j < lora->r; j++)
            sum = FMA(splat(u[j]), splat(lora->b[at * lora->r + j]), sum);
        *y = sum[0];
    }
}

static void lora_up(const hn_lora_rows *rows, int64_t first, int64_t last) {
    const hn_lora *lora = rows->lora;
    int64_t at = first;
    for (; at + LANES <= last; at += LANES) {
        for (int rank = 0; rank < lora->r; rank += LORA_RANKS) {
            float bt[LORA_RANKS * LANES];
            int ranks = lora->r - rank < LORA_RANKS ? lora->r - rank : LORA_RANKS;
            turn_rows(lora->b + at * lora->r + rank, lora->r, ranks, bt);
            up_rows(rows, bt, rank, ranks, at);
        }
    }
    for (; at < last; at++)
        up_single(rows, at);
}

const hn_row_kernels NAME(hn_row_kernels) = {silu_mul,      gelu_mul,  rotate_pairs,
                                             rotate_halves, lora_down, lora_up};
