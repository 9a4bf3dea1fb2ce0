/* Logit distillation: an item is a document; its supervised tokens are learned from the teacher's
 * distribution as well as from the text. */
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/kd_teacher.h"
#include "train/loop.h"
#include "train/loss_kd.h"
#include "train/loss_minillm.h"
#include "train/on_policy.h"
#include "train/state.h"

#include <math.h>
#include <string.h>

enum { STREAM_PROJECTION = 4, STREAM_SAMPLE = 5, STATES_ROWS = 256 };

typedef struct distill {
    const hn_distill_options *o;
    const hn_documents *docs, *eval;
    hn_model *student;
    hn_kd_teacher *teacher;
    hn_on_policy sampler;
    hn_layer_pair *layers; /* (n_layers) none without hidden states */
    int n_layers;
    int64_t projection_floats; /* of each pair; 0 where the widths are the same */
    float *states;             /* (STATES_ROWS, the student's width twice and the teacher's) */

    /* of the pass being computed */
    const hn_params *params;
    hn_kd kd;
    double row_weight;
    hn_kd_sums sums;
    double hidden; /* without its factor */
    hn_minillm minillm;
} distill;

hn_distill_options hn_distill_options_default(void) {
    return (hn_distill_options){.alpha = 0.5f,
                                .temperature = 2,
                                .sample_temperature = 0.9f,
                                .sample_tokens = 128,
                                .gamma = 1,
                                .single_step = 1};
}

static hn_minillm_options minillm_options(const hn_distill_options *o) {
    return (hn_minillm_options){o->gamma, o->single_step, o->temperature, o->sample_temperature};
}

static hn_status check_minillm(const hn_distill_options *o, hn_error *err) {
    hn_minillm_options options = minillm_options(o);
    if (!o->minillm)
        return HN_OK;
    if (o->on_policy == 0)
        return hn_fail(err, HN_USAGE,
                       "MiniLLM's loss is one of completions that the student samples itself: say "
                       "for which share of the steps it does");
    if (o->hidden > 0)
        return hn_fail(err, HN_USAGE, "MiniLLM's loss knows no hidden states: leave one of them");
    return hn_minillm_check(&options, err);
}

static hn_status check(const hn_model *student, const hn_distill_options *o, hn_error *err) {
    if (!(o->alpha >= 0 && o->alpha <= 1))
        return hn_fail(err, HN_USAGE, "the teacher's share of the loss is %g: 0 to 1 is possible",
                       (double)o->alpha);
    if (!(o->temperature > 0 && isfinite(o->temperature)))
        return hn_fail(err, HN_USAGE, "temperature %g: a number above 0 is needed",
                       (double)o->temperature);
    if (!(o->hidden >= 0 && isfinite(o->hidden)))
        return hn_fail(err, HN_USAGE, "hidden states' share %g: a number from 0 up is needed",
                       (double)o->hidden);
    if (!(o->beta >= 0 && o->beta <= 1) || !(o->on_policy >= 0 && o->on_policy <= 1))
        return hn_fail(err, HN_USAGE, "beta %g, share of sampled steps %g: 0 to 1 is possible",
                       (double)o->beta, (double)o->on_policy);
    if (o->stored && (o->beta > 0 || o->on_policy > 0))
        return hn_fail(err, HN_USAGE,
                       "a file of distributions serves KL(teacher || student) of its own rows: "
                       "beta and sampled completions need the teacher");
    if (o->on_policy > 0 && (o->alpha == 0 || o->sample_tokens < 1 || !(o->sample_temperature > 0)))
        return hn_fail(err, HN_USAGE,
                       "sampled completions need a share of the teacher's loss, a temperature and "
                       "a length above 0");
    HN_TRY(check_minillm(o, err));
    if (o->stored && o->hidden > 0)
        return hn_fail(err, HN_USAGE,
                       "a file of distributions has no hidden states: they need the teacher");
    if (o->stored)
        return hn_kd_file_check(o->stored, student, err);
    for (int i = 0; i < o->n_layers; i++) {
        const hn_layer_pair *pair = &o->layers[i];
        if (pair->student < 1 || pair->student > student->arch.n_layer || pair->teacher < 1 ||
            pair->teacher > o->teacher->arch.n_layer)
            return hn_fail(
                err, HN_USAGE, "layers %d:%d: the student has 1 to %d, the teacher 1 to %d",
                pair->student, pair->teacher, student->arch.n_layer, o->teacher->arch.n_layer);
    }
    return hn_kd_teacher_check(student, o->teacher, err);
}

