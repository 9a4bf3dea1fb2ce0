/* A model on disk, GGUF file or Hugging Face folder, seen through one pair of glasses: GGUF's
 * tensor names, an architecture, a tokenizer and a chat template. Nothing is computed here. */
#pragma once

#include "base/arena.h"
#include "base/dtype.h"
#include "base/status.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "model/arch.h"
#include "template/template.h"
#include "tokenizer/tokenizer.h"

#include <stdbool.h>

typedef struct hn_tensor {
    const char *name;        /* as GGUF names it: "blk.0.attn_q.weight" */
    const char *source_name; /* as the file names it */
    hn_dtype dtype;
    int64_t rows, cols; /* a vector is (1, cols) */
    const void *data;   /* row-major in the map, unaligned */
    uint64_t size_bytes;
    float add; /* to be added to each value on load: 1 for gemma norms of a Hugging Face folder */
} hn_tensor;

typedef struct hn_checkpoint {
    char *path;
    bool is_gguf;
    hn_gguf gguf;      /* when is_gguf */
    hn_safetensors st; /* otherwise */
    json_t *config;    /* config.json, otherwise NULL */
    hn_arch arch;
    hn_tensor *tensors;
    size_t n_tensors;
    hn_tokenizer *tokenizer;
    hn_template *chat_template; /* NULL when the model has none */
    char *chat_template_source; /* NUL-terminated, or NULL */
    int32_t *control_ids;       /* every control token with a text, longest text first */
    size_t n_control_ids;
    bool control_first_byte[256]; /* bytes that the text of a control token begins with */
    const hn_tensor **by_name;    /* tensors sorted by name */
    float *rope_factors;          /* what arch.rope_factors points to */
    hn_arena arena;               /* holds the names */
} hn_checkpoint;

/* `path` is a .gguf file or a folder with config.json, *.safetensors and tokenizer.json. Numbers
 * and shapes are checked against the architecture: what opens can be computed with. An architecture
 * or a weight that hone doesn't know is HN_UNSUPPORTED by name. */
HN_MUST_CHECK hn_status hn_checkpoint_open(hn_checkpoint *ckpt, const char *path, hn_error *err);
/* Tokenizer and chat template alone: of a model, of a folder that has only these, or of a
 * tokenizer.json by its name. arch and tensors stay empty; an architecture that hone doesn't know
 * is no error. */
HN_MUST_CHECK hn_status hn_checkpoint_open_vocab(hn_checkpoint *ckpt, const char *path,
                                                 hn_error *err);
/* HN_UNSUPPORTED, with what to do instead, where the model has no chat template. */
HN_MUST_CHECK hn_status hn_checkpoint_need_template(const hn_checkpoint *ckpt, hn_error *err);
/* HN_USAGE where the model was trained for fewer tokens: beyond them it writes nonsense, and nobody
 * would know why. */
HN_MUST_CHECK hn_status hn_checkpoint_need_context(const hn_checkpoint *ckpt, int n_context,
                                                   hn_error *err);
void hn_checkpoint_close(hn_checkpoint *ckpt);
const hn_tensor *hn_checkpoint_find(const hn_checkpoint *ckpt, const char *name);
/* Hugging Face's name of a tensor that GGUF calls `name`; false when there is none. */
bool hn_tensor_hf_name(const hn_arch *arch, const char *name, char *out, size_t size);
/* Dequantises the whole tensor into out (rows * cols), `add` applied. */
void hn_tensor_values(const hn_tensor *tensor, float *out);
/* The tokenizer that a GGUF file's tokenizer.ggml.* keys describe; also of files without tensors.
 */
HN_MUST_CHECK hn_status hn_tokenizer_from_gguf(hn_tokenizer **out, const hn_gguf *gguf,
                                               hn_error *err);
