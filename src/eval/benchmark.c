/* Prefill and decode speed over random tokens, as llama-bench measures them. */
#include "eval/benchmark.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "eval/benchmark_internal.h"
#include "model/generate.h"

#include <stdio.h>

enum { BATCH_ROWS = 512, WARM_UP_TOKENS = 32 /* page in the weights, wake the threads */ };
#define MAX_SUSTAINED_S 86400.0

typedef struct bench_run {
    hn_model *model;
    const hn_adapter *adapter;
    hn_bench_options options; /* defaults filled in */
    const hn_progress *progress;
    hn_kv *kv;          /* n_rows sequences */
    hn_batch_row *rows; /* the larger of n_batch and n_rows */
    float *logits;      /* (n_rows, n_vocab) */
    hn_rng rng;
    hn_evictor evictor;
} bench_run;

hn_bench_options hn_bench_options_default(void) {
    return (hn_bench_options){.n_prompt = 512, .n_gen = 128, .repetitions = 5};
}

static hn_batch_row random_row(bench_run *run, int seq, bool wants_logits) {
    return (hn_batch_row){.token =
                              (int32_t)hn_rng_below(&run->rng, (uint64_t)run->model->arch.n_vocab),
                          .seq = seq,
                          .adapter = run->adapter ? 0 : -1,
                          .wants_logits = wants_logits};
}

static hn_status forward(bench_run *run, int n_rows, hn_error *err) {
    return hn_forward(run->model, run->kv, &run->adapter, run->adapter ? 1 : 0, run->rows, n_rows,
                      run->logits, NULL, err);
}

/* Appends n random tokens to a sequence, a batch at a time; the last of each batch gives its
 * logits, as a generation would ask for. */
static hn_status read_tokens(bench_run *run, int seq, int n, hn_error *err) {
    while (n > 0) {
        int count = n < run->options.n_batch ? n : run->options.n_batch;
        for (int i = 0; i < count; i++)
            run->rows[i] = random_row(run, seq, i + 1 == count);
        HN_TRY(forward(run, count, err));
        n -= count;
    }
    return HN_OK;
}

/* One random token more for each sequence; *ns is the time it took. */
static hn_status decode_step(bench_run *run, uint64_t *ns, hn_error *err) {
    for (int seq = 0; seq < run->options.n_rows; seq++)
        run->rows[seq] = random_row(run, seq, true);
    if (run->options.cold)
        hn_evictor_run(&run->evictor, hn_compute_pool(run->model->compute));
    uint64_t start = hn_clock_ns();
    HN_TRY(forward(run, run->options.n_rows, err));
    *ns = hn_clock_ns() - start;
    return HN_OK;
}

/* Each sequence back to the depth that the test begins at. */
static hn_status go_to_depth(bench_run *run, hn_error *err) {
    for (int seq = 0; seq < run->options.n_rows; seq++) {
        bool there = hn_kv_length(run->kv, seq) >= run->options.n_depth;
        hn_kv_truncate(run->kv, seq, there ? run->options.n_depth : 0);
        if (!there)
            HN_TRY(read_tokens(run, seq, run->options.n_depth, err));
    }
    return HN_OK;
}

static hn_status check_cancel(const bench_run *run, hn_error *err) {
    return hn_progress_cancelled(run->progress)
               ? hn_fail(err, HN_CANCELLED, "the benchmark was stopped")
               : HN_OK;
}

/* n tokens that the model writes behind the text and a first token, which comes with the prompt. */
static hn_status write_text(bench_run *run, hn_bench_test *test, int n, uint64_t *ns,
                            hn_error *err) {
    const hn_bench_options *o = &run->options;
    const hn_generate_options options = {.sampling = hn_sampling_default(),
                                         .max_tokens = n + 1,
                                         .ignore_eos = true,
                                         .adapter = run->adapter,
                                         .speculator = o->speculator,
                                         .cancel = run->progress ? run->progress->cancel : NULL};
    hn_generation g;
    HN_TRY(hn_generate(run->model, run->kv, 0, o->text, o->n_text, &options, &g, err));
    *ns = g.total_ns - g.first_token_ns;
    test->n_drafted += g.n_drafted;
    test->n_accepted += g.n_accepted;
    hn_generation_done(&g);
    return check_cancel(run, err);
}

/* One run of n tokens from the depth on: *ns the time that counts. */
static hn_status run_once(bench_run *run, hn_bench_test *test, int n, uint64_t *ns, hn_error *err) {
    HN_TRY(check_cancel(run, err));
    if (test->on_text)
        return write_text(run, test, n, ns, err);
    HN_TRY(go_to_depth(run, err));
    *ns = 0;
    if (test->n_prompt) {
        uint64_t start = hn_clock_ns();
        HN_TRY(read_tokens(run, 0, n, err));
        *ns = hn_clock_ns() - start;
        return HN_OK;
    }
    for (int i = 0; i < n; i++) {
        uint64_t step_ns = 0;
        HN_TRY(decode_step(run, &step_ns, err));
        *ns += step_ns;
    }
    return HN_OK;
}

