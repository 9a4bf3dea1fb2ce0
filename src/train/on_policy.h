/* Completions that the student itself writes, for distillation on its own mistakes (Agarwal et al.
 * 2024): sampled by the inference engine with the adapter as it is at the step, all of a step at
 * once. */
#pragma once

#include "train/loop.h"

typedef struct hn_on_policy {
    int max_tokens; /* longest completion */
    float temperature;
    hn_document *docs; /* (n_docs) of the last call; owned */
    size_t n_docs;
} hn_on_policy;

void hn_on_policy_done(hn_on_policy *policy);
/* Each of n documents up to its first learned token, continued; the end token behind a completion
 * that ended is learned too. What a document gets is a pure function of the parameters, `key`, and
 * itself with its line: not of the others. out: (n), good until the next call. */
HN_MUST_CHECK hn_status hn_on_policy_sample(hn_on_policy *policy, const hn_trainer *trainer,
                                            const hn_document *const *docs, size_t n, uint64_t key,
                                            const hn_document **out, hn_error *err);
