/* A checkpoint, with or without an adapter, into a quantised GGUF: tensors in the order of layers,
 * rows on all threads, written as they are done. */
#include "release/quantise.h"

#include "base/mem.h"
#include "kernels/matrix.h"
#include "release/calibrate.h"
#include "release/feedback.h"
#include "release/grid.h"
#include "release/quantise_meta.h"
#include "release/survival.h"
#include "release/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_BYTES = 16 << 20 }; /* of rows quantised before they are written */

typedef struct plan {
    const hn_tensor *tensor;
    hn_weight weight;
    hn_dtype dtype;
} plan;

typedef struct job {
    const hn_checkpoint *ckpt;
    const hn_progress *progress;
    hn_pool *pool;
    int n_threads;
    plan *plans;
    size_t n_plans;
    float *rope_factors; /* rope_freqs.weight to be added, or NULL */
    hn_tensor rope_tensor;
    hn_survival survival;
    hn_gguf_writer *writer;
    hn_calibration *calibration; /* NULL without calibration text */
    int factor_layer, factor_kind;
    float *factor;  /* of hn_feedback_prepare, (cols, cols), or NULL: plain rounding */
    float *scratch; /* (most columns of a layer's matrix)^2 */
    hn_error *err;

    /* of the tensor at work */
    const plan *current;
    int64_t batch_first;
    uint8_t *batch;
    float *weights; /* (cols) importance */
    struct row_space {
        float *base, *merged, *back; /* (cols) */
        hn_survival survival;
        hn_error err;
    } * space; /* [n_threads] */
} job;

