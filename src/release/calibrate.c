/* Calibration: the text runs through the model in float, and an observer sums x x^T. As many layers
 * at once as fit into a fixed amount of memory; the text runs once for each such group. */
#include "release/calibrate.h"

#include "base/mem.h"

#include <string.h>

/* 16 pieces of 256 tokens: more than twice the width of the widest input of small models, and past
 * that the matrices hardly change. */
enum { CONTEXT = 256, MAX_PIECES = 16 };
static const size_t MAX_BYTES = (size_t)1 << 30; /* of Gram matrices held */

struct hn_calibration {
    hn_model *model;
    const hn_adapter *adapter;
    const hn_progress *progress;
    hn_kv *kv;
    hn_ids ids;
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
                    .alpha = 1,
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

hn_status hn_calibration_new(hn_calibration **out, const hn_checkpoint *ckpt,
                             const hn_adapter *adapter, const char *text, int n_threads,
                             const hn_progress *progress, hn_error *err) {
    hn_calibration *c = hn_calloc(1, sizeof *c);
    hn_model_options options = {.n_threads = n_threads};
    hn_status status = HN_OK;
    if (!c)
        return hn_fail_no_memory(err, sizeof *c);
    c->adapter = adapter;
    c->progress = progress;
    HN_GO(hn_model_open(&c->model, ckpt->path, &options, err));
    HN_GO(hn_kv_new(&c->kv, c->model, 1, CONTEXT, err));
    HN_GO(hn_encode(c->model->ckpt.tokenizer, text, strlen(text), 0, &c->ids, err));
    if (c->ids.size < CONTEXT) {
        status = hn_fail(err, HN_BAD_INPUT,
                         "the calibration text has only %zu tokens; it takes %d at least, and %d "
                         "are better",
                         c->ids.size, CONTEXT, CONTEXT * MAX_PIECES);
        goto done;
    }
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

void hn_calibration_free(hn_calibration *c) {
    if (!c)
        return;
    hn_free_aligned(c->grams, (size_t)c->group * c->layer_floats * sizeof *c->grams);
    hn_ids_done(&c->ids);
    hn_kv_free(c->kv);
    hn_model_free(c->model);
    hn_free(c);
}

static hn_status run_piece(hn_calibration *c, size_t piece, hn_error *err) {
    hn_batch_row rows[CONTEXT];
    for (int i = 0; i < CONTEXT; i++)
        rows[i] = (hn_batch_row){.token = c->ids.data[piece * CONTEXT + (size_t)i],
                                 .adapter = c->adapter ? 0 : -1,
                                 .wants_logits = true};
    hn_kv_truncate(c->kv, 0, 0);
    HN_TRY(hn_forward(c->model, c->kv, &c->adapter, c->adapter ? 1 : 0, rows, CONTEXT, NULL, NULL,
                      err));
    return c->status;
}

static hn_status run_text(hn_calibration *c, hn_error *err) {
    const hn_observer observer = {.see = see, .context = c};
    size_t n_pieces = c->ids.size / CONTEXT;
    hn_status status = HN_OK;
    n_pieces = n_pieces < MAX_PIECES ? n_pieces : MAX_PIECES;
    memset(c->grams, 0, (size_t)c->group * c->layer_floats * sizeof *c->grams);
    c->err = err;
    c->status = HN_OK;
    c->model->observer = &observer;
    for (size_t i = 0; i < n_pieces && status == HN_OK; i++) {
        hn_progress_update(c->progress, "calibrate", i, n_pieces, "pieces", NULL);
        status = hn_progress_cancelled(c->progress)
                     ? hn_fail(err, HN_CANCELLED, "stopped; nothing was written")
                     : run_piece(c, i, err);
    }
    c->model->observer = NULL;
    return status;
}

hn_status hn_calibration_gram(hn_calibration *c, int layer, hn_module module, float **gram,
                              int64_t *cols, hn_error *err) {
    int kind = hn_calibration_kind(module);
    if (layer < c->first_layer || layer >= c->first_layer + c->n_layers) {
        c->first_layer = layer;
        c->n_layers = c->group;
        HN_TRY(run_text(c, err));
    }
    *gram = c->grams + (size_t)(layer - c->first_layer) * c->layer_floats + c->offset[kind];
    *cols = c->cols[kind];
    return HN_OK;
}
