/* How fast a model reads and writes: prefill and decode tokens a second under llama-bench's keys,
 * and how far that is from what the machine can do. */
#pragma once

#include "base/progress.h"
#include "eval/limits.h"
#include "model/model.h"
#include "model/speculate.h"

#include <jansson.h>
#include <stdbool.h>

enum { HN_BENCH_MAX_ROWS = 256, HN_BENCH_MAX_REPETITIONS = 1000, HN_BENCH_WINDOW_S = 60 };

typedef struct hn_bench_options {
    int n_prompt;    /* tokens read in the prefill test; 0 = no such test */
    int n_gen;       /* tokens written one by one in the decode test; 0 = no such test */
    int n_depth;     /* tokens already in each cache before either */
    int repetitions; /* timed runs of each, after one that isn't counted */
    int n_batch;     /* rows of a prefill computed at once; 0 = 512 */
    int n_rows;      /* sequences that decode at once, a row each; 0 = 1 */
    bool cold;       /* decode with the caches emptied before each token; not counted as time */
    /* The decode test goes on for so many seconds instead of repetitions, n_gen tokens from n_depth
     * on again and again, and says the rate of each second and of the worst HN_BENCH_WINDOW_S. */
    double sustained_s;
    /* The decode test is what the model writes greedily behind these tokens (borrowed), n_gen of
     * them behind its first one; 0 = random tokens. Not with n_depth, n_rows, cold, sustained_s. */
    const int32_t *text;
    int n_text;
    hn_speculator *speculator; /* guesses it; it goes on learning from run to run. NULL = none */
    hn_limits *limits; /* borrowed: what the machine can do goes beside the rates; NULL = not */
} hn_bench_options;

/* 512 prompt tokens, 128 generated, from an empty cache, 5 repetitions: llama-bench's own. */
hn_bench_options hn_bench_options_default(void);

typedef struct hn_bench_result {
    double prefill_ts, decode_ts; /* mean tokens a second; 0 = not measured */
    json_t *tests;                /* one object a test, new reference */
} hn_bench_result;

/* The JSON's keys are llama-bench's, and: isa, numerics, n_rows, cold, median_ns, median_ts;
 * bytes_per_token and macs_per_token, which the test's tokens read and multiply on average (weights
 * as they lie in memory, the cache's keys and values); bytes_s, macs_s; with `limits` read_limit_s,
 * mac_limit_s; of a sustained test, whose samples are seconds, sustained_s, worst_window_s and
 * worst_window_ts; of a text, which is n_depth tokens long, n_drafted and n_accepted (tokens
 * guessed, and come true, over all runs), tokens_per_pass and, where any was guessed, acceptance.
 * HN_USAGE: what can't be measured. HN_NO_MEMORY, HN_CANCELLED. */
HN_MUST_CHECK hn_status hn_bench_run(hn_model *model, const hn_adapter *adapter,
                                     const hn_bench_options *options, const hn_progress *progress,
                                     hn_bench_result *result, hn_error *err);
