/* Golden sets and their scores (spec/evaluation-release.md, "Evaluation"). */
#pragma once

#include "base/progress.h"
#include "model/generate.h"

#include <jansson.h>

typedef struct hn_eval_options {
    const char *system;   /* prepended where a row has no system turn; NULL = none */
    const char *path_out; /* per-sample JSONL, or NULL */
    int max_tokens;       /* for generated answers; default 64 */
    const char *label;    /* name of the artefact in results */
} hn_eval_options;

typedef struct hn_sample {
    char id[20];       /* hash of the row */
    const char *slice; /* borrowed from the golden set */
    double score;      /* 0..1, weighted mean of its assertions */
    bool passed;       /* score >= threshold */
    double latency_ms, first_token_ms;
} hn_sample;

typedef struct hn_golden {
    json_t *rows; /* array, validated */
    char *path;
    char sha256[65];
} hn_golden;

HN_MUST_CHECK hn_status hn_golden_read(hn_golden *golden, const char *path, hn_error *err);
void hn_golden_done(hn_golden *golden);

typedef struct hn_scores {
    hn_sample *samples; /* in the golden set's order */
    size_t n;
    json_t *results; /* results JSON: overall and per slice, with confidence intervals */
} hn_scores;

HN_MUST_CHECK hn_status hn_eval_run(hn_model *model, const hn_adapter *adapter,
                                    const hn_golden *golden, const hn_eval_options *options,
                                    const hn_progress *progress, hn_scores *scores, hn_error *err);
void hn_scores_done(hn_scores *scores);
