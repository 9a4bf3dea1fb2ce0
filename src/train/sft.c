/* The supervised fine-tuning run: steps, evaluation, best adapter, checkpoints, metrics. */
#define _GNU_SOURCE
#include "train/train.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/metrics.h"
#include "train/state.h"

#include <math.h>
#include <string.h>
#include <sys/resource.h>

enum { STREAM_SHUFFLE = 1, STREAM_DROPOUT = 2, STREAM_ADAPTER = 3 };

typedef struct run {
    hn_model *model;
    const hn_documents *docs, *eval;
    const hn_train_options *options;
    const hn_progress *progress;
    hn_adapter *adapter;
    hn_params params;
    hn_optimiser optimiser;
    hn_net *net;
    float *best; /* (params.n) the values of the lowest evaluation loss */
    hn_train_state state;
    uint64_t fingerprint, saved_step;
    int steps_per_epoch, total_steps;
    uint32_t *order;     /* (docs->n) this epoch's order of documents */
    int64_t order_epoch; /* -1 = none yet */
    const hn_document **batch;
    char *adapter_dir, *checkpoint_path;
    hn_metrics metrics;
    bool stop; /* early */
} run;

static hn_status make_adapter(run *r, hn_error *err) {
    const hn_train_options *o = r->options;
    if (o->init_adapter)
        return hn_adapter_open(&r->adapter, o->init_adapter, &r->model->arch, err);
    HN_TRY(hn_adapter_new(&r->adapter, &r->model->arch, o->module_mask, o->r, o->alpha,
                          o->seed + STREAM_ADAPTER, err));
    r->adapter->dropout = o->dropout;
    return HN_OK;
}

static hn_status open_files(run *r, hn_error *err) {
    HN_TRY(hn_dir_make(r->options->out_dir, err));
    r->adapter_dir = hn_path_join(r->options->out_dir, "adapter");
    r->checkpoint_path = hn_path_join(r->options->out_dir, "checkpoint");
    if (!r->adapter_dir || !r->checkpoint_path)
        return hn_fail_no_memory(err, strlen(r->options->out_dir));
    if (r->options->resume && hn_path_exists(r->checkpoint_path)) {
        HN_TRY(hn_train_state_load(r->checkpoint_path, r->fingerprint, &r->state, &r->params,
                                   &r->optimiser, r->best, err));
        r->saved_step = r->state.step;
        hn_progress_note(r->progress, "going on after step %llu of %d",
                         (unsigned long long)r->state.step, r->total_steps);
    }
    return hn_metrics_open(&r->metrics, r->options->out_dir, r->state.step, err);
}

static hn_status begin(run *r, hn_error *err) {
    const hn_train_options *o = r->options;
    HN_TRY(hn_train_options_check(o, err));
    HN_TRY(make_adapter(r, err));
    HN_TRY(hn_params_new(&r->params, r->adapter, err));
    HN_TRY(hn_optimiser_new(&r->optimiser, r->params.n, err));
    HN_TRY(hn_net_new(&r->net, r->model, &r->params, o->dropout, o->budget_bytes, err));
    r->best = hn_alloc_aligned(r->params.n * sizeof *r->best);
    r->order = hn_malloc(r->docs->n * sizeof *r->order);
    r->batch = hn_malloc((size_t)o->batch_rows * sizeof *r->batch);
    if (!r->best || !r->order || !r->batch)
        return hn_fail_no_memory(err, r->params.n * sizeof *r->best);
    r->order_epoch = -1;
    size_t batch = (size_t)o->batch_rows;
    r->steps_per_epoch = (int)((r->docs->n + batch - 1) / batch);
    r->total_steps =
        o->max_steps > 0 ? o->max_steps : (int)ceil((double)o->epochs * r->steps_per_epoch);
    r->state = (hn_train_state){.best_eval_loss = INFINITY};
    r->fingerprint = hn_train_fingerprint(r->model, &r->params, r->docs, r->eval, o);
    return open_files(r, err);
}

static void end(run *r) {
    hn_metrics_close(&r->metrics);
    hn_free(r->adapter_dir);
    hn_free(r->checkpoint_path);
    hn_free(r->order);
    hn_free(r->batch);
    hn_free_aligned(r->best, r->params.n * sizeof *r->best);
    hn_net_free(r->net);
    hn_optimiser_done(&r->optimiser);
    hn_params_done(&r->params);
    hn_adapter_free(r->adapter);
}

