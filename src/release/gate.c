/* The export gate: may this artefact replace its float original? Each check compares a one-sided
 * 95 % bound with its threshold, so that "too few rows to tell" is a verdict of its own. */
#include "release/gate_check.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { DRAWS = 4000 };
/* A two-sided interval whose ends are one-sided 95 % bounds. */
static const double CONFIDENCE = 0.90, ONE_SIDED = 0.95;

const char *hn_verdict_name(hn_verdict verdict) {
    static const char *const NAMES[] = {"pass", "fail", "inconclusive"};
    return NAMES[verdict];
}

/* A failure outweighs everything, an open question outweighs a pass. */
static hn_verdict worse(hn_verdict a, hn_verdict b) {
    if (a == HN_VERDICT_FAIL || b == HN_VERDICT_FAIL)
        return HN_VERDICT_FAIL;
    return a == HN_VERDICT_PASS ? b : a;
}

static hn_verdict judge(const hn_gate_check *check) {
    double safe = check->at_least ? -check->ci.low : check->ci.high;
    double unsafe = check->at_least ? -check->ci.high : check->ci.low;
    double limit = check->at_least ? -check->threshold : check->threshold;
    if (check->by_value)
        safe = unsafe = check->at_least ? -check->value : check->value;
    if (safe <= limit) /* false for NaN */
        return HN_VERDICT_PASS;
    return unsafe > limit ? HN_VERDICT_FAIL : HN_VERDICT_INCONCLUSIVE;
}

static json_t *real_or_null(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *hn_gate_check_report(const hn_gate_check *check, size_t n, hn_verdict verdict) {
    return json_pack("{s:s, s:o, s:f, s:[o,o], s:I, s:s}", "metric", check->metric, "value",
                     real_or_null(check->value), "threshold", check->threshold, "ci",
                     real_or_null(check->ci.low), real_or_null(check->ci.high), "n", (json_int_t)n,
                     "verdict", hn_verdict_name(verdict));
}

static hn_status add_check(json_t *checks, const hn_gate_check *check, size_t n,
                           hn_verdict *verdict, hn_error *err) {
    hn_verdict own = judge(check);
    if (json_array_append_new(checks, hn_gate_check_report(check, n, own)))
        return hn_fail_no_memory(err, 256);
    *verdict = worse(*verdict, own);
    return HN_OK;
}

/* Weighted mean of x with a bootstrap of its linearised values (see eval/scores.c). */
static hn_status weighted_interval(const hn_scores *scores, double confidence, double *x,
                                   double *mean, hn_interval *ci, hn_error *err) {
    double sum = 0, weights = 0;
    size_t n = scores->n;
    for (size_t i = 0; i < n; i++) {
        sum += scores->samples[i].weight * x[i];
        weights += scores->samples[i].weight;
    }
    *mean = sum / weights;
    for (size_t i = 0; i < n; i++)
        x[i] = *mean + scores->samples[i].weight * (x[i] - *mean) * (double)n / weights;
    return hn_stats_bootstrap(x, n, DRAWS, 0, confidence, ci, err);
}

static bool is_plain(const hn_scores *scores) {
    for (size_t i = 0; i < scores->n; i++) {
        const hn_sample *s = &scores->samples[i];
        if ((s->score != 0 && s->score != 1) || s->weight != 1)
            return false;
    }
    return true;
}

/* The paired drop: bootstrap percentiles, widened to the score interval for pairs (Tango), because
 * a bootstrap of few flips, or of none, is too sure of itself. */
hn_status hn_gate_drop(const hn_scores *before, const hn_scores *after, double confidence,
                       double *x, hn_gate_check *check, size_t *lost, size_t *won, hn_error *err) {
    size_t n_lost = 0, n_won = 0, n = before->n;
    for (size_t i = 0; i < n; i++) {
        double a = before->samples[i].score, b = after->samples[i].score;
        x[i] = a - b;
        n_lost += a > b;
        n_won += a < b;
    }
    HN_TRY(weighted_interval(before, confidence, x, &check->value, &check->ci, err));
    bool plain = is_plain(before) && is_plain(after);
    hn_interval score =
        hn_stats_paired_difference(plain ? n_lost : 0, plain ? n_won : 0, n, confidence);
    check->ci.low = fmin(check->ci.low, score.low);
    check->ci.high = fmax(check->ci.high, score.high);
    if (lost)
        *lost = n_lost;
    if (won)
        *won = n_won;
    return HN_OK;
}

static hn_status quality(const hn_scores *candidate, double *x, hn_gate_check *check,
                         hn_error *err) {
    size_t n = candidate->n, right = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = candidate->samples[i].score;
        right += candidate->samples[i].score == 1;
    }
    HN_TRY(weighted_interval(candidate, CONFIDENCE, x, &check->value, &check->ci, err));
    if (is_plain(candidate))
        check->ci = hn_stats_wilson(right, n, CONFIDENCE);
    return HN_OK;
}

