/* The forward pass: a fixed list of fused steps over the rows of one ragged batch. */
#include "model/attention.h"
#include "model/model.h"
#include "model/steps.h"

#include <string.h>

typedef struct pass {
    hn_model *model;
    hn_kv *kv;
    const hn_adapter *const *adapters;
    bool adapted; /* some row has an adapter */
    int n;        /* rows still computed: all, or those that want logits in the last layer */
    hn_error *err;
} pass;

static hn_status linear(const pass *p, const hn_linear *step) {
    return hn_linear_run(p->model->compute, step, p->err);
}

static void adapt(const pass *p, int layer, hn_module first, int n_modules, const float *x,
                  float *const *y) {
    if (p->adapted)
        hn_step_adapt(p->model, p->adapters, layer, first, n_modules, x, y, p->n);
}

static void observe(const pass *p, int layer, hn_module module, const float *x, int64_t cols) {
    const hn_observer *observer = p->model->observer;
    if (observer)
        observer->see(observer->context, layer, module, x, p->n, cols);
}

/* Others than the products look at what goes into them: adapters and an observer. */
static bool is_looked_at(const pass *p) {
    return p->adapted || p->model->observer;
}

static hn_status project_qkv(const pass *p, int index) {
    hn_model *model = p->model;
    hn_scratch *s = model->scratch;
    const hn_layer *layer = &model->layers[index];
    hn_linear step = {.x = s->x,
                      .n = p->n,
                      .x_stride = model->arch.n_embd,
                      .norm = layer->attn_norm,
                      .norm_eps = model->arch.rms_eps,
                      .n_outputs = 3,
                      .numerics = model->numerics};
    float *const outputs[3] = {s->q, s->k, s->v};
    for (int m = HN_MODULE_Q; m <= HN_MODULE_V; m++) {
        step.output[m].w = &layer->w[m];
        step.output[m].bias = layer->bias[m];
        step.output[m].y = outputs[m];
        step.output[m].y_stride = layer->w[m].rows;
    }
    HN_TRY(linear(p, &step));
    if (is_looked_at(p))
        hn_step_norm(model, s->x, layer->attn_norm, s->y, p->n, false);
    observe(p, index, HN_MODULE_Q, s->y, model->arch.n_embd);
    adapt(p, index, HN_MODULE_Q, 3, s->y, outputs);
    return HN_OK;
}

/* x += W in (+ adapters), or through a norm where the family has one after the block. */
static hn_status project_back(const pass *p, int index, hn_module module, const float *in,
                              const float *post_norm) {
    hn_model *model = p->model;
    hn_scratch *s = model->scratch;
    const hn_layer *layer = &model->layers[index];
    const hn_matrix *w = &layer->w[module];
    hn_linear step = {.x = in,
                      .n = p->n,
                      .x_stride = w->cols,
                      .n_outputs = 1,
                      .output = {{.w = w,
                                  .bias = layer->bias[module],
                                  .y = post_norm ? s->y : s->x,
                                  .y_stride = model->arch.n_embd,
                                  .accumulate = !post_norm}},
                      .numerics = model->numerics};
    if (module == HN_MODULE_DOWN && !is_looked_at(p)) {
        step.activate = hn_step_activation(model);
        step.up = s->up;
    }
    observe(p, index, module, in, w->cols);
    if (p->adapted && !post_norm)
        hn_step_put_aside(model, p->adapters, index, module, s->x, s->y, p->n);
    HN_TRY(linear(p, &step));
    adapt(p, index, module, 1, in, &step.output[0].y);
    if (p->adapted && !post_norm)
        hn_step_add_back(model, p->adapters, index, module, s->x, s->y, p->n);
    if (post_norm)
        hn_step_norm(model, s->y, post_norm, s->x, p->n, true);
    return HN_OK;
}

static void attend(const pass *p, int layer) {
    const hn_arch *arch = &p->model->arch;
    const hn_scratch *s = p->model->scratch;
    hn_attention attention = {
        .kv = p->kv,
        .layer = layer,
        .n_head = arch->n_head,
        .n_head_kv = arch->n_head_kv,
        .head_dim = arch->head_dim,
        .window = hn_arch_layer_is_local(arch, layer) ? arch->sliding_window : 0,
        .scale = arch->attn_scale,
        .places = s->places,
        .order = s->order,
        .n_rows = p->n,
        .q = s->q,
        .out = s->att,
    };
    hn_attention_run(p->model->compute, &attention);
}

