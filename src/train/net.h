/* One pass of training over a tree of documents: forward with what backward needs kept, the loss at
 * the supervised rows, and hand-derived backward into the adapter's gradients. Nothing is computed
 * for frozen weights: no gradient of W, none below the lowest adapter, logits only at supervised
 * rows and a tile at a time, and after the last attention only supervised rows go on. */
#pragma once

#include "data/tree.h"
#include "model/model.h"
#include "train/attention.h"
#include "train/loss.h"
#include "train/ops.h"
#include "train/params.h"
#include "train/sums.h"

/* What one layer's forward leaves for its backward. rows = of the pass, or, in the last layer from
 * x_mid on, its supervised rows alone. NULL where the family has no such thing. */
typedef struct hn_layer_acts {
    float *x;                 /* (rows, n_embd) the layer's input */
    float *q, *k, *v;         /* after rope; (rows, heads * head_dim) */
    float *q_raw, *k_raw;     /* before qk_norm and rope */
    float *o, *lse;           /* attention's output and (rows, n_head) log-sum-exp */
    float *attn_raw;          /* (rows, n_embd) before post_attn_norm */
    float *x_mid;             /* (rows, n_embd) after attention */
    float *gate, *up;         /* (rows, n_ff) */
    float *mlp_raw;           /* (rows, n_embd) before post_ffn_norm */
    float *t[HN_GROUP_COUNT]; /* (rows, group rank) low-rank activations */
} hn_layer_acts;

/* Rows of the pass that must predict something, each once, in order. */
typedef struct hn_learned {
    int32_t *rows;     /* (n) */
    int32_t *target;   /* (n_targets) index into rows of each of the tree's targets */
    int32_t *tree_row; /* (n_targets) each target's row of the tree */
    int32_t n;
} hn_learned;

typedef struct hn_net {
    hn_model *model;
    hn_params *params;
    const hn_train_ops *ops;
    hn_pool *pool;
    float dropout;
    hn_sums *sums;     /* of the gradients over ranks; borrowed, NULL = none */
    float noise_alpha; /* NEFTune: embeddings of a backward pass get noise; the tree must not share
                          beginnings then. 0 = none */

    /* the pass being computed */
    const hn_tree *tree;
    hn_attention_plan *plan;
    hn_learned learned;
    uint64_t dropout_key;
    bool without_adapter;
    /* Of layers below this one only x is kept, the rest in memory that they share: backward runs
     * their forward again. As many as the budget asks for; all when there is no backward. */
    int n_recomputed;
    hn_layer_acts acts[HN_ARCH_MAX_LAYERS];
    float *x_out;         /* (learned.n, n_embd) output of the last layer */
    float *dx, *dxn, *dy; /* (rows, n_embd) */
    float *xn;            /* (rows, n_embd) */
    float *gathered;      /* (learned.n, heads * head_dim) */
    float *d_o;           /* (rows, heads * head_dim) */
    float *dk, *dv;       /* (rows, kv heads * head_dim) */
    float *h, *dh;        /* (rows, n_ff) */
    float *dt;            /* (rows, largest group rank) */
    float *dropped;       /* (rows, widest input) or NULL without dropout */
    float *cos, *sin;     /* (rows, rope_dim / 2) */
    float *cos_local, *sin_local;
    float *tile_x, *tile_dx; /* (tile rows, n_embd) */
    float *logits;           /* (tile rows, n_vocab) */
    int32_t tile_rows;

    /* With DoRA: of the rows of all adapted weights (hn_slot's row), and scratch of a group. */
    struct {
        double *squares;        /* |W|^2 */
        float *norms, *factors; /* |W + s B A| and magnitude / that, as the parameters are now */
        float *z;               /* (rows, widest group's outputs) */
        float *dy;              /* (rows, n_embd) */
    } dora;

    float *memory;
    size_t memory_bytes;
    size_t budget_bytes;
} hn_net;

/* What is computed of a tree. */
typedef struct hn_pass {
    const hn_tree *tree;
    const hn_loss *loss;
    uint64_t dropout_key; /* dropout masks and noise are a function of it alone */
    bool backward;        /* adds gradients to params->grads; otherwise without dropout and noise */
    bool without_adapter; /* the base alone; not with backward */
    bool final;           /* this rank's last one of the step: a layer's gradients are what it adds
                             to the sums over ranks as soon as its backward is done */
} hn_pass;

