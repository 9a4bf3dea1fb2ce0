/* Calibration: the data runs through the model in float, and an observer sums x x^T. As many layers
 * at once as fit into a fixed amount of memory; the data runs once for each such group. Rows that
 * begin alike (a system text) have that beginning computed once and counted for each. */
#include "release/calibrate.h"

#include "base/mem.h"
#include "model/dora.h"
#include "release/self_text.h"

#include <string.h>

enum {
    CONTEXT = 256,     /* tokens of a piece of text; of a row at most twice as many */
    BATCH = 512,       /* tokens that run at once, of at most ... */
    MAX_SEQS = 32,     /* ... so many sequences */
    MAX_TOKENS = 4096, /* of the data that are used: several times the widest input */
    KV_BLOCK = 32,
};
static const size_t MAX_BYTES = (size_t)1 << 30; /* of Gram matrices held */

typedef struct sequence {
    const int32_t *ids;
    int32_t n;
} sequence;

/* Sequences of one source. */
typedef struct group {
    size_t first, end;
    int32_t n_common; /* tokens that all of them begin with */
} group;

struct hn_calibration {
    hn_model *model;
    const hn_adapter *adapter;
    hn_adapter *fitted; /* of an adapter with DoRA: read again, to be fitted to the model here */
    const hn_progress *progress;
    const hn_documents *rows; /* given, or NULL */
    hn_kv *kv;                /* sequence 0 holds the common beginning */
    hn_ids ids, own_ids;      /* of text; of what the model wrote */
    sequence *sequences;
    size_t n_sequences;
    group given, own;
    float weight;                     /* of the tokens at work */
    int first_layer, n_layers, group; /* held; group = how many fit */
    float *grams;                     /* [n_layers][kinds] one after the other */
    size_t layer_floats, offset[HN_CALIBRATE_KINDS];
    int64_t cols[HN_CALIBRATE_KINDS];
    hn_error *err; /* of the run at hand */
    hn_status status;
};

int hn_calibration_kind(hn_module module) {
    static const int KIND[HN_MODULE_COUNT] = {0, 0, 0, 1, 2, 2, 3};
    return KIND[module];
}

static void see(void *context, int layer, hn_module module, const float *x, int64_t n,
                int64_t cols) {
    hn_calibration *c = context;
    int slot = layer - c->first_layer, kind = hn_calibration_kind(module);
    if (slot < 0 || slot >= c->n_layers || c->status != HN_OK)
        return;
    float *gram = c->grams + (size_t)slot * c->layer_floats + c->offset[kind];
    hn_gemm gemm = {.m = cols,
                    .n = cols,
                    .k = n,
                    .a_transposed = true,
                    .a = x,
                    .b = x,
                    .c = gram,
                    .a_stride = cols,
                    .b_stride = cols,
                    .c_stride = cols,
                    .alpha = c->weight,
                    .beta = 1};
    c->status = hn_gemm_run(c->model->compute, &gemm, c->err);
}

static void measure(hn_calibration *c) {
    const hn_arch *arch = &c->model->arch;
    const int64_t cols[HN_CALIBRATE_KINDS] = {arch->n_embd, (int64_t)arch->n_head * arch->head_dim,
                                              arch->n_embd, arch->n_ff};
    for (int k = 0; k < HN_CALIBRATE_KINDS; k++) {
        c->cols[k] = cols[k];
        c->offset[k] = c->layer_floats;
        c->layer_floats += (size_t)(cols[k] * cols[k]);
    }
    size_t fit = MAX_BYTES / (c->layer_floats * sizeof(float));
    c->group = fit < 1 ? 1 : fit > (size_t)arch->n_layer ? arch->n_layer : (int)fit;
}

static void add_sequence(hn_calibration *c, const int32_t *ids, int32_t n) {
    c->sequences[c->n_sequences++] = (sequence){ids, n < 2 * CONTEXT ? n : 2 * CONTEXT};
}

static size_t n_given(const hn_calibration *c) {
    return c->rows ? c->rows->n : c->ids.size / CONTEXT;
}

/* Of rows, or pieces of the text, each so-manieth makes n_tokens, spread evenly over all of them.
 */
static double spread(const hn_calibration *c, uint64_t n_tokens) {
    uint64_t all = c->rows ? c->rows->n_tokens : c->ids.size;
    return all > n_tokens ? (double)all / (double)n_tokens : 1;
}

static void add_given(hn_calibration *c) {
    const hn_documents *rows = c->rows;
    const double step = spread(c, MAX_TOKENS);
    for (double at = 0; (size_t)at < n_given(c); at += step) {
        size_t i = (size_t)at;
        if (rows)
            add_sequence(c, rows->items[i].ids, rows->items[i].n);
        else
            add_sequence(c, c->ids.data + i * CONTEXT, CONTEXT);
    }
}

