/* One check of a gate: a value, its bounds and its limit. Internal to release/. */
#pragma once

#include "eval/stats.h"
#include "release/gate.h"

typedef struct hn_gate_check {
    const char *metric;
    double value, threshold;
    hn_interval ci; /* NaN where n is too small for a bound */
    bool at_least;  /* the value must be at least, otherwise at most, the threshold */
    bool by_value;  /* the value itself decides, not its bounds */
} hn_gate_check;

/* The check as it stands in a report; NULL = no memory. */
json_t *hn_gate_check_report(const hn_gate_check *check, size_t n, hn_verdict verdict);
/* The mean drop of the score from `before` to `after` over their n rows, with its bounds at
 * `confidence` (two-sided); sets value and ci. x: (n) scratch. lost, won: rows whose score fell and
 * rose; may be NULL. */
HN_MUST_CHECK hn_status hn_gate_drop(const hn_scores *before, const hn_scores *after,
                                     double confidence, double *x, hn_gate_check *check,
                                     size_t *lost, size_t *won, hn_error *err);
/* Adds a check a slice to `checks` and lowers *verdict for those that fail; nothing where there is
 * one slice alone. `earlier` as hn_gate_stage has it. */
HN_MUST_CHECK hn_status hn_gate_slices(const hn_gate_earlier *earlier, int n_earlier,
                                       const hn_scores *after, double max_drop, json_t *checks,
                                       hn_verdict *verdict, hn_error *err);
