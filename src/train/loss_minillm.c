#include "train/loss_minillm.h"

#include "base/mem.h"

#include <math.h>

enum { GROUP_ROWS = 64 };

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
    m->known = false;
    return hn_kd_teacher_begin(m->teacher, tree, docs, err);
}

/* Rows in groups whose results are added in order, so that the sums are the same for any number of
 * threads. */
typedef struct minillm_job {
    const hn_minillm *m;
    const hn_loss_rows *rows;
    float *teacher;
    int32_t first, n;
    double divergence[GROUP_ROWS];
} minillm_job;

static void scale_row(float *x, int64_t n, float by) {
    for (int64_t i = 0; by != 1 && i < n; i++)
        x[i] *= by;
}

/* log p(label) of logits at a temperature; d/dlogits of -weight * log p is left in their place. */
static double log_prob(const hn_loss_rows *r, float *x, int32_t label, float temperature,
                       float weight, int64_t *best) {
    float inv_t = 1.0f / temperature;
    scale_row(x, r->n_vocab, inv_t);
    return -r->ops->cross_entropy(x, r->n_vocab, label, weight * inv_t, best);
}

static void reward_share(void *arg, int thread, int n_threads) {
    minillm_job *job = arg;
    const hn_loss_rows *r = job->rows;
    float temperature = job->m->options.temperature;
    long from, to;
    hn_pool_share(job->n, 1, thread, n_threads, &from, &to);
    for (long i = from; i < to; i++) {
        int64_t best, unused, row = job->first + i;
        float *s = r->logits + row * r->n_vocab, *t = job->teacher + row * r->n_vocab;
        r->logps[row] = log_prob(r, s, r->labels[row], temperature, 0, &best);
        r->hits[row] = best == r->labels[row];
        job->m->advantages[r->first + row] =
            log_prob(r, t, r->labels[row], temperature, 0, &unused) - r->logps[row];
    }
}

static void gradient_share(void *arg, int thread, int n_threads) {
    minillm_job *job = arg;
    const hn_loss_rows *r = job->rows;
    const hn_minillm_options *o = &job->m->options;
    float inv_t = 1.0f / o->temperature;
    long from, to;
    hn_pool_share(job->n, 1, thread, n_threads, &from, &to);
    for (long i = from; i < to; i++) {
        int64_t best, row = job->first + i;
        float *s = r->logits + row * r->n_vocab, *t = job->teacher + row * r->n_vocab;
        float weight = job->m->share * r->weights[row];
        float advantage = (float)job->m->advantages[r->first + row];
        /* beta 1: KL(student || teacher) */
        job->divergence[i] =
            r->ops->divergence(s, t, r->n_vocab, inv_t, 1.0f, o->single_step * weight * inv_t);
        r->logps[row] =
            log_prob(r, s, r->labels[row], o->sample_temperature, advantage * weight, &best);
        r->hits[row] = best == r->labels[row];
        r->ops->add(s, t, r->n_vocab, 1.0f);
    }
}

/* Sums of a group, in the order of its rows. */
static void add_group(hn_minillm *m, const minillm_job *job, double *value) {
    double share = (double)m->share, single_step = (double)m->options.single_step;
    for (int32_t i = 0; i < job->n; i++) {
        const hn_loss_rows *r = job->rows;
        int32_t row = job->first + i;
        double weight = (double)r->weights[row];
        if (!m->known) {
            m->reverse_kl -= weight * m->advantages[r->first + row];
            continue;
        }
        m->single_step += weight * job->divergence[i];
        m->cross_entropy -= weight * r->logps[row];
        *value +=
            share * weight * (single_step * job->divergence[i] - m->advantages[r->first + row]);
    }
}

static hn_status rows(void *context, const hn_loss_rows *rows, double *value, hn_error *err) {
    hn_minillm *m = context;
    minillm_job job = {.m = m, .rows = rows};
    HN_TRY(hn_kd_teacher_logits(m->teacher, rows, &job.teacher, err));
    for (; job.first < rows->n; job.first += GROUP_ROWS) {
        job.n = rows->n - job.first < GROUP_ROWS ? rows->n - job.first : GROUP_ROWS;
        hn_pool_run(rows->pool, m->known ? gradient_share : reward_share, &job);
        add_group(m, &job, value);
    }
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
    return (hn_loss){
        .context = m, .weight = weight, .begin = begin, .rows = rows, .between = between};
}