static hn_status latency(const hn_scores *candidate, bool first_token, double *x,
                         hn_gate_check *check, size_t *n_rows, hn_error *err) {
    size_t n = *n_rows = hn_scores_latencies(candidate, first_token, x);
    if (!n)
        return hn_fail(err, HN_USAGE,
                       "the gate checks p95, but these scores hold no latencies: "
                       "evaluate again, or leave max_p95_ms out");
    hn_stats_sort(x, n);
    size_t low = hn_stats_quantile_lower_rank(n, 0.95, ONE_SIDED);
    size_t high = hn_stats_quantile_upper_rank(n, 0.95, ONE_SIDED);
    check->value = hn_stats_quantile(x, n, 0.95);
    check->ci = (hn_interval){low ? x[low - 1] : NAN, high ? x[high - 1] : NAN};
    return HN_OK;
}

static hn_status run_checks(const hn_scores *baseline, const hn_scores *candidate,
                            const hn_gate_options *options, json_t *checks, hn_verdict *verdict,
                            hn_error *err) {
    size_t n = baseline->n;
    double *x = hn_malloc(n * sizeof *x);
    if (!x)
        return hn_fail_no_memory(err, n * sizeof *x);
    hn_status status;
    hn_gate_check drop = {.metric = "quality_drop", .threshold = options->max_quality_drop};
    HN_GO(hn_gate_drop(baseline, candidate, CONFIDENCE, x, &drop, NULL, NULL, err));
    HN_GO(add_check(checks, &drop, n, verdict, err));
    if (options->max_slice_drop > 0) {
        hn_gate_earlier one = {NULL, baseline};
        HN_GO(hn_gate_slices(&one, 1, candidate, options->max_slice_drop, checks, verdict, err));
    }
    if (options->min_quality > 0) {
        hn_gate_check least = {
            .metric = "quality", .threshold = options->min_quality, .at_least = true};
        HN_GO(quality(candidate, x, &least, err));
        HN_GO(add_check(checks, &least, n, verdict, err));
    }
    if (options->max_p95_ms > 0) {
        bool first = options->latency_is_first_token;
        hn_gate_check slow = {.metric = first ? "p95_first_token_ms" : "p95_whole_response_ms",
                              .threshold = options->max_p95_ms};
        HN_GO(latency(candidate, first, x, &slow, &n, err));
        HN_GO(add_check(checks, &slow, n, verdict, err));
    }
done:
    hn_free(x);
    return status;
}

