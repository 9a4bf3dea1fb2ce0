/* One transformer block over the rows of a pass, forward and backward. Formulas: the chain rule
 * over y = x W^T + s (x A^T) B^T, RMS norm, rope (whose backward turns the other way), attention
 * and the gated MLP; W is frozen. */
#include "train/net.h"

#include <string.h>

static int64_t q_width(const hn_arch *arch) {
    return (int64_t)arch->n_head * arch->head_dim;
}

static int64_t kv_width(const hn_arch *arch) {
    return (int64_t)arch->n_head_kv * arch->head_dim;
}

/* out rows = from rows of the learned rows, or the other way round (the rest zero). */
static void gather(const hn_net *net, const float *from, int64_t dim, float *to) {
    for (int32_t i = 0; i < net->learned.n; i++)
        memcpy(to + i * dim, from + net->learned.rows[i] * dim, (size_t)dim * sizeof *to);
}

static void scatter(const hn_net *net, const float *from, int64_t dim, float *to) {
    memset(to, 0, (size_t)(net->tree->n_rows * dim) * sizeof *to);
    for (int32_t i = 0; i < net->learned.n; i++)
        memcpy(to + net->learned.rows[i] * dim, from + i * dim, (size_t)dim * sizeof *to);
}

/* hn_net_products, with dropout without the adapters. */
static hn_status base_products(hn_net *net, int layer, hn_group group, const float *x, int64_t n,
                               float *const *y, hn_products how, hn_error *err) {
    const hn_layer *weights = &net->model->layers[layer];
    if (n == 0)
        return HN_OK;
    hn_linear linear = {.x = x, .n = n, .numerics = net->model->numerics};
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++) {
        int i = linear.n_outputs++;
        linear.x_stride = weights->w[m].cols;
        linear.output[i].w = &weights->w[m];
        linear.output[i].bias = how == HN_PRODUCTS_BARE ? NULL : weights->bias[m];
        linear.output[i].y = y[i];
        linear.output[i].y_stride = weights->w[m].rows;
        linear.output[i].accumulate = how == HN_PRODUCTS_ADD;
    }
    HN_TRY(hn_net_lora_join(net, layer, group, x, n, &linear, err));
    return hn_linear_run(net->model->compute, &linear, err);
}

hn_status hn_net_products(hn_net *net, int layer, hn_group group, const float *x, int64_t n,
                          float *const *y, hn_products how, hn_error *err) {
    HN_TRY(base_products(net, layer, group, x, n, y, how, err));
    return hn_net_lora_forward(net, layer, group, x, n, y, err);
}

/* y[i] = the group's outputs. */
static hn_status linear_group(hn_net *net, int layer, hn_group group, const float *x, int64_t n,
                              float *const *y, hn_error *err) {
    bool dora = hn_net_is_dora(net, layer, group);
    if (dora && net->dropout > 0) {
        HN_TRY(base_products(net, layer, group, x, n, y, HN_PRODUCTS_SET, err));
        return hn_net_dora_dropped_forward(net, layer, group, x, n, y, err);
    }
    HN_TRY(hn_net_products(net, layer, group, x, n, y, HN_PRODUCTS_SET, err));
    if (dora)
        hn_net_dora_forward(net, layer, group, n, y);
    return HN_OK;
}

/* dx (=) sum of dy[i] W_i plus the adapters' share; dx NULL: only what is trained gets its
 * gradients. */