/* Every pass of a set of documents, packed to the memory budget; sums into *loss. */
static hn_status run_documents(run *r, const hn_document *const *docs, size_t n, float weight,
                               uint64_t dropout_key, bool backward, hn_net_loss *loss,
                               uint64_t *rows, hn_error *err) {
    bool share = !r->options->plain_batches;
    hn_packing packing;
    HN_TRY(hn_pack_documents(&packing, docs, n, hn_net_max_rows(r->net), share, err));
    const hn_document **bin = hn_malloc(n * sizeof *bin);
    bool *missed = loss->missed;
    hn_status status = bin ? HN_OK : hn_fail_no_memory(err, n * sizeof *bin);
    for (size_t b = 0; status == HN_OK && b < packing.n_bins; b++) {
        size_t count = packing.first[b + 1] - packing.first[b];
        for (size_t i = 0; i < count; i++)
            bin[i] = docs[packing.items[packing.first[b] + i]];
        hn_tree tree;
        hn_tree_options options = {.share = share};
        status = hn_tree_build(&tree, bin, count, &options, err);
        if (status != HN_OK)
            break;
        if (missed) /* a document is in one bin only: its place is where the bin begins */
            loss->missed = missed + packing.first[b];
        status = hn_net_run(r->net, &tree, weight, dropout_key + b, backward, loss, err);
        *rows += (uint64_t)tree.n_rows;
        hn_tree_done(&tree);
        if (status == HN_OK && hn_progress_cancelled(r->progress))
            status = HN_CANCELLED;
    }
    loss->missed = missed;
    hn_free(bin);
    hn_packing_done(&packing);
    return status;
}

/* The documents of step `step`; a pure function of (seed, step). */
static size_t choose_batch(run *r, uint64_t step) {
    int64_t epoch = (int64_t)(step / (uint64_t)r->steps_per_epoch);
    size_t n = r->docs->n, size = (size_t)r->options->batch_rows;
    size_t first = step % (uint64_t)r->steps_per_epoch * size;
    if (epoch != r->order_epoch) {
        for (size_t i = 0; i < n; i++)
            r->order[i] = (uint32_t)i;
        hn_rng rng = hn_rng_new(r->options->seed, (uint64_t)epoch << 8 | STREAM_SHUFFLE);
        if (r->options->shuffle)
            hn_rng_shuffle(&rng, r->order, (uint32_t)n);
        r->order_epoch = epoch;
    }
    size_t count = n - first < size ? n - first : size;
    for (size_t i = 0; i < count; i++)
        r->batch[i] = &r->docs->items[r->order[first + i]];
    return count;
}

static hn_status not_finite(const run *r, size_t n, double loss, double norm, hn_error *err) {
    hn_buf lines = {.max = 400};
    for (size_t i = 0; i < n; i++)
        hn_buf_printf(&lines, "%s%llu", i ? ", " : "", (unsigned long long)r->batch[i]->line);
    hn_fail(err, HN_FAILED,
            "step %llu: loss %g, gradient norm %g; its rows are lines %s of %s. The adapter as it "
            "was before is kept in %s: lower the learning rate, or take a bad row out",
            (unsigned long long)r->state.step + 1, loss, norm, hn_buf_text(&lines),
            r->docs->path ? r->docs->path : "the data", r->checkpoint_path);
    hn_buf_done(&lines);
    return HN_FAILED;
}

static hn_status save(run *r, hn_error *err) {
    bool evaluated = isfinite(r->state.best_eval_loss);
    HN_TRY(hn_train_state_save(r->checkpoint_path, r->fingerprint, &r->state, &r->params,
                               &r->optimiser, evaluated ? r->best : NULL, err));
    r->saved_step = r->state.step;
    return HN_OK;
}

/* As save, but the error that is already in *err stays the one that is reported. */
static void save_quietly(run *r) {
    hn_error ignored;
    if (r->saved_step != r->state.step || r->state.step == 0)
        (void)(save(r, &ignored) == HN_OK);
}

static hn_status step(run *r, hn_error *err) {
    double began = hn_clock_seconds();
    size_t n = choose_batch(r, r->state.step);
    hn_step_metrics m = {.step = r->state.step + 1};
    for (size_t i = 0; i < n; i++) {
        m.tokens += (uint64_t)r->batch[i]->n;
        m.supervised += (uint64_t)r->batch[i]->n_supervised;
    }
    hn_rng rng = hn_rng_new(r->options->seed, r->state.step << 8 | STREAM_DROPOUT);
    memset(r->params.grads, 0, r->params.n * sizeof *r->params.grads);
    hn_net_loss loss = {0};
    HN_TRY(run_documents(r, r->batch, n, (float)(1.0 / (double)m.supervised), hn_rng_u64(&rng),
                         true, &loss, &m.rows, err));
    m.loss = loss.loss;
    m.accuracy = loss.correct / (double)m.supervised;
    m.grad_norm = hn_gradient_norm(r->net);
    if (!isfinite(m.loss) || !isfinite(m.grad_norm)) {
        save_quietly(r);
        return not_finite(r, n, m.loss, m.grad_norm, err);
    }
    m.rate = hn_schedule_rate(r->options, (int)r->state.step, r->total_steps);
    hn_optimiser_update(&r->optimiser, r->net, r->options, m.rate, m.grad_norm);
    m.seconds = hn_clock_seconds() - began;
    r->state.step++;
    r->state.tokens += m.tokens;
    r->state.supervised += m.supervised;
    r->state.seconds += m.seconds;
    r->state.last_loss = m.loss;
    m.epoch = (double)r->state.step / r->steps_per_epoch;
    char detail[64];
    snprintf(detail, sizeof detail, "loss %.4f, %.0f tokens/s", m.loss,
             (double)m.tokens / m.seconds);
    hn_progress_update(r->progress, "training", r->state.step, (uint64_t)r->total_steps, "step",
                       detail);
    return hn_metrics_step(&r->metrics, &m, err);
}

