/* Many prompts that are known beforehand, answered at once on the caller's thread by an engine of
 * their own. What is said to each is what hn_generate would say to it alone, because a row of a
 * batch never depends on its neighbours, in a fraction of the time. */
#pragma once

#include "base/progress.h"
#include "engine/engine.h"

typedef struct hn_together {
    const hn_ids *prompts; /* (n), borrowed; those without tokens are left out */
    size_t n;
    /* Of every job but for its prompt, its events, and with `seeds` its seed. max_tokens: 1 or
     * more.
     */
    hn_job_options options;
    const uint64_t *seeds; /* (n) or NULL */
    void *context;
    /* The answer to prompt `index` is whole. Every prompt has its turn, in the order in which their
     * answers end; a failure ends the work. */
    hn_status (*take)(void *context, size_t index, const hn_job_result *answer, hn_error *err);
    const char *label; /* of progress, which counts prompts; NULL = it isn't told */
} hn_together;

/* HN_CANCELLED by `progress`; otherwise what the first job that fails fails with, or take. */
HN_MUST_CHECK hn_status hn_answer_together(hn_model *model, const hn_together *together,
                                           const hn_progress *progress, hn_error *err);
