/* The training loop: steps, evaluation, the best adapter, checkpoints, metrics. */
#define _GNU_SOURCE
#include "train/loop.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/memory.h"
#include "base/rng.h"
#include "model/dora.h"
#include "train/state.h"

#include <math.h>
#include <string.h>

enum { STREAM_SHUFFLE = 1, STREAM_DROPOUT = 2, STREAM_ADAPTER = 3, NUMBER_BYTES = 32 };

typedef struct run {
    hn_trainer t;
    const hn_task *task;
    hn_optimiser optimiser;
    float *best;   /* (params.n) the values of the best evaluation */
    char *general; /* the text that general ability is measured on, or NULL */
    size_t general_bytes;
    hn_train_state state;
    uint64_t fingerprint, saved_step;
    int steps_per_epoch, total_steps;
    uint32_t *order;     /* (n_items) this epoch's order of items */
    int64_t order_epoch; /* -1 = none yet */
    char *adapter_dir, *checkpoint_path;
    hn_metrics metrics;
    int lock;  /* of out_dir, by rank 0; -1 = none */
    bool stop; /* early */
} run;

static hn_status make_adapter(run *r, hn_error *err) {
    const hn_train_options *o = r->t.options;
    if (o->init_adapter)
        return hn_adapter_open(&r->t.adapter, o->init_adapter, &r->t.model->arch, err);
    hn_adapter_spec spec = {.module_mask = o->module_mask,
                            .layers = o->layers,
                            .r = o->r,
                            .alpha = o->alpha,
                            .rslora = o->rslora,
                            .rank_pattern = o->rank_pattern,
                            .alpha_pattern = o->alpha_pattern,
                            .seed = o->seed + STREAM_ADAPTER};
    HN_TRY(hn_adapter_make(&r->t.adapter, &r->t.model->arch, &spec, err));
    if (o->dora)
        HN_TRY(hn_adapter_add_magnitudes(r->t.adapter, r->t.model, err));
    r->t.adapter->dropout = o->dropout;
    return HN_OK;
}

/* The text that general ability is measured on is part of what the run is. */
static hn_status read_general(run *r, uint64_t *data_hash, hn_error *err) {
    enum { MOST_BYTES = 64 << 20 };
    const char *path = r->t.options->general;
    const char *unused = r->task->evaluates     ? NULL
                         : path                 ? "general ability"
                         : r->t.options->golden ? "the golden score"
                                                : NULL;
    *data_hash = r->task->data_hash;
    if (unused)
        return hn_fail(err, HN_USAGE, "%s is measured in evaluations: name rows for these", unused);
    if (!path)
        return HN_OK;
    HN_TRY(hn_file_read(path, MOST_BYTES, &r->general, &r->general_bytes, err));
    *data_hash = hn_hash64(r->general, r->general_bytes, *data_hash);
    return HN_OK;
}

/* Of rank 0, the only one that has files. */
static hn_status open_files(run *r, hn_error *err) {
    if (!hn_ranks_is_first(r->t.options->ranks))
        return HN_OK;
    if (r->t.options->resume && hn_path_exists(r->checkpoint_path)) {
        HN_TRY(hn_train_state_load(r->checkpoint_path, r->fingerprint, &r->state, &r->t.params,
                                   &r->optimiser, r->best, err));
        hn_progress_note(r->t.progress, "going on after step %llu of %d",
                         (unsigned long long)r->state.step, r->total_steps);
    }
    return hn_metrics_open(&r->metrics, r->t.options->out_dir, r->state.step, err);
}

static hn_status begin(run *r, hn_error *err) {
    const hn_train_options *o = r->t.options;
    HN_TRY(hn_train_options_check(o, err));
    if (o->full) {
        HN_TRY(hn_params_of_model(&r->t.params, r->t.model, o->shared > 1 ? o->shared : 1, err));
    } else {
        HN_TRY(make_adapter(r, err));
        HN_TRY(hn_params_new(&r->t.params, r->t.adapter, r->task->n_extra, err));
    }
    if (r->task->n_extra)
        r->task->init_extra(r->task->context, o, r->t.params.values + r->t.params.extra);
    HN_TRY(hn_optimiser_new(&r->optimiser, o->optimiser, r->t.params.n, err));
    HN_TRY(hn_net_new(&r->t.net, r->t.model, &r->t.params, o->dropout, o->budget_bytes, err));
    r->t.net->noise_alpha = o->neftune_alpha;
    r->t.sums = (hn_sums){.ranks = o->ranks, .params = &r->t.params, .late = o->late_sums};
    r->t.net->sums = &r->t.sums;
    r->best = hn_alloc_aligned(r->t.params.n * sizeof *r->best);
    r->order = hn_malloc(r->task->n_items * sizeof *r->order);
    if (!r->best || !r->order)
        return hn_fail_no_memory(err, r->t.params.n * sizeof *r->best);
    r->order_epoch = -1;
    HN_TRY(hn_train_count_steps(o, r->task->n_items, &r->steps_per_epoch, &r->total_steps, err));
    r->state = (hn_train_state){.best_eval_loss = INFINITY};
    uint64_t data_hash;
    HN_TRY(read_general(r, &data_hash, err));
    r->fingerprint = hn_train_fingerprint(r->t.model, &r->t.params, data_hash, o);
    r->adapter_dir = hn_path_join(o->out_dir, "adapter");
    r->checkpoint_path = hn_path_join(o->out_dir, "checkpoint");
    if (!r->adapter_dir || !r->checkpoint_path)
        return hn_fail_no_memory(err, strlen(o->out_dir));
    return hn_ranks_is_first(o->ranks)
               ? hn_train_place_take(o, r->fingerprint, &r->t.params, r->adapter_dir,
                                     r->checkpoint_path, &r->lock, err)
               : HN_OK;
}