/* Which layers learn from which, and the memory for it. */
static hn_status map_layers(distill *d, hn_error *err) {
    if (d->o->hidden == 0)
        return HN_OK;
    const hn_arch *ours = &d->student->arch, *theirs = &d->o->teacher->arch;
    d->n_layers = d->o->n_layers ? d->o->n_layers : ours->n_layer;
    d->layers = hn_calloc((size_t)d->n_layers, sizeof *d->layers);
    d->states =
        hn_malloc(STATES_ROWS * (size_t)(2 * ours->n_embd + theirs->n_embd) * sizeof *d->states);
    if (!d->layers || !d->states)
        return hn_fail_no_memory(err, STATES_ROWS * sizeof *d->states);
    for (int i = 0; i < d->n_layers; i++)
        if (d->o->n_layers)
            d->layers[i] = d->o->layers[i];
        else
            d->layers[i] = (hn_layer_pair){
                i + 1, (int)lround((double)(i + 1) * theirs->n_layer / ours->n_layer)};
    for (int i = 0; i < d->n_layers; i++)
        d->layers[i].teacher = d->layers[i].teacher < 1 ? 1 : d->layers[i].teacher;
    if (ours->n_embd != theirs->n_embd)
        d->projection_floats = (int64_t)ours->n_embd * theirs->n_embd;
    return HN_OK;
}

/* Projections begin as torch.nn.Linear's weights do. */
static void init_projections(void *context, const hn_train_options *options, float *values) {
    const distill *d = context;
    hn_rng rng = hn_rng_new(options->seed, STREAM_PROJECTION);
    float bound = 1.0f / sqrtf((float)d->student->arch.n_embd);
    for (int64_t i = 0; i < d->n_layers * d->projection_floats; i++)
        values[i] = bound * (2 * hn_rng_float(&rng) - 1);
}

static hn_status begin_pass(void *context, const hn_tree *tree, const hn_document *const *docs,
                            hn_error *err) {
    distill *d = context;
    return hn_kd_teacher_begin(d->teacher, tree, docs, err);
}

static hn_status rows(void *context, const hn_loss_rows *rows, double *value, hn_error *err) {
    distill *d = context;
    float *logits;
    HN_TRY(hn_kd_teacher_logits(d->teacher, rows, &logits, err));
    hn_loss_kd(&d->kd, rows, logits, &d->sums, value);
    return HN_OK;
}

/* One pair's term, some targets at a time. */
static hn_status pair_states(distill *d, int pair, const hn_loss_states *s, double *value,
                             hn_error *err) {
    int64_t dim = s->dim, theirs = d->o->teacher->arch.n_embd;
    double scale = d->row_weight / (double)(theirs * d->n_layers), sum = 0;
    size_t at = d->params->extra + (size_t)(pair * d->projection_floats);
    bool projected = d->projection_floats > 0;
    float *student = d->states, *d_student = student + STATES_ROWS * dim;
    hn_hidden h = {.compute = d->student->compute,
                   .dim = dim,
                   .teacher_dim = theirs,
                   .student = student,
                   .teacher = d_student + STATES_ROWS * dim,
                   .projection = projected ? d->params->values + at : NULL,
                   .d_projection = projected ? d->params->grads + at : NULL,
                   .d_student = s->dx ? d_student : NULL,
                   .weight = (float)((double)d->o->hidden * scale)};
    for (int32_t first = 0; first < s->n; first += STATES_ROWS) {
        const int32_t *row = s->row + first;
        h.n = s->n - first < STATES_ROWS ? s->n - first : STATES_ROWS;
        for (int64_t i = 0; i < h.n; i++)
            memcpy(student + i * dim, s->x + row[i] * dim, (size_t)dim * sizeof *student);
        hn_kd_teacher_states(d->teacher, d->layers[pair].teacher - 1, first, (int32_t)h.n,
                             h.teacher);
        HN_TRY(hn_loss_hidden(&h, &sum, err));
        for (int64_t i = 0; s->dx && i < h.n; i++)
            for (int64_t j = 0; j < dim; j++)
                s->dx[row[i] * dim + j] += d_student[i * dim + j];
    }
    *value += sum;
    d->hidden += sum / (double)d->o->hidden;
    return HN_OK;
}

