/* The benchmark's inside: one test, its samples, and what is said about them. */
#pragma once

#include "eval/benchmark.h"

typedef struct hn_bench_test {
    int n_prompt, n_gen; /* one of them is 0 */
    int n_rows;
    int n_samples, max_samples;
    double *ns, *ts; /* (max_samples) of a run each; of a sustained test, of a second each */
    bool on_text;
    int64_t n_drafted, n_accepted; /* over all samples */
    double sustained_s;            /* 0, or how long a sustained test took and its worst window: */
    double worst_window_s, worst_window_ts;
} hn_bench_test;

/* The test's object, appended to `tests`; *ts its mean tokens a second. */
HN_MUST_CHECK hn_status hn_bench_report(const hn_model *model, const hn_bench_options *options,
                                        const hn_bench_test *test, json_t *tests, double *ts,
                                        hn_error *err);
