/* Embeddings, rotary positions, cache writes, activation and norms of the forward pass. */
#include "model/steps.h"

#include "model/attention.h"
#include "model/rows.h"
#include "model/vmath.h"

#include <math.h>
#include <string.h>

typedef struct step_job {
    hn_model *model;
    const hn_kv *kv;
    const hn_kv_codec *codec;
    void (*rotate)(float *x, const float *angles, int n);
    const hn_batch_row *rows;
    int layer, n_rows;
    const float *x, *weight;
    float *out;
    bool accumulate;
} step_job;

static void embed_row(const hn_model *model, int32_t token, float *x) {
    const float scale = model->arch.embd_scale;
    hn_matrix_row(&model->embed, token, x);
    if (scale != 1.0f)
        for (int d = 0; d < model->arch.n_embd; d++)
            x[d] *= scale;
}

static void find_angles(const float *inv_freq, int half, float position, float *out) {
    for (int i = 0; i < half; i++) {
        float angle = position * inv_freq[i];
        out[2 * i] = cosf(angle);
        out[2 * i + 1] = sinf(angle);
    }
}

static void begin_share(void *arg, int thread, int n_threads) {
    const step_job *job = arg;
    const hn_model *model = job->model;
    const hn_scratch *s = model->scratch;
    const float *tables[2] = {model->rope_inv_freq, model->rope_inv_freq_local};
    const int half = model->arch.rope_dim / 2;
    long first, last;
    hn_pool_share(job->n_rows, 1, thread, n_threads, &first, &last);
    for (long row = first; row < last; row++) {
        embed_row(model, job->rows[row].token, s->x + row * model->arch.n_embd);
        for (int t = 0; t < 2 && tables[t]; t++)
            find_angles(tables[t], half, (float)s->places[row].position,
                        s->rope[t] + row * 2 * half);
    }
}

void hn_step_begin(hn_model *model, const hn_batch_row *rows, int n_rows) {
    step_job job = {.model = model, .n_rows = n_rows, .rows = rows};
    hn_pool_run(hn_compute_pool(model->compute), begin_share, &job);
}

static void norm_row(const float *x, const float *weight, float eps, int n, float *out,
                     bool accumulate) {
    float scale = 1.0f / sqrtf(hn_sum_squares(x, n) / (float)n + eps);
    for (int i = 0; i < n; i++) {
        float value = x[i] * scale * weight[i];
        out[i] = accumulate ? out[i] + value : value;
    }
}

/* A head normed where the family does, and rotated. */
static void turn_head(const step_job *job, long row, const float *norm, float *head) {
    const hn_arch *arch = &job->model->arch;
    const float *angles = job->model->scratch->rope[hn_arch_layer_is_local(arch, job->layer)];
    if (norm)
        norm_row(head, norm, arch->rms_eps, arch->head_dim, head, false);
    job->rotate(head, angles + row * arch->rope_dim, arch->rope_dim / 2);
}

/* The vector, with zeros behind it as far as the cache's rows go. */
static const float *pad(const float *x, int dim, int padded_dim, float *padded) {
    if (dim == padded_dim)
        return x;
    memcpy(padded, x, (size_t)dim * sizeof *x);
    memset(padded + dim, 0, (size_t)(padded_dim - dim) * sizeof *x);
    return padded;
}

static void place_head(const step_job *job, long row, int head_kv) {
    const hn_arch *arch = &job->model->arch;
    const hn_layer *layer = &job->model->layers[job->layer];
    const hn_scratch *s = job->model->scratch;
    const hn_kv *kv = job->kv;
    const int dim = arch->head_dim, group = arch->n_head / arch->n_head_kv;
    for (int h = head_kv * group; h < (head_kv + 1) * group; h++)
        turn_head(job, row, layer->q_norm, s->q + (row * arch->n_head + h) * dim);
    float *k = s->k + (row * arch->n_head_kv + head_kv) * dim;
    turn_head(job, row, layer->k_norm, k);
    const float *v = s->v + (row * arch->n_head_kv + head_kv) * dim;
    const int32_t position = s->places[row].position, slot = position % HN_KV_BLOCK;
    const int32_t block = kv->seqs[s->places[row].seq].blocks[position / HN_KV_BLOCK];
    float padded[HN_ARCH_MAX_HEAD_DIM];
    job->codec->put_k(hn_kv_k(kv, block, job->layer, head_kv), pad(k, dim, kv->padded_dim, padded),
                      kv->padded_dim, slot);
    job->codec->put_v(hn_kv_v(kv, block, job->layer, head_kv), pad(v, dim, kv->padded_dim, padded),
                      kv->padded_dim, slot);
}

static void place_share(void *arg, int thread, int n_threads) {
    const step_job *job = arg;
    int heads = job->model->arch.n_head_kv;
    long first, last;
    hn_pool_share((long)job->n_rows * heads, 1, thread, n_threads, &first, &last);
    for (long i = first; i < last; i++)
        place_head(job, i / heads, (int)(i % heads));
}

void hn_step_place(hn_model *model, const hn_kv *kv, int layer, int n_rows) {
    const hn_isa isa = hn_compute_isa(model->compute);
    const hn_row_kernels *rows = hn_row_kernels_get(isa);
    step_job job = {.model = model,
                    .kv = kv,
                    .codec = &hn_attention_kernels_get(isa)->codecs[kv->type],
                    .rotate = model->arch.rope_style == HN_ROPE_PAIRS ? rows->rotate_pairs
                                                                      : rows->rotate_halves,
                    .layer = layer,
                    .n_rows = n_rows};
    hn_pool_run(hn_compute_pool(model->compute), place_share, &job);
}

hn_activation_fn *hn_step_activation(const hn_model *model) {
    const hn_row_kernels *kernels = hn_row_kernels_get(hn_compute_isa(model->compute));
    return model->arch.activation == HN_ACT_SILU ? kernels->silu_mul : kernels->gelu_tanh_mul;
}

static void activate_share(void *arg, int thread, int n_threads) {
    enum { GRAIN = 64 }; /* values: whole vectors and cache lines */
    const step_job *job = arg;
    const hn_scratch *s = job->model->scratch;
    long first, last;
    hn_pool_share((long)job->n_rows * job->model->arch.n_ff, GRAIN, thread, n_threads, &first,
                  &last);
    hn_step_activation(job->model)(s->gate + first, s->up + first, s->gate + first, last - first);
}

void hn_step_activate(hn_model *model, int n_rows) {
    step_job job = {.model = model, .n_rows = n_rows};
    hn_pool_run(hn_compute_pool(model->compute), activate_share, &job);
}

static void norm_share(void *arg, int thread, int n_threads) {
    const step_job *job = arg;
    int n = job->model->arch.n_embd;
    long first, last;
    hn_pool_share(job->n_rows, 1, thread, n_threads, &first, &last);
    for (long row = first; row < last; row++)
        norm_row(job->x + row * n, job->weight, job->model->arch.rms_eps, n, job->out + row * n,
                 job->accumulate);
}

void hn_step_norm(hn_model *model, const float *x, const float *weight, float *out, int n_rows,
                  bool accumulate) {
    step_job job = {.model = model,
                    .n_rows = n_rows,
                    .x = x,
                    .weight = weight,
                    .out = out,
                    .accumulate = accumulate};
    hn_pool_run(hn_compute_pool(model->compute), norm_share, &job);
}
