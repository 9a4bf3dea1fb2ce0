/* Completions that the student itself writes, for distillation on its own mistakes (Agarwal et al.
 * 2024): sampled by the inference engine with the adapter as it is at the step. */
#pragma once

#include "train/loop.h"

typedef struct hn_sampler hn_sampler;

/* max_tokens: longest completion; temperature: of sampling; longest: tokens of the longest
 * document. */
HN_MUST_CHECK hn_status hn_sampler_new(hn_sampler **out, const hn_model *model, int max_tokens,
                                       float temperature, int longest, hn_error *err);
void hn_sampler_free(hn_sampler *sampler);
/* Each of n documents up to its first learned token, continued; the end token behind a completion
 * that ended is learned too. A pure function of the parameters and `key`. out: (n), good until the
 * next call. */
HN_MUST_CHECK hn_status hn_sampler_run(hn_sampler *sampler, const hn_trainer *trainer,
                                       const hn_document *const *docs, size_t n, uint64_t key,
                                       const hn_document **out, hn_error *err);