/* The report around `checks` (taken), with what pairs of answers say. */
static hn_status write_report(const char *gate, const hn_scores *baseline,
                              const hn_scores *candidate, double margin, json_t *checks,
                              hn_verdict verdict, const char *inputs_sha256, json_t **report,
                              hn_error *err) {
    const double ALPHA = 0.05, POWER = 0.8;
    hn_flips flips;
    hn_status status = hn_scores_compare(baseline, candidate, &flips, err);
    if (status != HN_OK) {
        json_decref(checks);
        return status;
    }
    double flip_rate = (double)(flips.lost + flips.won) / (double)flips.n;
    /* With no flip seen, as if half of one had been. */
    flip_rate = fmax(flip_rate, 0.5 / (double)flips.n);
    size_t needed = hn_stats_items_needed(margin, flip_rate, ALPHA, POWER);
    json_t *out =
        json_pack("{s:s, s:o, s:s, s:s*, s:I, s:I, s:I, s:I, s:f, s:o}", "gate", gate, "checks",
                  checks, "verdict", hn_verdict_name(verdict), "inputs_sha256", inputs_sha256, "n",
                  (json_int_t)flips.n, "flips", (json_int_t)(flips.lost + flips.won), "lost",
                  (json_int_t)flips.lost, "answers_changed", (json_int_t)flips.changed, "mcnemar_p",
                  hn_stats_mcnemar(flips.lost, flips.won), "items_needed",
                  needed == SIZE_MAX ? json_null() : json_integer((json_int_t)needed));
    if (!out)
        return hn_fail_no_memory(err, 512);
    *report = out;
    return HN_OK;
}

/* The rows must be the same, and there must be some. */
static hn_status check_pairs(const hn_scores *baseline, const hn_scores *candidate, hn_error *err) {
    hn_flips flips;
    HN_TRY(hn_scores_compare(baseline, candidate, &flips, err));
    if (!flips.n)
        return hn_fail(err, HN_USAGE, "a gate needs at least one scored row");
    return HN_OK;
}

hn_status hn_gate_export(const hn_scores *baseline, const hn_scores *candidate,
                         const hn_gate_options *options, const char *inputs_sha256,
                         hn_verdict *verdict, json_t **report, hn_error *err) {
    hn_verdict all = HN_VERDICT_PASS;
    HN_TRY(check_pairs(baseline, candidate, err));
    json_t *checks = json_array();
    if (!checks)
        return hn_fail_no_memory(err, 64);
    hn_status status = run_checks(baseline, candidate, options, checks, &all, err);
    if (status != HN_OK) {
        json_decref(checks);
        return status;
    }
    HN_TRY(write_report("export", baseline, candidate, options->max_quality_drop, checks, all,
                        inputs_sha256, report, err));
    *verdict = all;
    return HN_OK;
}

static hn_status stage_checks(const hn_gate_earlier *earlier, int n_earlier, const hn_scores *after,
                              const hn_stage_limits *limits, json_t *checks, hn_verdict *verdict,
                              hn_error *err) {
    const hn_scores *before = earlier[n_earlier - 1].scores;
    hn_gate_check drop = {.metric = "stage_drop", .threshold = limits->max_drop, .by_value = true};
    double *x = hn_malloc(before->n * sizeof *x);
    if (!x)
        return hn_fail_no_memory(err, before->n * sizeof *x);
    hn_status status = hn_gate_drop(before, after, CONFIDENCE, x, &drop, NULL, NULL, err);
    hn_free(x);
    HN_TRY(status);
    HN_TRY(add_check(checks, &drop, before->n, verdict, err));
    if (limits->max_slice_drop > 0)
        return hn_gate_slices(earlier, n_earlier, after, limits->max_slice_drop, checks, verdict,
                              err);
    return HN_OK;
}

hn_status hn_gate_stage(const hn_gate_earlier *earlier, int n_earlier, const hn_scores *after,
                        const hn_stage_limits *limits, const char *inputs_sha256,
                        hn_verdict *verdict, json_t **report, hn_error *err) {
    hn_verdict all = HN_VERDICT_PASS;
    for (int i = 0; i < n_earlier; i++)
        HN_TRY(check_pairs(earlier[i].scores, after, err));
    json_t *checks = json_array();
    if (!checks)
        return hn_fail_no_memory(err, 64);
    hn_status status = stage_checks(earlier, n_earlier, after, limits, checks, &all, err);
    if (status != HN_OK) {
        json_decref(checks);
        return status;
    }
    HN_TRY(write_report("stage", earlier[n_earlier - 1].scores, after, limits->max_drop, checks,
                        all, inputs_sha256, report, err));
    *verdict = all;
    return HN_OK;
}
