/* A LoRA adapter bound to a model's matrices, for inference and for training. */
#pragma once

#include "base/status.h"
#include "formats/adapter_file.h"
#include "model/arch.h"

#include <stdint.h>

/* The linear layers of a block, in the order of the model's own plan. */
typedef enum hn_module {
    HN_MODULE_Q,
    HN_MODULE_K,
    HN_MODULE_V,
    HN_MODULE_O,
    HN_MODULE_GATE,
    HN_MODULE_UP,
    HN_MODULE_DOWN,
    HN_MODULE_COUNT,
} hn_module;

/* "q_proj", ... as PEFT names them. */
const char *hn_module_name(hn_module module);
/* Outputs and inputs of a module's matrix. */
void hn_arch_module_shape(const hn_arch *arch, hn_module module, int64_t *rows, int64_t *cols);

/* y += scale * (x A^T) B^T. Rows of B follow the model's own row order (rope style). */
typedef struct hn_lora {
    int r; /* 0 = this layer isn't adapted */
    float scale;
    int64_t in, out;
    float *a; /* (r, in) */
    float *b; /* (out, r) */
    /* DoRA: y = bias + factor * (x W^T + scale * (x A^T) B^T), NULL without */
    float *magnitude; /* (out) */
    float *factors;   /* (out) magnitude / |W + scale B A|, by hn_adapter_fit (model/dora.h) */
} hn_lora;

typedef struct hn_adapter {
    uint64_t id; /* unique in this process: tells caches whose values they hold */
    char *name;
    int n_layer;
    float alpha, dropout;
    int r;
    bool rslora;                        /* scales are alpha / sqrt(r) instead of alpha / r */
    bool dora;                          /* every adapted layer has magnitudes */
    bool fitted;                        /* factors fit the values and the model */
    hn_lora (*layers)[HN_MODULE_COUNT]; /* [n_layer] */
    char *base_model;                   /* may be NULL */
} hn_adapter;

/* Reads either file format and binds it; hn_forward needs hn_adapter_load (model/dora.h). Shapes
 * that don't fit the model are HN_BAD_INPUT. */
HN_MUST_CHECK hn_status hn_adapter_open(hn_adapter **out, const char *path, const hn_arch *arch,
                                        hn_error *err);
/* A fresh adapter: A ~ U(-1/sqrt(in), 1/sqrt(in)), B = 0 (spec/training.md). */
typedef struct hn_adapter_spec {
    unsigned module_mask; /* bit i = hn_module i */
    const char *layers;   /* "0-3,7"; NULL = all */
    int r;
    float alpha;
    bool rslora;
    /* "q_proj=8,layers\.3\..*=4": PEFT's rank_pattern and alpha_pattern, the first key that fits;
     * NULL = none */
    const char *rank_pattern, *alpha_pattern;
    uint64_t seed;
} hn_adapter_spec;

/* HN_USAGE for what makes no sense, a pattern that fits nothing included. */
HN_MUST_CHECK hn_status hn_adapter_make(hn_adapter **out, const hn_arch *arch,
                                        const hn_adapter_spec *spec, hn_error *err);
/* The same with one rank and alpha for all layers. */
HN_MUST_CHECK hn_status hn_adapter_new(hn_adapter **out, const hn_arch *arch, unsigned module_mask,
                                       int r, float alpha, uint64_t seed, hn_error *err);
/* "all", or names as "q_proj,v_proj". */
HN_MUST_CHECK hn_status hn_modules_parse(const char *text, unsigned *mask, hn_error *err);
/* Their weighted sum as one adapter of the sum of their ranks (PEFT's combination "cat"). HN_USAGE
 * where that is too many; adapters with magnitudes (DoRA) are HN_UNSUPPORTED. */
HN_MUST_CHECK hn_status hn_adapter_combine(hn_adapter **out, const hn_adapter *const *adapters,
                                           const float *weights, int n, const hn_arch *arch,
                                           hn_error *err);
/* As a PEFT folder (dir) or GGUF file (path ends in .gguf). */
HN_MUST_CHECK hn_status hn_adapter_save(const hn_adapter *adapter, const hn_arch *arch,
                                        const char *path, hn_error *err);
void hn_adapter_free(hn_adapter *adapter);

/* Between the files of adapter*.c. */
enum { HN_ADAPTER_MAX_RANK = 4096 };
HN_MUST_CHECK hn_status hn_adapter_new_empty(hn_adapter **out, const hn_arch *arch, hn_error *err);
HN_MUST_CHECK hn_status hn_lora_alloc(hn_lora *lora, int r, int64_t in, int64_t out, hn_error *err);
