/* A checkpoint, with or without an adapter, into a quantised GGUF: tensors in the order of layers,
 * rows on all threads, written as they are done. */
#include "release/quantise.h"

#include "base/mem.h"
#include "kernels/matrix.h"
#include "release/calibrate.h"
#include "release/grid.h"
#include "release/norm_tuning.h"
#include "release/quantise_meta.h"
#include "release/rounding.h"
#include "release/survival.h"
#include "release/weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_BYTES = 16 << 20 }; /* of rows quantised before they are written */

typedef struct plan {
    const hn_tensor *tensor;
    hn_weight weight;
    hn_dtype dtype;
    bool copied;     /* rows that already are what they should be, as they lie */
    bool calibrated; /* where there is calibration data */
} plan;

/* A thread's own. */
struct row_space {
    float *base, *merged, *back;   /* (cols) */
    hn_survival survival, outputs; /* outputs: of the matrix at work */
    hn_error err;
};

/* One row of the batch at work. */
typedef struct row_work {
    int64_t row, cols;
    uint8_t *out; /* its blocks in the batch */
    int64_t at;   /* its first value in targets and changes */
    struct row_space *space;
} row_work;

typedef struct job {
    const hn_checkpoint *ckpt;
    const hn_progress *progress;
    hn_pool *pool;
    int n_threads;
    plan *plans;
    size_t n_plans;
    float *rope_factors; /* rope_freqs.weight to be added, or NULL */
    hn_tensor rope_tensor;
    hn_gguf_writer *writer;
    hn_calibration *calibration; /* NULL without calibration data */
    hn_rounding *rounding;
    int inputs_layer, inputs_kind;       /* that rounding has now; layer -1 = none */
    float *targets, *changes;            /* (rows of a calibrated batch, cols) */
    double outputs_share, outputs_error; /* sums over the matrices ... */
    int n_outputs;                       /* ... and how many */
    hn_error *err;
    /* of the tensor at work */
    const plan *current;
    int64_t batch_first;
    uint8_t *batch;
    struct row_space *space;                                      /* [n_threads] */
    hn_status (*row_act)(const struct job *j, const row_work *r); /* leaves errors in the space */
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
        plan *p = &j->plans[j->n_plans++];
        *p = (plan){
            .tensor = tensor, .weight = hn_weight_of(ckpt, tensor, adapter, true), .dtype = dtype};
        p->copied =
            tensor->dtype == dtype && !p->weight.lora && !p->weight.head_dim && p->weight.add == 0;
        p->calibrated = !p->copied && p->weight.module >= 0 && hn_dtype_is_quantised(dtype);
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

/* Rows of one batch, on one thread. */
static bool each_row(void *context, int64_t first, int64_t last, int thread) {
    const job *j = context;
    int64_t cols = j->current->tensor->cols;
    size_t row_bytes = hn_dtype_row_bytes(j->current->dtype, (uint64_t)cols);
    for (int64_t row = first; row < last; row++) {
        int64_t in_batch = row - j->batch_first;
        row_work r = {.row = row,
                      .cols = cols,
                      .out = j->batch + (size_t)in_batch * row_bytes,
                      .at = in_batch * cols,
                      .space = &j->space[thread]};
        if (j->row_act(j, &r) != HN_OK) {
            hn_error_prefix(&r.space->err, "%s: %s: row %lld", j->ckpt->path,
                            j->current->tensor->source_name, (long long)row);
            return false;
        }
    }
    return true;
}

static hn_status run_rows(job *j, hn_status (*act)(const job *, const row_work *), int64_t first,
                          int64_t last) {
    j->row_act = act;
    if (hn_rows_run(j->pool, first, last, each_row, j))
        return HN_OK;
    for (int t = 0; t < j->n_threads; t++)
        if (j->space[t].err.status != HN_OK) {
            *j->err = j->space[t].err;
            return j->err->status;
        }
    return HN_OK;
}

static hn_status quantise_row(const job *j, const row_work *r) {
    const plan *p = j->current;
    struct row_space *space = r->space;
    hn_weight_row(&p->weight, r->row, space->base, space->merged);
    HN_TRY(hn_row_quantise(p->dtype, space->merged, NULL, r->cols, r->out, &space->err));
    if (p->weight.lora) {
        hn_blocks_dequantise(p->dtype, r->out, r->cols, space->back);
        hn_survival_add(&space->survival, space->base, space->merged, space->back, r->cols);
    }
    return HN_OK;
}

/* A calibrated row before rounding ... */
static hn_status fill_target(const job *j, const row_work *r) {
    float *target = j->targets + r->at, *change = j->changes + r->at;
    hn_weight_row(&j->current->weight, r->row, r->space->base, target);
    for (int64_t i = 0; i < r->cols; i++) {
        change[i] = target[i] - r->space->base[i];
        if (!isfinite(target[i]))
            return hn_fail(&r->space->err, HN_BAD_INPUT, "column %lld holds an infinity or NaN",
                           (long long)i);
    }
    return HN_OK;
}

/* ... and what is left of the adapter after it. */
static hn_status measure_row(const job *j, const row_work *r) {
    struct row_space *space = r->space;
    const float *target = j->targets + r->at, *change = j->changes + r->at;
    for (int64_t i = 0; i < r->cols; i++)
        space->base[i] = target[i] - change[i];
    hn_blocks_dequantise(j->current->dtype, r->out, r->cols, space->back);
    hn_survival_add(&space->survival, space->base, target, space->back, r->cols);
    hn_survival_add_outputs(&space->outputs, target, space->back, change,
                            hn_rounding_change_gram(j->rounding) + r->at,
                            hn_rounding_gradient(j->rounding) + r->at, r->cols);
    return HN_OK;
}

static hn_status round_rows(job *j, const plan *p, int64_t first, int64_t last) {
    HN_TRY(run_rows(j, fill_target, first, last));
    const float *changes = p->weight.lora ? j->changes : NULL;
    HN_TRY(hn_rounding_run(j->rounding, p->dtype, j->targets, changes, last - first, j->batch,
                           j->err));
    return changes ? run_rows(j, measure_row, first, last) : HN_OK;
}

/* Matrices that share their inputs come one after the other and share what is made of them. */
static hn_status prepare_inputs(job *j, const plan *p) {
    int64_t cols;
    float *gram;
    hn_module module = (hn_module)p->weight.module;
    int kind = hn_calibration_kind(module);
    if (j->inputs_layer == p->weight.layer && j->inputs_kind == kind)
        return HN_OK;
    j->inputs_layer = p->weight.layer;
    j->inputs_kind = kind;
    HN_TRY(hn_calibration_gram(j->calibration, p->weight.layer, module, &gram, &cols, j->err));
    if (hn_rounding_inputs(j->rounding, gram, cols, j->err) != HN_OK)
        return hn_error_prefix(j->err, "%s: %s", j->ckpt->path, p->tensor->name);
    return HN_OK;
}

/* Adds the matrix's outputs to the means. */
static void end_matrix(job *j) {
    hn_survival sum = {0};
    for (int t = 0; t < j->n_threads; t++) {
        hn_survival_join(&sum, &j->space[t].outputs);
        j->space[t].outputs = (hn_survival){0};
    }
    if (!(sum.wanted > 0))
        return;
    j->outputs_share += hn_survival_share(&sum);
    j->outputs_error += hn_survival_error(&sum);
    j->n_outputs++;
}

static hn_status write_rows(job *j, const plan *p) {
    int64_t rows = p->tensor->rows;
    size_t row_bytes = hn_dtype_row_bytes(p->dtype, (uint64_t)p->tensor->cols);
    int64_t per_batch = (int64_t)(BATCH_BYTES / row_bytes) + 1;
    bool calibrated = j->calibration && p->calibrated;
    j->current = p;
    if (calibrated) {
        int64_t most = hn_rounding_max_rows(j->rounding, p->tensor->cols);
        per_batch = most < per_batch ? most : per_batch;
        HN_TRY(prepare_inputs(j, p));
    }
    for (int64_t first = 0; first < rows; first += per_batch) {
        int64_t last = first + per_batch < rows ? first + per_batch : rows;
        if (hn_progress_cancelled(j->progress))
            return hn_fail(j->err, HN_CANCELLED, "stopped; nothing was written");
        j->batch_first = first;
        if (calibrated)
            HN_TRY(round_rows(j, p, first, last));
        else
            HN_TRY(run_rows(j, quantise_row, first, last));
        HN_TRY(
            hn_gguf_writer_data(j->writer, j->batch, (size_t)(last - first) * row_bytes, j->err));
    }
    end_matrix(j);
    return HN_OK;
}

static hn_status write_tensors(job *j) {
    for (size_t i = 0; i < j->n_plans; i++) {
        const plan *p = &j->plans[i];
        hn_progress_update(j->progress, "quantise", i, j->n_plans, "tensors", p->tensor->name);
        if (hn_progress_cancelled(j->progress))
            return hn_fail(j->err, HN_CANCELLED, "stopped; nothing was written");
        if (p->copied)
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
    j->space = hn_calloc((size_t)j->n_threads, sizeof *j->space);
    bool ok = j->batch && j->space;
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
    hn_rounding_free(j->rounding);
    hn_calibration_free(j->calibration);
    hn_free(j->targets);
    hn_free(j->changes);
    hn_free(j->space);
    hn_free(j->batch);
    hn_free(j->plans);
    hn_free(j->rope_factors);
    hn_gguf_writer_abort(j->writer);
    hn_pool_free(j->pool);
}

static hn_status start_calibration(job *j, const hn_adapter *adapter,
                                   const hn_quantise_options *options) {
    int64_t widest = 0;
    for (size_t i = 0; i < j->n_plans; i++)
        if (j->plans[i].calibrated && j->plans[i].tensor->cols > widest)
            widest = j->plans[i].tensor->cols;
    const hn_calibration_data data = {.rows = options->calibration_rows,
                                      .text = options->calibration_text,
                                      .own_text = options->calibrate_on_own_text};
    if (!(data.rows || data.text || data.own_text) || widest == 0)
        return HN_OK;
    HN_TRY(hn_calibration_new(&j->calibration, j->ckpt, adapter, &data, options->n_threads,
                              j->progress, j->err));
    HN_TRY(hn_rounding_new(&j->rounding, hn_calibration_compute(j->calibration), widest, j->err));
    size_t n = hn_rounding_batch_values(j->rounding);
    j->inputs_layer = -1;
    j->targets = hn_reallocarray(NULL, n, sizeof(float));
    j->changes = hn_reallocarray(NULL, n, sizeof(float));
    if (!j->targets || !j->changes)
        return hn_fail_no_memory(j->err, 2 * n * sizeof(float));
    return HN_OK;
}

static hn_status check_survival(const job *j, const hn_adapter *adapter,
                                const hn_quantise_options *options, hn_quantise_report *report) {
    hn_survival sum = {0};
    for (int t = 0; t < j->n_threads; t++)
        hn_survival_join(&sum, &j->space[t].survival);
    hn_survival_result(&sum, &report->adapter_cosine, &report->adapter_norm_ratio);
    report->output_share = j->n_outputs ? j->outputs_share / j->n_outputs : NAN;
    report->output_error = j->n_outputs ? j->outputs_error / j->n_outputs : NAN;
    /* What it does to outputs on data of the job counts for more than where the weights lie. */
    double share = j->n_outputs ? report->output_share : hn_survival_share(&sum);
    if (!adapter || options->allow_lost_adapter || !hn_survival_lost(share))
        return HN_OK;
    return hn_fail(
        j->err, HN_FAILED,
        "the adapter is lost in %s: rounding kept %.0f %% of its change%s (cosine %.3f, "
        "norm ratio %.3f). %s; nothing was written",
        hn_ftype_name(options->ftype), 100 * share, j->n_outputs ? " of the layers' outputs" : "",
        report->adapter_cosine, report->adapter_norm_ratio,
        j->n_outputs ? "Ship the base with the adapter beside it, or take q8_0"
                     : "Calibrate with rows of the job, ship the base with the adapter beside "
                       "it, or take q8_0");
}

hn_status hn_quantise(const hn_checkpoint *ckpt, const hn_adapter *adapter, const char *path,
                      const hn_quantise_options *options, const hn_progress *progress,
                      hn_quantise_report *report, hn_error *err) {
    hn_error local;
    job j = {.ckpt = ckpt, .progress = progress, .err = err ? err : &local};
    hn_quantise_report result = {0};
    hn_norm_tuning_result tuned;
    hn_status status = HN_OK;
    HN_GO(hn_pool_new(&j.pool, options->n_threads, j.err));
    j.n_threads = hn_pool_threads(j.pool);
    HN_GO(make_plans(&j, adapter, options->ftype));
    HN_GO(make_space(&j));
    HN_GO(hn_gguf_writer_new(&j.writer, path, j.err));
    HN_GO(hn_quantise_write_metadata(j.writer, ckpt, options->ftype, j.err));
    HN_GO(declare(&j));
    HN_GO(hn_gguf_writer_begin(j.writer, j.err)); /* a bad place is found before the long work */
    HN_GO(start_calibration(&j, adapter, options));
    HN_GO(write_tensors(&j));
    HN_GO(check_survival(&j, adapter, options, &result));
    HN_GO(hn_norm_tuning_of_file(j.writer, j.calibration, options->n_threads, progress, &tuned,
                                 j.err));
    hn_norm_tuning_report(&tuned, &result.kl_before, &result.kl_after);
    result.size_bytes = hn_gguf_writer_size(j.writer);
    hn_gguf_writer *writer = j.writer;
    j.writer = NULL;
    HN_GO(hn_gguf_writer_commit(writer, j.err));
    *report = result;
done:
    job_done(&j);
    return status;
}
