/* Self-consistency: which of several answers to one question say the same, and what most say. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct hn_vote {
    size_t winner;  /* the first answer of the largest group; of equal ones the earliest */
    size_t n_votes; /* how many say the same as it does */
} hn_vote;

/* The final answer of a text, for comparison: what follows "####", "answer is", "answer:" or stands
 * in \boxed{}, else its last line; without case, blanks, thousands' commas, quotes and final
 * points. With `number`, the last number in the text where there is one. Freed with hn_free; NULL =
 * no memory. */
char *hn_vote_normal(const char *text, bool number);
/* group[i] = index of the first answer that says what answers[i] does. n > 0. */
HN_MUST_CHECK hn_status hn_vote_count(const char *const *answers, size_t n, bool number,
                                      size_t *group, hn_vote *out, hn_error *err);
