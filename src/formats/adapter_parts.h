/* What the PEFT and the GGUF side of adapter files share. Private to formats/. */
#pragma once

#include "base/dtype.h"
#include "formats/adapter_file.h"

enum { HN_ADAPTER_MODULES = 7, HN_ADAPTER_MAX_LAYER = 100000 };

typedef struct hn_adapter_module {
    const char *name; /* as PEFT names it: q_proj */
    const char *path; /* inside a block of a Hugging Face model: self_attn.q_proj */
    const char *gguf; /* inside a block of a GGUF: attn_q */
} hn_adapter_module;
extern const hn_adapter_module hn_adapter_modules[HN_ADAPTER_MODULES];

/* The pair of (layer, module), added (zeroed) when it isn't there yet; NULL = no memory. */
hn_lora_pair *hn_adapter_file_pair(hn_adapter_file *file, int layer, const char *module);

/* Takes one of a pair's two matrices, (rows, cols) of f32, f16 or bf16, and notes the sizes. */
HN_MUST_CHECK hn_status hn_adapter_pair_take(hn_lora_pair *pair, bool is_a, hn_dtype dtype,
                                             uint64_t rows, uint64_t cols, const uint8_t *data,
                                             const char *path, const char *name, hn_error *err);
/* The same for the magnitudes of DoRA. */
HN_MUST_CHECK hn_status hn_adapter_pair_take_magnitude(hn_lora_pair *pair, hn_dtype dtype,
                                                       uint64_t count, const uint8_t *data,
                                                       const char *path, const char *name,
                                                       hn_error *err);
/* Both matrices there, ranks equal, magnitudes where there is DoRA; pairs sorted by layer and
 * module. */
HN_MUST_CHECK hn_status hn_adapter_file_finish(hn_adapter_file *file, const char *path,
                                               hn_error *err);

/* Reorders rows of B (out, r) from rope on halves (Hugging Face) to rope on pairs (llama in GGUF),
 * head by head, or back. `to` must not alias `from`. */
void hn_rope_rows_to_pairs(const float *from, float *to, int64_t rows, int64_t cols, int n_head);
void hn_rope_rows_to_halves(const float *from, float *to, int64_t rows, int64_t cols, int n_head);

HN_MUST_CHECK hn_status hn_adapter_file_read_peft(hn_adapter_file *file, const char *dir,
                                                  hn_error *err);
HN_MUST_CHECK hn_status hn_adapter_file_read_gguf(hn_adapter_file *file, const char *path,
                                                  int n_head, int n_head_kv, hn_error *err);
