/* How one assertion is checked when a golden set is read, and scored against an answer. Internal to
 * eval/. */
#pragma once

#include "eval/golden.h"

/* Fills *assertion from its JSON; `where` is file:line. The regex is freed by the caller. */
HN_MUST_CHECK hn_status hn_assertion_parse(hn_assertion *assertion, const json_t *object,
                                           const json_t *row_choices, const char *where,
                                           hn_error *err);
void hn_assertion_done(hn_assertion *assertion);
/* 0..1. */
HN_MUST_CHECK hn_status hn_assertion_score(const hn_assertion *assertion, const char *answer,
                                           int best_choice, double *score, hn_error *err);
/* SQuAD's token F1 of two texts: lower case, no punctuation, no articles. */
HN_MUST_CHECK hn_status hn_f_score(const char *answer, const char *reference, double *f_score,
                                   hn_error *err);