static hn_status linear_group_backward(hn_net *net, int layer, hn_group group, const float *x,
                                       int64_t n, float *const *dy, float *dx, hn_error *err) {
    const hn_layer *weights = &net->model->layers[layer];
    const bool full = net->params->full;
    hn_sums_poll(net->sums);
    float *scaled[HN_LINEAR_MAX_OUTPUTS];
    bool dora = n && hn_net_is_dora(net, layer, group), dropped = dora && net->dropout > 0;
    if (dora && !dropped) {
        HN_TRY(hn_net_dora_backward(net, layer, group, x, n, dy, scaled, NULL, err));
        dy = scaled;
    }
    hn_backward down = {.n = n, .dx = dx};
    HN_TRY(hn_net_lora_gradients(net, layer, group, x, n, dy, &down.low_rank, err));
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++) {
        int i = down.n_inputs++;
        down.dx_stride = weights->w[m].cols;
        down.input[i].w = &weights->w[m];
        down.input[i].dy = dy[i];
        down.input[i].dy_stride = weights->w[m].rows;
    }
    if (dx && n)
        HN_TRY(hn_backward_run(net->model->compute, &down, err));
    for (int m = (int)HN_GROUP_FIRST[group]; full && m <= (int)HN_GROUP_LAST[group]; m++)
        HN_TRY(hn_net_full_linear(net, &weights->w[m], weights->bias[m], x,
                                  dy[m - (int)HN_GROUP_FIRST[group]], n, err));
    if (dropped) { /* the base's product of x itself isn't scaled */
        HN_TRY(hn_net_dora_backward(net, layer, group, x, n, dy, scaled, dx, err));
        dy = scaled;
    }
    return hn_net_lora_backward(net, layer, group, x, n, dy, dx, err);
}

/* Where the family norms a branch's output: y = x + norm(raw); otherwise raw is x's own sum. */
static hn_status add_branch(hn_net *net, int layer, hn_group group, const float *input, int64_t n,
                            const float *x, const float *post_norm, float *raw, float *y,
                            hn_error *err) {
    int64_t dim = net->model->arch.n_embd;
    size_t bytes = (size_t)(n * dim) * sizeof *y;
    if (!post_norm && !hn_net_is_dora(net, layer, group)) {
        memcpy(y, x, bytes);
        return hn_net_products(net, layer, group, input, n, (float *[]){y}, HN_PRODUCTS_ADD, err);
    }
    HN_TRY(linear_group(net, layer, group, input, n, (float *[]){post_norm ? raw : y}, err));
    if (post_norm)
        hn_net_rms_norm(net, raw, post_norm, n, dim, y);
    hn_net_add(net, y, x, n, dim);
    return HN_OK;
}

/* The gradient of the branch's raw output from that of its sum. */
static const float *branch_gradient(hn_net *net, const float *post_norm, const float *raw,
                                    int64_t n, const float *dx, float *scratch) {
    int64_t dim = net->model->arch.n_embd;
    if (!post_norm)
        return dx;
    memset(scratch, 0, (size_t)(n * dim) * sizeof *scratch);
    hn_net_rms_norm_backward(net, raw, post_norm, n, dim, dx, scratch);
    return scratch;
}

static hn_attention attention_of(const hn_net *net, int layer) {
    const hn_layer_acts *a = &net->acts[layer];
    const hn_arch *arch = &net->model->arch;
    return (hn_attention){
        .q = a->q,
        .k = a->k,
        .v = a->v,
        .o = a->o,
        .lse = a->lse,
        .scale = arch->attn_scale,
        .window = hn_arch_layer_is_local(arch, layer) ? arch->sliding_window : 0,
    };
}

static hn_status attention_forward(hn_net *net, int layer, hn_error *err) {
    const hn_arch *arch = &net->model->arch;
    const hn_layer *weights = &net->model->layers[layer];
    hn_layer_acts *a = &net->acts[layer];
    int64_t n = net->tree->n_rows;
    float *q = arch->qk_norm ? a->q_raw : a->q, *k = arch->qk_norm ? a->k_raw : a->k;
    hn_net_rms_norm(net, a->x, weights->attn_norm, n, arch->n_embd, net->xn);
    HN_TRY(linear_group(net, layer, HN_GROUP_QKV, net->xn, n, (float *[]){q, k, a->v}, err));
    if (arch->qk_norm) {
        hn_net_rms_norm(net, q, weights->q_norm, n * arch->n_head, arch->head_dim, a->q);
        hn_net_rms_norm(net, k, weights->k_norm, n * arch->n_head_kv, arch->head_dim, a->k);
    }
    hn_net_rope(net, layer, a->q, arch->n_head, false);
    hn_net_rope(net, layer, a->k, arch->n_head_kv, false);
    hn_attention attention = attention_of(net, layer);
    hn_attention_forward(net->plan, net->ops, net->pool, &attention);
    return HN_OK;
}

