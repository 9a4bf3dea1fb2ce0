/* metrics.jsonl: one line a step, one line an evaluation. */
#pragma once

#include "base/status.h"
#include "train/ranks.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct hn_metrics {
    FILE *file;
    char *path;
} hn_metrics;

/* What a task measures beyond the loss: names are literals. */
enum { HN_MAX_VALUES = 16 };
typedef struct hn_values {
    int n;
    struct {
        const char *name;
        double value;
        bool whole; /* every rank has all of it, not a share */
    } items[HN_MAX_VALUES];
} hn_values;

static inline void hn_values_put(hn_values *values, const char *name, double value, bool whole) {
    if (values->n < HN_MAX_VALUES) {
        values->items[values->n].name = name;
        values->items[values->n].whole = whole;
        values->items[values->n++].value = value;
    }
}
static inline void hn_values_add(hn_values *values, const char *name, double value) {
    hn_values_put(values, name, value, false);
}
static inline void hn_values_add_whole(hn_values *values, const char *name, double value) {
    hn_values_put(values, name, value, true);
}

typedef struct hn_step_metrics {
    uint64_t step;
    double epoch, loss, rate, grad_norm, seconds;
    uint64_t tokens, supervised; /* of the documents */
    uint64_t rows;               /* computed: less than tokens where beginnings are shared */
    hn_values values;
} hn_step_metrics;

typedef struct hn_eval_metrics {
    uint64_t step;
    double loss;
    double seconds, golden_seconds; /* of the evaluation, and of the golden set in it */
    hn_values values;               /* written with "eval_" before their names */
} hn_eval_metrics;

/* Sums of what each rank has its share of. */
void hn_step_metrics_sum(hn_ranks *ranks, hn_step_metrics *m);
void hn_eval_metrics_sum(hn_ranks *ranks, hn_eval_metrics *m);

/* Keeps the lines of steps up to `step` of an earlier part of the run and appends to them. */
HN_MUST_CHECK hn_status hn_metrics_open(hn_metrics *metrics, const char *dir, uint64_t step,
                                        hn_error *err);
void hn_metrics_close(hn_metrics *metrics);
/* Both do nothing where nothing was opened. */
HN_MUST_CHECK hn_status hn_metrics_step(hn_metrics *metrics, const hn_step_metrics *m,
                                        hn_error *err);
HN_MUST_CHECK hn_status hn_metrics_eval(hn_metrics *metrics, const hn_eval_metrics *m,
                                        hn_error *err);

/* The value of `name` ("loss" or one of the values); HN_USAGE, naming what there is. */
HN_MUST_CHECK hn_status hn_eval_metrics_get(const hn_eval_metrics *m, const char *name,
                                            double *value, hn_error *err);
/* The name of the golden set's score. */
#define HN_METRIC_GOLDEN "golden"
/* Is `given`, as a person spells it, the metric `name`? */
bool hn_metric_is(const char *given, const char *name);
/* Known by the name: losses, perplexity, KL and what is rejected should be low. */
bool hn_metric_wants_low(const char *name);
