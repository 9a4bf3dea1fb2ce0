/* From samples to results: means, intervals and latencies, overall and per slice; reading back what
 * an evaluation wrote. */
#include "eval/golden.h"

#include "base/json.h"
#include "base/mem.h"
#include "eval/stats.h"
#include "formats/jsonl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DRAWS = 4000 };
static const double CONFIDENCE = 0.95;

void hn_scores_done(hn_scores *scores) {
    hn_free(scores->samples);
    json_decref(scores->results);
    json_decref(scores->owner);
    *scores = (hn_scores){0};
}

static bool chosen(const hn_sample *sample, const char *slice) {
    return !slice || !strcmp(sample->slice, slice);
}

/* Wilson for plain right-or-wrong rows; otherwise a bootstrap of the linearised ratio
 * mean + w_i (x_i - mean) n / sum w, whose mean and spread are those of the weighted mean. */
static hn_status summary_of(const hn_scores *scores, const char *slice, json_t **out,
                            hn_error *err) {
    double *x = hn_malloc((scores->n + !scores->n) * sizeof *x);
    if (!x)
        return hn_fail_no_memory(err, scores->n * sizeof *x);
    double sum = 0, weights = 0, mean, se;
    size_t n = 0, n_passed = 0, n_right = 0;
    bool plain = true;
    for (size_t i = 0; i < scores->n; i++) {
        const hn_sample *sample = &scores->samples[i];
        if (!chosen(sample, slice))
            continue;
        n++;
        n_passed += sample->passed;
        n_right += sample->score == 1;
        plain = plain && (sample->score == 0 || sample->score == 1) && sample->weight == 1;
        sum += sample->weight * sample->score;
        weights += sample->weight;
    }
    double weighted = n ? sum / weights : 0;
    size_t k = 0;
    for (size_t i = 0; i < scores->n; i++) {
        const hn_sample *sample = &scores->samples[i];
        if (chosen(sample, slice))
            x[k++] = weighted + sample->weight * (sample->score - weighted) * (double)n / weights;
    }
    hn_stats_mean(x, n, &mean, &se);
    hn_interval ci = hn_stats_wilson(n_right, n, CONFIDENCE);
    hn_status status = HN_OK;
    if (!plain && n) {
        HN_GO(hn_stats_bootstrap(x, n, DRAWS, 0, CONFIDENCE, &ci, err));
        ci = (hn_interval){fmax(ci.low, 0), fmin(ci.high, 1)};
    }
    *out = json_pack("{s:I, s:f, s:[f,f], s:f, s:I}", "n", (json_int_t)n, "mean", weighted, "ci",
                     ci.low, ci.high, "standard_error", se, "passed", (json_int_t)n_passed);
    if (!*out)
        status = hn_fail_no_memory(err, 256);
done:
    hn_free(x);
    return status;
}

static hn_status add_slices(const hn_scores *scores, json_t *results, hn_error *err) {
    json_t *slices = json_object();
    if (json_object_set_new(results, "slices", slices))
        return hn_fail_no_memory(err, 64);
    for (size_t i = 0; i < scores->n; i++) {
        const char *name = scores->samples[i].slice;
        json_t *one = NULL;
        if (json_object_get(slices, name))
            continue;
        HN_TRY(summary_of(scores, name, &one, err));
        if (json_object_set_new(slices, name, one))
            return hn_fail_no_memory(err, 64);
    }
    return HN_OK;
}

size_t hn_scores_latencies(const hn_scores *scores, bool first_token, double *ms) {
    size_t n = 0;
    for (size_t i = 0; i < scores->n; i++) {
        const hn_sample *sample = &scores->samples[i];
        if (sample->latency_ms > 0)
            ms[n++] = first_token ? sample->first_token_ms : sample->latency_ms;
    }
    return n;
}

/* p50, p95 and the distribution-free 95 % upper bound of p95 (null when n is too small). */
static hn_status add_latency(const hn_scores *scores, bool first_token, json_t *results,
                             hn_error *err) {
    double *x = hn_malloc((scores->n + !scores->n) * sizeof *x);
    if (!x)
        return hn_fail_no_memory(err, scores->n * sizeof *x);
    size_t n = hn_scores_latencies(scores, first_token, x);
    hn_status status = HN_OK;
    if (n) {
        hn_stats_sort(x, n);
        size_t rank = hn_stats_quantile_upper_rank(n, 0.95, CONFIDENCE);
        json_t *one = json_pack("{s:I, s:f, s:f, s:o}", "n", (json_int_t)n, "p50",
                                hn_stats_quantile(x, n, 0.5), "p95", hn_stats_quantile(x, n, 0.95),
                                "p95_upper_95", rank ? json_real(x[rank - 1]) : json_null());
        if (json_object_set_new(results, first_token ? "first_token_ms" : "latency_ms", one))
            status = hn_fail_no_memory(err, 128);
    }
    hn_free(x);
    return status;
}

static hn_status add_choices(const hn_scores *scores, json_t *results, hn_error *err) {
    size_t n = 0, acc = 0, acc_norm = 0;
    for (size_t i = 0; i < scores->n; i++) {
        if (scores->samples[i].acc < 0)
            continue;
        n++;
        acc += scores->samples[i].acc > 0;
        acc_norm += scores->samples[i].acc_norm > 0;
    }
    if (n && (json_object_set_new(results, "acc", json_real((double)acc / (double)n)) ||
              json_object_set_new(results, "acc_norm", json_real((double)acc_norm / (double)n))))
        return hn_fail_no_memory(err, 64);
    return HN_OK;
}