/* A layer but for its last product, whose input is left in net->h. */
static hn_status forward_to_down(hn_net *net, int layer, hn_error *err) {
    const hn_arch *arch = &net->model->arch;
    const hn_layer *weights = &net->model->layers[layer];
    hn_layer_acts *a = &net->acts[layer];
    bool last = layer == arch->n_layer - 1;
    int64_t n = hn_net_mid_rows(net, layer);
    HN_TRY(attention_forward(net, layer, err));
    const float *o = a->o, *x = a->x;
    if (last) {
        gather(net, a->o, q_width(arch), net->gathered);
        gather(net, a->x, arch->n_embd, net->dxn);
        o = net->gathered;
        x = net->dxn;
    }
    HN_TRY(add_branch(net, layer, HN_GROUP_O, o, n, x, weights->post_attn_norm, a->attn_raw,
                      a->x_mid, err));
    hn_net_rms_norm(net, a->x_mid, weights->ffn_norm, n, arch->n_embd, net->xn);
    HN_TRY(
        linear_group(net, layer, HN_GROUP_GATE_UP, net->xn, n, (float *[]){a->gate, a->up}, err));
    hn_net_glu(net, a->gate, a->up, n, net->h);
    return HN_OK;
}

static hn_status forward_down(hn_net *net, int layer, float *x_next, hn_error *err) {
    const hn_layer_acts *a = &net->acts[layer];
    return add_branch(net, layer, HN_GROUP_DOWN, net->h, hn_net_mid_rows(net, layer), a->x_mid,
                      net->model->layers[layer].post_ffn_norm, a->mlp_raw, x_next, err);
}

hn_status hn_net_layer_forward(hn_net *net, int layer, float *x_next, hn_error *err) {
    HN_TRY(forward_to_down(net, layer, err));
    return forward_down(net, layer, x_next, err);
}

hn_status hn_net_layer_again(hn_net *net, int layer, float *scratch, hn_error *err) {
    HN_TRY(forward_to_down(net, layer, err));
    /* Of the last product backward needs what a norm makes of it, or the low-rank input alone. */
    if (net->model->layers[layer].post_ffn_norm || net->dropout > 0 ||
        hn_net_is_dora(net, layer, HN_GROUP_DOWN))
        return forward_down(net, layer, scratch, err);
    hn_linear unused = {.n_outputs = 1};
    return hn_net_lora_join(net, layer, HN_GROUP_DOWN, net->h, hn_net_mid_rows(net, layer), &unused,
                            err);
}

/* net->dx: in, gradient of the layer's output; out, of x_mid (when it is needed). */
static hn_status mlp_backward(hn_net *net, int layer, bool need_input, hn_error *err) {
    const hn_arch *arch = &net->model->arch;
    const hn_layer *weights = &net->model->layers[layer];
    hn_layer_acts *a = &net->acts[layer];
    int64_t n = hn_net_mid_rows(net, layer);
    bool need_gates = need_input || hn_params_group_rank(net->params, layer, HN_GROUP_GATE_UP);
    bool need_down =
        net->params->full || hn_params_group_rank(net->params, layer, HN_GROUP_DOWN) > 0;
    if (!need_gates && !need_down)
        return HN_OK;
    const float *dz = branch_gradient(net, weights->post_ffn_norm, a->mlp_raw, n, net->dx, net->dy);
    if (need_down)
        hn_net_glu(net, a->gate, a->up, n, net->h);
    HN_TRY(linear_group_backward(net, layer, HN_GROUP_DOWN, net->h, n,
                                 (float *[]){(float *)(uintptr_t)dz}, need_gates ? net->dh : NULL,
                                 err));
    if (!need_gates)
        return HN_OK;
    hn_net_glu_backward(net, a->gate, a->up, net->dh, n);
    hn_net_rms_norm(net, a->x_mid, weights->ffn_norm, n, arch->n_embd, net->xn);
    HN_TRY(linear_group_backward(net, layer, HN_GROUP_GATE_UP, net->xn, n,
                                 (float *[]){a->gate, a->up}, need_input ? net->dxn : NULL, err));
    if (need_input)
        hn_net_rms_norm_backward(net, a->x_mid, weights->ffn_norm, n, arch->n_embd, net->dxn,
                                 net->dx);
    return HN_OK;
}