static hn_status states(void *context, const hn_loss_states *states, double *value, hn_error *err) {
    distill *d = context;
    for (int i = 0; i < d->n_layers; i++)
        if (d->layers[i].student == states->layer + 1)
            HN_TRY(pair_states(d, i, states, value, err));
    return HN_OK;
}

/* The loss of passes over `supervised` tokens in all. */
static hn_loss begin_loss(distill *d, const hn_trainer *trainer, hn_kd kd, uint64_t supervised) {
    d->params = &trainer->params;
    d->kd = kd;
    d->row_weight = 1.0 / (double)supervised;
    d->sums = (hn_kd_sums){0};
    d->hidden = 0;
    return (hn_loss){
        .context = d, .weight = (float)d->row_weight, .begin = begin_pass, .rows = rows};
}

/* MiniLLM's, of completions that the student has sampled. */
static hn_loss begin_minillm(distill *d, uint64_t supervised) {
    hn_minillm *m = &d->minillm;
    m->options = minillm_options(d->o);
    m->teacher = d->teacher;
    m->share = d->o->alpha;
    m->reverse_kl = m->single_step = m->cross_entropy = 0;
    return hn_loss_minillm(m, (float)(1.0 / (double)supervised));
}

static uint64_t line_of(const void *context, uint32_t item) {
    const distill *d = context;
    return d->docs->items[item].line;
}

/* Puts the student's own completions in the batch's place where the step's lot says so. */
static hn_status sample(distill *d, const hn_trainer *trainer, uint64_t key,
                        const hn_document **batch, size_t n, bool *sampled, hn_error *err) {
    hn_rng rng = hn_rng_new(key, STREAM_SAMPLE);
    *sampled = hn_rng_double(&rng) < (double)d->o->on_policy;
    if (!*sampled || n == 0)
        return HN_OK;
    return hn_on_policy_sample(&d->sampler, trainer, batch, n, hn_rng_u64(&rng), batch, err);
}

/* The terms of the loss without their factors. */
static void put_values(const distill *d, bool sampled, hn_values *values) {
    bool minillm = sampled && d->o->minillm;
    if (d->o->on_policy > 0)
        hn_values_add_whole(values, "sampled", sampled);
    hn_values_add(values, "ce", minillm ? d->minillm.cross_entropy : d->sums.hard);
    hn_values_add(values, "kd", minillm ? d->minillm.single_step : d->sums.soft);
    if (minillm)
        hn_values_add(values, "reverse_kl", d->minillm.reverse_kl);
    if (d->n_layers)
        hn_values_add(values, "hidden", d->hidden);
}

/* Tokens of all ranks' documents: what one has sampled the others don't know. */
static void count(const hn_trainer *trainer, const hn_document *const *docs, size_t n,
                  hn_step_metrics *m) {
    double counts[2] = {0};
    for (size_t i = 0; i < n; i++) {
        counts[0] += docs[i]->n;
        counts[1] += docs[i]->n_supervised;
    }
    hn_ranks_add(trainer->options->ranks, counts, 2);
    m->tokens = (uint64_t)counts[0];
    m->supervised = (uint64_t)counts[1];
}

static hn_status step(void *context, const hn_trainer *trainer, const uint32_t *items, size_t n,
                      uint64_t key, hn_step_metrics *m, hn_error *err) {
    distill *d = context;
    const hn_document **batch = hn_malloc(n * sizeof *batch);
    bool sampled;
    hn_status status = batch ? HN_OK : hn_fail_no_memory(err, n * sizeof *batch);
    for (size_t i = 0; batch && i < n; i++)
        batch[i] = &d->docs->items[items[i]];
    if (status == HN_OK)
        status = hn_train_own_documents(trainer, batch, &n, err);
    if (status == HN_OK)
        status = sample(d, trainer, key, batch, n, &sampled, err);
    HN_GO(hn_ranks_agree(trainer->options->ranks, status, err));
    count(trainer, batch, n, m);
    hn_kd kd = {sampled ? 0 : 1 - d->o->alpha, d->o->alpha, d->o->temperature, d->o->beta};
    hn_loss loss = sampled && d->o->minillm ? begin_minillm(d, m->supervised)
                                            : begin_loss(d, trainer, kd, m->supervised);
    if (d->n_layers)
        loss.states = states;
    hn_pass pass = {.loss = &loss, .dropout_key = key, .backward = true, .final = true};
    hn_net_loss sum = {0};
    status = hn_train_passes(trainer, batch, n, &pass, &sum, &m->rows, err);
    m->loss = sum.loss;
    put_values(d, sampled, &m->values);
    hn_values_add(&m->values, "accuracy", sum.correct / (double)m->supervised);
done:
    hn_free(batch);
    return status;
}

