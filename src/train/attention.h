/* Causal attention over a tree of segments, forward and backward: a row sees its own segment's
 * earlier rows and all rows of the segment's ancestors. Probabilities are never stored; backward
 * recomputes them from the saved log-sum-exp. */
#pragma once

#include "data/tree.h"
#include "kernels/matrix.h"
#include "train/ops.h"

typedef struct hn_attention_plan hn_attention_plan;

typedef struct hn_attention_shape {
    int n_head, n_head_kv, head_dim;
} hn_attention_shape;

/* Scratch and the order of work for one tree; reused layer after layer. The tree must outlive it.
 */
HN_MUST_CHECK hn_status hn_attention_plan_new(hn_attention_plan **out, const hn_tree *tree,
                                              hn_attention_shape shape, int n_threads,
                                              hn_error *err);
void hn_attention_plan_free(hn_attention_plan *plan);

typedef struct hn_attention {
    const float *q;     /* (rows, n_head * head_dim), after rope */
    const float *k, *v; /* (rows, n_head_kv * head_dim) */
    float *o;           /* (rows, n_head * head_dim): out in forward, in in backward */
    float *lse;         /* (rows, n_head): the same */
    float scale;        /* multiplies q k^T */
    int32_t window;     /* keys a row sees, itself included; 0 = all */
    /* backward only; dq, dk and dv are set, not added to. dq may alias q. */
    const float *d_o;
    float *dq, *dk, *dv;
} hn_attention;

void hn_attention_forward(hn_attention_plan *plan, const hn_train_ops *ops, hn_pool *pool,
                          const hn_attention *a);
void hn_attention_backward(hn_attention_plan *plan, const hn_train_ops *ops, hn_pool *pool,
                           const hn_attention *a);
