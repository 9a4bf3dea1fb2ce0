/* Element-wise work of a pass, one parallel region each. */
#include "train/net.h"

#include <math.h>

typedef struct rows_job {
    hn_net *net;
    const float *x, *w, *dy;
    float *y, *y2;
    int64_t n, dim;
    const float *cos, *sin;
    uint64_t key;
    bool flag;
} rows_job;

static void run(hn_net *net, hn_pool_fn *fn, rows_job *job) {
    job->net = net;
    hn_pool_run(net->pool, fn, job);
}

static void share_of(const rows_job *job, int thread, int n_threads, long *first, long *last) {
    hn_pool_share((long)job->n, 1, thread, n_threads, first, last);
}

static void rms_norm_share(void *arg, int thread, int n_threads) {
    const rows_job *j = arg;
    long first, last;
    share_of(j, thread, n_threads, &first, &last);
    for (long i = first; i < last; i++)
        j->net->ops->rms_norm(j->x + i * j->dim, j->w, j->dim, j->net->model->arch.rms_eps,
                              j->y + i * j->dim);
}

void hn_net_rms_norm(hn_net *net, const float *x, const float *w, int64_t n, int64_t dim,
                     float *y) {
    run(net, rms_norm_share, &(rows_job){.x = x, .w = w, .n = n, .dim = dim, .y = y});
}

static void rms_norm_backward_share(void *arg, int thread, int n_threads) {
    const rows_job *j = arg;
    long first, last;
    share_of(j, thread, n_threads, &first, &last);
    for (long i = first; i < last; i++)
        j->net->ops->rms_norm_backward(j->x + i * j->dim, j->w, j->dim, j->net->model->arch.rms_eps,
                                       j->dy + i * j->dim, j->y + i * j->dim);
}

void hn_net_rms_norm_backward(hn_net *net, const float *x, const float *w, int64_t n, int64_t dim,
                              const float *dy, float *dx) {
    run(net, rms_norm_backward_share,
        &(rows_job){.x = x, .w = w, .n = n, .dim = dim, .dy = dy, .y = dx});
    if (net->params->full)
        hn_net_full_norm(net, x, w, n, dim, dy);
}

static void glu_share(void *arg, int thread, int n_threads) {
    const rows_job *j = arg;
    long first, last;
    share_of(j, thread, n_threads, &first, &last);
    for (long i = first; i < last; i++)
        j->net->ops->glu(j->x + i * j->dim, j->w + i * j->dim, j->dim, j->flag, j->y + i * j->dim);
}

void hn_net_glu(hn_net *net, const float *gate, const float *up, int64_t n, float *h) {
    const hn_arch *arch = &net->model->arch;
    run(net, glu_share,
        &(rows_job){.x = gate,
                    .w = up,
                    .n = n,
                    .dim = arch->n_ff,
                    .y = h,
                    .flag = arch->activation == HN_ACT_GELU_TANH});
}

static void glu_backward_share(void *arg, int thread, int n_threads) {
    const rows_job *j = arg;
    long first, last;
    share_of(j, thread, n_threads, &first, &last);
    for (long i = first; i < last; i++)
        j->net->ops->glu_backward(j->y + i * j->dim, j->y2 + i * j->dim, j->dy + i * j->dim, j->dim,
                                  j->flag);
}

void hn_net_glu_backward(hn_net *net, float *gate, float *up, const float *dh, int64_t n) {
    const hn_arch *arch = &net->model->arch;
    run(net, glu_backward_share,
        &(rows_job){.y = gate,
                    .y2 = up,
                    .dy = dh,
                    .n = n,
                    .dim = arch->n_ff,
                    .flag = arch->activation == HN_ACT_GELU_TANH});
}

static void add_share(void *arg, int thread, int n_threads) {
    const rows_job *j = arg;
    long first, last;
    share_of(j, thread, n_threads, &first, &last);
    j->net->ops->add(j->y + first * j->dim, j->x + first * j->dim, (last - first) * j->dim, 1.0f);
}

