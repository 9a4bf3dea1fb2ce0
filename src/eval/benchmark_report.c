/* What a test's samples say, and how much work was behind them. */
#include "eval/benchmark_internal.h"

#include "base/mem.h"
#include "base/version.h"
#include "eval/stats.h"

#include <math.h>
#include <string.h>
#include <time.h>

/* What one run of a test reads and multiplies. */
typedef struct work {
    double passes; /* forward passes */
    double tokens, bytes, macs;
} work;

/* Positions that a row at the end of `length` looks at, over all layers. */
static double keys_seen(const hn_arch *arch, int64_t length) {
    double keys = 0;
    for (int layer = 0; layer < arch->n_layer; layer++) {
        bool local = hn_arch_layer_is_local(arch, layer) && length > arch->sliding_window;
        keys += (double)(local ? arch->sliding_window : length);
    }
    return keys;
}

/* Passes that wrote the text of one run, and rows in them: a guess that came true saved a pass, and
 * each guess was a row. */
static double text_passes(const hn_bench_test *test) {
    return test->n_gen - (double)test->n_accepted / test->n_samples;
}

static double text_rows(const hn_bench_test *test) {
    return text_passes(test) + (double)test->n_drafted / test->n_samples;
}

/* The weights that each pass goes through; the head counts for the rows that ask for logits. */
static void count_weights(const hn_model *model, double *bytes, double *macs, double *head_macs) {
    const hn_matrix *head = hn_model_head(model);
    *bytes = (double)head->packed_bytes;
    *head_macs = (double)head->rows * (double)head->cols;
    *macs = 0;
    for (int layer = 0; layer < model->arch.n_layer; layer++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            const hn_matrix *w = &model->layers[layer].w[m];
            *bytes += (double)w->packed_bytes;
            *macs += (double)w->rows * (double)w->cols;
        }
}

/* Weights once a pass; keys and values once a pass and sequence; two multiply-adds for each
 * dimension of a key that a head looks at. */
static work count_work(const hn_model *model, const hn_bench_options *options,
                       const hn_bench_test *test) {
    const hn_arch *arch = &model->arch;
    int n = test->n_prompt + test->n_gen, batch = test->n_prompt ? options->n_batch : 1;
    double weights, macs, head_macs;
    count_weights(model, &weights, &macs, &head_macs);
    double key_bytes = (double)hn_model_kv_bytes_per_token(model) / arch->n_layer;
    double key_macs = 2.0 * arch->n_head * arch->head_dim;
    work out = {.tokens = (double)n * test->n_rows};
    for (int done = 0; done < n; done += batch) {
        int end = done + batch < n ? done + batch : n;
        out.passes++;
        out.bytes +=
            weights + test->n_rows * key_bytes * keys_seen(arch, (int64_t)options->n_depth + end);
        out.macs += test->n_rows * ((end - done) * macs + head_macs);
        for (int i = done; i < end; i++)
            out.macs +=
                test->n_rows * key_macs * keys_seen(arch, (int64_t)options->n_depth + i + 1);
    }
    if (test->on_text) { /* a draft model's own work isn't known here */
        out.passes = text_passes(test);
        out.bytes *= out.passes / n;
        out.macs *= text_rows(test) / n;
    }
    return out;
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

static hn_status median(const double *x, int n, double *out, hn_error *err) {
    double *sorted = hn_calloc((size_t)n, sizeof *sorted);
    if (!sorted)
        return hn_fail_no_memory(err, (size_t)n * sizeof *sorted);
    memcpy(sorted, x, (size_t)n * sizeof *sorted);
    hn_stats_sort(sorted, (size_t)n);
    *out = hn_stats_quantile(sorted, (size_t)n, 0.5);
    hn_free(sorted);
    return HN_OK;
}

/* What is true of the model and the machine, whatever the test. */
static json_t *describe(const hn_model *model, const hn_bench_options *options) {
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
    const char *kv_type = hn_dtype_name(model->kv_type);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:s, s:s, s:s}",
        "build_commit", "hone " HN_VERSION, "cpu_info", hn_cpu_name(), "isa",
        hn_isa_name(hn_compute_isa(model->compute)), "numerics",
        model->numerics == HN_NUMERICS_F32 ? "f32" : "int8", "backends", "CPU", "model_filename",
        model->ckpt.path ? model->ckpt.path : "", "model_type", model->arch.family, "model_size",
        (json_int_t)size, "model_n_params", (json_int_t)n_params, "n_batch", options->n_batch,
        "n_ubatch", options->n_batch, "n_threads", hn_pool_threads(hn_compute_pool(model->compute)),
        "type_k", kv_type, "type_v", kv_type, "test_time", when);
}

