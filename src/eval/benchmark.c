/* Prefill and decode speed over random tokens, as llama-bench measures them. */
#include "eval/benchmark.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/version.h"
#include "eval/stats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { BATCH_ROWS = 512, MAX_REPETITIONS = 1000 };

typedef struct bench_run {
    hn_model *model;
    const hn_adapter *adapter;
    const hn_bench_options *options;
    hn_kv *kv;
    hn_batch_row *rows; /* BATCH_ROWS */
    float *logits;      /* (1, n_vocab) */
    hn_rng rng;
    double *samples_ns, *samples_ts;
} bench_run;

hn_bench_options hn_bench_options_default(void) {
    return (hn_bench_options){.n_prompt = 512, .n_gen = 128, .repetitions = 5};
}

/* Appends n random tokens, `batch` at a time; the last of each batch gives its logits, as a
 * generation would ask for. */
static hn_status feed(bench_run *run, int n, int batch, hn_error *err) {
    while (n > 0) {
        int count = n < batch ? n : batch;
        for (int i = 0; i < count; i++)
            run->rows[i] = (hn_batch_row){
                .token = (int32_t)hn_rng_below(&run->rng, (uint64_t)run->model->arch.n_vocab),
                .adapter = run->adapter ? 0 : -1,
                .wants_logits = i + 1 == count};
        HN_TRY(hn_forward(run->model, run->kv, &run->adapter, run->adapter ? 1 : 0, run->rows,
                          count, run->logits, NULL, err));
        n -= count;
    }
    return HN_OK;
}

static json_t *number_list(const double *x, int n, bool whole) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, whole ? json_integer((json_int_t)x[i]) : json_real(x[i]));
    return list;
}

/* llama-bench's standard deviation is the sample's, 0 for one repetition. */
static void mean_and_deviation(const double *x, int n, double *mean, double *deviation) {
    double se;
    hn_stats_mean(x, (size_t)n, mean, &se);
    *deviation = se * sqrt((double)n);
}

static hn_status report(const bench_run *run, int n_prompt, int n_gen, json_t *tests, double *ts,
                        hn_error *err) {
    const hn_model *model = run->model;
    int n = run->options->repetitions;
    double avg_ns, stddev_ns, stddev_ts;
    uint64_t size = 0, n_params = 0;
    for (size_t i = 0; i < model->ckpt.n_tensors; i++) {
        size += model->ckpt.tensors[i].size_bytes;
        n_params += (uint64_t)(model->ckpt.tensors[i].rows * model->ckpt.tensors[i].cols);
    }
    char when[32];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    mean_and_deviation(run->samples_ns, n, &avg_ns, &stddev_ns);
    mean_and_deviation(run->samples_ts, n, ts, &stddev_ts);
    json_t *test = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:s, s:I, "
        "s:I, "
        "s:f, s:f, s:o, s:o}",
        "build_commit", "hone " HN_VERSION, "cpu_info", hn_cpu_name(), "isa",
        hn_isa_name(hn_compute_isa(model->compute)), "backends", "CPU", "model_filename",
        model->ckpt.path ? model->ckpt.path : "", "model_type", model->arch.family, "model_size",
        (json_int_t)size, "model_n_params", (json_int_t)n_params, "n_batch", BATCH_ROWS,
        "n_threads", hn_pool_threads(hn_compute_pool(model->compute)), "n_prompt", n_prompt,
        "n_gen", n_gen, "n_depth", run->options->n_depth, "type_k", hn_dtype_name(model->kv_type),
        "type_v", hn_dtype_name(model->kv_type), "test_time", when, "avg_ns", (json_int_t)avg_ns,
        "stddev_ns", (json_int_t)stddev_ns, "avg_ts", *ts, "stddev_ts", stddev_ts, "samples_ns",
        number_list(run->samples_ns, n, true), "samples_ts",
        number_list(run->samples_ts, n, false));
    return json_array_append_new(tests, test) ? hn_fail_no_memory(err, 1024) : HN_OK;
}

