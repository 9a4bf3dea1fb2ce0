#include "train/optim.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

/* Shares of the vector begin at multiples of this, so that how values fall into vectors doesn't
 * depend on the number of threads; partial sums are kept for blocks of it. */
enum { BLOCK = 1 << 14 };

hn_status hn_optimiser_new(hn_optimiser *out, hn_optimiser_kind kind, size_t n, hn_error *err) {
    size_t floats = n * sizeof(float);
    size_t scales = (n + HN_MOMENT_BLOCK - 1) / HN_MOMENT_BLOCK * sizeof(float);
    const size_t bytes[][HN_OPTIMISER_MAX_ARRAYS] = {[HN_ADAMW] = {floats, floats},
                                                     [HN_ADAMW_8BIT] = {n, scales, n, scales},
                                                     [HN_LION] = {floats}};
    hn_optimiser o = {.kind = kind, .n = n};
    for (int i = 0; i < HN_OPTIMISER_MAX_ARRAYS && bytes[kind][i]; i++) {
        o.arrays[i].data = hn_alloc_aligned(bytes[kind][i]);
        if (!o.arrays[i].data) {
            hn_optimiser_done(&o);
            return hn_fail_no_memory(err, bytes[kind][i]);
        }
        o.arrays[i].bytes = bytes[kind][i];
        o.n_arrays++;
    }
    *out = o;
    return HN_OK;
}

void hn_optimiser_done(hn_optimiser *o) {
    for (int i = 0; i < o->n_arrays; i++)
        hn_free_aligned(o->arrays[i].data, o->arrays[i].bytes);
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

/* p -= rate * sign of the moment mixed with the gradient. */
static void lion(float *p, const float *g, float *m, int64_t n, const hn_adamw_step *s) {
    for (int64_t i = 0; i < n; i++) {
        float grad = g[i] * s->grad_scale;
        float mixed = s->beta1 * m[i] + (1.0f - s->beta1) * grad;
        float sign = (float)((mixed > 0) - (mixed < 0));
        p[i] = p[i] * s->decay - s->step_size * sign;
        m[i] = s->beta2 * m[i] + (1.0f - s->beta2) * grad;
    }
}

/* Values [at, at + n), all of one kind and, with 8 bits, within one block. */
static void update_piece(const update_job *j, size_t at, size_t n, hn_param_kind kind) {
    const hn_optimiser *o = j->optimiser;
    float *p = j->net->params->values + at;
    const float *g = j->net->params->grads + at;
    const hn_adamw_step *step = &j->steps[kind];
    float *first = o->arrays[0].data;
    if (o->kind == HN_ADAMW)
        j->net->ops->adamw(p, g, first + at, (float *)o->arrays[1].data + at, (int64_t)n, step);
    else
        lion(p, g, first + at, (int64_t)n, step);
}

/* Values [at, end) of one block of 8-bit moments. */
static void update_block(const update_job *j, size_t at, size_t end) {
    const hn_optimiser *o = j->optimiser;
    const hn_params *p = j->net->params;
    float m[HN_MOMENT_BLOCK], v[HN_MOMENT_BLOCK];
    int n = (int)(end - at);
    int8_t *first = (int8_t *)o->arrays[0].data + at;
    uint8_t *second = (uint8_t *)o->arrays[2].data + at;
    float *first_scale = (float *)o->arrays[1].data + at / HN_MOMENT_BLOCK;
    float *second_scale = (float *)o->arrays[3].data + at / HN_MOMENT_BLOCK;
    hn_moment_decode_first(first, n, *first_scale, m);
    hn_moment_decode_second(second, n, *second_scale, v);
    for (size_t from = at, to; from < end; from = to) {
        hn_param_kind kind = hn_params_kind(p, from, &to);
        to = to < end ? to : end;
        j->net->ops->adamw(p->values + from, p->grads + from, m + (from - at), v + (from - at),
                           (int64_t)(to - from), &j->steps[kind]);
    }
    *first_scale = hn_moment_encode_first(m, n, first);
    *second_scale = hn_moment_encode_second(v, n, second);
}

static void update_share(void *arg, int thread, int n_threads) {
    const update_job *j = arg;
    const hn_optimiser *o = j->optimiser;
    long first, last;
    hn_pool_share((long)o->n, BLOCK, thread, n_threads, &first, &last);
    size_t block = o->kind == HN_ADAMW_8BIT ? (size_t)HN_MOMENT_BLOCK : (size_t)BLOCK;
    for (size_t at = (size_t)first, end; at < (size_t)last; at = end) {
        size_t block_end = (at / block + 1) * block;
        hn_param_kind kind = hn_params_kind(j->net->params, at, &end);
        if (o->kind == HN_ADAMW_8BIT)
            end = block_end;
        end = end < block_end ? end : block_end;
        end = end < (size_t)last ? end : (size_t)last;
        if (o->kind == HN_ADAMW_8BIT)
            update_block(j, at, end);
        else
            update_piece(j, at, end - at, kind);
    }
}

void hn_optimiser_update(hn_optimiser *o, const hn_net *net, const hn_train_options *options,
                         double rate, double norm) {
    double clip = 1;
    if (options->max_grad_norm > 0)
        clip = fmin(1.0, (double)options->max_grad_norm / (norm + 1e-6));
    double t = (double)++o->updates;
    float beta2 = options->beta2 > 0 ? options->beta2 : o->kind == HN_LION ? 0.99f : 0.999f;
    double c1 = 1.0 - pow((double)options->beta1, t), c2 = 1.0 - pow((double)beta2, t);
    if (o->kind == HN_LION) /* has no bias to correct */
        c1 = 1;
    double decay = (double)options->weight_decay;
    update_job job = {.net = net, .optimiser = o};
    for (int kind = 0; kind < HN_PARAM_KINDS; kind++) {
        double own = kind == HN_PARAM_B ? rate * (double)options->lora_plus_ratio : rate;
        job.steps[kind] =
            (hn_adamw_step){.grad_scale = (float)clip,
                            .beta1 = options->beta1,
                            .beta2 = beta2,
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
