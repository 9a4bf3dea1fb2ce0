/* The export gate (spec/evaluation-release.md, "Gates"): pass, fail or inconclusive. */
#pragma once

#include "eval/golden.h"

typedef enum hn_verdict { HN_VERDICT_PASS, HN_VERDICT_FAIL, HN_VERDICT_INCONCLUSIVE } hn_verdict;
const char *hn_verdict_name(hn_verdict verdict);

typedef struct hn_gate_options {
    double max_quality_drop; /* 0.02 */
    double max_p95_ms;       /* 120; 0 = not checked */
    double min_quality;      /* 0 = not checked */
    bool latency_is_first_token;
} hn_gate_options;

/* Compares a candidate with its float baseline over the same golden rows. *report is a new
 * reference: {gate, checks: [{metric, value, threshold, ci, n, verdict}], verdict,
 * inputs_sha256, flips, mcnemar_p}. */
HN_MUST_CHECK hn_status hn_gate_export(const hn_scores *baseline, const hn_scores *candidate,
                                       const hn_gate_options *options, const char *inputs_sha256,
                                       hn_verdict *verdict, json_t **report, hn_error *err);

/* May teaching go on after a stage? The measured drop of the golden score decides, not its bound:
 * on a few hundred rows that two stages answer differently hardly any bound keeps to 0.02, and the
 * export gate still stands behind. The bound is reported. *verdict is pass or fail; *report as
 * hn_gate_export's. */
HN_MUST_CHECK hn_status hn_gate_stage(const hn_scores *before, const hn_scores *after,
                                      double max_drop, const char *inputs_sha256,
                                      hn_verdict *verdict, json_t **report, hn_error *err);
