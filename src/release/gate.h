/* The export gate (spec/evaluation-release.md, "Gates"): pass, fail or inconclusive. */
#pragma once

#include "eval/golden.h"

typedef enum hn_verdict { HN_VERDICT_PASS, HN_VERDICT_FAIL, HN_VERDICT_INCONCLUSIVE } hn_verdict;
const char *hn_verdict_name(hn_verdict verdict);

typedef struct hn_gate_options {
    double max_quality_drop; /* 0.02 */
    double max_p95_ms;       /* 120; 0 = not checked */
    double min_quality;      /* 0 = not checked */
    double max_slice_drop;   /* of any slice, see hn_gate_stage; 0 = not checked */
    bool latency_is_first_token;
} hn_gate_options;

/* Compares a candidate with its float baseline over the same golden rows. *report is a new
 * reference: {gate, checks: [{metric, value, threshold, ci, n, verdict}], verdict,
 * inputs_sha256, flips, mcnemar_p}. */
HN_MUST_CHECK hn_status hn_gate_export(const hn_scores *baseline, const hn_scores *candidate,
                                       const hn_gate_options *options, const char *inputs_sha256,
                                       hn_verdict *verdict, json_t **report, hn_error *err);

/* What was scored before, over the same rows. */
typedef struct hn_gate_earlier {
    const char *name; /* of the stage; NULL = there is but one */
    const hn_scores *scores;
} hn_gate_earlier;

typedef struct hn_stage_limits {
    double max_drop;       /* of the score */
    double max_slice_drop; /* of any slice's; 0 = not checked */
} hn_stage_limits;

/* May teaching go on after a stage? earlier[n_earlier - 1] is the stage before it. The measured
 * drop of the golden score decides, not its bound: on a few hundred rows that two stages answer
 * differently hardly any bound keeps to 0.02, and the export gate still stands behind. The bound is
 * reported.
 *
 * A slice is compared with the earlier stage that was best at it, so that small losses don't add up
 * unseen. It fails when it has measurably lost more than the limit and has provably lost at all: an
 * exact sign test of the rows that changed (McNemar's, one-sided) and the bounds of the drop agree,
 * at 5 % over all slices and earlier stages together (Bonferroni). A larger loss that isn't proven
 * is reported as inconclusive and holds nothing up: beside another slice not even five rows of five
 * prove one.
 *
 * *verdict is pass or fail; *report as hn_gate_export's. */
HN_MUST_CHECK hn_status hn_gate_stage(const hn_gate_earlier *earlier, int n_earlier,
                                      const hn_scores *after, const hn_stage_limits *limits,
                                      const char *inputs_sha256, hn_verdict *verdict,
                                      json_t **report, hn_error *err);
