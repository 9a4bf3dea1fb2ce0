/* The export gate: the worked example of the shared folder, and each verdict at its border. */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "release/gate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static hn_error err;

/* n rows of which the first n_right are right but for `lost` of them, made up for by `won` of the
 * wrong ones; latencies rise evenly so that p95 is p95_ms. */
static hn_scores make(size_t n, size_t n_right, size_t lost, size_t won, double p95_ms) {
    hn_scores scores = {.n = n, .samples = hn_calloc(n, sizeof *scores.samples)};
    assert_non_null(scores.samples);
    for (size_t i = 0; i < n; i++) {
        hn_sample *sample = &scores.samples[i];
        snprintf(sample->id, sizeof sample->id, "%zu", i);
        sample->slice = "all";
        sample->weight = 1;
        sample->passed = i < n_right ? i >= lost : i - n_right < won;
        sample->score = sample->passed;
        sample->latency_ms = p95_ms * (0.5 + 0.5 * (double)i / (0.95 * (double)(n - 1)));
        sample->first_token_ms = sample->latency_ms / 2;
    }
    return scores;
}

static hn_verdict gate(hn_scores *baseline, hn_scores *candidate, const hn_gate_options *options,
                       json_t **report) {
    hn_verdict verdict;
    json_t *own = NULL;
    hn_status status = hn_gate_export(baseline, candidate, options, "00", &verdict, &own, &err);
    if (status != HN_OK)
        fail_msg("%s", err.message);
    if (report)
        *report = own;
    else
        json_decref(own);
    hn_scores_done(baseline);
    hn_scores_done(candidate);
    return verdict;
}

/* Float student 0.94: int8 (0.938, p95 104 ms) passes, int4 (0.887, 71 ms) fails. */
static void test_worked_example(void **state) {
    (void)state;
    const char *shared = getenv("HONE_SHARED");
    char path[512];
    snprintf(path, sizeof path, "%s/data/worked_examples.json",
             shared ? shared : HN_TEST_ROOT "/../../shared");
    if (!hn_path_exists(path)) {
        print_message("skipped: %s isn't there (HONE_SHARED)\n", path);
        skip();
    }
    json_t *all, *export;
    size_t i;
    assert_int_equal(hn_json_read(path, 1 << 20, &all, &err), HN_OK);
    const json_t *example = json_object_get(all, "export_gate");
    const double N = 1000;
    double base = json_number_value(json_object_get(example, "baseline_quality"));
    hn_gate_options options = {
        .max_quality_drop = json_number_value(json_object_get(example, "max_quality_drop")),
        .max_p95_ms = json_number_value(json_object_get(example, "max_p95_ms"))};
    json_array_foreach (json_object_get(example, "exports"), i, export) {
        size_t right = (size_t)lround(N * base);
        size_t now = (size_t)lround(N * json_number_value(json_object_get(export, "quality")));
        double p95 = json_number_value(json_object_get(export, "p95_ms"));
        hn_scores baseline = make((size_t)N, right, 0, 0, p95);
        hn_scores candidate = make((size_t)N, right, right - now + 3, 3, p95);
        bool approved = false;
        size_t k;
        json_t *name;
        json_array_foreach (json_object_get(example, "approved"), k, name)
            approved = approved || json_equal(name, json_object_get(export, "name"));
        assert_int_equal(gate(&baseline, &candidate, &options, NULL),
                         approved ? HN_VERDICT_PASS : HN_VERDICT_FAIL);
    }
    assert_int_equal(i, 2);
    json_decref(all);
}

static void test_too_few_rows(void **state) {
    (void)state;
    hn_gate_options options = {.max_quality_drop = 0.02};
    /* No flip at all: 100 rows can't exclude a drop of 0.02, 134 can (z^2 / (n + z^2)). */
    hn_scores a = make(100, 94, 0, 0, 50), b = make(100, 94, 0, 0, 50);
    assert_int_equal(gate(&a, &b, &options, NULL), HN_VERDICT_INCONCLUSIVE);
    a = make(134, 120, 0, 0, 50), b = make(134, 120, 0, 0, 50);
    assert_int_equal(gate(&a, &b, &options, NULL), HN_VERDICT_PASS);
    /* A drop of 0.03 on 200 rows: neither safe nor proven. */
    a = make(200, 180, 0, 0, 50), b = make(200, 180, 6, 0, 50);
    assert_int_equal(gate(&a, &b, &options, NULL), HN_VERDICT_INCONCLUSIVE);
    options.max_p95_ms = 100;
    options.max_quality_drop = 1;
    a = make(58, 50, 0, 0, 10), b = make(58, 50, 0, 0, 10);
    assert_int_equal(gate(&a, &b, &options, NULL), HN_VERDICT_INCONCLUSIVE);
    a = make(59, 50, 0, 0, 10), b = make(59, 50, 0, 0, 10);
    assert_int_equal(gate(&a, &b, &options, NULL), HN_VERDICT_PASS);
}