static hn_status feed_forward(const pass *p, int index) {
    hn_model *model = p->model;
    hn_scratch *s = model->scratch;
    const hn_layer *layer = &model->layers[index];
    hn_linear step = {.x = s->x,
                      .n = p->n,
                      .x_stride = model->arch.n_embd,
                      .norm = layer->ffn_norm,
                      .norm_eps = model->arch.rms_eps,
                      .n_outputs = 2,
                      .output = {{.w = &layer->w[HN_MODULE_GATE],
                                  .bias = layer->bias[HN_MODULE_GATE],
                                  .y = s->gate,
                                  .y_stride = model->arch.n_ff},
                                 {.w = &layer->w[HN_MODULE_UP],
                                  .bias = layer->bias[HN_MODULE_UP],
                                  .y = s->up,
                                  .y_stride = model->arch.n_ff}},
                      .numerics = model->numerics};
    HN_TRY(linear(p, &step));
    if (is_looked_at(p))
        hn_step_norm(model, s->x, layer->ffn_norm, s->y, p->n, false);
    observe(p, index, HN_MODULE_GATE, s->y, model->arch.n_embd);
    float *const outputs[2] = {s->gate, s->up};
    adapt(p, index, HN_MODULE_GATE, 2, s->y, outputs);
    if (is_looked_at(p))
        hn_step_activate(model, p->n);
    return project_back(p, index, HN_MODULE_DOWN, s->gate, layer->post_ffn_norm);
}

/* Keeps the rows that want logits: above the last layer's keys and values nothing else counts. */
static void keep_wanted(pass *p, const hn_batch_row *rows) {
    const hn_arch *arch = &p->model->arch;
    hn_scratch *s = p->model->scratch;
    size_t q_dim = (size_t)arch->n_head * (size_t)arch->head_dim, n_embd = (size_t)arch->n_embd;
    int kept = 0;
    for (int i = 0; i < p->n; i++) {
        if (!rows[i].wants_logits)
            continue;
        if (kept < i) {
            memcpy(s->q + (size_t)kept * q_dim, s->q + (size_t)i * q_dim, q_dim * sizeof *s->q);
            memcpy(s->x + (size_t)kept * n_embd, s->x + (size_t)i * n_embd, n_embd * sizeof *s->x);
            s->places[kept] = s->places[i];
        }
        kept++;
    }
    p->n = kept;
    hn_attention_order(p->kv, s->places, kept, s->order);
}

static hn_status run_layers(pass *p, const hn_batch_row *rows) {
    hn_model *model = p->model;
    for (int layer = 0; layer < model->arch.n_layer && p->n > 0; layer++) {
        HN_TRY(project_qkv(p, layer));
        hn_step_place(model, p->kv, layer, p->n);
        if (layer == model->arch.n_layer - 1)
            keep_wanted(p, rows);
        if (p->n == 0)
            break;
        attend(p, layer);
        HN_TRY(project_back(p, layer, HN_MODULE_O, model->scratch->att,
                            model->layers[layer].post_attn_norm));
        HN_TRY(feed_forward(p, layer));
    }
    return HN_OK;
}

static hn_status write_outputs(const pass *p, const uint64_t *wanted, int n_wanted, float *logits,
                               float *hidden) {
    hn_model *model = p->model;
    if (hidden)
        hn_step_norm(model, model->scratch->x, model->output_norm, hidden, p->n, false);
    if (!logits || p->n == 0)
        return HN_OK;
    return hn_step_head(model, p->n, wanted, n_wanted < p->n ? n_wanted : p->n, logits, p->err);
}

/* Appends the rows' positions to the cache and notes where each row stands, and beside whom. */
static hn_status append_rows(pass *p, const hn_batch_row *rows) {
    for (int i = 0; i < p->n; i++) {
        int32_t adapter = rows[i].adapter;
        uint64_t id = adapter >= 0 ? p->adapters[adapter]->id : 0;
        p->model->scratch->places[i] =
            (hn_row_place){rows[i].seq, hn_kv_length(p->kv, rows[i].seq), adapter};
        HN_TRY(hn_kv_append(p->kv, rows[i].seq, rows[i].token, id, p->err));
        p->adapted |= adapter >= 0;
    }
    hn_attention_order(p->kv, p->model->scratch->places, p->n, p->model->scratch->order);
    return HN_OK;
}

static hn_status check_rows(const hn_model *model, const hn_kv *kv, int n_adapters,
                            const hn_batch_row *rows, int n_rows, hn_error *err) {
    for (int i = 0; i < n_rows; i++) {
        if (rows[i].token < 0 || rows[i].token >= model->arch.n_vocab)
            return hn_fail(err, HN_BAD_INPUT, "row %d: token %d, the vocabulary has %d", i,
                           rows[i].token, model->arch.n_vocab);
        if (rows[i].seq < 0 || rows[i].seq >= kv->n_seqs)
            return hn_fail(err, HN_BAD_INPUT, "row %d: sequence %d, the cache has %d", i,
                           rows[i].seq, kv->n_seqs);
        if (rows[i].adapter < -1 || rows[i].adapter >= n_adapters)
            return hn_fail(err, HN_BAD_INPUT, "row %d: adapter %d of %d", i, rows[i].adapter,
                           n_adapters);
    }
    return HN_OK;
}

