#include "train/loss_minillm.h"

#include "base/mem.h"

#include <math.h>

hn_status hn_minillm_check(const hn_minillm_options *o, hn_error *err) {
    if (!(o->gamma >= 0 && o->gamma <= 1))
        return hn_fail(err, HN_USAGE, "gamma %g: 0 to 1 is possible", (double)o->gamma);
    if (!(o->single_step >= 0 && isfinite(o->single_step)))
        return hn_fail(err, HN_USAGE, "the single step's weight %g: a number from 0 up is needed",
                       (double)o->single_step);
    return HN_OK;
}

void hn_minillm_done(hn_minillm *m) {
    hn_free(m->advantages);
    m->advantages = NULL;
    m->room = 0;
}

static hn_status begin(void *context, const hn_tree *tree, const hn_document *const *docs,
                       hn_error *err) {
    hn_minillm *m = context;
    size_t n = (size_t)tree->n_targets;
    if (n > m->room) {
        hn_minillm_done(m);
        m->advantages = hn_malloc(n * sizeof *m->advantages);
        if (!m->advantages)
            return hn_fail_no_memory(err, n * sizeof *m->advantages);
        m->room = n;
    }
    m->tree = tree;
    m->known = m->options.gamma == 0; /* a token's advantage is its own reward */
    return hn_kd_teacher_begin(m->teacher, tree, docs, err);
}

typedef struct minillm_rows {
    hn_minillm *m;
    float *teacher;
    double *value;
} minillm_rows;

static double reward(const minillm_rows *k, const hn_loss_rows *r, int64_t i) {
    const float *s = r->logits + i * r->n_vocab, *t = k->teacher + i * r->n_vocab;
    float inv_t = 1.0f / k->m->options.temperature;
    return r->ops->log_prob(t, r->n_vocab, r->labels[i], inv_t) -
           r->ops->log_prob(s, r->n_vocab, r->labels[i], inv_t);
}

/* The rows' first turn, whose gradients nobody wants. */
static double reward_row(void *context, const hn_loss_rows *r, int64_t i) {
    const minillm_rows *k = context;
    return k->m->advantages[r->first + i] = reward(k, r, i);
}

static void reward_add(void *context, const hn_loss_rows *r, int64_t i, double own) {
    const minillm_rows *k = context;
    k->m->reverse_kl -= (double)r->weights[i] * own;
}

static void scale_row(float *x, int64_t n, float by) {
    for (int64_t i = 0; by != 1 && i < n; i++)
        x[i] *= by;
}

static double gradient_row(void *context, const hn_loss_rows *r, int64_t i) {
    const minillm_rows *k = context;
    const hn_minillm_options *o = &k->m->options;
    float *s = r->logits + i * r->n_vocab, *t = k->teacher + i * r->n_vocab;
    float inv_t = 1.0f / o->temperature, inv_sample = 1.0f / o->sample_temperature;
    float weight = k->m->share * r->weights[i];
    double *advantage = &k->m->advantages[r->first + i];
    int64_t best;
    if (o->gamma == 0)
        *advantage = reward(k, r, i);
    /* beta 1: KL(student || teacher) */
    double divergence =
        r->ops->divergence(s, t, r->n_vocab, inv_t, 1.0f, o->single_step * weight * inv_t);
    scale_row(s, r->n_vocab, inv_sample);
    r->logps[i] = -r->ops->cross_entropy(s, r->n_vocab, r->labels[i],
                                         (float)*advantage * weight * inv_sample, &best);
    r->hits[i] = best == r->labels[i];
    r->ops->add(s, t, r->n_vocab, 1.0f);
    return divergence;
}

static void gradient_add(void *context, const hn_loss_rows *r, int64_t i, double divergence) {
    const minillm_rows *k = context;
    hn_minillm *m = k->m;
    double weight = (double)r->weights[i], advantage = m->advantages[r->first + i];
    if (m->options.gamma == 0)
        m->reverse_kl -= weight * advantage;
    m->single_step += weight * divergence;
    m->cross_entropy -= weight * r->logps[i];
    *k->value +=
        (double)m->share * weight * ((double)m->options.single_step * divergence - advantage);
}

static hn_status rows(void *context, const hn_loss_rows *rows, double *value, hn_error *err) {
    hn_minillm *m = context;
    minillm_rows k = {.m = m, .value = value};
    HN_TRY(hn_kd_teacher_logits(m->teacher, rows, &k.teacher, err));
    hn_loss_rows_run(rows, m->known ? &(hn_loss_each){&k, gradient_row, gradient_add}
                                    : &(hn_loss_each){&k, reward_row, reward_add});
    return HN_OK;
}

/* A document's targets come in the order of its tokens: from the last one back, each document's
 * discounted sum of rewards and of ones is carried along. */
static hn_status between(void *context, hn_error *err) {
    hn_minillm *m = context;
    const hn_target *targets = m->tree->targets;
    double gamma = (double)m->options.gamma;
    int32_t n = m->tree->n_targets, n_docs = 0;
    for (int32_t i = 0; i < n; i++)
        n_docs = targets[i].doc >= n_docs ? targets[i].doc + 1 : n_docs;
    double *sums = hn_calloc(2 * (size_t)n_docs, sizeof *sums);
    if (!sums)
        return hn_fail_no_memory(err, 2 * (size_t)n_docs * sizeof *sums);
    for (int32_t i = n; i-- > 0;) {
        double *reward = &sums[2 * targets[i].doc], *length = reward + 1;
        *reward = m->advantages[i] + gamma * *reward;
        *length = 1 + gamma * *length;
        m->advantages[i] = *reward / *length;
    }
    hn_free(sums);
    m->known = true;
    return HN_OK;
}

hn_loss hn_loss_minillm(hn_minillm *m, float weight) {
    return (hn_loss){.context = m,
                     .weight = weight,
                     .begin = begin,
                     .rows = rows,
                     .between = m->options.gamma == 0 ? NULL : between};
}
