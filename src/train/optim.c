#include "train/optim.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

/* Shares of the vector begin at multiples of this, so that how values fall into vectors doesn't
 * depend on the number of threads; partial sums are kept for blocks of it. */
enum { BLOCK = 1 << 14 };

hn_status hn_optimiser_new(hn_optimiser *out, size_t n, hn_error *err) {
    size_t bytes = n * sizeof(float);
    hn_optimiser o = {.m = hn_alloc_aligned(bytes), .v = hn_alloc_aligned(bytes), .n = n};
    if (!o.m || !o.v) {
        hn_optimiser_done(&o);
        return hn_fail_no_memory(err, 2 * bytes);
    }
    *out = o;
    return HN_OK;
}

void hn_optimiser_done(hn_optimiser *o) {
    hn_free_aligned(o->m, o->n * sizeof *o->m);
    hn_free_aligned(o->v, o->n * sizeof *o->v);
    *o = (hn_optimiser){0};
}

double hn_gradient_norm(const hn_net *net) {
    double total = 0;
    const float *g = net->params->grads;
    for (size_t at = 0; at < net->params->n; at += BLOCK) {
        size_t n = net->params->n - at < BLOCK ? net->params->n - at : BLOCK;
        total += (double)net->ops->dot(g + at, g + at, (int64_t)n);
    }
    return sqrt(total);
}

typedef struct update_job {
    const hn_net *net;
    hn_optimiser *optimiser;
    hn_adamw_step steps[HN_PARAM_KINDS]; /* B may have a rate of its own (LoRA+) */
} update_job;

static void update_share(void *arg, int thread, int n_threads) {
    const update_job *j = arg;
    const hn_optimiser *o = j->optimiser;
    const hn_params *p = j->net->params;
    long first, last;
    hn_pool_share((long)o->n, BLOCK, thread, n_threads, &first, &last);
    for (size_t at = (size_t)first, end; at < (size_t)last; at = end) {
        size_t block_end = (at / BLOCK + 1) * BLOCK;
        hn_param_kind kind = hn_params_kind(p, at, &end);
        end = end < block_end ? end : block_end;
        end = end < (size_t)last ? end : (size_t)last;
        j->net->ops->adamw(p->values + at, p->grads + at, o->m + at, o->v + at, (int64_t)(end - at),
                           &j->steps[kind]);
    }
}

void hn_optimiser_update(hn_optimiser *o, const hn_net *net, const hn_train_options *options,
                         double rate, double norm) {
    double clip = 1;
    if (options->max_grad_norm > 0)
        clip = fmin(1.0, (double)options->max_grad_norm / (norm + 1e-6));
    double t = (double)++o->updates;
    double c1 = 1.0 - pow((double)options->beta1, t), c2 = 1.0 - pow((double)options->beta2, t);
    double decay = (double)options->weight_decay;
    update_job job = {.net = net, .optimiser = o};
    for (int kind = 0; kind < HN_PARAM_KINDS; kind++) {
        double own = kind == HN_PARAM_B ? rate * (double)options->lora_plus_ratio : rate;
        job.steps[kind] =
            (hn_adamw_step){.grad_scale = (float)clip,
                            .beta1 = options->beta1,
                            .beta2 = options->beta2,
                            .eps = options->adam_eps,
                            .decay = kind == HN_PARAM_UNDECAYED ? 1 : (float)(1.0 - own * decay),
                            .step_size = (float)(own / c1),
                            .inv_sqrt_c2 = (float)(1.0 / sqrt(c2))};
    }
    hn_pool_run(net->pool, update_share, &job);
}

double hn_schedule_rate(const hn_train_options *options, int step, int total) {
    int warmup = options->warmup_steps > 0 ? options->warmup_steps
                                           : (int)ceil((double)options->warmup_ratio * total);
    double rate = (double)options->learning_rate;
    if (step < warmup)
        return rate * step / (warmup > 1 ? warmup : 1);
    int left = total - warmup;
    double done = left > 0 ? (double)(step - warmup) / left : 1;
    switch (options->schedule) {
    case HN_SCHEDULE_LINEAR:
        return rate * fmax(0, 1 - done);
    case HN_SCHEDULE_COSINE:
        return rate * fmax(0, 0.5 * (1 + cos(M_PI * done)));
    case HN_SCHEDULE_CONSTANT:
        break;
    }
    return rate;
}