/* From here on what one rank fails at, all do. */
static hn_status begin_together(run *r, hn_error *err) {
    hn_ranks *ranks = r->t.options->ranks;
    const hn_train_golden *golden = r->t.options->golden;
    HN_TRY(hn_ranks_agree(ranks, begin(r, err), err));
    /* golden rows may change from one run to the next, but not from rank to rank */
    uint64_t alike = r->fingerprint ^ (golden ? golden->hash : 0);
    HN_TRY(hn_train_check_alike(ranks, hn_compute_isa(r->t.model->compute), alike, err));
    if (r->task->begin)
        HN_TRY(hn_ranks_agree(ranks, r->task->begin(r->task->context, &r->t, err), err));
    HN_TRY(hn_ranks_agree(ranks, open_files(r, err), err));
    hn_train_state_share(ranks, &r->state, &r->t.params, &r->optimiser, r->best);
    r->saved_step = r->state.step;
    return HN_OK;
}

static void end(run *r) {
    hn_dir_unlock(r->lock);
    hn_metrics_close(&r->metrics);
    hn_free(r->adapter_dir);
    hn_free(r->checkpoint_path);
    hn_free(r->order);
    hn_free(r->general);
    hn_free_aligned(r->best, r->t.params.n * sizeof *r->best);
    hn_net_free(r->t.net);
    hn_optimiser_done(&r->optimiser);
    hn_params_done(&r->t.params);
    hn_adapter_free(r->t.adapter);
}

/* The items of step `step`, in *items; a pure function of (seed, step). */
static size_t choose_items(run *r, uint64_t step, const uint32_t **items) {
    int64_t epoch = (int64_t)(step / (uint64_t)r->steps_per_epoch);
    size_t n = r->task->n_items, size = (size_t)r->t.options->batch_rows;
    size_t first = step % (uint64_t)r->steps_per_epoch * size;
    if (epoch != r->order_epoch) {
        for (size_t i = 0; i < n; i++)
            r->order[i] = (uint32_t)i;
        hn_rng rng = hn_rng_new(r->t.options->seed, (uint64_t)epoch << 8 | STREAM_SHUFFLE);
        if (r->t.options->shuffle)
            hn_rng_shuffle(&rng, r->order, (uint32_t)n);
        r->order_epoch = epoch;
    }
    *items = r->order + first;
    return n - first < size ? n - first : size;
}

/* A number for a message, NaN without the sign that C may give it. */
static const char *number_text(char out[NUMBER_BYTES], double x) {
    snprintf(out, NUMBER_BYTES, "%g", isnan(x) ? fabs(x) : x);
    return isnan(x) ? "NaN" : out;
}

static const char BROKEN_START[] =
    "the base, the adapter that it starts from or a row leads to numbers out of range";

static hn_status not_finite(const run *r, const uint32_t *items, size_t n, double loss, double norm,
                            hn_error *err) {
    hn_buf lines = {.max = 400};
    char numbers[2][NUMBER_BYTES];
    for (size_t i = 0; i < n; i++)
        hn_buf_printf(&lines, "%s%llu", i ? ", " : "",
                      (unsigned long long)r->task->line(r->task->context, items[i]));
    hn_fail(err, HN_FAILED,
            "step %llu: loss %s, gradient norm %s; its rows are lines %s of %s. %s%s: %s",
            (unsigned long long)r->state.step + 1, number_text(numbers[0], loss),
            number_text(numbers[1], norm), hn_buf_text(&lines),
            r->task->path ? r->task->path : "the data",
            r->state.step ? "The adapter as it was before is kept in " : "Nothing was learned yet",
            r->state.step ? r->checkpoint_path : "",
            r->state.step ? "lower the learning rate, or take a bad row out" : BROKEN_START);
    hn_buf_done(&lines);
    return HN_FAILED;
}