static int compare_plans(const void *a, const void *b) {
    const plan *x = a, *y = b;
    if (x->weight.layer != y->weight.layer)
        return x->weight.layer - y->weight.layer;
    if (x->weight.module != y->weight.module)
        return x->weight.module - y->weight.module;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

static hn_status add_rope_factors(job *j) {
    const hn_arch *arch = &j->ckpt->arch;
    size_t n_bytes = (size_t)arch->rope_dim / 2 * sizeof(float);
    j->rope_factors = hn_malloc(n_bytes);
    if (!j->rope_factors)
        return hn_fail_no_memory(j->err, n_bytes);
    hn_arch_rope_factors(arch, j->rope_factors);
    j->rope_tensor = (hn_tensor){.name = "rope_freqs.weight",
                                 .source_name = "rope_freqs.weight",
                                 .dtype = HN_F32,
                                 .rows = 1,
                                 .cols = arch->rope_dim / 2,
                                 .data = j->rope_factors,
                                 .size_bytes = n_bytes};
    j->plans[j->n_plans++] =
        (plan){.tensor = &j->rope_tensor,
               .weight = {.tensor = &j->rope_tensor, .layer = -1, .module = -1},
               .dtype = HN_F32};
    return HN_OK;
}

static hn_status make_plans(job *j, const hn_adapter *adapter, hn_ftype ftype) {
    const hn_checkpoint *ckpt = j->ckpt;
    j->plans = hn_calloc(ckpt->n_tensors + 1, sizeof *j->plans);
    if (!j->plans)
        return hn_fail_no_memory(j->err, ckpt->n_tensors * sizeof *j->plans);
    for (size_t i = 0; i < ckpt->n_tensors; i++) {
        const hn_tensor *tensor = &ckpt->tensors[i];
        hn_dtype dtype =
            hn_ftype_tensor_dtype(ftype, &ckpt->arch, tensor->name, tensor->rows, tensor->cols);
        j->plans[j->n_plans++] = (plan){
            .tensor = tensor, .weight = hn_weight_of(ckpt, tensor, adapter, true), .dtype = dtype};
    }
    qsort(j->plans, j->n_plans, sizeof *j->plans, compare_plans);
    if (!ckpt->is_gguf && ckpt->arch.rope_scaling == HN_ROPE_LLAMA3)
        HN_TRY(add_rope_factors(j));
    return HN_OK;
}

static hn_status declare(job *j) {
    for (size_t i = 0; i < j->n_plans; i++) {
        const hn_tensor *tensor = j->plans[i].tensor;
        const uint64_t matrix[2] = {(uint64_t)tensor->rows, (uint64_t)tensor->cols};
        bool vector = tensor->rows == 1;
        HN_TRY(hn_gguf_writer_add_tensor(j->writer, tensor->name, j->plans[i].dtype, vector ? 1 : 2,
                                         vector ? matrix + 1 : matrix, j->err));
    }
    return HN_OK;
}

/* space->merged into blocks. Error feedback uses its row up, hence the copy. */
static hn_status quantise_row(const job *j, const plan *p, struct row_space *space, uint8_t *out) {
    int64_t cols = p->tensor->cols;
    if (!j->factor)
        return hn_row_quantise(p->dtype, space->merged, j->weights, cols, out, &space->err);
    memcpy(space->back, space->merged, (size_t)cols * sizeof *space->back);
    return hn_feedback_row(p->dtype, space->back, j->weights, j->factor, cols, out, &space->err);
}

/* Rows of one batch, on one thread. */
static bool quantise_rows(void *context, int64_t first, int64_t last, int thread) {
    job *j = context;
    const plan *p = j->current;
    struct row_space *space = &j->space[thread];
    int64_t cols = p->tensor->cols;
    size_t row_bytes = hn_dtype_row_bytes(p->dtype, (uint64_t)cols);
    for (int64_t row = first; row < last; row++) {
        uint8_t *out = j->batch + (size_t)(row - j->batch_first) * row_bytes;
        hn_weight_row(&p->weight, row, space->base, space->merged);
        if (quantise_row(j, p, space, out) != HN_OK) {
            hn_error_prefix(&space->err, "%s: %s: row %lld", j->ckpt->path, p->tensor->source_name,
                            (long long)row);
            return false;
        }
        if (p->weight.lora) {
            hn_blocks_dequantise(p->dtype, out, cols, space->back);
            hn_survival_add(&space->survival, space->base, space->merged, space->back, cols);
        }
    }
    return true;
}

static hn_status first_error(job *j) {
    for (int t = 0; t < j->n_threads; t++) {
        if (j->space[t].err.status != HN_OK) {
            *j->err = j->space[t].err;
            return j->err->status;
        }
    }
    return HN_OK;
}

static void even_weights(job *j, int64_t cols) {
    for (int64_t i = 0; i < cols; i++)
        j->weights[i] = 1;
}

/* Importance of columns and error feedback for a matrix, where there is calibration text. Matrices
 * that share their inputs come one after the other and share both. */
static hn_status prepare_matrix(job *j, const plan *p) {
    int64_t cols = p->tensor->cols;
    bool calibrated = j->calibration && p->weight.module >= 0 && hn_dtype_is_quantised(p->dtype);
    if (!calibrated) {
        j->factor = NULL;
        j->factor_layer = -1;
        even_weights(j, cols);
        return HN_OK;
    }
    hn_module module = (hn_module)p->weight.module;
    int kind = hn_calibration_kind(module);
    if (j->factor_layer == p->weight.layer && j->factor_kind == kind)
        return HN_OK;
    HN_TRY(hn_calibration_gram(j->calibration, p->weight.layer, module, &j->factor, &cols, j->err));
    for (int64_t i = 0; i < cols; i++)
        j->scratch[i] = j->factor[i * cols + i];
    HN_TRY(hn_importance_weights(j->scratch, cols, j->weights, j->err));
    if (!hn_feedback_prepare(j->pool, j->factor, j->scratch, cols))
        return hn_fail(j->err, HN_FAILED,
                       "%s: the calibration text leaves the inputs of %s at zero or infinite; give "
                       "more text",
                       j->ckpt->path, p->tensor->name);
    j->factor_layer = p->weight.layer;
    j->factor_kind = kind;
    return HN_OK;
}

static hn_status write_rows(job *j, const plan *p) {
    int64_t rows = p->tensor->rows;
    size_t row_bytes = hn_dtype_row_bytes(p->dtype, (uint64_t)p->tensor->cols);
    int64_t per_batch = (int64_t)(BATCH_BYTES / row_bytes) + 1;
    j->current = p;
    HN_TRY(prepare_matrix(j, p));
    for (int64_t first = 0; first < rows; first += per_batch) {
        int64_t last = first + per_batch < rows ? first + per_batch : rows;
        if (hn_progress_cancelled(j->progress))
            return hn_fail(j->err, HN_CANCELLED, "stopped; nothing was written");
        j->batch_first = first;
        if (!hn_rows_run(j->pool, first, last, quantise_rows, j))
            return first_error(j);
        HN_TRY(
            hn_gguf_writer_data(j->writer, j->batch, (size_t)(last - first) * row_bytes, j->err));
    }
    return HN_OK;
}

/* Rows that already are what they should be are copied as they lie. */
static bool is_copy(const plan *p) {
    return p->tensor->dtype == p->dtype && !p->weight.lora && !p->weight.head_dim &&
           p->weight.add == 0;
}

static hn_status write_tensors(job *j) {
    for (size_t i = 0; i < j->n_plans; i++) {
        const plan *p = &j->plans[i];
        hn_progress_update(j->progress, "quantise", i, j->n_plans, "tensors", p->tensor->name);
        if (hn_progress_cancelled(j->progress))
            return hn_fail(j->err, HN_CANCELLED, "stopped; nothing was written");
        if (is_copy(p))
            HN_TRY(hn_gguf_writer_data(j->writer, p->tensor->data, p->tensor->size_bytes, j->err));
        else
            HN_TRY(write_rows(j, p));
    }
    hn_progress_update(j->progress, "quantise", j->n_plans, j->n_plans, "tensors", NULL);
    return HN_OK;
}

static hn_status make_space(job *j) {
    size_t cols = 1, row_bytes = 4;
    for (size_t i = 0; i < j->n_plans; i++) {
        size_t c = (size_t)j->plans[i].tensor->cols;
        size_t bytes = hn_dtype_row_bytes(j->plans[i].dtype, c);
        cols = c > cols ? c : cols;
        row_bytes = bytes > row_bytes ? bytes : row_bytes;
    }
    j->batch = hn_malloc(BATCH_BYTES + 2 * row_bytes);
    j->weights = hn_malloc(cols * sizeof *j->weights);
    j->space = hn_calloc((size_t)j->n_threads, sizeof *j->space);
    bool ok = j->batch && j->weights && j->space;
    for (int t = 0; ok && t < j->n_threads; t++) {
        j->space[t].base = hn_malloc(cols * sizeof(float));
        j->space[t].merged = hn_malloc(cols * sizeof(float));
        j->space[t].back = hn_malloc(cols * sizeof(float));
        ok = j->space[t].base && j->space[t].merged && j->space[t].back;
    }
    return ok ? HN_OK : hn_fail_no_memory(j->err, BATCH_BYTES + 3 * cols * sizeof(float));
}

static void job_done(job *j) {
    for (int t = 0; j->space && t < j->n_threads; t++) {
        hn_free(j->space[t].base);
        hn_free(j->space[t].merged);
        hn_free(j->space[t].back);
    }
    hn_calibration_free(j->calibration);
    hn_free(j->scratch);
    hn_free(j->space);
    hn_free(j->batch);
    hn_free(j->weights);
    hn_free(j->plans);
    hn_free(j->rope_factors);
    hn_gguf_writer_abort(j->writer);
    hn_pool_free(j->pool);
}

static hn_status start_calibration(job *j, const hn_adapter *adapter,
                                   const hn_quantise_options *options) {
    const hn_arch *arch = &j->ckpt->arch;
    size_t widest = (size_t)(arch->n_ff > arch->n_embd ? arch->n_ff : arch->n_embd);
    size_t q_cols = (size_t)arch->n_head * (size_t)arch->head_dim;
    widest = q_cols > widest ? q_cols : widest;
    if (!options->calibration_text)
        return HN_OK;
    j->factor_layer = -1;
    j->scratch = hn_reallocarray(NULL, widest * widest, sizeof *j->scratch);
    if (!j->scratch)
        return hn_fail_no_memory(j->err, widest * widest * sizeof *j->scratch);
    return hn_calibration_new(&j->calibration, j->ckpt, adapter, options->calibration_text,
                              options->n_threads, j->progress, j->err);
}

static hn_status check_survival(const job *j, const hn_adapter *adapter,
                                const hn_quantise_options *options, hn_quantise_report *report) {
    hn_survival sum = {0};
    for (int t = 0; t < j->n_threads; t++)
        hn_survival_join(&sum, &j->space[t].survival);
    hn_survival_result(&sum, &report->adapter_cosine, &report->adapter_norm_ratio);
    if (!adapter || options->allow_lost_adapter || !hn_survival_lost(&sum))
        return HN_OK;
    return hn_fail(j->err, HN_FAILED,
                   "the adapter is lost in %s: rounding kept %.0f %% of its change (cosine %.3f, "
                   "norm ratio %.3f). Ship the base with the adapter beside it, or take "
                   "q8_0; nothing was written",
                   hn_ftype_name(options->ftype), 100 * hn_survival_share(&sum),
                   report->adapter_cosine, report->adapter_norm_ratio);
}

hn_status hn_quantise(const hn_checkpoint *ckpt, const hn_adapter *adapter, const char *path,
                      const hn_quantise_options *options, const hn_progress *progress,
                      hn_quantise_report *report, hn_error *err) {
    hn_error local;
    job j = {.ckpt = ckpt, .progress = progress, .err = err ? err : &local};
    hn_quantise_report result = {0};
    hn_status status = HN_OK;
    HN_GO(hn_pool_new(&j.pool, options->n_threads, j.err));
    j.n_threads = hn_pool_threads(j.pool);
    HN_GO(make_plans(&j, adapter, options->ftype));
    HN_GO(make_space(&j));
    HN_GO(start_calibration(&j, adapter, options));
    HN_GO(hn_gguf_writer_new(&j.writer, path, j.err));
    HN_GO(hn_quantise_write_metadata(j.writer, ckpt, options->ftype, j.err));
    HN_GO(declare(&j));
    HN_GO(hn_gguf_writer_begin(j.writer, j.err));
    HN_GO(write_tensors(&j));
    HN_GO(check_survival(&j, adapter, options, &result));
    result.size_bytes = hn_gguf_writer_size(j.writer);
    hn_gguf_writer *writer = j.writer;
    j.writer = NULL;
    HN_GO(hn_gguf_writer_commit(writer, j.err));
    *report = result;
done:
    job_done(&j);
    return status;
}
