/* The inner loops of training that are no weight product: norms, activations, softmax, and the
 * small products inside attention. One source (ops_tmpl.h) compiled at each vector width; the table
 * is chosen by the machine's level. All pointers are to f32; nothing need be aligned. */
#pragma once

#include "base/cpu.h"

#include <stdbool.h>
#include <stdint.h>

struct hn_adamw_step;

typedef struct hn_train_ops {
    int vector_floats;
    /* y = x / rms(x) * w over n values. */
    void (*rms_norm)(const float *x, const float *w, int64_t n, float eps, float *y);
    /* dx += d rms_norm / dx applied to dy. */
    void (*rms_norm_backward)(const float *x, const float *w, int64_t n, float eps, const float *dy,
                              float *dx);
    /* h = act(gate) * up; gelu: the tanh form, otherwise silu. h may alias neither. */
    void (*glu)(const float *gate, const float *up, int64_t n, bool gelu, float *h);
    /* In: gate, up and dh. Out: gate and up hold their gradients. */
    void (*glu_backward)(float *gate, float *up, const float *dh, int64_t n, bool gelu);
    /* Cross-entropy of one row: returns log(sum exp) - x[label]; leaves weight * (softmax - onehot)
     * in x; *best = index of the first largest logit. */
    double (*cross_entropy)(float *x, int64_t n, int32_t label, float weight, int64_t *best);
    /* The soft term of distillation: of the logits s (n) and t (n), both times inv_t, returns
     * KL(softmax(t) || softmax(s)) and leaves scale * (softmax(s) - softmax(t)) in t. */
    double (*distill)(const float *s, float *t, int64_t n, float inv_t, float scale);
    /* The same for the generalised Jensen-Shannon divergence of 0 < beta <= 1 (Agarwal et al.
     * 2024): of P = softmax(t), Q = softmax(s) and M = (1 - beta) Q + beta P it is beta KL(P || M)
     * + (1 - beta) KL(Q || M), at beta 1 KL(Q || P). */
    double (*divergence)(const float *s, float *t, int64_t n, float inv_t, float beta, float scale);
    /* log(softmax(x * inv_t)[label]) of one row, which stays as it is. */
    double (*log_prob)(const float *x, int64_t n, int32_t label, float inv_t);
    /* x = exp(x - lse) over n values. */
    void (*exp_shifted)(float *x, int64_t n, float lse);
    /* Softmax over n values in place; returns log(sum exp). */
    float (*softmax)(float *x, int64_t n);
    /* ds = p * (dp - d), written over dp. */
    void (*softmax_backward)(const float *p, float *dp, int64_t n, float d);
    float (*dot)(const float *a, const float *b, int64_t n);
    /* y += scale * x. */
    void (*add)(float *y, const float *x, int64_t n, float scale);
    /* C (m, n) (+)= A B with A[i][k] at a[i * a_row + k * a_col], B (k, n) and C row-major with
     * row strides. Sums run over k in ascending order. */
    void (*product)(const float *a, int64_t a_row, int64_t a_col, const float *b, int64_t b_stride,
                    float *c, int64_t c_stride, int64_t m, int64_t n, int64_t k, bool accumulate);
    /* One AdamW update of n parameters; gradients are multiplied by grad_scale first. */
    void (*adamw)(float *p, const float *g, float *m, float *v, int64_t n,
                  const struct hn_adamw_step *step);
} hn_train_ops;

/* The constants of one AdamW update (Loshchilov and Hutter 2019, as torch.optim.AdamW). */
typedef struct hn_adamw_step {
    float grad_scale; /* clipping coefficient */
    float beta1, beta2, eps;
    float decay;       /* 1 - rate * weight_decay */
    float step_size;   /* rate / (1 - beta1^t) */
    float inv_sqrt_c2; /* 1 / sqrt(1 - beta2^t) */
} hn_adamw_step;

const hn_train_ops *hn_train_ops_get(hn_isa isa);

extern const hn_train_ops hn_train_ops_base;
extern const hn_train_ops hn_train_ops_avx2;
extern const hn_train_ops hn_train_ops_avx512;
extern const hn_train_ops hn_train_ops_neon;
