/* How fast a model reads and writes: prefill and decode tokens a second, under llama-bench's keys.
 */
#pragma once

#include "base/progress.h"
#include "model/model.h"

#include <jansson.h>

typedef struct hn_bench_options {
    int n_prompt;    /* tokens read in the prefill test; 0 = no such test */
    int n_gen;       /* tokens written one by one in the decode test; 0 = no such test */
    int n_depth;     /* tokens already in the cache before either */
    int repetitions; /* timed runs of each, after one that isn't counted */
} hn_bench_options;

/* 512 prompt tokens, 128 generated, from an empty cache, 5 repetitions: llama-bench's own. */
hn_bench_options hn_bench_options_default(void);

typedef struct hn_bench_result {
    double prefill_ts, decode_ts; /* mean tokens a second; 0 = not measured */
    json_t *tests;                /* one object a test, new reference */
} hn_bench_result;

HN_MUST_CHECK hn_status hn_bench_run(hn_model *model, const hn_adapter *adapter,
                                     const hn_bench_options *options, const hn_progress *progress,
                                     hn_bench_result *result, hn_error *err);