static void test_latency_and_quality(void **state) {
    (void)state;
    hn_gate_options options = {.max_quality_drop = 0.02, .max_p95_ms = 120};
    hn_scores a = make(1000, 940, 0, 0, 100), b = make(1000, 940, 2, 2, 200);
    json_t *report;
    assert_int_equal(gate(&a, &b, &options, &report), HN_VERDICT_FAIL);
    const json_t *slow = json_array_get(json_object_get(report, "checks"), 1);
    assert_string_equal(json_string_value(json_object_get(slow, "metric")),
                        "p95_whole_response_ms");
    assert_string_equal(json_string_value(json_object_get(slow, "verdict")), "fail");
    assert_int_equal(json_integer_value(json_object_get(report, "flips")), 4);
    assert_true(json_number_value(json_object_get(report, "mcnemar_p")) == 1);
    json_decref(report);

    options.latency_is_first_token = true;
    a = make(1000, 940, 0, 0, 100), b = make(1000, 940, 2, 2, 200);
    assert_int_equal(gate(&a, &b, &options, NULL), HN_VERDICT_PASS);
    options.min_quality = 0.9;
    a = make(1000, 940, 0, 0, 100), b = make(1000, 940, 2, 2, 200);
    assert_int_equal(gate(&a, &b, &options, NULL), HN_VERDICT_PASS);
    options.min_quality = 0.94;
    a = make(1000, 940, 0, 0, 100), b = make(1000, 940, 2, 2, 200);
    assert_int_equal(gate(&a, &b, &options, NULL), HN_VERDICT_INCONCLUSIVE);
    options.min_quality = 0.99;
    a = make(1000, 940, 0, 0, 100), b = make(1000, 940, 2, 2, 200);
    assert_int_equal(gate(&a, &b, &options, NULL), HN_VERDICT_FAIL);
}

/* Between stages the difference itself decides, however wide its bounds; they are reported. */
static void test_stages(void **state) {
    (void)state;
    static const struct {
        size_t lost, won;
        hn_verdict verdict;
    } CASES[] = {{20, 20, HN_VERDICT_PASS}, {28, 20, HN_VERDICT_PASS}, {29, 20, HN_VERDICT_FAIL},
                 {0, 0, HN_VERDICT_PASS},   {0, 30, HN_VERDICT_PASS},  {60, 0, HN_VERDICT_FAIL}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        hn_scores a = make(420, 300, 0, 0, 0), b = make(420, 300, CASES[i].lost, CASES[i].won, 0);
        hn_verdict verdict;
        json_t *report;
        hn_gate_earlier before = {"sft", &a};
        hn_stage_limits limits = {.max_drop = 0.02};
        if (hn_gate_stage(&before, 1, &b, &limits, "00", &verdict, &report, &err) != HN_OK)
            fail_msg("%s", err.message);
        assert_int_equal(verdict, CASES[i].verdict);
        const json_t *check = json_array_get(json_object_get(report, "checks"), 0);
        const json_t *ci = json_object_get(check, "ci");
        double value = json_number_value(json_object_get(check, "value"));
        double drop = ((double)CASES[i].lost - (double)CASES[i].won) / 420;
        assert_true(fabs(value - drop) < 1e-12);
        assert_true(json_number_value(json_array_get(ci, 0)) < value);
        assert_true(json_number_value(json_array_get(ci, 1)) > value);
        assert_string_equal(json_string_value(json_object_get(report, "gate")), "stage");
        json_decref(report);
        hn_scores_done(&a);
        hn_scores_done(&b);
    }
}

/* Two slices: the first n_small of 400 rows, of which n_right were right, `lost` of these are lost
 * and `won` of the others won; and the rest, which gains as much as it takes to hold the score. */
static hn_scores make_slices(size_t n_small, size_t n_right, size_t lost, size_t won, size_t gain) {
    hn_scores scores = make(400, 0, 0, 0, 0);
    for (size_t i = 0; i < scores.n; i++) {
        hn_sample *sample = &scores.samples[i];
        bool small = i < n_small;
        sample->slice = small ? "small" : "large";
        sample->passed = small ? (i < n_right ? i >= lost : i - n_right < won) : i - n_small < gain;
        sample->score = sample->passed;
    }
    return scores;
}

