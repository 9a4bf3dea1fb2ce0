/* The answers of a store grouped by prompt, voted on, and ranked where the teacher ranked them. */
#pragma once

#include "teacher/store.h"
#include "teacher/vote.h"

typedef struct hn_distil_candidate {
    const json_t *row;
    const char *key, *thought, *response; /* borrowed from row */
    size_t group;                         /* the first candidate that says the same */
    bool repeats;                         /* an earlier candidate has the very same response */
    int rank;                             /* by the teacher, 1 = best; 0 = not ranked */
} hn_distil_candidate;

/* Everything about one prompt. */
typedef struct hn_distil_candidates {
    const json_t *prompt;
    hn_distil_candidate *items; /* by the file's order */
    size_t n;
    hn_vote vote;
    size_t best;              /* ranked first, else the vote's winner */
    const json_t *critique;   /* the row of the last critique, or NULL */
    const json_t **negatives; /* rows of wrong rewrites */
    size_t n_negatives;
    size_t place; /* of the prompt's first row in the file */
} hn_distil_candidates;

typedef struct hn_distil_candidate_list {
    hn_distil_candidates *items; /* by line of the prompts' file, then by the file's order */
    size_t n;
} hn_distil_candidate_list;

/* `rows`: as hn_store_read gives them, which must outlive the list. Prompts without an answer are
 * left out. */
HN_MUST_CHECK hn_status hn_distil_candidate_list_build(hn_distil_candidate_list *list,
                                                       const json_t *rows, bool number,
                                                       hn_error *err);
void hn_distil_candidate_list_done(hn_distil_candidate_list *list);
/* How many different responses there are. */
size_t hn_distil_candidates_different(const hn_distil_candidates *candidates);