/* Every sequence keeps a token of its own. */
static int32_t common_beginning(const hn_calibration *c, size_t first, size_t end) {
    const sequence *model = &c->sequences[first];
    int32_t common = end - first > 1 ? model->n - 1 : 0;
    for (size_t i = first + 1; i < end; i++) {
        const sequence *s = &c->sequences[i];
        int32_t n = 0;
        while (n < common && n < s->n - 1 && s->ids[n] == model->ids[n])
            n++;
        common = n;
    }
    return common;
}

static hn_status choose(hn_calibration *c, const hn_calibration_data *data, hn_error *err) {
    uint64_t n_tokens = 0;
    if (data->text)
        HN_TRY(
            hn_encode(c->model->ckpt.tokenizer, data->text, strlen(data->text), 0, &c->ids, err));
    if (data->own_text)
        HN_TRY(
            hn_self_text(c->model, MAX_TOKENS / CONTEXT, CONTEXT, c->progress, &c->own_ids, err));
    size_t most = n_given(c) + c->own_ids.size / CONTEXT;
    c->sequences = hn_calloc(most + 1, sizeof *c->sequences);
    if (!c->sequences)
        return hn_fail_no_memory(err, most * sizeof *c->sequences);
    add_given(c);
    c->given.end = c->own.first = c->n_sequences;
    for (size_t i = 0; i < c->own_ids.size / CONTEXT; i++)
        add_sequence(c, c->own_ids.data + i * CONTEXT, CONTEXT);
    c->own.end = c->n_sequences;
    c->given.n_common = common_beginning(c, c->given.first, c->given.end);
    c->own.n_common = common_beginning(c, c->own.first, c->own.end);
    for (size_t i = 0; i < c->n_sequences; i++)
        n_tokens += (uint64_t)c->sequences[i].n;
    if (n_tokens >= CONTEXT && (c->given.end > 0 || !(data->rows || data->text)))
        return HN_OK;
    return hn_fail(err, HN_BAD_INPUT,
                   "the calibration data has only %llu tokens; it takes %d at least, and %d are "
                   "better",
                   (unsigned long long)n_tokens, CONTEXT, MAX_TOKENS);
}

hn_status hn_calibration_new(hn_calibration **out, const hn_checkpoint *ckpt,
                             const hn_adapter *adapter, const hn_calibration_data *data,
                             int n_threads, const hn_progress *progress, hn_error *err) {
    hn_calibration *c = hn_calloc(1, sizeof *c);
    hn_model_options options = {.n_threads = n_threads};
    hn_status status = HN_OK;
    if (!c)
        return hn_fail_no_memory(err, sizeof *c);
    c->adapter = adapter;
    c->rows = data->rows;
    c->progress = progress;
    HN_GO(hn_model_open(&c->model, ckpt->path, &options, err));
    if (adapter && adapter->dora) {
        HN_GO(hn_adapter_load(&c->fitted, adapter->name, c->model, err));
        c->adapter = c->fitted;
    }
    HN_GO(hn_kv_new(&c->kv, c->model, 1 + MAX_SEQS,
                    2 * CONTEXT + BATCH + 2 * KV_BLOCK * (1 + MAX_SEQS), err));
    HN_GO(choose(c, data, err));
    measure(c);
    c->grams = hn_alloc_aligned((size_t)c->group * c->layer_floats * sizeof *c->grams);
    if (!c->grams) {
        status = hn_fail_no_memory(err, (size_t)c->group * c->layer_floats * sizeof *c->grams);
        goto done;
    }
    *out = c;
    return HN_OK;
done:
    hn_calibration_free(c);
    return status;
}

hn_model *hn_calibration_model(const hn_calibration *c, const hn_adapter **adapter) {
    *adapter = c->adapter;
    return c->model;
}

/* Piece i of a text, whose every token has the next one for a label. */
static hn_document piece_of(const hn_ids *text, size_t i) {
    int32_t *ids = text->data + i * CONTEXT;
    return (hn_document){
        .ids = ids, .labels = ids + 1, .n = CONTEXT - 1, .n_supervised = CONTEXT - 1};
}

