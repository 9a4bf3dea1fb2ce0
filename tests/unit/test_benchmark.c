/* The benchmark over a synthetic model: what it measures, counts and refuses; the machine's limits;
 * synthetic models themselves. */
#include "base/file.h"
#include "base/mem.h"
#include "eval/benchmark.h"
#include "model/model.h"
#include "release/synthetic.h"
#include "support/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char model_path[64], other_path[64];
static hn_model *model;

static int open_model(void **state) {
    (void)state;
    hn_error err;
    const hn_model_options options = {
        .n_threads = 2, .numerics = HN_NUMERICS_INT8, .kv_type = HN_F16};
    snprintf(model_path, sizeof model_path, "/tmp/hone-bench-%ld.gguf", (long)getpid());
    snprintf(other_path, sizeof other_path, "/tmp/hone-bench-%ld-b.gguf", (long)getpid());
    if (hn_synthetic_write(model_path, "stories260k", HN_FTYPE_Q8_0, 1, NULL, &err) != HN_OK ||
        hn_model_open(&model, model_path, &options, &err) != HN_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    return 0;
}

static int close_model(void **state) {
    (void)state;
    hn_model_free(model);
    remove(model_path);
    remove(other_path);
    return 0;
}

static double number(const json_t *test, const char *key) {
    const json_t *value = json_object_get(test, key);
    if (!json_is_number(value))
        fail_msg("no number %s", key);
    return json_number_value(value);
}

static void test_rates(void **state) {
    (void)state;
    hn_limits limits = {.compute = model->compute};
    const hn_bench_options options = {.n_prompt = 40,
                                      .n_gen = 8,
                                      .n_depth = 10,
                                      .repetitions = 3,
                                      .n_batch = 16,
                                      .n_rows = 3,
                                      .limits = &limits};
    hn_bench_result result;
    ASSERT_OK(hn_bench_run(model, NULL, &options, NULL, &result, errp));
    assert_int_equal(json_array_size(result.tests), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *test = json_array_get(result.tests, i);
        const json_t *samples = json_object_get(test, "samples_ts");
        assert_int_equal(json_array_size(samples), 3);
        assert_int_equal(json_array_size(json_object_get(test, "samples_ns")), 3);
        double least = 1e30, most = 0, median = number(test, "median_ts");
        for (size_t s = 0; s < 3; s++) {
            double ts = json_number_value(json_array_get(samples, s));
            least = ts < least ? ts : least;
            most = ts > most ? ts : most;
        }
        assert_true(least > 0 && median >= least && median <= most);
        assert_true(number(test, "avg_ts") >= least && number(test, "avg_ts") <= most);
        assert_true(number(test, "read_limit_s") > 0 && number(test, "mac_limit_s") > 0);
        assert_int_equal(number(test, "n_rows"), i ? 3 : 1);
    }
    assert_true(result.prefill_ts > 0 && result.decode_ts > 0);
    json_decref(result.tests);
}

/* What a token costs, by hand: 5 layers of 64 x 64 (q, o), 64 x 32 (k, v) and 3 x 64 x 172, a head
 * of 512 x 64; keys and values of 4 heads of 8 in f16. */
static void test_work(void **state) {
    (void)state;
    const double layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 172, head = 512 * 64;
    double weights = (double)model->embed.packed_bytes;
    for (int l = 0; l < 5; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++)
            weights += (double)model->layers[l].w[m].packed_bytes;
    const double key_bytes = (double)hn_model_kv_bytes_per_token(model), key_macs = 5 * 2 * 64;
    hn_bench_options options = {.n_gen = 2, .n_depth = 10, .repetitions = 1, .n_rows = 2};
    hn_bench_result result;
    ASSERT_OK(hn_bench_run(model, NULL, &options, NULL, &result, errp));
    const json_t *test = json_array_get(result.tests, 0);
    assert_float_equal(number(test, "macs_per_token"), 5 * layer + head + 11.5 * key_macs, 1e-6);
    assert_float_equal(number(test, "bytes_per_token"), weights / 2 + 11.5 * key_bytes, 1e-6);
    json_decref(result.tests);
    /* Two passes of 6 and 4 tokens, each with one row of logits. */
    options = (hn_bench_options){.n_prompt = 10, .repetitions = 1, .n_batch = 6};
    ASSERT_OK(hn_bench_run(model, NULL, &options, NULL, &result, errp));
    test = json_array_get(result.tests, 0);
    assert_float_equal(number(test, "macs_per_token"), 5 * layer + head / 5 + 5.5 * key_macs, 1e-6);
    assert_float_equal(number(test, "bytes_per_token"), weights / 5 + 1.6 * key_bytes, 1e-6);
    json_decref(result.tests);
}

static void test_sustained_and_cold(void **state) {
    (void)state;
    hn_bench_options options = {.n_gen = 8, .n_depth = 3, .repetitions = 1, .sustained_s = 1.5};
    hn_bench_result result;
    ASSERT_OK(hn_bench_run(model, NULL, &options, NULL, &result, errp));
    const json_t *test = json_array_get(result.tests, 0);
    const json_t *series = json_object_get(test, "samples_ts");
    assert_int_equal(json_array_size(series), 2);
    double total = number(test, "sustained_s"), worst = number(test, "worst_window_ts");
    assert_true(total >= 1.5);
    /* Shorter than a window: all of it is the worst. */
    assert_float_equal(number(test, "worst_window_s"), total, 1e-9);
    double a = json_number_value(json_array_get(series, 0));
    double b = json_number_value(json_array_get(series, 1));
    assert_true(worst > 0 && worst >= (a < b ? a : b) * 0.999 && worst <= (a > b ? a : b) * 1.001);
    json_decref(result.tests);
    options = (hn_bench_options){.n_gen = 2, .repetitions = 1, .cold = true};
    ASSERT_OK(hn_bench_run(model, NULL, &options, NULL, &result, errp));
    test = json_array_get(result.tests, 0);
    assert_true(json_is_true(json_object_get(test, "cold")) && number(test, "median_ts") > 0);
    json_decref(result.tests);
}

static hn_status look(void *self, const int32_t *text, int n, int max, int *found, int *kind,
                      hn_error *err) {
    (void)self, (void)text, (void)n, (void)err;
    *found = max < 3 ? max : 3;
    *kind = 0;
    return HN_OK;
}

/* The last token again and again. */
static hn_status guess(void *self, const int32_t *text, int n, int wanted, int32_t *tokens,
                       int *made, hn_error *err) {
    (void)self, (void)err;
    for (int i = 0; i < wanted; i++)
        tokens[i] = text[n - 1];
    *made = wanted;
    return HN_OK;
}

/* What the model writes behind a text: the work is that of the passes that were made, and guesses
 * are counted. */
static void test_text(void **state) {
    (void)state;
    enum { TEXT = 20, GEN = 30, RUNS = 3 };
    int32_t text[TEXT];
    for (int i = 0; i < TEXT; i++)
        text[i] = 30 + i % 7;
    hn_bench_options options = {.n_gen = GEN, .n_depth = TEXT, .repetitions = RUNS};
    hn_bench_result random, plain, guessed;
    ASSERT_OK(hn_bench_run(model, NULL, &options, NULL, &random, errp));
    options.n_depth = 0;
    options.text = text;
    options.n_text = TEXT;
    ASSERT_OK(hn_bench_run(model, NULL, &options, NULL, &plain, errp));
    const json_t *a = json_array_get(random.tests, 0), *b = json_array_get(plain.tests, 0);
    assert_int_equal(number(b, "n_depth"), TEXT);
    assert_float_equal(number(a, "macs_per_token"), number(b, "macs_per_token"), 1e-6);
    assert_float_equal(number(a, "bytes_per_token"), number(b, "bytes_per_token"), 1e-6);
    assert_true(number(b, "median_ts") > 0 && number(b, "tokens_per_pass") == 1);
    assert_int_equal(number(b, "n_drafted"), 0);
    assert_null(json_object_get(b, "acceptance"));
    assert_null(json_object_get(a, "tokens_per_pass"));

    const hn_drafter drafter = {
        .look = look, .draft = guess, .n_kinds = 1, .chances = {0.5f}, .eager = true};
    ASSERT_OK(hn_speculator_new(&options.speculator, &drafter, errp));
    ASSERT_OK(hn_bench_run(model, NULL, &options, NULL, &guessed, errp));
    const json_t *c = json_array_get(guessed.tests, 0);
    const double drafted = number(c, "n_drafted"), accepted = number(c, "n_accepted");
    const double passes = GEN * RUNS - accepted;
    assert_true(drafted > 0 && accepted >= 0 && accepted <= drafted);
    assert_float_equal(number(c, "acceptance"), accepted / drafted, 1e-9);
    assert_float_equal(number(c, "tokens_per_pass"), GEN * RUNS / passes, 1e-9);
    assert_float_equal(number(c, "bytes_per_token"),
                       number(b, "bytes_per_token") * passes / (GEN * RUNS), 1e-3);
    assert_float_equal(number(c, "macs_per_token"),
                       number(b, "macs_per_token") * (passes + drafted) / (GEN * RUNS), 1e-3);
    hn_speculator_free(options.speculator);
    json_decref(random.tests);
    json_decref(plain.tests);
    json_decref(guessed.tests);
}

static void test_refusals(void **state) {
    (void)state;
    static const int32_t text[] = {5, 6};
    hn_speculator *speculator;
    ASSERT_OK(hn_speculator_new_ngram(&speculator, errp));
    const hn_bench_options bad[] = {
        {.n_gen = 4, .repetitions = 1, .speculator = speculator},
        {.n_gen = 4, .repetitions = 1, .n_text = 2},
        {.n_gen = 4, .repetitions = 1, .text = text, .n_text = -1},
        {.n_gen = 4, .repetitions = 1, .text = text, .n_text = 2, .n_depth = 1},
        {.n_gen = 4, .repetitions = 1, .text = text, .n_text = 2, .n_rows = 2},
        {.n_gen = 4, .repetitions = 1, .text = text, .n_text = 2, .cold = true},
        {.n_gen = 4, .repetitions = 1, .text = text, .n_text = 2, .sustained_s = 1},
        {.n_gen = 500, .repetitions = 1, .text = text, .n_text = 2},
        {.repetitions = 1},
        {.n_gen = 4},
        {.n_gen = 4, .repetitions = HN_BENCH_MAX_REPETITIONS + 1},
        {.n_gen = 513, .repetitions = 1},
        {.n_prompt = 512, .n_depth = 1, .repetitions = 1},
        {.n_prompt = -1, .n_gen = 4, .repetitions = 1},
        {.n_gen = 4, .repetitions = 1, .n_depth = -1},
        {.n_gen = 4, .repetitions = 1, .n_rows = HN_BENCH_MAX_ROWS + 1},
        {.n_gen = 4, .repetitions = 1, .n_batch = -1},
        {.n_prompt = 4, .repetitions = 1, .sustained_s = 1},
        {.n_gen = 4, .repetitions = 1, .sustained_s = 1, .cold = true},
        {.n_gen = 4, .repetitions = 1, .sustained_s = 1e6},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hn_bench_result result = {0};
        hn_error err;
        assert_int_equal(hn_bench_run(model, NULL, &bad[i], NULL, &result, &err), HN_USAGE);
        assert_null(result.tests);
    }
    hn_speculator_free(speculator);
    const atomic_bool cancel = true;
    const hn_progress progress = {.cancel = &cancel};
    const hn_bench_options good = {.n_gen = 4, .repetitions = 1};
    hn_bench_result result = {0};
    hn_error err;
    assert_int_equal(hn_bench_run(model, NULL, &good, &progress, &result, &err), HN_CANCELLED);
    assert_null(result.tests);
}

static void test_no_memory(void **state) {
    (void)state;
    const hn_bench_options options = {.n_gen = 2, .n_depth = 2, .repetitions = 2, .cold = true};
    hn_status status = HN_NO_MEMORY;
    for (int n = 0; status != HN_OK; n++) {
        hn_bench_result result = {0};
        hn_error err;
        assert_true(n < 1000);
        hn_mem_fail_after(n);
        status = hn_bench_run(model, NULL, &options, NULL, &result, &err);
        hn_mem_fail_after(-1);
        assert_true(status == HN_OK ? result.tests != NULL : status == HN_NO_MEMORY);
        json_decref(result.tests);
    }
}

static void test_limits(void **state) {
    (void)state;
    hn_limits limits = {.compute = model->compute};
    double once, again, less;
    hn_mem_fail_after(0);
    hn_error err;
    hn_status status = hn_limits_read(&limits, 1 << 20, &once, &err);
    hn_mem_fail_after(-1);
    assert_int_equal(status, HN_NO_MEMORY);
    assert_int_equal(limits.n_reads, 0);
    ASSERT_OK(hn_limits_read(&limits, (1 << 20) + 5, &once, errp));
    ASSERT_OK(hn_limits_read(&limits, 2 << 20, &again, errp));
    assert_true(once > 0 && once == again); /* measured once */
    assert_int_equal(limits.n_reads, 1);
    ASSERT_OK(hn_limits_read(&limits, 0, &less, errp));
    assert_int_equal(limits.n_reads, 2);
    double rate = hn_limits_mac(&limits, HN_NUMERICS_INT8);
    assert_true(rate > 0 && rate == hn_limits_mac(&limits, HN_NUMERICS_INT8));
    assert_true(hn_limits_mac(&limits, HN_NUMERICS_F32) > 0);
}

static void test_same_seed_same_bytes(void **state) {
    (void)state;
    hn_map a, b;
    ASSERT_OK(hn_synthetic_write(other_path, "STORIES260K", HN_FTYPE_Q8_0, 1, NULL, errp));
    ASSERT_OK(hn_map_open(&a, model_path, errp));
    ASSERT_OK(hn_map_open(&b, other_path, errp));
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size);
    hn_map_close(&b);
    ASSERT_OK(hn_synthetic_write(other_path, "stories260k", HN_FTYPE_Q8_0, 2, NULL, errp));
    ASSERT_OK(hn_map_open(&b, other_path, errp));
    assert_int_equal(a.size, b.size);
    assert_memory_not_equal(a.data, b.data, a.size);
    hn_map_close(&a);
    hn_map_close(&b);
}