static const json_t *check_of(const json_t *report, const char *slice) {
    size_t i;
    const json_t *check;
    json_array_foreach (json_object_get(report, "checks"), i, check) {
        const char *name = json_string_value(json_object_get(check, "slice"));
        if (name && !strcmp(name, slice))
            return check;
    }
    fail_msg("no check of slice %s", slice);
    return NULL;
}

/* With two slices a loss is proven at 2.5 %: of five rows not even all are enough (1/32), of six
 * all are (1/64), of eight rows that changed seven or more; and it must be more than the limit. */
static void test_slices(void **state) {
    (void)state;
    static const struct {
        size_t n, right, lost, won;
        double limit;
        hn_verdict slice, whole;
    } CASES[] = {
        {5, 5, 5, 0, 0.05, HN_VERDICT_INCONCLUSIVE, HN_VERDICT_PASS},
        {6, 6, 6, 0, 0.05, HN_VERDICT_FAIL, HN_VERDICT_FAIL},
        {80, 56, 24, 15, 0.05, HN_VERDICT_INCONCLUSIVE, HN_VERDICT_PASS},
        {80, 56, 33, 16, 0.05, HN_VERDICT_FAIL, HN_VERDICT_FAIL},
        {80, 56, 33, 16, 0.25, HN_VERDICT_PASS, HN_VERDICT_PASS},
        {80, 56, 0, 0, 0.05, HN_VERDICT_PASS, HN_VERDICT_PASS},
        {80, 56, 10, 20, 0.05, HN_VERDICT_PASS, HN_VERDICT_PASS},
        {80, 56, 33, 16, 0, HN_VERDICT_PASS, HN_VERDICT_PASS}, /* not checked */
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        hn_scores a = make_slices(CASES[i].n, CASES[i].right, 0, 0, 100);
        hn_scores b = make_slices(CASES[i].n, CASES[i].right, CASES[i].lost, CASES[i].won, 150);
        hn_gate_earlier before = {"sft", &a};
        hn_stage_limits limits = {0.02, CASES[i].limit};
        hn_verdict verdict;
        json_t *report;
        assert_int_equal(hn_gate_stage(&before, 1, &b, &limits, "00", &verdict, &report, &err),
                         HN_OK);
        assert_int_equal(verdict, CASES[i].whole);
        assert_int_equal(json_array_size(json_object_get(report, "checks")),
                         CASES[i].limit > 0 ? 3 : 1);
        if (CASES[i].limit > 0) {
            const json_t *check = check_of(report, "small"), *ci = json_object_get(check, "ci");
            double value = json_number_value(json_object_get(check, "value"));
            double drop = ((double)CASES[i].lost - (double)CASES[i].won) / (double)CASES[i].n;
            assert_true(fabs(value - drop) < 1e-12);
            assert_true(json_number_value(json_array_get(ci, 0)) <= value);
            assert_true(json_number_value(json_array_get(ci, 1)) >= value);
            assert_string_equal(json_string_value(json_object_get(check, "verdict")),
                                hn_verdict_name(CASES[i].slice));
            assert_string_equal(json_string_value(json_object_get(check, "against")), "sft");
            assert_int_equal(json_integer_value(json_object_get(check, "n")), CASES[i].n);
            assert_int_equal(json_integer_value(json_object_get(check, "lost")), CASES[i].lost);
            assert_string_equal(
                json_string_value(json_object_get(check_of(report, "large"), "verdict")), "pass");
        }
        json_decref(report);
        hn_scores_done(&a);
        hn_scores_done(&b);
    }
    hn_gate_options options = {.max_quality_drop = 1, .max_slice_drop = 0.05};
    hn_scores a = make_slices(80, 56, 0, 0, 100), b = make_slices(80, 56, 33, 16, 150);
    assert_int_equal(gate(&a, &b, &options, NULL), HN_VERDICT_FAIL);
    a = make(400, 300, 0, 0, 0), b = make(400, 300, 100, 0, 0); /* one slice: the whole */
    assert_int_equal(gate(&a, &b, &options, NULL), HN_VERDICT_PASS);
}

