/* Perplexity as llama.cpp's perplexity tool computes it: chunks of n_ctx tokens, BOS first where
 * the tokenizer adds it, scored over the second half of each chunk. */
#pragma once

#include "base/share.h"
#include "model/model.h"

/* What is measured, and on what; all borrowed. */
typedef struct hn_perplexity_job {
    hn_model *model;
    const hn_adapter *adapter; /* or NULL */
    hn_model *reference;       /* the float model for KL(reference || model); NULL = none */
    const hn_adapter *reference_adapter;
    const char *text;
    size_t n_bytes;
    int n_ctx, n_chunks;   /* n_chunks 0 = all */
    const hn_share *share; /* of the chunks: the result is everybody's, the bits those of one that
                              does all. NULL = does all */
} hn_perplexity_job;

typedef struct hn_perplexity {
    double ppl, standard_error;
    int64_t n_scored;
    /* Against a second model over the same text; 0 when none was given. */
    double mean_kl, kl_standard_error, top_token_agreement;
} hn_perplexity;

HN_MUST_CHECK hn_status hn_perplexity_run(const hn_perplexity_job *job, const hn_progress *progress,
                                          hn_perplexity *out, hn_error *err);
