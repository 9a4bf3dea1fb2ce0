/* Distillation (train/) of norms and biases alone, each as a factor of what it was: their sizes
 * differ by a hundred times between layers, and what one rate does to a factor it does to all. */
#include "release/norm_tuning.h"

#include "base/mem.h"
#include "base/rng.h"
#include "train/kd_teacher.h"
#include "train/loop.h"
#include "train/loss_kd.h"
#include "train/optim.h"

#include <math.h>
#include <string.h>

enum {
    STEPS = 100,
    STEP_TOKENS = 512,
    EVERY_OTHER = 4, /* a step on the second source follows so many less one on the first */
    HELD_BACK = 8,   /* one document of so many measures what is won */
    STREAM_ORDER = 1
};
static const double NOISE = 1e-6; /* of a KL summed in f32 */
static const float RATE = 3e-3f;  /* of the factors */
/* Of rows that were learned by heart a teacher is sure; what it thinks of the other answers, which
 * decides on new rows, shows above 1. */
static const float TEMPERATURE = 2;

/* A source, its documents in the order of the epoch. */
typedef struct source {
    const hn_document **learned, **held;
    size_t n_learned, n_held;
    size_t next; /* n_learned = the epoch is over */
} source;

typedef struct tuner {
    const hn_norm_tuning *o;
    hn_trainer trainer;
    hn_train_options options;
    hn_kd_teacher *teacher;
    hn_kd kd;
    hn_kd_sums sums; /* for hn_loss_kd; unused */
    source sources[HN_NORM_SOURCES];
    const hn_document **documents, **batch; /* (documents of all sources) */
    uint32_t *order;
    hn_rng rng;
    float *start;                            /* (params.n) the vectors as they were */
    float *factors, *slope, *first, *second; /* (params.n) and their gradients and moments */
} tuner;

static hn_status begin_pass(void *context, const hn_tree *tree, const hn_document *const *docs,
                            hn_error *err) {
    tuner *t = context;
    return hn_kd_teacher_begin(t->teacher, tree, docs, err);
}

static hn_status rows(void *context, const hn_loss_rows *rows, double *value, hn_error *err) {
    tuner *t = context;
    float *logits;
    HN_TRY(hn_kd_teacher_logits(t->teacher, rows, &logits, err));
    hn_loss_kd(&t->kd, rows, logits, &t->sums, value);
    return HN_OK;
}

/* T^2 KL, the mean over the documents' supervised tokens; adds its gradients when asked to. */
static hn_status run_documents(tuner *t, const hn_document *const *docs, size_t n,
                               float temperature, bool backward, double *kl, hn_error *err) {
    uint64_t n_tokens = 0;
    for (size_t i = 0; i < n; i++)
        n_tokens += (uint64_t)docs[i]->n_supervised;
    const hn_loss loss = {
        .context = t, .weight = (float)(1.0 / (double)n_tokens), .begin = begin_pass, .rows = rows};
    const hn_pass pass = {.loss = &loss, .backward = backward, .final = true};
    hn_net_loss sum = {0};
    t->kd = (hn_kd){.soft = 1, .temperature = temperature};
    hn_status status = hn_train_passes(&t->trainer, docs, n, &pass, &sum, NULL, err);
    if (status == HN_CANCELLED)
        return hn_fail(err, HN_CANCELLED, "stopped; nothing was written");
    *kl = sum.loss;
    return status;
}

/* The held ones come first in their source's part of t->documents, which is filled from both ends.
 */
static void divide(const hn_norm_source *from, const hn_document **part, source *s) {
    size_t n_held = from->n / HELD_BACK + (from->n % HELD_BACK != 0);
    *s = (source){.held = part, .learned = part + n_held};
    if (from->n < 2)
        return;
    for (size_t i = 0; i < from->n; i++)
        if (i % HELD_BACK == 0)
            s->held[s->n_held++] = &from->docs[i];
        else
            s->learned[s->n_learned++] = &from->docs[i];
    s->next = s->n_learned;
}

static hn_status make_sources(tuner *t, hn_error *err) {
    size_t n = 0;
    for (int i = 0; i < HN_NORM_SOURCES; i++)
        n += t->o->sources[i].n;
    t->documents = hn_calloc(n + 1, sizeof *t->documents);
    t->batch = hn_calloc(n + 1, sizeof *t->batch);
    t->order = hn_calloc(n + 1, sizeof *t->order);
    if (!t->documents || !t->batch || !t->order)
        return hn_fail_no_memory(err, n * sizeof *t->documents);
    const hn_document **part = t->documents;
    for (int i = 0; i < HN_NORM_SOURCES; i++) {
        divide(&t->o->sources[i], part, &t->sources[i]);
        part += t->o->sources[i].n;
    }
    return HN_OK;
}

static hn_status make_values(tuner *t, hn_error *err) {
    const hn_params *params = &t->trainer.params;
    t->start = hn_calloc(params->n, sizeof *t->start);
    t->factors = hn_calloc(params->n, sizeof *t->factors);
    t->slope = hn_calloc(params->n, sizeof *t->slope);
    t->first = hn_calloc(params->n, sizeof *t->first);
    t->second = hn_calloc(params->n, sizeof *t->second);
    if (!t->start || !t->factors || !t->slope || !t->first || !t->second)
        return hn_fail_no_memory(err, params->n * sizeof *t->start);
    memcpy(t->start, params->values, params->n * sizeof *t->start);
    for (size_t i = 0; i < params->n; i++)
        t->factors[i] = 1;
    return HN_OK;
}

