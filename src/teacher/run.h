/* A run over the prompts, shared by its loop (generate.c) and its rounds (rounds.c). Internal to
 * teacher/. */
#pragma once

#include "teacher/generate.h"
#include "teacher/request.h"

typedef struct hn_distil_job {
    bool busy;
    hn_question question;
    json_t *row; /* what is known before the answer */
    int64_t held_in, held_out;
    const hn_distil_candidates *about; /* critiques and rewrites */
} hn_distil_job;

typedef struct hn_distil {
    hn_teacher *teacher;
    const hn_prompts *prompts;
    const hn_distil_options *options;
    const hn_progress *progress;
    hn_store kept, rejected;
    hn_distil_candidate_list candidates; /* of the second and third round */
    hn_distil_job *jobs;                 /* (teacher->parallel) */
    int n_busy, n_failures;              /* in a row */
    bool spent;                          /* the budget allows no more questions */
    hn_distil_result result;
} hn_distil;

/* A round of `count` questions: `make` fills in question i (request NULL = there is none), `take`
 * turns its reply into the rest of job->row, with a reason where it isn't fit. */
typedef struct hn_distil_round {
    const char *label;
    size_t (*count)(const hn_distil *r);
    hn_status (*make)(hn_distil *r, size_t i, hn_distil_job *j, hn_error *err);
    hn_status (*take)(hn_distil *r, hn_distil_job *j, const hn_teacher_reply *reply,
                      const char **reason, hn_error *err);
} hn_distil_round;

enum { HN_DISTIL_ROUNDS = 3 }; /* answers, critiques, wrong rewrites */
extern const hn_distil_round HN_DISTIL_ROUND[HN_DISTIL_ROUNDS];

/* Sets a key of a row; `value` is taken, and NULL is no memory. */
HN_MUST_CHECK hn_status hn_distil_put(json_t *row, const char *key, json_t *value, hn_error *err);
