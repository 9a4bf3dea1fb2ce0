/* A pass as a whole: memory, embedding, the layers up and down, the head with its loss. */
#include "train/net.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

enum {
    LOGITS_BYTES = 32 << 20, /* a tile of logits; the whole matrix would be gigabytes */
    MIN_TILE_ROWS = 16,
    FLOATS_ALIGN = HN_ALIGN_BYTES / 4,
};

size_t hn_net_budget(const hn_model *model, size_t least) {
    size_t bytes = 0;
    least = least > HN_NET_BUDGET_BYTES ? least : HN_NET_BUDGET_BYTES;
    for (int l = 0; l < model->arch.n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++)
            bytes += model->layers[l].w[m].packed_bytes;
    return bytes > least ? bytes : least;
}

hn_status hn_net_new(hn_net **out, hn_model *model, hn_params *params, float dropout,
                     size_t budget_bytes, hn_error *err) {
    hn_net *net = hn_calloc(1, sizeof *net);
    if (!net)
        return hn_fail_no_memory(err, sizeof *net);
    *net = (hn_net){.model = model, .params = params, .dropout = dropout};
    net->ops = hn_train_ops_get(hn_compute_isa(model->compute));
    net->pool = hn_compute_pool(model->compute);
    net->budget_bytes = budget_bytes ? budget_bytes : hn_net_budget(model, 0);
    hn_status status = params->dora ? hn_net_dora_new(net, err) : HN_OK;
    if (status == HN_OK)
        *out = net;
    else
        hn_net_free(net);
    return status;
}

void hn_net_free(hn_net *net) {
    if (!net)
        return;
    hn_net_finish(net);
    hn_net_dora_done(net);
    hn_free_aligned(net->memory, net->memory_bytes);
    hn_free(net);
}

/* Hands out consecutive pieces; with base NULL it only measures. */
typedef struct carver {
    float *base;
    size_t used; /* floats */
} carver;

static float *carve(carver *c, int64_t rows, int64_t columns) {
    float *piece = c->base ? c->base + c->used : NULL;
    c->used += ((size_t)rows * (size_t)columns + FLOATS_ALIGN - 1) / FLOATS_ALIGN * FLOATS_ALIGN;
    return piece;
}

/* Everything of a layer but x. `mid` = rows from x_mid on. */
static void carve_layer(const hn_net *net, carver *c, int layer, int64_t rows, int64_t mid,
                        hn_layer_acts *a) {
    const hn_arch *arch = &net->model->arch;
    int64_t q = (int64_t)arch->n_head * arch->head_dim;
    int64_t kv = (int64_t)arch->n_head_kv * arch->head_dim;
    a->q = carve(c, rows, q);
    a->k = carve(c, rows, kv);
    a->v = carve(c, rows, kv);
    a->q_raw = carve(c, arch->qk_norm ? rows : 0, q);
    a->k_raw = carve(c, arch->qk_norm ? rows : 0, kv);
    a->o = carve(c, rows, q);
    a->lse = carve(c, rows, arch->n_head);
    a->attn_raw = carve(c, arch->post_norms ? mid : 0, arch->n_embd);
    a->x_mid = carve(c, mid, arch->n_embd);
    a->gate = carve(c, mid, arch->n_ff);
    a->up = carve(c, mid, arch->n_ff);
    a->mlp_raw = carve(c, arch->post_norms ? mid : 0, arch->n_embd);
    for (int g = 0; g < HN_GROUP_COUNT; g++)
        a->t[g] = carve(c, rows, hn_params_group_rank(net->params, layer, (hn_group)g));
}

/* The layer of the largest rank stands for all when one buffer serves every layer. */
static int widest_layer(const hn_net *net) {
    int best = 0, best_rank = -1;
    for (int l = 0; l < net->model->arch.n_layer; l++) {
        int rank = 0;
        for (int g = 0; g < HN_GROUP_COUNT; g++)
            rank += hn_params_group_rank(net->params, l, (hn_group)g);
        if (rank > best_rank) {
            best = l;
            best_rank = rank;
        }
    }
    return best;
}

