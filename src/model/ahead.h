/* The text that is being written, as the model sees it: tokens that are certain, and behind them
 * guesses that were computed on trial. */
#pragma once

#include "model/generate.h"
#include "model/speculate.h"

typedef struct hn_ahead {
    hn_model *model;
    hn_kv *kv;
    int seq;
    const hn_adapter *adapter;
    hn_speculator *speculator; /* or NULL */
    hn_constraint *constraint; /* or NULL; it stands at the text's end */
    hn_ids text;               /* what is certain: the prompt and what was drawn */
    int base;                  /* tokens of it that were computed before the guesses */
    int32_t drafts[HN_DRAFT_MAX];
    int n_drafts, n_used; /* guesses that were computed behind them, and came true */
    float *logits;        /* (1 + n_drafts, n_vocab) what follows `base` tokens and each guess */
    uint64_t *wanted;     /* (n_vocab bits) tokens that the grammar may let come; or NULL */
    bool begun;
    int n_drafted, n_accepted;
} hn_ahead;

/* What it is given is borrowed. */
HN_MUST_CHECK hn_status hn_ahead_init(hn_ahead *ahead, hn_model *model, hn_kv *kv, int seq,
                                      const hn_generate_options *options, hn_error *err);
/* Takes guesses that didn't come true back out of the cache; n_accepted is known then. */
void hn_ahead_settle(hn_ahead *ahead);
/* The cache keeps what is certain and was computed. */
void hn_ahead_done(hn_ahead *ahead);
/* Cuts the cache to what it has in common with the prompt, at least one token less than that.
 * *n_known: tokens that needn't be computed. */
HN_MUST_CHECK hn_status hn_ahead_begin(hn_ahead *ahead, const int32_t *prompt, int n_prompt,
                                       int *n_known, hn_error *err);
/* Positions that may follow the text; below 0 where the text itself doesn't fit. */
int64_t hn_ahead_room(const hn_ahead *ahead);
/* The next token is certain. */
HN_MUST_CHECK hn_status hn_ahead_push(hn_ahead *ahead, int32_t token, hn_error *err);
/* Logits (n_vocab) of what follows the text: computed unless a guess was right, together with at
 * most max_drafts further guesses. The caller may change them. NULL when `cancel` (may be NULL) is
 * set before a pass. */
HN_MUST_CHECK hn_status hn_ahead_logits(hn_ahead *ahead, int64_t max_drafts,
                                        const atomic_bool *cancel, float **logits, hn_error *err);
