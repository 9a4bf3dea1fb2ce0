/* Golden sets and their scores (spec/evaluation-release.md, "Evaluation"): a row asks a question
 * and asserts what the answer must be, in promptfoo's words. */
#pragma once

#include "base/progress.h"
#include "model/generate.h"

#include <jansson.h>

struct pcre2_real_code_8;

typedef enum hn_assertion_type {
    HN_ASSERT_EQUALS,       /* the answer, surrounding blanks aside, is exactly `value` */
    HN_ASSERT_ICONTAINS,    /* contains `value`, whatever the case */
    HN_ASSERT_CONTAINS_ALL, /* contains each of `value` (a list, or a comma-separated string) */
    HN_ASSERT_REGEX,        /* PCRE2 pattern found in the answer */
    HN_ASSERT_IS_JSON,      /* the whole answer is JSON and fits the schema `value`, if any */
    HN_ASSERT_F_SCORE,      /* SQuAD's token F1, the best over the references in `value` */
    HN_ASSERT_CHOICE,       /* `value` is the most likely of the listed choices */
    HN_ASSERT_ABSTAINS,     /* says that it doesn't know; `value` false: must not say so */
    HN_ASSERT_COUNT,
} hn_assertion_type;
const char *hn_assertion_name(hn_assertion_type type);

/* Everything is borrowed from the row but the regex. */
typedef struct hn_assertion {
    hn_assertion_type type;
    const json_t *value;             /* NULL where the type needs none */
    const json_t *choices;           /* HN_ASSERT_CHOICE: array of strings */
    struct pcre2_real_code_8 *regex; /* HN_ASSERT_REGEX */
    double threshold;                /* its score must reach this to pass */
    double weight;
} hn_assertion;

typedef struct hn_golden_item {
    const json_t *row; /* borrowed from hn_golden.rows */
    json_t *messages;  /* the row's own, or one user turn made from its prompt; owned */
    const char *slice; /* "all" where the row names none */
    char id[20];       /* hash of the row */
    uint64_t line;
    hn_assertion *assertions;
    size_t n_assertions;
    double threshold; /* of the weighted score; negative = every assertion must pass */
    double weight;
} hn_golden_item;

typedef struct hn_golden {
    json_t *rows; /* array, validated */
    hn_golden_item *items;
    size_t n;
    char *path;
    char sha256[65];
} hn_golden;

/* The first bad row is HN_BAD_INPUT with file:line and what to do. Two equal rows are refused. */
HN_MUST_CHECK hn_status hn_golden_read(hn_golden *golden, const char *path, hn_error *err);
void hn_golden_done(hn_golden *golden);
/* Keeps at most `n` (above 0) rows, spread evenly over the set. */
void hn_golden_thin(hn_golden *golden, size_t n);

/* Scores one answer. `best_choice` is the index of the likeliest choice, -1 where the row has no
 * choice assertion. Writes n_assertions scores (0..1). */
typedef struct hn_item_score {
    double score; /* weighted mean of its assertions, 0..1 */
    bool passed;
} hn_item_score;
HN_MUST_CHECK hn_status hn_golden_item_score(const hn_golden_item *item, const char *answer,
                                             int best_choice, double *assertion_scores,
                                             hn_item_score *out, hn_error *err);
/* The row's choice assertion, or NULL; and whether an answer must be generated at all. */
const hn_assertion *hn_golden_item_choice(const hn_golden_item *item);
bool hn_golden_item_generates(const hn_golden_item *item);

typedef struct hn_eval_options {
    const char *system;   /* prepended where a row has no system turn; NULL = none */
    const char *path_out; /* per-sample JSONL, or NULL; holds no timings: equal runs, equal bytes */
    const char *path_timing; /* per-sample latencies as JSONL, or NULL */
    int max_tokens;          /* for generated answers; default 64 */
    int latency_rows;  /* rows answered again, one at a time, for latencies; 0 = 200, < 0 = none */
    const char *label; /* name of the artefact in results */
    double abstain_below;   /* a generated answer less probable than this (0 to 1, the product over
                               its tokens) counts as abstain_as; 0 = none is */
    const char *abstain_as; /* e.g. out_of_scope */
    /* What generated answers may be, borrowed; NULL = anything. Their probabilities are then among
     * what it allows. */
    hn_constraint *constraint;
} hn_eval_options;

typedef struct hn_sample {
    char id[20];       /* hash of the row */
    const char *slice; /* borrowed from hn_scores.owner */
    double score;      /* 0..1, weighted mean of its assertions */
    bool passed;       /* score >= threshold */
    double weight;
    uint64_t answer_hash; /* of the answer's text and choice: tells changed answers apart */
    int8_t acc, acc_norm; /* choice rows, as lm-evaluation-harness; -1 = no choice row */
    double latency_ms, first_token_ms; /* 0 = not measured on this row */
} hn_sample;

typedef struct hn_scores {
    hn_sample *samples; /* in the golden set's order */
    size_t n;
    json_t *results; /* results JSON: overall and per slice, with confidence intervals */
    json_t *owner;   /* keeps the slices' names */
} hn_scores;

/* Greedy answers in batches, the common beginning of the prompts computed once; latencies are those
 * of one request at a time on a server whose system prompt is cached. */
HN_MUST_CHECK hn_status hn_eval_run(hn_model *model, const hn_adapter *adapter,
                                    const hn_golden *golden, const hn_eval_options *options,
                                    const hn_progress *progress, hn_scores *scores, hn_error *err);
/* Reads back what hn_eval_run wrote; path_timing may be NULL (latencies 0). */
HN_MUST_CHECK hn_status hn_scores_read(hn_scores *scores, const char *path, const char *path_timing,
                                       const char *label, hn_error *err);
void hn_scores_done(hn_scores *scores);
/* Fills scores->results from its samples: {label, n, mean, ci, standard_error, passed, slices,
 * latency_ms, first_token_ms and, where there are choice rows, acc and acc_norm}. Without timings
 * (all latencies 0) the two latency objects are left out. */
HN_MUST_CHECK hn_status hn_scores_summarise(hn_scores *scores, const char *label, hn_error *err);
/* The latencies that were measured, in the samples' order; ms has room for n. Returns how many. */
size_t hn_scores_latencies(const hn_scores *scores, bool first_token, double *ms);
/* Pairs of one row under two artefacts: lost = passed only under `a`, won = only under `b`;
 * `changed` counts answers whose text differs. Rows must be the same, in the same order. */
typedef struct hn_flips {
    size_t lost, won, changed, n;
} hn_flips;
HN_MUST_CHECK hn_status hn_scores_compare(const hn_scores *a, const hn_scores *b, hn_flips *flips,
                                          hn_error *err);