static hn_status run_test(bench_run *run, int n_prompt, int n_gen, const hn_progress *progress,
                          json_t *tests, double *ts, hn_error *err) {
    const hn_bench_options *options = run->options;
    enum { WARM_UP_TOKENS = 32 }; /* pages in the weights, wakes the threads */
    int n = n_prompt + n_gen, batch = n_prompt ? BATCH_ROWS : 1;
    char label[48];
    snprintf(label, sizeof label, "bench %s %d", n_prompt ? "prefill" : "decode", n);
    for (int i = -1; i < options->repetitions; i++) {
        if (hn_progress_cancelled(progress))
            return hn_fail(err, HN_CANCELLED, "the benchmark was stopped");
        hn_kv_truncate(run->kv, 0, 0);
        HN_TRY(feed(run, options->n_depth, BATCH_ROWS, err));
        uint64_t start = hn_clock_ns();
        HN_TRY(feed(run, i < 0 && n > WARM_UP_TOKENS ? WARM_UP_TOKENS : n, batch, err));
        double ns = (double)(hn_clock_ns() - start);
        hn_progress_update(progress, label, (uint64_t)(i + 2), (uint64_t)options->repetitions + 1,
                           "runs", NULL);
        if (i >= 0) {
            run->samples_ns[i] = ns;
            run->samples_ts[i] = (double)n * 1e9 / ns;
        }
    }
    return report(run, n_prompt, n_gen, tests, ts, err);
}

static hn_status check(const bench_run *run, hn_error *err) {
    const hn_bench_options *o = run->options;
    int64_t longest = (int64_t)o->n_depth + (o->n_prompt > o->n_gen ? o->n_prompt : o->n_gen);
    if (o->n_prompt < 0 || o->n_gen < 0 || o->n_depth < 0 || o->n_prompt + o->n_gen < 1 ||
        o->repetitions < 1 || o->repetitions > MAX_REPETITIONS)
        return hn_fail(err, HN_USAGE,
                       "a benchmark needs tokens to read or to write, and 1 to %d "
                       "repetitions",
                       MAX_REPETITIONS);
    if (longest > run->model->arch.n_ctx_train)
        return hn_fail(err, HN_USAGE, "%lld tokens exceed the model's context of %d",
                       (long long)longest, run->model->arch.n_ctx_train);
    return HN_OK;
}

hn_status hn_bench_run(hn_model *model, const hn_adapter *adapter, const hn_bench_options *options,
                       const hn_progress *progress, hn_bench_result *result, hn_error *err) {
    bench_run run = {
        .model = model, .adapter = adapter, .options = options, .rng = hn_rng_new(1, 0)};
    hn_bench_result out = {.tests = json_array()};
    hn_status status;
    HN_GO(check(&run, err));
    int64_t room = (int64_t)options->n_depth + options->n_prompt + options->n_gen + 1;
    HN_GO(hn_kv_new(&run.kv, model, 1, room, err));
    run.rows = hn_malloc(BATCH_ROWS * sizeof *run.rows);
    run.logits = hn_malloc((size_t)model->arch.n_vocab * sizeof *run.logits);
    run.samples_ns = hn_calloc((size_t)options->repetitions, sizeof *run.samples_ns);
    run.samples_ts = hn_calloc((size_t)options->repetitions, sizeof *run.samples_ts);
    if (!run.rows || !run.logits || !run.samples_ns || !run.samples_ts || !out.tests) {
        status = hn_fail_no_memory(err, BATCH_ROWS * sizeof *run.rows);
        goto done;
    }
    if (options->n_prompt)
        HN_GO(run_test(&run, options->n_prompt, 0, progress, out.tests, &out.prefill_ts, err));
    if (options->n_gen)
        HN_GO(run_test(&run, 0, options->n_gen, progress, out.tests, &out.decode_ts, err));
    *result = out;
    out.tests = NULL;
done:
    json_decref(out.tests);
    hn_kv_free(run.kv);
    hn_free(run.rows);
    hn_free(run.logits);
    hn_free(run.samples_ns);
    hn_free(run.samples_ts);
    return status;
}