static hn_status prepare(tuner *t, hn_error *err) {
    const hn_norm_tuning *o = t->o;
    t->options = hn_train_options_default();
    t->options.learning_rate = RATE;
    t->options.schedule = HN_SCHEDULE_COSINE;
    t->options.warmup_steps = 4;
    t->trainer.model = o->student;
    t->trainer.options = &t->options;
    t->trainer.progress = o->progress;
    HN_TRY(hn_params_of_vectors(&t->trainer.params, o->student, err));
    HN_TRY(hn_net_new(&t->trainer.net, o->student, &t->trainer.params, 0, 0, err));
    HN_TRY(hn_kd_teacher_new(&t->teacher, o->teacher, o->adapter, err));
    t->rng = hn_rng_new(0, STREAM_ORDER);
    return make_values(t, err);
}

/* Another epoch, in another order. */
static void shuffle(tuner *t, source *s) {
    memcpy(t->batch, s->learned, s->n_learned * sizeof *t->batch);
    for (size_t i = 0; i < s->n_learned; i++)
        t->order[i] = (uint32_t)i;
    hn_rng_shuffle(&t->rng, t->order, (uint32_t)s->n_learned);
    for (size_t i = 0; i < s->n_learned; i++)
        s->learned[i] = t->batch[t->order[i]];
    s->next = 0;
}

/* Documents of STEP_TOKENS from one source, or what is left of its epoch. */
static size_t next_batch(tuner *t, int step) {
    bool other = step % EVERY_OTHER == EVERY_OTHER - 1;
    source *s = &t->sources[other];
    if (s->n_learned == 0)
        s = &t->sources[!other];
    if (s->next == s->n_learned)
        shuffle(t, s);
    size_t n = 0;
    for (int32_t n_tokens = 0; n_tokens < STEP_TOKENS && s->next < s->n_learned;) {
        n_tokens += s->learned[s->next]->n;
        t->batch[n++] = s->learned[s->next++];
    }
    return n;
}

/* One Adam step of the factors. */
static void update(tuner *t, int step) {
    const hn_params *params = &t->trainer.params;
    const float beta1 = 0.9f, beta2 = 0.99f; /* 0.999 is longer than all the steps */
    double rate = hn_schedule_rate(&t->options, step, STEPS), count = (double)step + 1;
    const hn_adamw_step adam = {
        .grad_scale = 1,
        .beta1 = beta1,
        .beta2 = beta2,
        .eps = 1e-12f, /* many values, each with a small share of a small loss */
        .decay = 1,
        .step_size = (float)(rate / (1 - pow((double)beta1, count))),
        .inv_sqrt_c2 = (float)(1 / sqrt(1 - pow((double)beta2, count)))};
    for (size_t i = 0; i < params->n; i++)
        t->slope[i] = params->grads[i] * t->start[i];
    t->trainer.net->ops->adamw(t->factors, t->slope, t->first, t->second, (int64_t)params->n,
                               &adam);
    for (size_t i = 0; i < params->n; i++)
        params->values[i] = t->factors[i] * t->start[i];
}

static hn_status learn(tuner *t, hn_error *err) {
    const hn_params *params = &t->trainer.params;
    for (int step = 0; step < STEPS; step++) {
        double kl;
        hn_progress_update(t->o->progress, "tune", (uint64_t)step, STEPS, "steps", NULL);
        memset(params->grads, 0, params->n * sizeof *params->grads);
        size_t n = next_batch(t, step);
        HN_TRY(run_documents(t, t->batch, n, TEMPERATURE, true, &kl, err));
        if (!isfinite(kl))
            return HN_OK; /* what was held back decides on what came of it */
        update(t, step);
    }
    return HN_OK;
}

static hn_status measure(tuner *t, double kl[HN_NORM_SOURCES], hn_error *err) {
    for (int i = 0; i < HN_NORM_SOURCES; i++) {
        const source *s = &t->sources[i];
        if (s->n_held > 0)
            HN_TRY(run_documents(t, s->held, s->n_held, 1, false, &kl[i], err));
    }
    return HN_OK;
}

static bool is_better(const tuner *t, const hn_norm_tuning_result *r) {
    double change = 0;
    for (int i = 0; i < HN_NORM_SOURCES; i++)
        if (t->sources[i].n_held > 0)
            change += log(fmax(r->after[i], NOISE)) - log(fmax(r->before[i], NOISE));
    return change < 0;
}

static hn_status tune(tuner *t, hn_norm_tuning_result *result, hn_error *err) {
    const hn_params *params = &t->trainer.params;
    HN_TRY(measure(t, result->before, err));
    HN_TRY(learn(t, err));
    HN_TRY(measure(t, result->after, err));
    result->tuned = is_better(t, result);
    if (!result->tuned) {
        memcpy(params->values, t->start, params->n * sizeof *t->start);
        memcpy(result->after, result->before, sizeof result->after);
    }
    return HN_OK;
}

static void tuner_done(tuner *t) {
    hn_kd_teacher_free(t->teacher);
    hn_net_free(t->trainer.net);
    hn_params_done(&t->trainer.params);
    hn_free(t->documents);
    hn_free(t->batch);
    hn_free(t->order);
    hn_free(t->start);
    hn_free(t->factors);
    hn_free(t->slope);
    hn_free(t->first);
    hn_free(t->second);
}

hn_status hn_norm_tuning_run(const hn_norm_tuning *tuning, hn_norm_tuning_result *result,
                             hn_error *err) {
    hn_status status;
    tuner t = {.o = tuning};
    *result = HN_NORM_NOT_TUNED;
    HN_GO(make_sources(&t, err));
    if (t.sources[0].n_learned == 0 && t.sources[1].n_learned == 0)
        goto done;
    HN_GO(prepare(&t, err));
    status = tune(&t, result, err);
done:
    tuner_done(&t);
    return status;
}