static hn_status run_repeatedly(bench_run *run, hn_bench_test *test, hn_error *err) {
    int n = test->n_prompt + test->n_gen;
    char label[48];
    snprintf(label, sizeof label, "bench %s %d", test->n_prompt ? "prefill" : "decode", n);
    for (int i = -1; i < run->options.repetitions; i++) {
        uint64_t ns;
        HN_TRY(run_once(run, test, i < 0 && n > WARM_UP_TOKENS ? WARM_UP_TOKENS : n, &ns, err));
        hn_progress_update(run->progress, label, (uint64_t)(i + 2),
                           (uint64_t)run->options.repetitions + 1, "runs", NULL);
        if (i < 0) {
            test->n_drafted = test->n_accepted = 0;
            continue;
        }
        test->ns[test->n_samples] = (double)ns;
        test->ts[test->n_samples++] = (double)n * test->n_rows * 1e9 / (double)(ns + 1);
    }
    return HN_OK;
}

/* The lowest mean rate over consecutive seconds that make a window, or over all when they don't.
 * seconds[i]: how long sample i really took. */
static void find_worst_window(hn_bench_test *test, const double *seconds) {
    int first = 0;
    double tokens = 0, length = 0;
    for (int last = 0; last < test->n_samples; last++) {
        tokens += test->ts[last] * seconds[last];
        length += seconds[last];
        while (length - seconds[first] >= HN_BENCH_WINDOW_S) {
            tokens -= test->ts[first] * seconds[first];
            length -= seconds[first++];
        }
        bool whole = length >= HN_BENCH_WINDOW_S, only = last + 1 == test->n_samples;
        bool worse = test->worst_window_s <= 0 || tokens / length < test->worst_window_ts;
        if ((whole && worse) || (only && test->worst_window_s <= 0)) {
            test->worst_window_s = length;
            test->worst_window_ts = tokens / length;
        }
    }
}

/* A second's tokens; the token that is under way when it ends still belongs to it. */
static hn_status run_second(bench_run *run, hn_bench_test *test, double *seconds, hn_error *err) {
    uint64_t start = hn_clock_ns(), ns = 0, ignored;
    int64_t tokens = 0;
    while (ns < 1000000000U) {
        if (hn_kv_length(run->kv, 0) >= run->options.n_depth + test->n_gen)
            for (int seq = 0; seq < test->n_rows; seq++)
                hn_kv_truncate(run->kv, seq, run->options.n_depth);
        HN_TRY(decode_step(run, &ignored, err));
        tokens += test->n_rows;
        ns = hn_clock_ns() - start;
    }
    *seconds = (double)ns * 1e-9;
    test->ts[test->n_samples] = (double)tokens / *seconds;
    test->ns[test->n_samples] = test->n_gen * test->n_rows * 1e9 / test->ts[test->n_samples];
    test->n_samples++;
    test->sustained_s += *seconds;
    return HN_OK;
}

static hn_status run_sustained(bench_run *run, hn_bench_test *test, hn_error *err) {
    double *seconds = hn_calloc((size_t)test->max_samples, sizeof *seconds);
    if (!seconds)
        return hn_fail_no_memory(err, (size_t)test->max_samples * sizeof *seconds);
    hn_status status;
    HN_GO(go_to_depth(run, err));
    while (test->sustained_s < run->options.sustained_s && test->n_samples < test->max_samples) {
        HN_GO(check_cancel(run, err));
        HN_GO(run_second(run, test, &seconds[test->n_samples], err));
        hn_progress_update(run->progress, "bench sustained", (uint64_t)test->sustained_s,
                           (uint64_t)run->options.sustained_s, "s", NULL);
    }
    find_worst_window(test, seconds);
done:
    hn_free(seconds);
    return status;
}

/* One test from start to report: repetitions, or for `sustained` one long run. */
static hn_status run_test(bench_run *run, int n_prompt, int n_gen, bool sustained, json_t *tests,
                          double *ts, hn_error *err) {
    int n = sustained ? (int)run->options.sustained_s + 1 : run->options.repetitions;
    hn_bench_test test = {.n_prompt = n_prompt,
                          .n_gen = n_gen,
                          .n_rows = n_prompt ? 1 : run->options.n_rows,
                          .on_text = n_gen && run->options.n_text,
                          .max_samples = n};
    hn_status status = HN_OK;
    test.ns = hn_calloc((size_t)n, sizeof *test.ns);
    test.ts = hn_calloc((size_t)n, sizeof *test.ts);
    if (!test.ns || !test.ts)
        status = hn_fail_no_memory(err, (size_t)n * sizeof *test.ns);
    if (status == HN_OK)
        status = sustained ? run_sustained(run, &test, err) : run_repeatedly(run, &test, err);
    if (status == HN_OK)
        status = hn_bench_report(run->model, &run->options, &test, tests, ts, err);
    hn_free(test.ns);
    hn_free(test.ts);
    return status;
}

