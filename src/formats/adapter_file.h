/* LoRA adapters on disk: PEFT folders and GGUF adapters (spec/training.md, "LoRA"). */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* One adapted linear layer. A is (r, in), B is (out, r), f32, row-major. */
typedef struct hn_lora_pair {
    int layer;
    char module[32]; /* q_proj k_proj v_proj o_proj gate_proj up_proj down_proj */
    int r;
    int64_t in, out;
    float alpha;
    float *a, *b;
    float *magnitude;    /* (out), of DoRA; otherwise NULL */
    int64_t n_magnitude; /* as a file has it, until it is checked to be out */
} hn_lora_pair;

/* Rows of q and k are as Hugging Face orders them (rope on halves), in every file format. */
typedef struct hn_adapter_file {
    char *base_model; /* base_model_name_or_path, may be NULL */
    int r;
    float alpha;
    float dropout;
    bool use_rslora; /* scale alpha / sqrt(r) instead of alpha / r */
    bool use_dora;   /* every pair has a magnitude */
    hn_lora_pair *pairs;
    size_t n_pairs;
    int n_layer; /* of the model; 0 = not known */
} hn_adapter_file;

enum { HN_ADAPTER_PATH_BYTES = 192 };
/* "model.layers.3.self_attn.q_proj" for (3, "q_proj"); out stays when the module isn't known. */
void hn_adapter_module_path(int layer, const char *module, char out[HN_ADAPTER_PATH_BYTES]);
/* Whether a key of rank_pattern or alpha_pattern means that module: as PEFT has it
 * (get_pattern_key), the regular expression (.*\.)?(KEY)$ from the path's start. `where` opens
 * the message when the key is no regular expression. */
HN_MUST_CHECK hn_status hn_adapter_pattern_fits(const char *key, const char *module_path,
                                                const char *where, bool *fits, hn_error *err);

/* A folder with adapter_config.json + adapter_model.safetensors, or a .gguf adapter; for the
 * latter, llama-architecture q and k need the head counts (0 = not permuted). What hone can't
 * apply (modules_to_save, ...) is HN_UNSUPPORTED by name. */
HN_MUST_CHECK hn_status hn_adapter_file_read(hn_adapter_file *file, const char *path, int n_head,
                                             int n_head_kv, hn_error *err);
/* As PEFT writes it; the folder is made. */
HN_MUST_CHECK hn_status hn_adapter_file_write_peft(const hn_adapter_file *file, const char *dir,
                                                   hn_error *err);
/* As llama.cpp reads it, which knows no DoRA. `architecture` is GGUF's name; q and k are permuted
 * when it is "llama". */
HN_MUST_CHECK hn_status hn_adapter_file_write_gguf(const hn_adapter_file *file, const char *path,
                                                   const char *architecture, int n_head,
                                                   int n_head_kv, hn_error *err);
void hn_adapter_file_done(hn_adapter_file *file);