/* What passes add up. */
typedef struct hn_net_loss {
    double loss;    /* as the loss defines it */
    double correct; /* targets whose label had the largest logit */
    bool *missed; /* a document of the tree each: set where a target was wrong; NULL = not asked */
} hn_net_loss;

/* budget_bytes bounds what is kept for backward; of a pass that needs more, the lowest layers keep
 * only their input and are computed twice. 0 = as much as the packed layers take, for who has room
 * for them has it for this, and at least HN_NET_BUDGET_BYTES: passes of fewer rows than fit there
 * unpack weights too often. */
#define HN_NET_BUDGET_BYTES ((size_t)256 << 20)
/* What 0 stands for, but at least `least`. */
size_t hn_net_budget(const hn_model *model, size_t least);
HN_MUST_CHECK hn_status hn_net_new(hn_net **out, hn_model *model, hn_params *params, float dropout,
                                   size_t budget_bytes, hn_error *err);
void hn_net_free(hn_net *net);
/* Rows of a pass that fit in the budget, for backward with everything kept. */
int64_t hn_net_max_rows(const hn_net *net, bool backward);
/* Adds to *sum. */
HN_MUST_CHECK hn_status hn_net_run(hn_net *net, const hn_pass *pass, hn_net_loss *sum,
                                   hn_error *err);

/* A forward pass alone, whose results stay until hn_net_finish: the final, normed states are in
 * net->xn. Without params' adapter where it is none (hn_params_none). */
HN_MUST_CHECK hn_status hn_net_forward(hn_net *net, const hn_tree *tree, hn_error *err);
/* Logits (n, n_vocab) at the targets [first, first + n) of the pass. */
HN_MUST_CHECK hn_status hn_net_logits(hn_net *net, int32_t first, int32_t n, float *logits,
                                      hn_error *err);
/* What `layer` gives to the next one, (rows, n_embd), the last layer's after the output norm; *row:
 * (n_targets) the row of each target. */
const float *hn_net_states(const hn_net *net, int layer, const int32_t **row);
void hn_net_finish(hn_net *net);

/* Between the files of net_*.c. */
HN_MUST_CHECK hn_status hn_net_prepare(hn_net *net, const hn_tree *tree, bool backward,
                                       hn_error *err);
void hn_net_output_norm(hn_net *net);
HN_MUST_CHECK hn_status hn_net_layer_forward(hn_net *net, int layer, float *x_next, hn_error *err);
/* Once more, for backward: its output, in scratch (rows, n_embd), is there or not. */
HN_MUST_CHECK hn_status hn_net_layer_again(hn_net *net, int layer, float *scratch, hn_error *err);
HN_MUST_CHECK hn_status hn_net_layer_backward(hn_net *net, int layer, hn_error *err);
HN_MUST_CHECK hn_status hn_net_head(hn_net *net, const hn_pass *pass, hn_net_loss *sum,
                                    hn_error *err);
/* The loss's terms of a layer's states, where it has some; dx as in hn_loss_states. */
HN_MUST_CHECK hn_status hn_net_loss_states(hn_net *net, const hn_pass *pass, int layer, float *dx,
                                           hn_net_loss *sum, hn_error *err);

/* y[i] = x W^T + bias (+ y[i], or without the bias) for the modules of a group, with their
 * adapters' low-rank parts. */
typedef enum hn_products { HN_PRODUCTS_SET, HN_PRODUCTS_ADD, HN_PRODUCTS_BARE } hn_products;
HN_MUST_CHECK hn_status hn_net_products(hn_net *net, int layer, hn_group group, const float *x,
                                        int64_t n, float *const *y, hn_products how, hn_error *err);

/* DoRA: what doesn't change; norms and factors, before each pass; y = bias + factor * (y - bias),
 * or, with dropout, of y = W x + bias what PEFT makes of it: see net_dora.c; the magnitudes'
 * gradients, in scaled[i] dy[i] (which may be overwritten) times the factors, and with dropout,
 * unless dx is NULL, added to dx what comes through the dropped x of the base's product. */
