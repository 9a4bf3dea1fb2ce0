/* Perplexity as llama.cpp's perplexity tool computes it: chunks of n_ctx tokens, BOS first where
 * the tokenizer adds it, scored over the second half of each chunk. */
#pragma once

#include "model/model.h"

typedef struct hn_perplexity {
    double ppl, standard_error;
    int64_t n_scored;
    /* Against a second model over the same text; 0 when none was given. */
    double mean_kl, kl_standard_error, top_token_agreement;
} hn_perplexity;

/* `reference` (may be NULL) is the float model for KL(reference || model). n_chunks 0 = all. */
HN_MUST_CHECK hn_status hn_perplexity_run(hn_model *model, const hn_adapter *adapter,
                                          hn_model *reference, const hn_adapter *reference_adapter,
                                          const char *text, size_t n_bytes, int n_ctx, int n_chunks,
                                          const hn_progress *progress, hn_perplexity *out,
                                          hn_error *err);