/* From the gradient of attention's output to those of q, k and v before rope and norm; they replace
 * q_raw / q and lie in a->q, net->dk and net->dv. */
static void attention_core_backward(hn_net *net, int layer) {
    const hn_arch *arch = &net->model->arch;
    const hn_layer *weights = &net->model->layers[layer];
    hn_layer_acts *a = &net->acts[layer];
    int64_t n = net->tree->n_rows;
    hn_attention attention = attention_of(net, layer);
    attention.d_o = net->d_o;
    attention.dq = a->q;
    attention.dk = net->dk;
    attention.dv = net->dv;
    hn_attention_backward(net->plan, net->ops, net->pool, &attention);
    hn_net_rope(net, layer, a->q, arch->n_head, true);
    hn_net_rope(net, layer, net->dk, arch->n_head_kv, true);
    if (!arch->qk_norm)
        return;
    /* a->o and a->k are free now: gradients are built there, then moved */
    memset(a->o, 0, (size_t)(n * q_width(arch)) * sizeof *a->o);
    memset(a->k, 0, (size_t)(n * kv_width(arch)) * sizeof *a->k);
    hn_net_rms_norm_backward(net, a->q_raw, weights->q_norm, n * arch->n_head, arch->head_dim, a->q,
                             a->o);
    hn_net_rms_norm_backward(net, a->k_raw, weights->k_norm, n * arch->n_head_kv, arch->head_dim,
                             net->dk, a->k);
    memcpy(a->q, a->o, (size_t)(n * q_width(arch)) * sizeof *a->q);
    memcpy(net->dk, a->k, (size_t)(n * kv_width(arch)) * sizeof *a->k);
}

/* net->dx: in, gradient of x_mid; out, of the layer's input, when a lower layer needs it. */
static hn_status attention_backward(hn_net *net, int layer, bool need_input, hn_error *err) {
    const hn_arch *arch = &net->model->arch;
    const hn_layer *weights = &net->model->layers[layer];
    hn_layer_acts *a = &net->acts[layer];
    bool last = layer == arch->n_layer - 1;
    bool need_core = need_input || hn_params_group_rank(net->params, layer, HN_GROUP_QKV);
    int64_t n = net->tree->n_rows, n_mid = hn_net_mid_rows(net, layer);
    const float *dy =
        branch_gradient(net, weights->post_attn_norm, a->attn_raw, n_mid, net->dx, net->dy);
    const float *o = a->o;
    if (last) {
        gather(net, a->o, q_width(arch), net->gathered);
        o = net->gathered;
    }
    float *d_o = last ? net->h : net->d_o; /* h is free and wide enough for the learned rows */
    HN_TRY(linear_group_backward(net, layer, HN_GROUP_O, o, n_mid,
                                 (float *[]){(float *)(uintptr_t)dy}, need_core ? d_o : NULL, err));
    if (!need_core)
        return HN_OK;
    if (last) {
        scatter(net, d_o, q_width(arch), net->d_o);
        memcpy(net->dxn, net->dx, (size_t)(n_mid * arch->n_embd) * sizeof *net->dx);
        scatter(net, net->dxn, arch->n_embd, net->dx);
    }
    attention_core_backward(net, layer);
    hn_net_rms_norm(net, a->x, weights->attn_norm, n, arch->n_embd, net->xn);
    HN_TRY(linear_group_backward(net, layer, HN_GROUP_QKV, net->xn, n,
                                 (float *[]){a->q, net->dk, net->dv}, need_input ? net->dxn : NULL,
                                 err));
    if (need_input)
        hn_net_rms_norm_backward(net, a->x, weights->attn_norm, n, arch->n_embd, net->dxn, net->dx);
    return HN_OK;
}

hn_status hn_net_layer_backward(hn_net *net, int layer, hn_error *err) {
    bool below = net->params->full || layer > net->params->lowest;
    bool attention = below || hn_params_group_rank(net->params, layer, HN_GROUP_QKV) > 0 ||
                     hn_params_group_rank(net->params, layer, HN_GROUP_O) > 0;
    HN_TRY(mlp_backward(net, layer, attention, err));
    return attention ? attention_backward(net, layer, below, err) : HN_OK;
}
