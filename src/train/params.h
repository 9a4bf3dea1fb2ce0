/* Everything that training changes, as one flat vector beside its gradient, so that clipping, the
 * optimiser and checkpoints needn't know what a layer is. */
#pragma once

#include "base/pool.h"
#include "base/status.h"
#include "model/model.h"

#include <stddef.h>

/* One adapted matrix: A (r, in) and B (out, r) at these offsets of the vector. */
typedef struct hn_slot {
    int r; /* 0 = not adapted */
    float scale;
    int64_t in, out;
    size_t a, b;
    size_t m;   /* with DoRA: its magnitudes (out) */
    size_t row; /* of W's first row among those of all adapted weights */
} hn_slot;

/* Modules that read the same input. Their As lie one after the other, so that one product serves
 * all of them. */
typedef enum hn_group { HN_GROUP_QKV, HN_GROUP_O, HN_GROUP_GATE_UP, HN_GROUP_DOWN } hn_group;
enum { HN_GROUP_COUNT = 4 };

/* First and last module of each group. */
extern const hn_module HN_GROUP_FIRST[HN_GROUP_COUNT], HN_GROUP_LAST[HN_GROUP_COUNT];

typedef struct hn_span {
    size_t first, end;
} hn_span;

typedef struct hn_params {
    float *values, *grads; /* (n) */
    size_t n;
    size_t extra; /* from here on values that are no adapter's, e.g. projections */
    int n_layer;
    int lowest; /* the first layer with an adapter: no gradient is needed below it */
    hn_slot (*slots)[HN_MODULE_COUNT]; /* [n_layer] */
    /* The model's own weights instead of an adapter: no slot is in use, `values` belong to the
     * model, and a weight's gradient lies in grads where it lies in values (hn_params_grad). */
    bool full;
    bool vectors; /* with full: of these norms and biases alone, the matrices stay as they are */
    size_t n_undecayed; /* the first values, norms and biases, which weight decay leaves alone */
    bool dora;
    hn_span *bs; /* [n_layer] where Bs and magnitudes lie, in ascending order; may be empty */
    /* [n_layer] whose gradients are final when the layer's backward is done, in ascending order and
     * without gaps; empty for a layer without any, and for one that shares a lower one's weights.
     */
    hn_span *layers;
} hn_params;

/* Copies the adapter's values; n_extra zeros follow them. HN_USAGE when it adapts nothing. */
HN_MUST_CHECK hn_status hn_params_new(hn_params *out, const hn_adapter *adapter, size_t n_extra,
                                      hn_error *err);
/* Thaws the model (model/thaw.h): all its weights are trained. */
HN_MUST_CHECK hn_status hn_params_of_model(hn_params *out, hn_model *model, int shared,
                                           hn_error *err);
/* Norms and biases of a model (model/thaw.h) whose matrices may be of any type. */
HN_MUST_CHECK hn_status hn_params_of_vectors(hn_params *out, hn_model *model, hn_error *err);
/* No parameter at all, for a model that only runs forward. */
HN_MUST_CHECK hn_status hn_params_none(hn_params *out, int n_layer, hn_error *err);
void hn_params_done(hn_params *params);
static inline float *hn_params_grad(const hn_params *params, const void *weight) {
    return params->grads + ((const float *)weight - params->values);
}
/* Puts values (n), e.g. params->values, back into an adapter of the same shape. */
void hn_params_store(const hn_params *params, const float *values, hn_adapter *adapter);

/* What the value at `at` is, as far as the optimiser minds; *end = where that changes. */
typedef enum hn_param_kind {
    HN_PARAM_PLAIN,
    HN_PARAM_B,         /* and magnitudes: a rate of its own (LoRA+) */
    HN_PARAM_UNDECAYED, /* no weight decay */
    HN_PARAM_KINDS
} hn_param_kind;
hn_param_kind hn_params_kind(const hn_params *params, size_t at, size_t *end);

/* Sum of the ranks of a layer's group; the width of its low-rank activations. */
int hn_params_group_rank(const hn_params *params, int layer, hn_group group);
/* Where the group's stacked A begins; only when the group's rank isn't 0. */
size_t hn_params_group_a(const hn_params *params, int layer, hn_group group);
