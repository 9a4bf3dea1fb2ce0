/* Float model in, quantised GGUF out: llama.cpp's types, mixes and fallbacks, with scales that are
 * searched instead of rounded. */
#pragma once

#include "base/progress.h"
#include "data/records.h"
#include "model/adapter.h"
#include "model/checkpoint.h"

typedef enum hn_ftype {
    HN_FTYPE_F32,
    HN_FTYPE_F16,
    HN_FTYPE_BF16,
    HN_FTYPE_Q8_0,
    HN_FTYPE_Q4_0,
    HN_FTYPE_Q4_1,
    HN_FTYPE_Q5_0,
    HN_FTYPE_Q5_1,
    HN_FTYPE_Q4_K_S,
    HN_FTYPE_Q4_K_M,
    HN_FTYPE_Q5_K_M,
    HN_FTYPE_Q6_K,
    HN_FTYPE_COUNT,
} hn_ftype;
/* Their names, for options: of what is shipped, and all. q4_k and q5_k are q4_k_m and q5_k_m, as
 * llama-quantize has it. */
#define HN_FTYPE_SHIPPED_CHOICES                                                                   \
    "q8_0|q6_k|q5_k_m|q5_k|q5_1|q5_0|q4_k_m|q4_k|q4_k_s|q4_1|q4_0|bf16|f16"
#define HN_FTYPE_CHOICES HN_FTYPE_SHIPPED_CHOICES "|f32"
const char *hn_ftype_name(hn_ftype ftype);
bool hn_ftype_from_name(const char *name, hn_ftype *ftype);
/* Up to 6 bits a weight: calibrating is worth its time even on the model's own text
 * (docs/quantisation.md has the figures). */
bool hn_ftype_is_coarse(hn_ftype ftype);
/* The type that `ftype` gives a tensor, mixes and fallbacks included (llama.cpp's rules). */
hn_dtype hn_ftype_tensor_dtype(hn_ftype ftype, const hn_arch *arch, const char *tensor_name,
                               int64_t rows, int64_t cols);

/* Quantises n_rows rows of cols values; importance (cols) weighs the error, or NULL. */
HN_MUST_CHECK hn_status hn_blocks_quantise(hn_dtype dtype, const float *values, int64_t n_rows,
                                           int64_t cols, const float *importance, void *blocks,
                                           hn_error *err);

typedef struct hn_quantise_options {
    hn_ftype ftype;
    /* Data that says which errors matter, or NULL: rows of the job, or else text. */
    const hn_documents *calibration_rows;
    const char *calibration_text;
    bool calibrate_on_own_text; /* and on what the model writes by itself, with these or alone */
    bool allow_lost_adapter;    /* write the file although the adapter didn't survive */
    int n_threads;
} hn_quantise_options;

typedef struct hn_quantise_report {
    uint64_t size_bytes;
    /* With an adapter merged in: the realised change of the weights against the wanted one, over
     * all adapted matrices. 1 and 1 = it survived whole. NaN without an adapter. */
    double adapter_cosine, adapter_norm_ratio;
    /* The same of what the change does to the layers' outputs on the calibration data, mean over
     * matrices: the share of it that is there, and the error beside it (1 = as large as the
     * change). NaN without an adapter or without calibration. */
    double output_share, output_error;
    /* KL to the float model, a token of calibration data (of the rows or text that were given, else
     * of own text) that nothing was learned from, before and after norms were tuned. NaN without
     * calibration. */
    double kl_before, kl_after;
} hn_quantise_report;

/* Writes `path` from the checkpoint's weights with `adapter` (may be NULL) merged in f32.
 * HN_FAILED when the adapter is lost and allow_lost_adapter is false. */
HN_MUST_CHECK hn_status hn_quantise(const hn_checkpoint *ckpt, const hn_adapter *adapter,
                                    const char *path, const hn_quantise_options *options,
                                    const hn_progress *progress, hn_quantise_report *report,
                                    hn_error *err);

/* Merges in f32 and writes a Hugging Face folder (bf16, f16 or f32). */
HN_MUST_CHECK hn_status hn_merge_to_hf(const hn_checkpoint *ckpt, const hn_adapter *adapter,
                                       const char *dir, hn_dtype dtype, const hn_progress *progress,
                                       hn_error *err);