static int largest_rank(const hn_adapter *const *adapters, int n_adapters, int n_layer) {
    int rank = 0;
    for (int i = 0; i < n_adapters; i++)
        for (int layer = 0; layer < n_layer; layer++)
            for (int m = 0; m < HN_MODULE_COUNT; m++)
                if (adapters[i]->layers[layer][m].r > rank)
                    rank = adapters[i]->layers[layer][m].r;
    return rank;
}

/* Takes the positions that the rows added back out of the cache. */
static void undo_rows(hn_kv *kv, const hn_batch_row *rows, const int32_t *lengths, int n_rows) {
    for (int i = 0; i < n_rows; i++)
        hn_kv_truncate(kv, rows[i].seq, lengths[rows[i].seq]);
}

static hn_status forward(hn_model *model, hn_kv *kv, const hn_adapter *const *adapters,
                         int n_adapters, const hn_batch_row *rows, int n_rows,
                         const uint64_t *wanted, int n_wanted, float *logits, float *hidden,
                         hn_error *err) {
    int chunk = n_rows < HN_FORWARD_CHUNK ? n_rows : HN_FORWARD_CHUNK;
    HN_TRY(hn_scratch_reserve(&model->scratch, &model->arch, chunk,
                              largest_rank(adapters, n_adapters, model->arch.n_layer), err));
    for (int i = 0; i < kv->n_seqs; i++)
        kv->lengths_before[i] = kv->seqs[i].length;
    hn_status status = HN_OK;
    for (int first = 0; first < n_rows; first += chunk) {
        int n = n_rows - first < chunk ? n_rows - first : chunk;
        pass p = {.model = model, .kv = kv, .adapters = adapters, .n = n, .err = err};
        HN_GO(append_rows(&p, rows + first));
        hn_step_begin(model, rows + first, n);
        HN_GO(run_layers(&p, rows + first));
        HN_GO(write_outputs(&p, wanted, n_wanted, logits, hidden));
        n_wanted = n_wanted > p.n ? n_wanted - p.n : 0;
        logits = logits ? logits + (size_t)p.n * (size_t)model->arch.n_vocab : NULL;
        hidden = hidden ? hidden + (size_t)p.n * (size_t)model->arch.n_embd : NULL;
    }
done:
    if (status != HN_OK)
        undo_rows(kv, rows, kv->lengths_before, n_rows);
    return status;
}

static hn_status reserve(hn_model *model, int n_rows, hn_error *err) {
    const int n = n_rows < HN_FORWARD_CHUNK ? n_rows : HN_FORWARD_CHUNK;
    HN_TRY(hn_scratch_reserve(&model->scratch, &model->arch, n, 0, err));
    hn_linear step = {
        .n = n, .norm = model->output_norm, .n_outputs = 1, .numerics = model->numerics};
    step.output[0].w = hn_model_head(model);
    HN_TRY(hn_linear_reserve(model->compute, &step, err));
    for (int i = 0; i < model->arch.n_layer; i++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            const hn_layer *layer = &model->layers[i];
            step.norm = m == HN_MODULE_O || m == HN_MODULE_DOWN ? NULL : layer->attn_norm;
            step.activate = m == HN_MODULE_DOWN ? hn_step_activation(model) : NULL;
            step.output[0].w = &layer->w[m];
            HN_TRY(hn_linear_reserve(model->compute, &step, err));
        }
    return HN_OK;
}

hn_status hn_forward_reserve(hn_model *model, int n_rows, hn_error *err) {
    hn_turns_begin(&model->turns);
    hn_status status = reserve(model, n_rows, err);
    hn_turns_end(&model->turns);
    return status;
}

hn_status hn_forward_wanted(hn_model *model, hn_kv *kv, const hn_adapter *const *adapters,
                            int n_adapters, const hn_batch_row *rows, int n_rows,
                            const uint64_t *wanted, int n_wanted, float *logits, float *hidden,
                            hn_error *err) {
    HN_TRY(check_rows(model, kv, n_adapters, rows, n_rows, err));
    for (int i = 0; i < n_adapters; i++)
        if (adapters[i] && adapters[i]->dora && !adapters[i]->fitted)
            return hn_fail(err, HN_USAGE, "an adapter with DoRA hasn't been fitted to the model");
    hn_turns_begin(&model->turns);
    hn_status status = forward(model, kv, adapters, n_adapters, rows, n_rows, wanted, n_wanted,
                               logits, hidden, err);
    hn_turns_end(&model->turns);
    return status;
}

hn_status hn_forward(hn_model *model, hn_kv *kv, const hn_adapter *const *adapters, int n_adapters,
                     const hn_batch_row *rows, int n_rows, float *logits, float *hidden,
                     hn_error *err) {
    return hn_forward_wanted(model, kv, adapters, n_adapters, rows, n_rows, NULL, 0, logits, hidden,
                             err);
}
