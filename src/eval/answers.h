/* Greedy answers to many prompts at once: what hn_generate would say one by one, because a row of a
 * batch never depends on its neighbours (DESIGN.md item 4), in a fraction of the time. Internal to
 * eval/. */
#pragma once

#include "base/progress.h"
#include "model/constraint.h"
#include "model/model.h"

typedef struct hn_answers_options {
    int max_tokens;
    const char *label;         /* of progress */
    hn_constraint *constraint; /* what each answer may be, borrowed; NULL = anything */
} hn_answers_options;

typedef struct hn_answer {
    char *text;      /* NUL-terminated; freed by the caller with hn_free, also after a failure */
    double log_prob; /* natural, of the whole answer, the token that ended it included; among
                        what the constraint allows */
} hn_answer;

/* answers[n]: filled. A prompt with no tokens gets no answer (text NULL). */
HN_MUST_CHECK hn_status hn_answers_generate(hn_model *model, const hn_adapter *adapter,
                                            const hn_ids *prompts, size_t n,
                                            const hn_answers_options *options,
                                            const hn_progress *progress, hn_answer *answers,
                                            hn_error *err);

/* What an answer says apart from its thought: of "<think>...</think> ..." what follows, without the
 * blanks before it; "" when the thought never ends; anything else as it is. *thought and
 * *n_thought, which may be NULL, get what stands in the thought (NULL and 0 without one). All
 * borrowed from `text`. */
const char *hn_answer_spoken(const char *text, const char **thought, size_t *n_thought);
