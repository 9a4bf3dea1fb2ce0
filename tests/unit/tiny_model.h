/* Small random models of every family, built in memory, for tests that need no file. */
#pragma once

#include "base/mem.h"
#include "base/rng.h"
#include "model/model.h"

#include <math.h>
#include <string.h>

enum { TINY_VOCAB = 61, TINY_CTX = 512 };

static inline hn_arch tiny_arch(const char *family) {
    hn_arch a = {.n_layer = 3,
                 .n_embd = 32,
                 .n_ff = 64,
                 .n_head = 4,
                 .n_head_kv = 2,
                 .head_dim = 8,
                 .n_vocab = TINY_VOCAB,
                 .n_ctx_train = TINY_CTX,
                 .rms_eps = 1e-5f,
                 .rope_dim = 8,
                 .rope_theta = 10000,
                 .embd_scale = 1,
                 .tied_head = true,
                 .global_every = 1};
    strcpy(a.family, family);
    a.attn_scale = 1.0f / sqrtf((float)a.head_dim);
    if (strcmp(family, "llama") == 0) {
        a.rope_style = HN_ROPE_PAIRS;
    } else if (strcmp(family, "qwen2") == 0) {
        a.rope_style = HN_ROPE_HALVES;
        a.qkv_bias = true;
        a.tied_head = false;
    } else if (strcmp(family, "qwen3") == 0) {
        a.rope_style = HN_ROPE_HALVES;
        a.qk_norm = true;
    } else if (strcmp(family, "gemma3") == 0) {
        a.rope_style = HN_ROPE_HALVES;
        a.qk_norm = a.post_norms = true;
        a.activation = HN_ACT_GELU_TANH;
        a.embd_scale = sqrtf((float)a.n_embd);
        a.sliding_window = 5;
        a.global_every = 2;
        a.rope_theta_local = 1000;
    }
    return a;
}

static inline float *tiny_values(hn_rng *rng, size_t n, float mean, float spread) {
    float *x = hn_malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = mean + spread * (float)hn_rng_normal(rng);
    return x;
}

static inline hn_matrix tiny_matrix(hn_compute *compute, hn_rng *rng, int64_t rows, int64_t cols,
                                    float spread) {
    float *values = tiny_values(rng, (size_t)(rows * cols), 0, spread);
    hn_matrix matrix;
    hn_error err;
    if (hn_matrix_pack(compute, &matrix, HN_F32, rows, cols, values, &err) != HN_OK)
        abort();
    hn_free(values);
    return matrix;
}

static inline float *tiny_rope(const hn_arch *arch, float theta) {
    float *freq = hn_malloc((size_t)arch->rope_dim / 2 * sizeof *freq);
    for (int i = 0; i < arch->rope_dim / 2; i++)
        freq[i] = powf(theta, -2.0f * (float)i / (float)arch->rope_dim);
    return freq;
}

static inline void tiny_layer(hn_compute *compute, const hn_arch *a, hn_rng *rng, hn_layer *l) {
    int64_t d = a->n_embd, q = a->n_head * a->head_dim, kv = a->n_head_kv * a->head_dim;
    int64_t shape[HN_MODULE_COUNT][2] = {{q, d},       {kv, d},      {kv, d},     {d, q},
                                         {a->n_ff, d}, {a->n_ff, d}, {d, a->n_ff}};
    for (int m = 0; m < HN_MODULE_COUNT; m++) {
        l->w[m] =
            tiny_matrix(compute, rng, shape[m][0], shape[m][1], 1.0f / sqrtf((float)shape[m][1]));
        if (a->qkv_bias && m <= HN_MODULE_V)
            l->bias[m] = tiny_values(rng, (size_t)shape[m][0], 0, 0.1f);
    }
    l->attn_norm = tiny_values(rng, (size_t)d, 1, 0.1f);
    l->ffn_norm = tiny_values(rng, (size_t)d, 1, 0.1f);
    if (a->qk_norm) {
        l->q_norm = tiny_values(rng, (size_t)a->head_dim, 1, 0.1f);
        l->k_norm = tiny_values(rng, (size_t)a->head_dim, 1, 0.1f);
    }
    if (a->post_norms) {
        l->post_attn_norm = tiny_values(rng, (size_t)d, 1, 0.1f);
        l->post_ffn_norm = tiny_values(rng, (size_t)d, 1, 0.1f);
    }
}

static inline hn_model *tiny_model_of(const hn_arch *arch, int n_threads) {
    hn_error err;
    hn_rng rng = hn_rng_new(7, 1);
    hn_model *model = hn_calloc(1, sizeof *model);
    hn_isa isa;
    if (hn_isa_parse(NULL, &isa, &err) != HN_OK ||
        hn_compute_new(&model->compute, isa, n_threads, &err) != HN_OK)
        abort();
    hn_turns_init(&model->turns);
    model->arch = *arch;
    const hn_arch *a = &model->arch;
    model->layers = hn_calloc((size_t)a->n_layer, sizeof *model->layers);
    for (int l = 0; l < a->n_layer; l++)
        tiny_layer(model->compute, a, &rng, &model->layers[l]);
    model->output_norm = tiny_values(&rng, (size_t)a->n_embd, 1, 0.1f);
    model->embed = tiny_matrix(model->compute, &rng, a->n_vocab, a->n_embd, 0.5f);
    if (!a->tied_head)
        model->head = tiny_matrix(model->compute, &rng, a->n_vocab, a->n_embd, 0.5f);
    model->rope_inv_freq = tiny_rope(a, a->rope_theta);
    if (a->sliding_window)
        model->rope_inv_freq_local = tiny_rope(a, a->rope_theta_local);
    return model;
}

static inline hn_model *tiny_model(const char *family, int n_threads) {
    hn_arch arch = tiny_arch(family);
    return tiny_model_of(&arch, n_threads);
}

static inline void tiny_model_free(hn_model *model) {
    hn_model_free(model);
}

/* An adapter with B filled too, so that every gradient is other than zero. */
static inline hn_adapter *tiny_adapter(const hn_arch *a, unsigned module_mask, int r) {
    hn_rng rng = hn_rng_new(11, 2);
    hn_adapter *adapter = hn_calloc(1, sizeof *adapter);
    int64_t d = a->n_embd, q = a->n_head * a->head_dim, kv = a->n_head_kv * a->head_dim;
    int64_t shape[HN_MODULE_COUNT][2] = {{q, d},       {kv, d},      {kv, d},     {d, q},
                                         {a->n_ff, d}, {a->n_ff, d}, {d, a->n_ff}};
    adapter->n_layer = a->n_layer;
    adapter->r = r;
    adapter->alpha = 2.0f * (float)r;
    adapter->layers = hn_calloc((size_t)a->n_layer, sizeof *adapter->layers);
    for (int l = 0; l < a->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            hn_lora *lora = &adapter->layers[l][m];
            if (!(module_mask >> m & 1))
                continue;
            *lora = (hn_lora){.r = r, .scale = 2, .in = shape[m][1], .out = shape[m][0]};
            lora->a = tiny_values(&rng, (size_t)(r * lora->in), 0, 0.2f);
            lora->b = tiny_values(&rng, (size_t)(r * lora->out), 0, 0.1f);
        }
    return adapter;
}

static inline void tiny_adapter_free(hn_adapter *adapter) {
    for (int l = 0; l < adapter->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            hn_free(adapter->layers[l][m].a);
            hn_free(adapter->layers[l][m].b);
        }
    hn_free(adapter->layers);
    hn_free(adapter);
}
