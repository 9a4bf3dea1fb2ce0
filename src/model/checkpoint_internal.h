/* Between the files that open checkpoints and the one that loads weights: which tensors a model of
 * an architecture has, under both names and with which shape. */
#pragma once

#include "model/checkpoint.h"
#include "model/model.h"

typedef enum hn_dim { HN_DIM_ONE, HN_DIM_EMBD, HN_DIM_Q, HN_DIM_KV, HN_DIM_FF, HN_DIM_HEAD } hn_dim;

typedef enum hn_presence {
    HN_ALWAYS,
    HN_IF_QKV_BIAS,
    HN_IF_O_BIAS,
    HN_IF_QK_NORM,
    HN_IF_POST_NORMS,
    HN_UNLESS_POST_NORMS,
} hn_presence;

/* A tensor of each layer: "blk.N.<gguf>" and "model.layers.N.<hf>". A vector is (HN_DIM_ONE, n). */
typedef struct hn_tensor_rule {
    const char *gguf, *hf;
    hn_dim rows, cols;
    hn_presence presence;
    int module;   /* the matrix of hn_layer.w, or -1 for a vector */
    size_t field; /* offset of a vector's pointer in hn_layer */
} hn_tensor_rule;

extern const hn_tensor_rule HN_TENSOR_RULES[];
extern const int HN_N_TENSOR_RULES;
bool hn_tensor_rule_applies(const hn_tensor_rule *rule, const hn_arch *arch);
int64_t hn_dim_size(hn_dim dim, const hn_arch *arch);

/* hn_checkpoint_open in two parts, of which the second may run on another thread while the weights
 * are read: config or gguf, arch, tensors and chat template, all checked; then the tokenizer. What
 * a failure leaves half-done hn_checkpoint_close cleans up, after the first part too. */
HN_MUST_CHECK hn_status hn_checkpoint_open_tensors(hn_checkpoint *ckpt, const char *path,
                                                   hn_error *err);
HN_MUST_CHECK hn_status hn_checkpoint_open_tokenizer(hn_checkpoint *ckpt, hn_error *err);

/* Their parts that depend on the format. */
HN_MUST_CHECK hn_status hn_checkpoint_open_gguf(hn_checkpoint *ckpt, const char *path,
                                                hn_error *err);
HN_MUST_CHECK hn_status hn_checkpoint_open_hf(hn_checkpoint *ckpt, const char *dir, hn_error *err);
HN_MUST_CHECK hn_status hn_checkpoint_tokenizer_gguf(hn_checkpoint *ckpt, hn_error *err);
HN_MUST_CHECK hn_status hn_checkpoint_tokenizer_hf(hn_checkpoint *ckpt, hn_error *err);
/* chat_template_source, where there is one. */
HN_MUST_CHECK hn_status hn_checkpoint_template_gguf(hn_checkpoint *ckpt, hn_error *err);
HN_MUST_CHECK hn_status hn_checkpoint_template_hf(hn_checkpoint *ckpt, hn_error *err);
/* HN_BAD_INPUT: `path` is an adapter where a model belongs. */
hn_status hn_checkpoint_fail_adapter(const char *path, hn_error *err);
/* The keys of config.json (text_config where there is one) to arch. */
HN_MUST_CHECK hn_status hn_arch_from_config(hn_arch *arch, const json_t *config, const char *where,
                                            bool *norm_add_one, hn_error *err);
/* Splits "PREFIX<number>.rest" into number and rest; false when it isn't of this form. */
bool hn_layer_name_split(const char *name, const char *prefix, int *layer, const char **rest);