/* The loss is the cross-entropy alone, as that of supervised fine-tuning. */
static hn_status evaluate(void *context, const hn_trainer *trainer, hn_eval_metrics *m,
                          hn_error *err) {
    distill *d = context;
    if (d->o->stored) { /* which has the training rows alone */
        hn_loss sft = hn_loss_sft((float)(1.0 / (double)d->eval->n_supervised));
        return hn_train_evaluate(trainer, d->eval, &sft, m, err);
    }
    hn_loss loss =
        begin_loss(d, trainer, (hn_kd){1, 0, d->o->temperature, d->o->beta}, d->eval->n_supervised);
    HN_TRY(hn_train_evaluate(trainer, d->eval, &loss, m, err));
    hn_values_add(&m->values, "kd", d->sums.soft);
    return HN_OK;
}

static uint64_t hash_run(const distill *d) {
    const hn_distill_options *o = d->o;
    const double own[] = {
        o->alpha,      o->temperature,        o->hidden,        o->beta,
        o->on_policy,  o->sample_temperature, o->sample_tokens, o->minillm ? o->gamma : -1,
        o->single_step};
    uint64_t hash = hn_hash64(own, sizeof own, 0);
    if (d->n_layers)
        hash = hn_hash64(d->layers, (size_t)d->n_layers * sizeof *d->layers, hash);
    if (d->o->stored)
        hash = hn_hash64(&d->o->stored->checksum, sizeof d->o->stored->checksum, hash);
    else
        hash = hn_train_hash_model(d->o->teacher, hash);
    return hn_train_hash_documents(d->eval, hn_train_hash_documents(d->docs, hash));
}

static hn_status prepare(distill *d, hn_task *task, const hn_train_options *train, hn_error *err) {
    const hn_distill_options *o = d->o;
    HN_TRY(check(d->student, o, err));
    HN_TRY(map_layers(d, err));
    if (train->full && d->projection_floats)
        return hn_fail(err, HN_UNSUPPORTED,
                       "hidden states of width %d and %d need a projection, which all weights of "
                       "a model can't be trained with: leave the hidden states out, or train an "
                       "adapter",
                       d->student->arch.n_embd, o->teacher->arch.n_embd);
    if (o->stored)
        HN_TRY(hn_kd_teacher_of_file(&d->teacher, o->stored, d->docs, o->temperature, err));
    else
        HN_TRY(hn_kd_teacher_new(&d->teacher, o->teacher, NULL, err));
    task->n_extra = (size_t)(d->n_layers * d->projection_floats);
    task->data_hash = hash_run(d);
    return HN_OK;
}

hn_status hn_train_distill(hn_model *model, const hn_documents *docs, const hn_documents *eval,
                           const hn_distill_options *options, const hn_train_options *train,
                           const hn_progress *progress, hn_train_result *result, hn_error *err) {
    distill d = {.o = options, .docs = docs, .eval = eval, .student = model};
    d.sampler = (hn_on_policy){.max_tokens = options->sample_tokens,
                               .temperature = options->sample_temperature};
    hn_task task = {.context = &d,
                    .n_items = docs->n,
                    .path = docs->path,
                    .evaluates = eval != NULL,
                    .line = line_of,
                    .init_extra = init_projections,
                    .step = step,
                    .evaluate = evaluate};
    hn_status status = hn_ranks_agree(train->ranks, prepare(&d, &task, train, err), err);
    if (status == HN_OK)
        status = hn_train_run(model, &task, train, progress, result, err);
    hn_minillm_done(&d.minillm);
    hn_on_policy_done(&d.sampler);
    hn_kd_teacher_free(d.teacher);
    hn_free(d.layers);
    hn_free(d.states);
    return status;
}