hn_status hn_calibration_documents(const hn_calibration *c, uint64_t n_tokens, hn_document **out,
                                   size_t *given, size_t *own, hn_error *err) {
    const double step = spread(c, n_tokens);
    size_t n = n_given(c), most = n + c->own_ids.size / CONTEXT + 1;
    hn_document *list = hn_calloc(most, sizeof *list);
    if (!list)
        return hn_fail_no_memory(err, most * sizeof *list);
    *given = 0;
    for (double at = 0; (size_t)at < n; at += step) {
        size_t i = (size_t)at;
        list[(*given)++] = c->rows ? c->rows->items[i] : piece_of(&c->ids, i);
    }
    *own = c->own_ids.size / CONTEXT;
    for (size_t i = 0; i < *own; i++)
        list[*given + i] = piece_of(&c->own_ids, i);
    *out = list;
    return HN_OK;
}

hn_compute *hn_calibration_compute(const hn_calibration *c) {
    return c->model->compute;
}

void hn_calibration_free(hn_calibration *c) {
    if (!c)
        return;
    hn_free_aligned(c->grams, (size_t)c->group * c->layer_floats * sizeof *c->grams);
    hn_ids_done(&c->ids);
    hn_ids_done(&c->own_ids);
    hn_free(c->sequences);
    hn_kv_free(c->kv);
    hn_adapter_free(c->fitted);
    hn_model_free(c->model);
    hn_free(c);
}

static hn_status run_rows(hn_calibration *c, const hn_batch_row *rows, int n, hn_error *err) {
    HN_TRY(hn_forward(c->model, c->kv, &c->adapter, c->adapter ? 1 : 0, rows, n, NULL, NULL, err));
    return c->status;
}

static void add_tokens(const hn_calibration *c, const sequence *s, int32_t from, int32_t to,
                       int seq, hn_batch_row *rows, int *n) {
    for (int32_t i = from; i < to; i++)
        rows[(*n)++] = (hn_batch_row){
            .token = s->ids[i], .seq = seq, .adapter = c->adapter ? 0 : -1, .wants_logits = true};
}

static hn_status run_common(hn_calibration *c, const group *g, hn_batch_row *rows, hn_error *err) {
    int n = 0;
    hn_kv_truncate(c->kv, 0, 0);
    if (g->n_common == 0)
        return HN_OK;
    c->weight = (float)(g->end - g->first);
    add_tokens(c, &c->sequences[g->first], 0, g->n_common, 0, rows, &n);
    return run_rows(c, rows, n, err);
}

/* As many sequences from *at on as go together. */
static hn_status run_batch(hn_calibration *c, const group *g, size_t *at, hn_batch_row *rows,
                           hn_error *err) {
    int n = 0, n_seqs = 0;
    c->weight = 1;
    while (*at < g->end && n_seqs < MAX_SEQS) {
        const sequence *s = &c->sequences[*at];
        if (n > 0 && n + s->n - g->n_common > BATCH)
            break;
        n_seqs++;
        HN_TRY(hn_kv_fork(c->kv, 0, n_seqs, g->n_common, err));
        add_tokens(c, s, g->n_common, s->n, n_seqs, rows, &n);
        ++*at;
    }
    hn_status status = run_rows(c, rows, n, err);
    for (int seq = 1; seq <= n_seqs; seq++)
        hn_kv_truncate(c->kv, seq, 0);
    return status;
}

static hn_status run_group(hn_calibration *c, const group *g, hn_error *err) {
    hn_batch_row rows[BATCH];
    size_t at = g->first;
    if (at == g->end)
        return HN_OK;
    HN_TRY(run_common(c, g, rows, err));
    while (at < g->end) {
        hn_progress_update(c->progress, "calibrate", at, c->n_sequences, "sequences", NULL);
        if (hn_progress_cancelled(c->progress))
            return hn_fail(err, HN_CANCELLED, "stopped; nothing was written");
        HN_TRY(run_batch(c, g, &at, rows, err));
    }
    return HN_OK;
}

static hn_status run_data(hn_calibration *c, hn_error *err) {
    const hn_observer observer = {.see = see, .context = c};
    memset(c->grams, 0, (size_t)c->group * c->layer_floats * sizeof *c->grams);
    c->err = err;
    c->status = HN_OK;
    c->model->observer = &observer;
    hn_status status = run_group(c, &c->given, err);
    if (status == HN_OK)
        status = run_group(c, &c->own, err);
    c->model->observer = NULL;
    return status;
}

hn_status hn_calibration_gram(hn_calibration *c, int layer, hn_module module, float **gram,
                              int64_t *cols, hn_error *err) {
    int kind = hn_calibration_kind(module);
    if (layer < c->first_layer || layer >= c->first_layer + c->n_layers) {
        c->first_layer = layer;
        c->n_layers = c->group;
        HN_TRY(run_data(c, err));
    }
    *gram = c->grams + (size_t)(layer - c->first_layer) * c->layer_floats + c->offset[kind];
    *cols = c->cols[kind];
    return HN_OK;
}