/* Two small losses, of which neither would fail alone, are one against the stage that was best. */
static void test_slices_of_stages(void **state) {
    (void)state;
    hn_scores sft = make_slices(80, 56, 0, 0, 100), rkd = make_slices(80, 56, 5, 0, 120);
    hn_scores dpo = make_slices(80, 56, 10, 0, 140);
    hn_gate_earlier earlier[] = {{"sft", &sft}, {"rkd", &rkd}};
    hn_stage_limits limits = {0.02, 0.1};
    hn_verdict verdict;
    json_t *report;
    assert_int_equal(hn_gate_stage(earlier, 1, &rkd, &limits, "00", &verdict, &report, &err),
                     HN_OK);
    assert_int_equal(verdict, HN_VERDICT_PASS);
    json_decref(report);
    assert_int_equal(hn_gate_stage(earlier + 1, 1, &dpo, &limits, "00", &verdict, &report, &err),
                     HN_OK);
    assert_int_equal(verdict, HN_VERDICT_PASS);
    json_decref(report);
    assert_int_equal(hn_gate_stage(earlier, 2, &dpo, &limits, "00", &verdict, &report, &err),
                     HN_OK);
    assert_int_equal(verdict, HN_VERDICT_FAIL);
    assert_string_equal(json_string_value(json_object_get(check_of(report, "small"), "against")),
                        "sft");
    assert_string_equal(json_string_value(json_object_get(check_of(report, "large"), "against")),
                        "rkd");
    json_decref(report);
    hn_scores_done(&sft);
    hn_scores_done(&rkd);
    hn_scores_done(&dpo);
}

/* Hundreds of slices whose rows lie far apart. Each is resampled 10,000 times: more would take
 * long. */
static void test_many_slices(void **state) {
    (void)state;
    enum { ROWS = 2000, SLICES = 500, LOST = 77 };
    static char names[SLICES][24];
    hn_scores a = make(ROWS, ROWS / 2, 0, 0, 0), b = make(ROWS, ROWS / 2, 0, 0, 0);
    for (size_t i = 0; i < SLICES; i++)
        snprintf(names[i], sizeof names[i], "s%05zu", i);
    for (size_t i = 0; i < ROWS; i++) {
        a.samples[i].slice = b.samples[i].slice = names[i * 7 % SLICES];
        a.samples[i].score = b.samples[i].score = 1;
        if (i * 7 % SLICES == LOST)
            b.samples[i].score = 0;
    }
    hn_gate_earlier before = {"sft", &a};
    hn_stage_limits limits = {0.02, 0.05};
    hn_verdict verdict;
    json_t *report;
    assert_int_equal(hn_gate_stage(&before, 1, &b, &limits, "00", &verdict, &report, &err), HN_OK);
    const json_t *checks = json_object_get(report, "checks");
    assert_int_equal(json_array_size(checks), 1 + SLICES);
    for (size_t i = 0; i < SLICES; i++) { /* in the order of their first rows */
        const json_t *check = json_array_get(checks, 1 + i);
        const bool lost = i * 7 % SLICES == LOST;
        assert_string_equal(json_string_value(json_object_get(check, "slice")),
                            names[i * 7 % SLICES]);
        assert_int_equal(json_integer_value(json_object_get(check, "n")), ROWS / SLICES);
        assert_int_equal(json_integer_value(json_object_get(check, "lost")),
                         lost ? ROWS / SLICES : 0);
        /* four rows of one slice among so many prove nothing */
        assert_string_equal(json_string_value(json_object_get(check, "verdict")),
                            lost ? "inconclusive" : "pass");
    }
    assert_int_equal(verdict, HN_VERDICT_PASS);
    json_decref(report);
    hn_scores_done(&a);
    hn_scores_done(&b);
}

static void test_misuse(void **state) {
    (void)state;
    hn_gate_options options = {.max_quality_drop = 0.02};
    hn_scores a = make(10, 5, 0, 0, 1), b = make(11, 5, 0, 0, 1), none = {0};
    hn_verdict verdict;
    json_t *report = NULL;
    assert_int_equal(hn_gate_export(&a, &b, &options, NULL, &verdict, &report, &err), HN_USAGE);
    assert_int_equal(hn_gate_export(&none, &none, &options, NULL, &verdict, &report, &err),
                     HN_USAGE);
    hn_gate_earlier one = {"sft", &a}, nothing = {"sft", &none};
    hn_stage_limits limits = {.max_drop = 0.02};
    assert_int_equal(hn_gate_stage(&one, 1, &b, &limits, NULL, &verdict, &report, &err), HN_USAGE);
    assert_int_equal(hn_gate_stage(&nothing, 1, &none, &limits, NULL, &verdict, &report, &err),
                     HN_USAGE);
    hn_scores_done(&b);
    b = make(10, 5, 0, 0, 0);
    options.max_p95_ms = 10;
    assert_int_equal(hn_gate_export(&a, &b, &options, NULL, &verdict, &report, &err), HN_USAGE);
    assert_null(report);
    hn_scores_done(&a);
    hn_scores_done(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worked_example),
        cmocka_unit_test(test_too_few_rows),
        cmocka_unit_test(test_latency_and_quality),
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_slices_of_stages),
        cmocka_unit_test(test_many_slices),
        cmocka_unit_test(test_misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
