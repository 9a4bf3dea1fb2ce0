/* The families as a table, the checks that every architecture must pass wherever its numbers came
 * from, and the rotary frequencies that follow from them. */
#include "model/arch.h"

#include "model/adapter.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const hn_family FAMILIES[] = {
    {.name = "llama", .hf_types = {"llama"}, .gguf_rope = HN_ROPE_PAIRS, .may_have_bias = true},
    {.name = "qwen2", .hf_types = {"qwen2"}, .gguf_rope = HN_ROPE_HALVES, .qkv_bias = true},
    {.name = "qwen3",
     .hf_types = {"qwen3"},
     .gguf_rope = HN_ROPE_HALVES,
     .qk_norm = true,
     .may_have_bias = true},
    {.name = "gemma3",
     .hf_types = {"gemma3_text", "gemma3"},
     .gguf_rope = HN_ROPE_HALVES,
     .qk_norm = true,
     .post_norms = true,
     .norm_add_one = true,
     .scale_embd = true,
     .activation = HN_ACT_GELU_TANH,
     .global_every = 6,
     .rope_theta_local = 10000.0f},
};
enum { N_FAMILIES = sizeof FAMILIES / sizeof *FAMILIES };

const char HN_FAMILIES_SUPPORTED[] = "llama, qwen2, qwen3, gemma3";

const hn_family *hn_family_find(const char *name, size_t n_bytes) {
    for (int i = 0; i < N_FAMILIES; i++)
        if (strlen(FAMILIES[i].name) == n_bytes && !memcmp(FAMILIES[i].name, name, n_bytes))
            return &FAMILIES[i];
    return NULL;
}

const hn_family *hn_family_find_hf(const char *model_type) {
    for (int i = 0; i < N_FAMILIES; i++)
        for (int j = 0; j < HN_FAMILY_MAX_TYPES && FAMILIES[i].hf_types[j]; j++)
            if (!strcmp(FAMILIES[i].hf_types[j], model_type))
                return &FAMILIES[i];
    return NULL;
}

void hn_arch_init(hn_arch *arch, const hn_family *family) {
    *arch = (hn_arch){
        .rms_eps = 1e-6f,
        .rope_theta = 10000.0f,
        .rope_factor = 1.0f,
        .qkv_bias = family->qkv_bias,
        .qk_norm = family->qk_norm,
        .post_norms = family->post_norms,
        .activation = family->activation,
        .embd_scale = 1.0f,
        .global_every = family->global_every,
        .rope_theta_local = family->rope_theta_local,
    };
    snprintf(arch->family, sizeof arch->family, "%s", family->name);
}

static hn_status check_range(const char *where, const char *what, long long value, long long low,
                             long long high, hn_error *err) {
    if (value < low || value > high)
        return hn_fail(err, HN_BAD_INPUT, "%s: %s is %lld, possible are %lld to %lld", where, what,
                       value, low, high);
    return HN_OK;
}

static hn_status check_positive(const char *where, const char *what, float value, hn_error *err) {
    if (!(value > 0) || !isfinite(value))
        return hn_fail(err, HN_BAD_INPUT, "%s: %s is %g, it must be a positive number", where, what,
                       (double)value);
    return HN_OK;
}

hn_status hn_arch_check(const hn_arch *a, const char *where, hn_error *err) {
    HN_TRY(check_range(where, "the number of layers", a->n_layer, 1, HN_ARCH_MAX_LAYERS, err));
    HN_TRY(check_range(where, "the hidden size", a->n_embd, 1, HN_ARCH_MAX_WIDTH, err));
    HN_TRY(check_range(where, "the feed-forward size", a->n_ff, 1, HN_ARCH_MAX_WIDTH, err));
    HN_TRY(
        check_range(where, "the number of attention heads", a->n_head, 1, HN_ARCH_MAX_HEADS, err));
    HN_TRY(check_range(where, "the number of key-value heads", a->n_head_kv, 1, a->n_head, err));
    HN_TRY(check_range(where, "the head size", a->head_dim, 2, HN_ARCH_MAX_HEAD_DIM, err));
    HN_TRY(check_range(where, "the vocabulary size", a->n_vocab, 1, HN_ARCH_MAX_VOCAB, err));
    HN_TRY(check_range(where, "the context length", a->n_ctx_train, 1, HN_ARCH_MAX_CTX, err));
    HN_TRY(check_range(where, "the rotary size", a->rope_dim, 2, a->head_dim, err));
    HN_TRY(check_range(where, "the sliding window", a->sliding_window, 0, HN_ARCH_MAX_CTX, err));
    if (a->n_head % a->n_head_kv)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: %d attention heads can't be shared out over %d key-value heads", where,
                       a->n_head, a->n_head_kv);
    if (a->head_dim % 2 || a->rope_dim % 2)
        return hn_fail(err, HN_BAD_INPUT, "%s: head size %d and rotary size %d must be even", where,
                       a->head_dim, a->rope_dim);
    if (a->sliding_window > 0)
        HN_TRY(check_range(where, "the sliding-window pattern", a->global_every, 1,
                           HN_ARCH_MAX_LAYERS + 1, err));
    HN_TRY(check_positive(where, "the norm epsilon", a->rms_eps, err));
    HN_TRY(check_positive(where, "the rotary base", a->rope_theta, err));
    HN_TRY(check_positive(where, "the attention scale", a->attn_scale, err));
    HN_TRY(check_positive(where, "the embedding scale", a->embd_scale, err));
    if (a->sliding_window > 0)
        HN_TRY(check_positive(where, "the local rotary base", a->rope_theta_local, err));
    if (a->rope_scaling != HN_ROPE_PLAIN)
        HN_TRY(check_positive(where, "the rotary factor", a->rope_factor, err));
    if (a->rope_scaling == HN_ROPE_LLAMA3 && !a->rope_factors) {
        HN_TRY(check_positive(where, "low_freq_factor", a->rope_low_freq, err));
        HN_TRY(check_positive(where, "high_freq_factor", a->rope_high_freq, err));
        HN_TRY(check_range(where, "the original context", a->rope_original_ctx, 1, HN_ARCH_MAX_CTX,
                           err));
        if (a->rope_high_freq <= a->rope_low_freq)
            return hn_fail(err, HN_BAD_INPUT,
                           "%s: high_freq_factor %g must be greater than low_freq_factor %g", where,
                           (double)a->rope_high_freq, (double)a->rope_low_freq);
    }
    return HN_OK;
}