/* Rates beside what the machine can do with as much memory; after an eviction everything comes
 * from beyond the caches. */
static hn_status add_rates(const hn_model *model, const hn_bench_options *options, const work *w,
                           double ts, json_t *test, hn_error *err) {
    double bytes = w->bytes / w->tokens, macs = w->macs / w->tokens, read_limit;
    json_t *rates = json_pack("{s:f, s:f, s:f, s:f}", "bytes_per_token", bytes, "macs_per_token",
                              macs, "bytes_s", bytes * ts, "macs_s", macs * ts);
    hn_status status = HN_OK;
    if (options->limits) {
        size_t footprint = options->cold ? SIZE_MAX / 2 : (size_t)(w->bytes / w->passes);
        HN_GO(hn_limits_read(options->limits, footprint, &read_limit, err));
        json_object_set_new(rates, "read_limit_s", json_real(read_limit));
        json_object_set_new(rates, "mac_limit_s",
                            json_real(hn_limits_mac(options->limits, model->numerics)));
    }
    if (!rates || json_object_update(test, rates))
        status = hn_fail_no_memory(err, sizeof *w);
done:
    json_decref(rates);
    return status;
}

static hn_status add_guesses(const hn_bench_test *test, json_t *object, hn_error *err) {
    json_t *guesses =
        json_pack("{s:I, s:I, s:f}", "n_drafted", (json_int_t)test->n_drafted, "n_accepted",
                  (json_int_t)test->n_accepted, "tokens_per_pass", test->n_gen / text_passes(test));
    if (test->n_drafted)
        json_object_set_new(guesses, "acceptance",
                            json_real((double)test->n_accepted / (double)test->n_drafted));
    const bool failed = !guesses || json_object_update(object, guesses);
    json_decref(guesses);
    return failed ? hn_fail_no_memory(err, sizeof *test) : HN_OK;
}

hn_status hn_bench_report(const hn_model *model, const hn_bench_options *options,
                          const hn_bench_test *test, json_t *tests, double *ts, hn_error *err) {
    double avg_ns, stddev_ns, avg_ts, stddev_ts, median_ns, median_ts;
    int n = test->n_samples;
    mean_and_deviation(test->ns, n, &avg_ns, &stddev_ns);
    mean_and_deviation(test->ts, n, &avg_ts, &stddev_ts);
    HN_TRY(median(test->ns, n, &median_ns, err));
    HN_TRY(median(test->ts, n, &median_ts, err));
    work w = count_work(model, options, test);
    json_t *object = describe(model, options);
    json_t *own =
        json_pack("{s:i, s:i, s:i, s:i, s:b, s:I, s:I, s:I, s:f, s:f, s:f, s:o, s:o}", "n_prompt",
                  test->n_prompt, "n_gen", test->n_gen, "n_depth", options->n_depth, "n_rows",
                  test->n_rows, "cold", test->n_gen && options->cold, "avg_ns", (json_int_t)avg_ns,
                  "stddev_ns", (json_int_t)stddev_ns, "median_ns", (json_int_t)median_ns, "avg_ts",
                  avg_ts, "stddev_ts", stddev_ts, "median_ts", median_ts, "samples_ns",
                  number_list(test->ns, n, true), "samples_ts", number_list(test->ts, n, false));
    hn_status status = HN_OK;
    if (!object || !own || json_object_update(object, own))
        status = hn_fail_no_memory(err, sizeof *test);
    if (status == HN_OK && test->sustained_s > 0 &&
        (json_object_set_new(object, "sustained_s", json_real(test->sustained_s)) ||
         json_object_set_new(object, "worst_window_s", json_real(test->worst_window_s)) ||
         json_object_set_new(object, "worst_window_ts", json_real(test->worst_window_ts))))
        status = hn_fail_no_memory(err, sizeof *test);
    if (status == HN_OK && test->on_text)
        status = add_guesses(test, object, err);
    if (status == HN_OK)
        status = add_rates(model, options, &w, median_ts, object, err);
    if (status == HN_OK && json_array_append(tests, object))
        status = hn_fail_no_memory(err, sizeof *test);
    if (status == HN_OK)
        *ts = avg_ts;
    json_decref(own);
    json_decref(object);
    return status;
}
