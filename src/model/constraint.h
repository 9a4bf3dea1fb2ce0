/* A grammar's hold on a generation: which tokens of this tokenizer may come next. */
#pragma once

#include "grammar/grammar.h"
#include "tokenizer/tokenizer.h"

typedef struct hn_constraint hn_constraint;

/* The tokenizer's tokens as a tree, made once a tokenizer and shared (49k tokens: some 15 ms). */
HN_MUST_CHECK hn_status hn_tokenizer_trie(hn_token_trie **out, const hn_tokenizer *tokenizer,
                                          hn_error *err);
/* All three are borrowed. For one generation at a time, and any number one after the other: the
 * masks that were made are kept. HN_UNSUPPORTED when the tokenizer puts bytes between tokens. */
HN_MUST_CHECK hn_status hn_constraint_new(hn_constraint **out, const hn_grammar *grammar,
                                          const hn_token_trie *trie, const hn_tokenizer *tokenizer,
                                          hn_error *err);
void hn_constraint_free(hn_constraint *constraint);
/* A new text begins. */
HN_MUST_CHECK hn_status hn_constraint_start(hn_constraint *constraint, hn_error *err);
/* Logits (the tokenizer's size) of tokens that may not come become -INFINITY. The ids that end an
 * answer may come where the text may end; not at all when `ignore_end`. HN_FAILED when nothing may
 * come. */
HN_MUST_CHECK hn_status hn_constraint_apply(hn_constraint *constraint, float *logits,
                                            bool ignore_end, hn_error *err);
/* This token came; HN_USAGE when it was not allowed. */
HN_MUST_CHECK hn_status hn_constraint_accept(hn_constraint *constraint, int32_t token,
                                             hn_error *err);
/* How many of the n tokens may come one after the other; the place in the text stays. */
HN_MUST_CHECK hn_status hn_constraint_foresee(hn_constraint *constraint, const int32_t *tokens,
                                              int n, int *n_allowed, hn_error *err);
/* The only token that may come, where the grammar leaves no choice; else -1. */
HN_MUST_CHECK hn_status hn_constraint_only(hn_constraint *constraint, bool ignore_end,
                                           int32_t *token, hn_error *err);
/* What the grammar makes the text go on with, as the tokenizer cuts it; *n 0 where there is a
 * choice, at most `max`. The text may go on with the same bytes in other tokens. */
HN_MUST_CHECK hn_status hn_constraint_forced(hn_constraint *constraint, int32_t *tokens, int max,
                                             int *n, hn_error *err);
/* Adds the tokens that may come after each of the first 0 to n tokens to `wanted`, one bit a token,
 * and returns for how many of these n + 1 places: up to the first where they are too many for their
 * rows of the head to be worth picking. */
int hn_constraint_wanted(hn_constraint *constraint, const int32_t *tokens, int n, uint64_t *wanted);
/* The text is whole and nothing may follow. */
bool hn_constraint_is_over(const hn_constraint *constraint);