/* Divisor of one frequency by the rule of Llama 3.1 (transformers: _compute_llama3_parameters):
 * long waves are slowed by `factor`, short ones are left, those between are blended. */
static float llama3_divisor(const hn_arch *arch, float inv_freq) {
    float wavelength = 2.0f * (float)M_PI / inv_freq;
    float original = (float)arch->rope_original_ctx;
    if (wavelength > original / arch->rope_low_freq)
        return arch->rope_factor;
    if (wavelength < original / arch->rope_high_freq)
        return 1.0f;
    float smooth = (original / wavelength - arch->rope_low_freq) /
                   (arch->rope_high_freq - arch->rope_low_freq);
    return 1.0f / ((1.0f - smooth) / arch->rope_factor + smooth);
}

static float plain_inv_freq(float theta, int i, int rope_dim) {
    return 1.0f / powf(theta, (float)(2 * i) / (float)rope_dim);
}

void hn_arch_rope_factors(const hn_arch *arch, float *out) {
    for (int i = 0; i < arch->rope_dim / 2; i++) {
        if (arch->rope_factors)
            out[i] = arch->rope_factors[i];
        else if (arch->rope_scaling == HN_ROPE_LLAMA3)
            out[i] = llama3_divisor(arch, plain_inv_freq(arch->rope_theta, i, arch->rope_dim));
        else
            out[i] = 1.0f;
    }
}

void hn_arch_rope_inv_freq(const hn_arch *arch, bool local, float *out) {
    float theta = local ? arch->rope_theta_local : arch->rope_theta;
    if (local) {
        for (int i = 0; i < arch->rope_dim / 2; i++)
            out[i] = plain_inv_freq(theta, i, arch->rope_dim);
        return;
    }
    hn_arch_rope_factors(arch, out);
    float linear = arch->rope_scaling == HN_ROPE_LINEAR ? arch->rope_factor : 1.0f;
    for (int i = 0; i < arch->rope_dim / 2; i++)
        out[i] = plain_inv_freq(theta, i, arch->rope_dim) / out[i] / linear;
}

int64_t hn_rope_pairs_row(int64_t row, int head_dim) {
    int64_t head = row / head_dim, i = row % head_dim;
    int64_t half = head_dim / 2;
    return head * head_dim + (i < half ? 2 * i : 2 * (i - half) + 1);
}

void hn_arch_module_shape(const hn_arch *arch, hn_module module, int64_t *rows, int64_t *cols) {
    int64_t q = (int64_t)arch->n_head * arch->head_dim;
    int64_t kv = (int64_t)arch->n_head_kv * arch->head_dim;
    const int64_t shapes[HN_MODULE_COUNT][2] = {
        [HN_MODULE_Q] = {q, arch->n_embd},
        [HN_MODULE_K] = {kv, arch->n_embd},
        [HN_MODULE_V] = {kv, arch->n_embd},
        [HN_MODULE_O] = {arch->n_embd, q},
        [HN_MODULE_GATE] = {arch->n_ff, arch->n_embd},
        [HN_MODULE_UP] = {arch->n_ff, arch->n_embd},
        [HN_MODULE_DOWN] = {arch->n_embd, arch->n_ff},
    };
    *rows = shapes[module][0];
    *cols = shapes[module][1];
}

const char *hn_module_name(hn_module module) {
    static const char *const names[HN_MODULE_COUNT] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                       "gate_proj", "up_proj", "down_proj"};
    return names[module];
}