hn_status hn_scores_summarise(hn_scores *scores, const char *label, hn_error *err) {
    json_t *results = NULL;
    hn_status status;
    HN_GO(summary_of(scores, NULL, &results, err));
    if (label && json_object_set_new(results, "label", json_string(label))) {
        status = hn_fail_no_memory(err, strlen(label));
        goto done;
    }
    HN_GO(add_slices(scores, results, err));
    HN_GO(add_choices(scores, results, err));
    HN_GO(add_latency(scores, false, results, err));
    HN_GO(add_latency(scores, true, results, err));
    json_decref(scores->results);
    scores->results = results;
    results = NULL;
done:
    json_decref(results);
    return status;
}

hn_status hn_scores_compare(const hn_scores *a, const hn_scores *b, hn_flips *flips,
                            hn_error *err) {
    hn_flips out = {.n = a->n};
    if (a->n != b->n)
        return hn_fail(err, HN_USAGE, "can't compare scores of %zu and %zu rows", a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        const hn_sample *x = &a->samples[i], *y = &b->samples[i];
        if (strcmp(x->id, y->id))
            return hn_fail(err, HN_USAGE,
                           "can't compare scores: row %zu is %s in one and %s in "
                           "the other; evaluate both on the same golden set",
                           i + 1, x->id, y->id);
        out.lost += x->passed && !y->passed;
        out.won += !x->passed && y->passed;
        out.changed += x->answer_hash != y->answer_hash;
    }
    *flips = out;
    return HN_OK;
}

static hn_status sample_read(hn_sample *sample, const json_t *row, const char *where,
                             hn_error *err) {
    const char *id = NULL, *hash = NULL;
    long long acc = -1, acc_norm = -1;
    int passed = -1;
    sample->score = -1;
    sample->weight = 1;
    HN_TRY(hn_json_get_string(row, "id", where, &id, err));
    HN_TRY(hn_json_get_string(row, "slice", where, &sample->slice, err));
    HN_TRY(hn_json_get_string(row, "answer_hash", where, &hash, err));
    HN_TRY(hn_json_get_real(row, "score", where, &sample->score, err));
    HN_TRY(hn_json_get_real(row, "weight", where, &sample->weight, err));
    HN_TRY(hn_json_get_bool(row, "passed", where, &passed, err));
    HN_TRY(hn_json_get_int(row, "acc", where, &acc, err));
    HN_TRY(hn_json_get_int(row, "acc_norm", where, &acc_norm, err));
    if (!id || strlen(id) >= sizeof sample->id || !sample->slice || !hash || passed < 0 ||
        !(sample->score >= 0 && sample->score <= 1) || !(sample->weight > 0))
        return hn_fail(err, HN_BAD_INPUT, "%s: not a sample that hone eval --samples wrote", where);
    memcpy(sample->id, id, strlen(id) + 1);
    sample->passed = passed;
    sample->answer_hash = strtoull(hash, NULL, 16);
    sample->acc = (int8_t)(acc > 0 ? 1 : acc);
    sample->acc_norm = (int8_t)(acc_norm > 0 ? 1 : acc_norm);
    return HN_OK;
}

static hn_status rows_read(const char *path, json_t **rows, hn_error *err) {
    hn_jsonl lines;
    HN_TRY(hn_jsonl_open(&lines, path, err));
    hn_status status = HN_OK;
    json_t *all = json_array(), *row = NULL;
    if (!all)
        status = hn_fail_no_memory(err, 64);
    while (status == HN_OK) {
        HN_GO(hn_jsonl_next(&lines, &row, err));
        if (!row)
            break;
        if (json_array_append_new(all, row))
            status = hn_fail_no_memory(err, 64);
    }
    if (status == HN_OK) {
        *rows = all;
        all = NULL;
    }
done:
    json_decref(all);
    hn_jsonl_close(&lines);
    return status;
}

static hn_status timing_read(hn_scores *scores, const char *path, hn_error *err) {
    json_t *rows = NULL;
    HN_TRY(rows_read(path, &rows, err));
    hn_status status = HN_OK;
    size_t k = 0; /* timings are of some of the rows, in the same order */
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *id = json_string_value(json_object_get(row, "id"));
        while (k < scores->n && id && strcmp(scores->samples[k].id, id))
            k++;
        if (!id || k == scores->n) {
            status =
                hn_fail(err, HN_BAD_INPUT, "%s: row %zu belongs to other samples", path, i + 1);
            goto done;
        }
        HN_GO(hn_json_get_real(row, "latency_ms", path, &scores->samples[k].latency_ms, err));
        HN_GO(
            hn_json_get_real(row, "first_token_ms", path, &scores->samples[k].first_token_ms, err));
    }
done:
    json_decref(rows);
    return status;
}

hn_status hn_scores_read(hn_scores *scores, const char *path, const char *path_timing,
                         const char *label, hn_error *err) {
    hn_scores out = {0};
    hn_status status;
    HN_GO(rows_read(path, &out.owner, err));
    out.n = json_array_size(out.owner);
    if (!out.n) {
        status =
            hn_fail(err, HN_BAD_INPUT, "%s: no samples: hone eval --samples writes them", path);
        goto done;
    }
    out.samples = hn_calloc(out.n, sizeof *out.samples);
    if (!out.samples) {
        status = hn_fail_no_memory(err, out.n * sizeof *out.samples);
        goto done;
    }
    for (size_t i = 0; i < out.n; i++) {
        char where[600];
        snprintf(where, sizeof where, "%.560s: row %zu", path, i + 1);
        HN_GO(sample_read(&out.samples[i], json_array_get(out.owner, i), where, err));
    }
    if (path_timing)
        HN_GO(timing_read(&out, path_timing, err));
    HN_GO(hn_scores_summarise(&out, label, err));
    *scores = out;
    out = (hn_scores){0};
done:
    hn_scores_done(&out);
    return status;
}