HN_MUST_CHECK hn_status hn_net_dora_new(hn_net *net, hn_error *err);
void hn_net_dora_done(hn_net *net);
HN_MUST_CHECK hn_status hn_net_dora_update(hn_net *net, hn_error *err);
void hn_net_dora_forward(hn_net *net, int layer, hn_group group, int64_t n, float *const *y);
HN_MUST_CHECK hn_status hn_net_dora_dropped_forward(hn_net *net, int layer, hn_group group,
                                                    const float *x, int64_t n, float *const *y,
                                                    hn_error *err);
HN_MUST_CHECK hn_status hn_net_dora_backward(hn_net *net, int layer, hn_group group, const float *x,
                                             int64_t n, float *const *dy, float **scaled, float *dx,
                                             hn_error *err);
/* Whether this pass scales the group's outputs. */
static inline bool hn_net_is_dora(const hn_net *net, int layer, hn_group group) {
    return net->params->dora && !net->without_adapter &&
           hn_params_group_rank(net->params, layer, group) > 0;
}

/* Low-rank branches without dropout: the group's t, and with it the linear step's low-rank parts;
 * the gradients of A and B, and in *left what the group's dx still has to get. Nothing with
 * dropout. x (n, in); y[i] and dy[i] belong to module HN_GROUP_FIRST[group] + i. */
HN_MUST_CHECK hn_status hn_net_lora_join(hn_net *net, int layer, hn_group group, const float *x,
                                         int64_t n, hn_linear *linear, hn_error *err);
HN_MUST_CHECK hn_status hn_net_lora_gradients(hn_net *net, int layer, hn_group group,
                                              const float *x, int64_t n, float *const *dy,
                                              hn_low_rank *left, hn_error *err);
/* With dropout, where each module has an input of its own, nothing otherwise:
 * y_m += scale * (drop(x) A_m^T) B_m^T; the gradients, and, unless dx is NULL, added to it. */
HN_MUST_CHECK hn_status hn_net_lora_forward(hn_net *net, int layer, hn_group group, const float *x,
                                            int64_t n, float *const *y, hn_error *err);
HN_MUST_CHECK hn_status hn_net_lora_backward(hn_net *net, int layer, hn_group group, const float *x,
                                             int64_t n, float *const *dy, float *dx, hn_error *err);

/* Gradients of the model's own weights, when params->full. */
void hn_net_full_norm(hn_net *net, const float *x, const float *w, int64_t n, int64_t dim,
                      const float *dy);
HN_MUST_CHECK hn_status hn_net_full_linear(hn_net *net, const hn_matrix *w, const float *bias,
                                           const float *x, const float *dy, int64_t n,
                                           hn_error *err);
/* From net->dx, the gradient of the first layer's input. */
void hn_net_full_embed(hn_net *net);

/* Rows of the pass that `layer` works on from x_mid on. */
static inline int64_t hn_net_mid_rows(const hn_net *net, int layer) {
    return layer == net->model->arch.n_layer - 1 ? net->learned.n : net->tree->n_rows;
}

/* Element-wise work over rows, spread over the pool. */
void hn_net_rms_norm(hn_net *net, const float *x, const float *w, int64_t n, int64_t dim, float *y);
void hn_net_rms_norm_backward(hn_net *net, const float *x, const float *w, int64_t n, int64_t dim,
                              const float *dy, float *dx);
void hn_net_glu(hn_net *net, const float *gate, const float *up, int64_t n, float *h);
void hn_net_glu_backward(hn_net *net, float *gate, float *up, const float *dh, int64_t n);
/* x (n rows, heads * head_dim) turned in place by its position, or back when `inverse`. */
void hn_net_rope(hn_net *net, int layer, float *x, int heads, bool inverse);
/* y = x with dropout, or y += mask applied to x; the mask of (layer, module). */
void hn_net_dropout(hn_net *net, int layer, int module, const float *x, int64_t n, int64_t dim,
                    bool add, float *y);
/* x (rows of the pass, n_embd) += uniform noise of alpha / sqrt(computed tokens of the document *
 * n_embd) at most (NEFTune, Jain et al. 2023). */
void hn_net_noise(hn_net *net, float *x);
void hn_net_add(hn_net *net, float *y, const float *x, int64_t n, int64_t dim);