/* Loss and accuracy over the evaluation documents. */
static hn_status measure(run *r, hn_eval_metrics *m, hn_error *err) {
    size_t n = r->eval->n, n_missed = 0;
    uint64_t rows = 0;
    double supervised = (double)r->eval->n_supervised;
    const hn_document **all = hn_malloc(n * sizeof *all);
    hn_net_loss loss = {.missed = hn_calloc(n, sizeof *loss.missed)};
    hn_status status = all && loss.missed ? HN_OK : hn_fail_no_memory(err, n * sizeof *all);
    for (size_t i = 0; status == HN_OK && i < n; i++)
        all[i] = &r->eval->items[i];
    if (status == HN_OK)
        status = run_documents(r, all, n, (float)(1.0 / supervised), 0, false, &loss, &rows, err);
    for (size_t i = 0; status == HN_OK && i < n; i++)
        n_missed += loss.missed[i];
    *m = (hn_eval_metrics){.step = r->state.step,
                           .loss = loss.loss,
                           .token_accuracy = loss.correct / supervised,
                           .row_accuracy = 1.0 - (double)n_missed / (double)n};
    hn_free(all);
    hn_free(loss.missed);
    return status;
}

static hn_status evaluate(run *r, hn_error *err) {
    hn_eval_metrics m;
    HN_TRY(measure(r, &m, err));
    r->state.evaluated_step = r->state.step;
    if (m.loss < r->state.best_eval_loss) {
        r->state.best_eval_loss = m.loss;
        r->state.best_step = r->state.step;
        r->state.evals_without_gain = 0;
        memcpy(r->best, r->params.values, r->params.n * sizeof *r->best);
    } else {
        r->state.evals_without_gain++;
    }
    int patience = r->options->early_stop_evals;
    r->stop = patience > 0 && r->state.evals_without_gain >= (uint64_t)patience;
    hn_progress_note(r->progress, "step %llu: evaluation loss %.4f, whole completions %.3f%s",
                     (unsigned long long)r->state.step, m.loss, m.row_accuracy,
                     r->stop ? "; no gain for a while, stopping" : "");
    return hn_metrics_eval(&r->metrics, &m, err);
}

/* True after every `every` steps (0 = an epoch) and after the last one. */
static bool is_due(const run *r, int every) {
    uint64_t period = (uint64_t)(every > 0 ? every : r->steps_per_epoch);
    return r->state.step % period == 0 || r->state.step == (uint64_t)r->total_steps;
}

static hn_status evaluate_when_due(run *r, hn_error *err) {
    if (!r->eval || r->state.step == 0 || r->state.evaluated_step == r->state.step ||
        !is_due(r, r->options->eval_every))
        return HN_OK;
    return evaluate(r, err);
}

static hn_status train(run *r, hn_error *err) {
    int patience = r->options->early_stop_evals;
    r->stop = patience > 0 && r->state.evals_without_gain >= (uint64_t)patience;
    HN_TRY(evaluate_when_due(r, err)); /* a run may have been stopped in the middle of it */
    while (!r->stop && r->state.step < (uint64_t)r->total_steps) {
        HN_TRY(step(r, err));
        HN_TRY(evaluate_when_due(r, err));
        if (r->stop || is_due(r, r->options->save_every))
            HN_TRY(save(r, err));
    }
    return HN_OK;
}

static uint64_t peak_resident_bytes(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : (uint64_t)usage.ru_maxrss * 1024;
}

static hn_status publish(run *r, hn_train_result *result, hn_error *err) {
    bool evaluated = isfinite(r->state.best_eval_loss);
    hn_params_store(&r->params, evaluated ? r->best : r->params.values, r->adapter);
    HN_TRY(hn_adapter_save(r->adapter, &r->model->arch, r->adapter_dir, err));
    *result = (hn_train_result){
        .steps = (int)r->state.step,
        .best_step = (int)(evaluated ? r->state.best_step : r->state.step),
        .final_loss = r->state.last_loss,
        .best_eval_loss = r->state.best_eval_loss,
        .tokens = r->state.tokens,
        .supervised = r->state.supervised,
        .seconds = r->state.seconds,
        .peak_resident_bytes = peak_resident_bytes(),
    };
    return HN_OK;
}

hn_status hn_train_sft(hn_model *model, const hn_documents *docs, const hn_documents *eval,
                       const hn_train_options *options, const hn_progress *progress,
                       hn_train_result *result, hn_error *err) {
    run r = {.model = model, .docs = docs, .eval = eval, .options = options, .progress = progress};
    hn_status status = begin(&r, err);
    if (status == HN_OK)
        status = train(&r, err);
    if (status == HN_CANCELLED) {
        save_quietly(&r);
        status = hn_fail(err, HN_CANCELLED, "stopped after step %llu of %d; run it again to go on",
                         (unsigned long long)r.state.step, r.total_steps);
    }
    if (status == HN_OK)
        status = publish(&r, result, err);
    end(&r);
    return status;
}
