/* Many prompts continued at once (continuous batching): their common beginning is computed once and
 * forked, a finished one makes room for the next. What is said is what hn_generate would say one by
 * one, because a row of a batch never depends on its neighbours (DESIGN.md item 4), in a fraction
 * of the time. */
#pragma once

#include "base/progress.h"
#include "model/model.h"

typedef struct hn_continue_options {
    const hn_adapter *adapter; /* or NULL */
    int max_tokens;            /* longest continuation */
    void *context;
    /* The next token of prompt `index` behind what it has `so_far`, from its logits (n_vocab),
     * which may be changed; below 0 = it is over. */
    hn_status (*choose)(void *context, size_t index, const hn_ids *so_far, float *logits,
                        int32_t *token, hn_error *err);
    /* The continuation is whole: over, or `cut` at max_tokens. What is in *tokens may be taken. */
    hn_status (*finish)(void *context, size_t index, hn_ids *tokens, bool cut, hn_error *err);
    const char *label; /* of progress, which counts prompts */
} hn_continue_options;

/* Prompts without tokens are left out. Calls come from this thread; in which order the prompts
 * finish depends on the model. */
HN_MUST_CHECK hn_status hn_continue(hn_model *model, const hn_ids *prompts, size_t n,
                                    const hn_continue_options *options, const hn_progress *progress,
                                    hn_error *err);