/* The lowest n_shared layers keep their x alone. */
static void carve_layers(hn_net *net, carver *c, int64_t rows, int64_t learned, int n_shared) {
    int n_layer = net->model->arch.n_layer;
    hn_layer_acts one = {0};
    if (n_shared > 0)
        carve_layer(net, c, widest_layer(net), rows, rows, &one);
    for (int l = 0; l < n_layer; l++) {
        if (l < n_shared)
            net->acts[l] = one;
        else
            carve_layer(net, c, l, rows, l == n_layer - 1 ? learned : rows, &net->acts[l]);
        net->acts[l].x = carve(c, rows, net->model->arch.n_embd);
    }
}

static int64_t largest_rank(const hn_net *net) {
    int64_t best = 0;
    for (int l = 0; l < net->params->n_layer; l++)
        for (int g = 0; g < HN_GROUP_COUNT; g++) {
            int rank = hn_params_group_rank(net->params, l, (hn_group)g);
            best = rank > best ? rank : best;
        }
    return best;
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static void carve_scratch(hn_net *net, carver *c, int64_t rows, int64_t learned) {
    const hn_arch *arch = &net->model->arch;
    int64_t q = (int64_t)arch->n_head * arch->head_dim;
    int64_t kv = (int64_t)arch->n_head_kv * arch->head_dim, dim = arch->n_embd;
    bool local = arch->sliding_window > 0;
    net->x_out = carve(c, learned, dim);
    net->dx = carve(c, rows, dim);
    net->dxn = carve(c, rows, dim);
    net->dy = carve(c, rows, dim);
    net->xn = carve(c, rows, dim);
    net->gathered = carve(c, learned, q);
    net->d_o = carve(c, rows, q);
    net->dk = carve(c, rows, kv);
    net->dv = carve(c, rows, kv);
    net->h = carve(c, rows, larger(arch->n_ff, q));
    net->dh = carve(c, rows, arch->n_ff);
    net->dt = carve(c, rows, largest_rank(net));
    net->dropped = carve(c, net->dropout > 0 ? rows : 0, larger(larger(arch->n_ff, q), dim));
    int64_t dora = net->params->dora ? rows : 0;
    net->dora.z = carve(c, dora, larger(2 * arch->n_ff, q + 2 * kv));
    net->dora.dy = carve(c, dora, dim);
    net->cos = carve(c, rows, arch->rope_dim / 2);
    net->sin = carve(c, rows, arch->rope_dim / 2);
    net->cos_local = carve(c, local ? rows : 0, arch->rope_dim / 2);
    net->sin_local = carve(c, local ? rows : 0, arch->rope_dim / 2);
    net->tile_x = carve(c, net->tile_rows, dim);
    net->tile_dx = carve(c, net->tile_rows, dim);
    net->logits = carve(c, net->tile_rows, arch->n_vocab);
}

int64_t hn_net_max_rows(const hn_net *net, bool backward) {
    enum { SAMPLE_ROWS = 1024 };
    hn_net probe = {.model = net->model, .params = net->params};
    carver c = {0};
    carve_layers(&probe, &c, SAMPLE_ROWS, SAMPLE_ROWS, backward ? 0 : net->model->arch.n_layer);
    if (!backward) /* then rows are many, and scratch is no small part of what they need */
        carve_scratch(&probe, &c, SAMPLE_ROWS, SAMPLE_ROWS);
    int64_t rows = (int64_t)(net->budget_bytes / (c.used * sizeof(float) / SAMPLE_ROWS));
    return rows > 1 ? rows : 1;
}

/* The learned rows of the tree, each once. */
static hn_status find_learned(hn_net *net, hn_error *err) {
    const hn_tree *tree = net->tree;
    size_t n = (size_t)tree->n_targets;
    net->learned.rows = hn_malloc(3 * n * sizeof *net->learned.rows);
    if (!net->learned.rows)
        return hn_fail_no_memory(err, 3 * n * sizeof *net->learned.rows);
    net->learned.target = net->learned.rows + n;
    net->learned.tree_row = net->learned.target + n;
    net->learned.n = 0;
    for (int32_t i = 0; i < tree->n_targets; i++) {
        if (i == 0 || tree->targets[i].row != tree->targets[i - 1].row)
            net->learned.rows[net->learned.n++] = tree->targets[i].row;
        net->learned.target[i] = net->learned.n - 1;
        net->learned.tree_row[i] = tree->targets[i].row;
    }
    return HN_OK;
}

static void fill_rope(hn_net *net, const float *inv_freq, float *cosines, float *sines) {
    int half = net->model->arch.rope_dim / 2;
    for (int32_t i = 0; i < net->tree->n_rows; i++)
        for (int j = 0; j < half; j++) {
            float angle = (float)net->tree->positions[i] * inv_freq[j];
            cosines[i * half + j] = cosf(angle);
            sines[i * half + j] = sinf(angle);
        }
}

/* The fewest layers to compute twice within the budget. Those below the lowest adapter have no
 * backward: they never need to keep anything. */
static int n_recomputed(hn_net *net, int64_t rows, int64_t learned, bool backward) {
    int n_layer = net->model->arch.n_layer;
    for (int n = net->params->lowest; backward && n < n_layer; n++) {
        carver c = {0};
        carve_layers(net, &c, rows, learned, n);
        if (c.used * sizeof(float) <= net->budget_bytes)
            return n;
    }
    return n_layer;
}

/* Lays the pass out in memory, which grows but never shrinks: giving it back would cost a page
 * fault for every page of every step. */
static hn_status lay_out(hn_net *net, bool backward, hn_error *err) {
    int64_t rows = net->tree->n_rows, learned = net->learned.n;
    int64_t tile = LOGITS_BYTES / (int64_t)(sizeof(float) * (size_t)net->model->arch.n_vocab);
    tile = tile < MIN_TILE_ROWS ? MIN_TILE_ROWS : tile / MIN_TILE_ROWS * MIN_TILE_ROWS;
    net->tile_rows = (int32_t)(tile < net->tree->n_targets ? tile : net->tree->n_targets);
    net->n_recomputed = n_recomputed(net, rows, learned, backward);
    carver c = {0};
    carve_layers(net, &c, rows, learned, net->n_recomputed);
    carve_scratch(net, &c, rows, learned);
    if (c.used * sizeof(float) > net->memory_bytes) {
        hn_free_aligned(net->memory, net->memory_bytes);
        net->memory_bytes = c.used * sizeof(float);
        net->memory = hn_alloc_aligned(net->memory_bytes);
        if (!net->memory) {
            net->memory_bytes = 0;
            return hn_fail_no_memory(err, c.used * sizeof(float));
        }
    }
    c = (carver){.base = net->memory};
    carve_layers(net, &c, rows, learned, net->n_recomputed);
    carve_scratch(net, &c, rows, learned);
    return HN_OK;
}

hn_status hn_net_prepare(hn_net *net, const hn_tree *tree, bool backward, hn_error *err) {
    const hn_arch *arch = &net->model->arch;
    net->tree = tree;
    HN_TRY(find_learned(net, err));
    HN_TRY(lay_out(net, backward, err));
    hn_attention_shape shape = {arch->n_head, arch->n_head_kv, arch->head_dim};
    HN_TRY(hn_attention_plan_new(&net->plan, tree, shape, hn_pool_threads(net->pool), err));
    fill_rope(net, net->model->rope_inv_freq, net->cos, net->sin);
    if (arch->sliding_window > 0)
        fill_rope(net, net->model->rope_inv_freq_local, net->cos_local, net->sin_local);
    return HN_OK;
}

void hn_net_finish(hn_net *net) {
    hn_attention_plan_free(net->plan);
    hn_free(net->learned.rows);
    net->plan = NULL;
    net->learned = (hn_learned){0};
    net->tree = NULL;
}

static hn_status embed(hn_net *net, hn_error *err) {
    const hn_arch *arch = &net->model->arch;
    float *x = net->acts[0].x;
    for (int32_t i = 0; i < net->tree->n_rows; i++, x += arch->n_embd) {
        int32_t token = net->tree->tokens[i];
        if (token < 0 || token >= arch->n_vocab)
            return hn_fail(err, HN_BAD_INPUT, "token %d isn't in the model's vocabulary of %d",
                           token, arch->n_vocab);
        hn_matrix_row(&net->model->embed, token, x);
        if (arch->embd_scale != 1.0f)
            for (int32_t d = 0; d < arch->n_embd; d++)
                x[d] *= arch->embd_scale;
    }
    return HN_OK;
}

static hn_status forward(hn_net *net, bool backward, hn_error *err) {
    int n_layer = net->model->arch.n_layer;
    HN_TRY(embed(net, err));
    if (net->noise_alpha > 0 && backward)
        hn_net_noise(net, net->acts[0].x);
    for (int l = 0; l < n_layer; l++)
        HN_TRY(
            hn_net_layer_forward(net, l, l + 1 < n_layer ? net->acts[l + 1].x : net->x_out, err));
    return HN_OK;
}

static hn_status backward_layers(hn_net *net, const hn_pass *pass, hn_net_loss *sum,
                                 hn_error *err) {
    int n_layer = net->model->arch.n_layer, lowest = net->params->lowest;
    for (int l = n_layer - 1; l >= 0; l--) {
        /* net->dx is the gradient of what this layer gives; the last one's is the head's work */
        if (l < n_layer - 1)
            HN_TRY(hn_net_loss_states(net, pass, l, l >= lowest ? net->dx : NULL, sum, err));
        if (l < lowest)
            continue;
        /* The forward again, but for the layer whose work the shared memory still holds; net->dx,
         * which it doesn't touch, holds the gradient meanwhile. */
        if (l < net->n_recomputed - 1)
            HN_TRY(hn_net_layer_again(net, l, net->dy, err));
        HN_TRY(hn_net_layer_backward(net, l, err));
        if (pass->final && net->sums)
            hn_sums_layer(net->sums, l);
    }
    if (net->params->full && !net->params->vectors)
        hn_net_full_embed(net);
    return HN_OK;
}

hn_status hn_net_forward(hn_net *net, const hn_tree *tree, hn_error *err) {
    HN_TRY(hn_net_prepare(net, tree, false, err));
    if (net->params->dora)
        HN_TRY(hn_net_dora_update(net, err));
    HN_TRY(forward(net, false, err));
    hn_net_output_norm(net);
    return HN_OK;
}

hn_status hn_net_run(hn_net *net, const hn_pass *pass, hn_net_loss *sum, hn_error *err) {
    float dropout = net->dropout;
    if (!pass->backward)
        net->dropout = 0; /* evaluation */
    net->dropout_key = pass->dropout_key;
    net->without_adapter = pass->without_adapter;
    hn_status status = hn_net_prepare(net, pass->tree, pass->backward, err);
    if (status == HN_OK && net->params->dora && !net->without_adapter)
        status = hn_net_dora_update(net, err);
    if (status == HN_OK)
        status = forward(net, pass->backward, err);
    if (status == HN_OK)
        status = hn_net_head(net, pass, sum, err);
    if (status == HN_OK && pass->backward)
        status = backward_layers(net, pass, sum, err);
    hn_net_finish(net);
    net->dropout = dropout;
    return status;
}