void hn_net_add(hn_net *net, float *y, const float *x, int64_t n, int64_t dim) {
    run(net, add_share, &(rows_job){.x = x, .y = y, .n = n, .dim = dim});
}

/* One head: dimensions (2i, 2i + 1) or (i, i + rope_dim / 2) turn by the row's angles. */
static void rope_head(const hn_arch *arch, float *x, const float *cos_row, const float *sin_row,
                      float sign) {
    int half = arch->rope_dim / 2;
    int step = arch->rope_style == HN_ROPE_PAIRS ? 2 : 1;
    int apart = arch->rope_style == HN_ROPE_PAIRS ? 1 : half;
    for (int i = 0; i < half; i++) {
        float a = x[i * step], b = x[i * step + apart];
        float c = cos_row[i], s = sin_row[i] * sign;
        x[i * step] = a * c - b * s;
        x[i * step + apart] = a * s + b * c;
    }
}

static void rope_share(void *arg, int thread, int n_threads) {
    const rows_job *j = arg;
    const hn_arch *arch = &j->net->model->arch;
    long first, last;
    share_of(j, thread, n_threads, &first, &last);
    long half = arch->rope_dim / 2;
    for (long i = first; i < last; i++)
        for (int64_t h = 0; h < j->dim; h++)
            rope_head(arch, j->y + (i * j->dim + h) * arch->head_dim, j->cos + i * half,
                      j->sin + i * half, j->flag ? -1.0f : 1.0f);
}

void hn_net_rope(hn_net *net, int layer, float *x, int heads, bool inverse) {
    bool local = hn_arch_layer_is_local(&net->model->arch, layer);
    run(net, rope_share,
        &(rows_job){.y = x,
                    .n = net->tree->n_rows,
                    .dim = heads,
                    .flag = inverse,
                    .cos = local ? net->cos_local : net->cos,
                    .sin = local ? net->sin_local : net->sin});
}

/* A counter-based generator: the finaliser of SplitMix64 (Steele et al., OOPSLA 2014). */
static inline uint32_t mix(uint64_t key, uint64_t counter) {
    uint64_t z = key + counter * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static void dropout_share(void *arg, int thread, int n_threads) {
    const rows_job *j = arg;
    long first, last;
    share_of(j, thread, n_threads, &first, &last);
    float p = j->net->dropout, scale = 1.0f / (1.0f - p);
    uint32_t below = (uint32_t)((double)p * 4294967296.0);
    for (int64_t i = first * j->dim; i < last * j->dim; i++) {
        float kept = mix(j->key, (uint64_t)i) < below ? 0 : j->x[i] * scale;
        j->y[i] = j->flag ? j->y[i] + kept : kept;
    }
}

void hn_net_dropout(hn_net *net, int layer, int module, const float *x, int64_t n, int64_t dim,
                    bool add, float *y) {
    uint64_t counter = (uint64_t)(layer * HN_MODULE_COUNT + module + 1);
    uint64_t key = (uint64_t)mix(net->dropout_key, counter) << 32 | mix(~net->dropout_key, counter);
    run(net, dropout_share,
        &(rows_job){.x = x, .y = y, .n = n, .dim = dim, .flag = add, .key = key});
}

enum { NOISE_STREAM = 1 << 20 }; /* beyond all modules' of dropout */

void hn_net_noise(hn_net *net, float *x) {
    const hn_tree *tree = net->tree;
    int64_t dim = net->model->arch.n_embd;
    uint64_t key =
        (uint64_t)mix(net->dropout_key, NOISE_STREAM) << 32 | mix(~net->dropout_key, NOISE_STREAM);
    for (int32_t first = 0, end; first < tree->n_rows; first = end) {
        for (end = first + 1; end < tree->n_rows && tree->positions[end] > 0;)
            end++;
        double size = (double)(end - first) * (double)dim;
        float most = (float)((double)net->noise_alpha / sqrt(size));
        for (int64_t i = first * dim; i < end * dim; i++)
            x[i] += most * ((float)(mix(key, (uint64_t)i) >> 8) * 0x1p-23f - 1.0f);
    }
}
