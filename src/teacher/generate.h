/* Rows from a teacher: every prompt is asked, its answers judged, and all of it kept in a file that
 * an interrupted run goes on from (store.h). */
#pragma once

#include "base/progress.h"
#include "teacher/budget.h"
#include "teacher/prompts.h"
#include "teacher/teacher.h"
#include "tokenizer/tokenizer.h"

typedef struct hn_distil_options {
    const char
        *output; /* answers; what isn't fit goes to "<output, without .jsonl>.rejected.jsonl" */
    const char *model;  /* its name in requests and rows */
    const char *system; /* instead of ours; NULL = ours */
    bool plain;         /* no thought is asked for */
    int samples;        /* answers a prompt */
    double temperature, top_p;
    int max_tokens; /* of one answer, thought included; 0 = what the caps need */
    bool seeded;    /* `seed` goes into the requests, plus the sample's number */
    int64_t seed;
    const json_t *extra;  /* object of more keys for the requests, null takes one out; or NULL */
    int max_field_tokens; /* cap of a thought, and of a response */
    const hn_tokenizer *tokenizer; /* the student's, to count with; or NULL */
    bool critique;                 /* candidates are judged and ranked by the teacher */
    bool hard_negatives;           /* the best answer is rewritten to a wrong one */
    hn_budget budget;              /* limits and prices */
    json_t *asked; /* object, or NULL: gets the keys of all questions that belong to the prompts and
                      these options, asked now or earlier; borrowed */
} hn_distil_options;

typedef struct hn_distil_result {
    uint64_t n_kept, n_rejected; /* now */
    uint64_t n_there;            /* answers that an earlier run had */
    uint64_t n_failed;           /* questions without an answer */
    uint64_t n_left;             /* not asked, the budget being spent */
    uint64_t n_retries;
    hn_budget budget; /* with what was spent, earlier runs included */
} hn_distil_result;

/* HN_OK also when the budget ends it (n_left > 0) or single questions failed (n_failed > 0). */
HN_MUST_CHECK hn_status hn_distil_run(hn_teacher *teacher, const hn_prompts *prompts,
                                      const hn_distil_options *options, const hn_progress *progress,
                                      hn_distil_result *result, hn_error *err);
/* The rows of a store whose keys are in `asked` (NULL = all); a new reference, the rows borrowed by
 * it as the store has them. */
HN_MUST_CHECK hn_status hn_distil_rows_asked(json_t *rows, const json_t *asked, json_t **out,
                                             hn_error *err);
/* Where the answers go that aren't fit; freed with hn_free. */
char *hn_distil_rejected_path(const char *output);