/* Tokens in a cache at most, a text's first one and guesses included. */
static int64_t longest_of(const hn_bench_options *o) {
    const int64_t text = o->n_text ? (int64_t)o->n_text + o->n_gen + 1 + HN_DRAFT_MAX : 0;
    const int64_t n = (int64_t)o->n_depth + (o->n_prompt > o->n_gen ? o->n_prompt : o->n_gen);
    return text > n ? text : n;
}

static hn_status check(const bench_run *run, hn_error *err) {
    const hn_bench_options *o = &run->options;
    int64_t longest = longest_of(o);
    if (o->n_prompt < 0 || o->n_gen < 0 || o->n_depth < 0 || (o->n_prompt < 1 && o->n_gen < 1) ||
        o->repetitions < 1 || o->repetitions > HN_BENCH_MAX_REPETITIONS)
        return hn_fail(err, HN_USAGE,
                       "a benchmark needs tokens to read or to write, and 1 to %d "
                       "repetitions",
                       HN_BENCH_MAX_REPETITIONS);
    if (o->n_batch < 1 || o->n_rows < 1 || o->n_rows > HN_BENCH_MAX_ROWS)
        return hn_fail(err, HN_USAGE, "a batch has at least 1 row, and 1 to %d rows decode at once",
                       HN_BENCH_MAX_ROWS);
    if (!(o->sustained_s >= 0) || o->sustained_s > MAX_SUSTAINED_S ||
        (o->sustained_s > 0 && (o->n_gen < 1 || o->cold)))
        return hn_fail(err, HN_USAGE,
                       "a sustained run decodes tokens for at most %.0f s, and not with the caches "
                       "emptied",
                       MAX_SUSTAINED_S);
    if (o->n_text < 0 || (o->n_text && !o->text))
        return hn_fail(err, HN_USAGE, "a text of %d tokens", o->n_text);
    if (o->n_text && (o->n_depth || o->n_rows > 1 || o->cold || o->sustained_s > 0))
        return hn_fail(err, HN_USAGE,
                       "a text is decoded in one row from where it ends: not with a depth, several "
                       "rows, emptied caches or as a sustained run");
    if (o->speculator && !o->n_text)
        return hn_fail(err, HN_USAGE, "random tokens can't be guessed: speculation needs a text");
    if (longest > run->model->arch.n_ctx_train)
        return hn_fail(err, HN_USAGE, "%lld tokens exceed the model's context of %d",
                       (long long)longest, run->model->arch.n_ctx_train);
    return HN_OK;
}

static hn_status make_room(bench_run *run, hn_error *err) {
    const hn_bench_options *o = &run->options;
    enum { BLOCK = 32 }; /* positions that a cache hands out at a time: its last one isn't full */
    int64_t longest = longest_of(o);
    HN_TRY(hn_kv_new(&run->kv, run->model, o->n_rows, o->n_rows * (longest + BLOCK), err));
    size_t n_rows = (size_t)(o->n_batch > o->n_rows ? o->n_batch : o->n_rows);
    size_t n_logits = (size_t)o->n_rows * (size_t)run->model->arch.n_vocab;
    run->rows = hn_calloc(n_rows, sizeof *run->rows);
    run->logits = hn_calloc(n_logits, sizeof *run->logits);
    if (!run->rows || !run->logits)
        return hn_fail_no_memory(err, n_logits * sizeof *run->logits);
    return o->cold ? hn_evictor_new(&run->evictor, err) : HN_OK;
}

hn_status hn_bench_run(hn_model *model, const hn_adapter *adapter, const hn_bench_options *options,
                       const hn_progress *progress, hn_bench_result *result, hn_error *err) {
    bench_run run = {.model = model,
                     .adapter = adapter,
                     .options = *options,
                     .progress = progress,
                     .rng = hn_rng_new(1, 0)};
    if (!run.options.n_batch)
        run.options.n_batch = BATCH_ROWS;
    if (!run.options.n_rows)
        run.options.n_rows = 1;
    hn_bench_result out = {.tests = json_array()};
    hn_status status;
    HN_GO(out.tests ? check(&run, err) : hn_fail_no_memory(err, sizeof out));
    HN_GO(make_room(&run, err));
    if (options->n_prompt)
        HN_GO(run_test(&run, options->n_prompt, 0, false, out.tests, &out.prefill_ts, err));
    if (options->n_text)
        run.options.n_depth = options->n_text; /* as the report says it */
    if (options->n_gen)
        HN_GO(run_test(&run, 0, options->n_gen, options->sustained_s > 0, out.tests, &out.decode_ts,
                       err));
    *result = out;
    out.tests = NULL;
done:
    json_decref(out.tests);
    hn_kv_free(run.kv);
    hn_free(run.rows);
    hn_free(run.logits);
    hn_evictor_done(&run.evictor);
    return status;
}