/* Every type of file; and every name of the list is known: it fails for want of memory alone. */
static void test_shapes_and_types(void **state) {
    (void)state;
    hn_error err;
    for (int t = 0; t < HN_FTYPE_COUNT; t++) {
        hn_checkpoint ckpt;
        ASSERT_OK(hn_synthetic_write(other_path, "stories260k", (hn_ftype)t, 1, NULL, errp));
        ASSERT_OK(hn_checkpoint_open(&ckpt, other_path, errp));
        assert_int_equal(ckpt.arch.n_vocab, 512);
        hn_checkpoint_close(&ckpt);
    }
    char names[] = HN_SYNTHETIC_SHAPES;
    for (char *name = strtok(names, "|"); name; name = strtok(NULL, "|")) {
        hn_mem_fail_after(0);
        hn_status status = hn_synthetic_write(other_path, name, HN_FTYPE_Q4_0, 1, NULL, &err);
        hn_mem_fail_after(-1);
        assert_int_equal(status, HN_NO_MEMORY);
    }
    assert_int_equal(hn_synthetic_write(other_path, "gpt-5", HN_FTYPE_Q4_0, 1, NULL, &err),
                     HN_USAGE);
    assert_non_null(strstr(err.message, "llama-3.2-1b"));
    assert_int_equal(
        hn_synthetic_write("/nowhere/x.gguf", "stories260k", HN_FTYPE_Q4_0, 1, NULL, &err), HN_IO);
    const atomic_bool cancel = true;
    const hn_progress progress = {.cancel = &cancel};
    assert_int_equal(
        hn_synthetic_write(other_path, "stories260k", HN_FTYPE_Q4_0, 1, &progress, &err),
        HN_CANCELLED);
}

static void test_synthetic_no_memory(void **state) {
    (void)state;
    hn_status status = HN_NO_MEMORY;
    for (int n = 0; status != HN_OK; n++) {
        hn_error err;
        assert_true(n < 5000);
        hn_mem_fail_after(n);
        status = hn_synthetic_write(other_path, "stories260k", HN_FTYPE_F16, 1, NULL, &err);
        hn_mem_fail_after(-1);
        assert_true(status == HN_OK || status == HN_NO_MEMORY);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_work),
        cmocka_unit_test(test_sustained_and_cold),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_same_seed_same_bytes),
        cmocka_unit_test(test_shapes_and_types),
        cmocka_unit_test(test_synthetic_no_memory),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