static hn_status save(run *r, hn_error *err) {
    bool evaluated = isfinite(r->state.best_eval_loss);
    if (hn_ranks_is_first(r->t.options->ranks))
        HN_TRY(hn_train_state_save(r->checkpoint_path, r->fingerprint, &r->state, &r->t.params,
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
    const uint32_t *items;
    size_t n = choose_items(r, r->state.step, &items);
    hn_step_metrics m = {.step = r->state.step + 1};
    hn_rng rng = hn_rng_new(r->t.options->seed, r->state.step << 8 | STREAM_DROPOUT);
    memset(r->t.params.grads, 0, r->t.params.n * sizeof *r->t.params.grads);
    hn_sums_start(&r->t.sums);
    hn_status status = r->task->step(r->task->context, &r->t, items, n, hn_rng_u64(&rng), &m, err);
    double waited = hn_sums_finish(&r->t.sums);
    HN_TRY(hn_ranks_agree(r->t.options->ranks, status, err));
    hn_step_metrics_sum(r->t.options->ranks, &m);
    if (r->t.options->ranks)
        hn_values_add(&m.values, "waited", waited);
    m.grad_norm = hn_gradient_norm(r->t.net);
    if (!isfinite(m.loss) || !isfinite(m.grad_norm)) {
        save_quietly(r);
        return not_finite(r, items, n, m.loss, m.grad_norm, err);
    }
    m.rate = hn_schedule_rate(r->t.options, (int)r->state.step, r->total_steps);
    hn_optimiser_update(&r->optimiser, r->t.net, r->t.options, m.rate, m.grad_norm);
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
    hn_progress_update(r->t.progress, "training", r->state.step, (uint64_t)r->total_steps, "step",
                       detail);
    return hn_ranks_agree(r->t.options->ranks, hn_metrics_step(&r->metrics, &m, err), err);
}

/* Keeps the parameters when the evaluation is the best one so far. The one before the first step is
 * there to compare with, and can't be it. */
static hn_status judge(run *r, const hn_eval_metrics *m, hn_error *err) {
    const char *metric = r->t.options->best_metric ? r->t.options->best_metric : "loss";
    double value;
    HN_TRY(hn_eval_metrics_get(m, metric, &value, err));
    if (r->state.step == 0)
        return HN_OK;
    bool first = !isfinite(r->state.best_eval_loss);
    bool better =
        hn_metric_wants_low(metric) ? value < r->state.best_value : value > r->state.best_value;
    if (isfinite(value) && isfinite(m->loss) && (first || better)) {
        r->state.best_eval_loss = m->loss;
        r->state.best_value = value;
        r->state.best_step = r->state.step;
        r->state.evals_without_gain = 0;
        memcpy(r->best, r->t.params.values, r->t.params.n * sizeof *r->best);
    } else {
        r->state.evals_without_gain++;
    }
    return HN_OK;
}

/* What is asked of the model as it would be used. */
static hn_status measure_use(run *r, hn_eval_metrics *m, hn_error *err) {
    if (!r->general && !r->t.options->golden)
        return HN_OK;
    HN_TRY(hn_ranks_agree(r->t.options->ranks, hn_train_fit(&r->t, r->t.adapter, err), err));
    if (r->general)
        HN_TRY(hn_train_general(&r->t, r->t.adapter, r->general, r->general_bytes, m, err));
    return r->t.options->golden ? hn_train_golden_score(&r->t, r->t.adapter, m, err) : HN_OK;
}

static hn_status evaluate(run *r, hn_error *err) {
    hn_eval_metrics m = {.step = r->state.step};
    double began = hn_clock_seconds();
    char number[NUMBER_BYTES];
    hn_ranks *ranks = r->t.options->ranks;
    HN_TRY(hn_ranks_agree(ranks, r->task->evaluate(r->task->context, &r->t, &m, err), err));
    hn_eval_metrics_sum(ranks, &m);
    if (!isfinite(m.loss) && r->state.step == 0)
        return hn_fail(err, HN_FAILED, "the loss on the evaluation rows is %s before any step: %s",
                       number_text(number, m.loss), BROKEN_START);
    if (!isfinite(m.loss))
        return hn_fail(err, HN_FAILED,
                       "after step %llu the loss on the evaluation rows is %s; %s %s. Lower the "
                       "learning rate",
                       (unsigned long long)r->state.step, number_text(number, m.loss),
                       r->saved_step ? "the adapter as it was before is kept in"
                                     : "nothing was kept yet in",
                       r->checkpoint_path);
    HN_TRY(measure_use(r, &m, err));
    m.seconds = hn_clock_seconds() - began;
    r->state.eval_seconds += m.seconds;
    r->state.golden_seconds += m.golden_seconds;
    HN_TRY(judge(r, &m, err));
    r->state.evaluated_step = r->state.step;
    int patience = r->t.options->early_stop_evals;
    r->stop = patience > 0 && r->state.evals_without_gain >= (uint64_t)patience;
    char more[160] = "";
    for (int i = 0, at = 0; i < m.values.n && at < (int)sizeof more; i++)
        at += snprintf(more + at, sizeof more - (size_t)at, ", %s %.4f", m.values.items[i].name,
                       m.values.items[i].value);
    hn_progress_note(r->t.progress, "step %llu: evaluation loss %.4f%s%s",
                     (unsigned long long)r->state.step, m.loss, more,
                     r->stop ? "; no gain for a while, stopping" : "");
    return hn_ranks_agree(ranks, hn_metrics_eval(&r->metrics, &m, err), err);
}

/* True after every `every` steps (0 = an epoch) and after the last one. */
static bool is_due(const run *r, int every) {
    uint64_t period = (uint64_t)(every > 0 ? every : r->steps_per_epoch);
    return r->state.step % period == 0 || r->state.step == (uint64_t)r->total_steps;
}

static hn_status evaluate_when_due(run *r, hn_error *err) {
    if (!r->task->evaluates || r->state.step == 0 || r->state.evaluated_step == r->state.step ||
        !is_due(r, r->t.options->eval_every))
        return HN_OK;
    return evaluate(r, err);
}

static hn_status train(run *r, hn_error *err) {
    int patience = r->t.options->early_stop_evals;
    r->stop = patience > 0 && r->state.evals_without_gain >= (uint64_t)patience;
    if (r->task->evaluates && r->state.step == 0)
        HN_TRY(evaluate(r, err));
    HN_TRY(evaluate_when_due(r, err)); /* a run may have been stopped in the middle of it */
    while (!r->stop && r->state.step < (uint64_t)r->total_steps) {
        HN_TRY(step(r, err));
        HN_TRY(evaluate_when_due(r, err));
        if (r->stop || is_due(r, r->t.options->save_every))
            HN_TRY(hn_ranks_agree(r->t.options->ranks, save(r, err), err));
    }
    return HN_OK;
}

static hn_status publish(run *r, hn_train_result *result, hn_error *err) {
    bool evaluated = isfinite(r->state.best_eval_loss);
    const float *values = evaluated ? r->best : r->t.params.values;
    if (r->t.options->full) {
        if (evaluated)
            memcpy(r->t.params.values, values, r->t.params.n * sizeof *values);
    } else {
        hn_params_store(&r->t.params, values, r->t.adapter);
        hn_status status = HN_OK;
        if (hn_ranks_is_first(r->t.options->ranks))
            status = hn_adapter_save(r->t.adapter, &r->t.model->arch, r->adapter_dir, err);
        HN_TRY(hn_ranks_agree(r->t.options->ranks, status, err));
    }
    *result = (hn_train_result){
        .steps = (int)r->state.step,
        .best_step = (int)(evaluated ? r->state.best_step : r->state.step),
        .final_loss = r->state.last_loss,
        .best_eval_loss = r->state.best_eval_loss,
        .best_value = r->state.best_value,
        .tokens = r->state.tokens,
        .supervised = r->state.supervised,
        .seconds = r->state.seconds,
        .eval_seconds = r->state.eval_seconds,
        .golden_seconds = r->state.golden_seconds,
        .peak_resident_bytes = hn_memory_peak_resident(),
    };
    return HN_OK;
}

hn_status hn_train_run(hn_model *model, const hn_task *task, const hn_train_options *options,
                       const hn_progress *progress, hn_train_result *result, hn_error *err) {
    run r = {
        .t = {.model = model, .options = options, .progress = progress}, .task = task, .lock = -1};
    hn_status status = begin_together(&r, err);
    bool began = status == HN_OK;
    if (began)
        status = train(&r, err);
    if (status != HN_OK) /* also what each has found by itself, such as NaN */
        status = hn_ranks_agree(options->ranks, status, err);
    if (status == HN_CANCELLED) {
        if (began)
            save_quietly(&r);
        status = hn_fail(err, HN_CANCELLED, "stopped after step %llu of %d; run it again to go on",
                         (unsigned long long)r.state.step, r.total_steps);
    }
    if (status == HN_OK)
        status = publish(&r, result, err);
    end(&r);
    return status;
}
