/* What a model family is: a description, not a code path (DESIGN.md, "Models"). */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum hn_rope_style {
    HN_ROPE_PAIRS,  /* dimensions 2i and 2i + 1 turn together: llama in GGUF */
    HN_ROPE_HALVES, /* i and i + d/2: Hugging Face, and qwen and gemma in GGUF */
} hn_rope_style;

typedef enum hn_rope_scaling { HN_ROPE_PLAIN, HN_ROPE_LINEAR, HN_ROPE_LLAMA3 } hn_rope_scaling;
typedef enum hn_activation { HN_ACT_SILU, HN_ACT_GELU_TANH } hn_activation;

/* Far above any model that hone is for; they keep products of two sizes of a file within 64 bits.
 */
enum {
    HN_ARCH_MAX_LAYERS = 512,
    HN_ARCH_MAX_WIDTH = 1 << 18, /* n_embd, n_ff */
    HN_ARCH_MAX_HEADS = 1024,
    HN_ARCH_MAX_HEAD_DIM = 512,
    HN_ARCH_MAX_VOCAB = 1 << 22,
    HN_ARCH_MAX_CTX = 1 << 26,
};

typedef struct hn_arch {
    char family[16]; /* GGUF's name: "llama", "qwen2", "qwen3", "gemma3" */
    int32_t n_layer, n_embd, n_ff, n_head, n_head_kv, head_dim, n_vocab, n_ctx_train;
    float rms_eps;

    hn_rope_style rope_style;
    hn_rope_scaling rope_scaling;
    int32_t rope_dim;
    float rope_theta, rope_factor;
    float rope_low_freq, rope_high_freq; /* HN_ROPE_LLAMA3 */
    int32_t rope_original_ctx;
    const float *rope_factors; /* (rope_dim / 2) divisors from rope_freqs.weight, or NULL */

    bool qkv_bias, o_bias; /* qwen2: q, k and v */
    bool qk_norm;          /* qwen3, gemma3: RMS norm over each head of q and k */
    bool post_norms;       /* gemma3: norms after attention and after the MLP */
    bool tied_head;        /* output head = embedding */
    hn_activation activation;
    float embd_scale; /* gemma3: sqrt(n_embd); otherwise 1 */
    float attn_scale; /* multiplies q k^T, usually 1 / sqrt(head_dim) */

    int32_t sliding_window; /* keys a local layer sees, itself included; 0 = no local layers */
    int32_t global_every;   /* gemma3: each 6th layer is global */
    float rope_theta_local; /* theta of local layers */
} hn_arch;

/* True when layer `layer` sees only the last sliding_window positions. */
static inline bool hn_arch_layer_is_local(const hn_arch *arch, int layer) {
    return arch->sliding_window > 0 && (layer + 1) % arch->global_every != 0;
}

/* What all models of a family share. */
enum { HN_FAMILY_MAX_TYPES = 2 };
typedef struct hn_family {
    const char *name;                          /* GGUF's general.architecture */
    const char *hf_types[HN_FAMILY_MAX_TYPES]; /* config.json's model_type */
    hn_rope_style gguf_rope;                   /* row order of q and k in GGUF */
    bool qkv_bias, may_have_bias, qk_norm, post_norms;
    bool norm_add_one; /* Hugging Face stores norm weights less 1 */
    bool scale_embd;   /* embeddings times sqrt(n_embd) */
    hn_activation activation;
    int32_t global_every;
    float rope_theta_local;
} hn_family;

extern const char HN_FAMILIES_SUPPORTED[]; /* for messages */
/* NULL when it is none of ours. */
const hn_family *hn_family_find(const char *name, size_t n_bytes);
const hn_family *hn_family_find_hf(const char *model_type);

/* The family's switches and defaults; sizes are left 0. */
void hn_arch_init(hn_arch *arch, const hn_family *family);
/* Ranges and divisibility of numbers that came from a file; `where` opens the message. */
HN_MUST_CHECK hn_status hn_arch_check(const hn_arch *arch, const char *where, hn_error *err);
/* Divisors of the plain frequencies, as GGUF's rope_freqs.weight holds them. out: (rope_dim / 2) */
void hn_arch_rope_factors(const hn_arch *arch, float *out);
/* Radians a position of each pair of dimensions, scaling included. out: (rope_dim / 2) */
void hn_arch_rope_inv_freq(const hn_arch *arch, bool local, float *out);
/* Where row `row` of q or k in Hugging Face's order (halves) lies in GGUF-llama order (pairs). */
int64_t hn_rope_pairs_row(int64_t row, int head_dim);
