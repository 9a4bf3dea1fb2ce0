/* src/eval/stats.c against scipy and statsmodels (tests/golden/stats.json, record_stats.py). */
#include "base/json.h"
#include "base/mem.h"
#include "eval/stats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static json_t *golden;

static double at(const json_t *row, size_t i) {
    return json_number_value(json_array_get(row, i));
}

static size_t count_at(const json_t *row, size_t i) {
    return (size_t)json_integer_value(json_array_get(row, i));
}

static void assert_near(double got, double wanted, double tolerance) {
    if (!(fabs(got - wanted) <= tolerance * fmax(1, fabs(wanted))))
        fail_msg("got %.17g, wanted %.17g", got, wanted);
}

static int load(void **state) {
    (void)state;
    hn_error err;
    return hn_json_read(HN_TEST_ROOT "/golden/stats.json", 1 << 24, &golden, &err) != HN_OK;
}

static int unload(void **state) {
    (void)state;
    json_decref(golden);
    return 0;
}

static void test_normal_quantile(void **state) {
    (void)state;
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(golden, "normal_quantile"), i, row)
        assert_near(hn_stats_normal_quantile(at(row, 0)), at(row, 1), 1e-12);
    assert_true(isnan(hn_stats_normal_quantile(-1)));
    assert_true(isinf(hn_stats_normal_quantile(1)));
}

static void test_wilson(void **state) {
    (void)state;
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(golden, "wilson"), i, row) {
        hn_interval got = hn_stats_wilson(count_at(row, 0), count_at(row, 1), at(row, 2));
        assert_near(got.low, at(row, 3), 1e-12);
        assert_near(got.high, at(row, 4), 1e-12);
    }
    hn_interval none = hn_stats_wilson(0, 0, 0.95);
    assert_true(none.low == 0 && none.high == 1);
}

static void test_mcnemar(void **state) {
    (void)state;
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(golden, "mcnemar"), i, row)
        assert_near(hn_stats_mcnemar(count_at(row, 0), count_at(row, 1)), at(row, 2), 1e-12);
    assert_true(hn_stats_mcnemar(0, 0) == 1);
}

static void test_mean_and_bootstrap(void **state) {
    (void)state;
    const json_t *wanted = json_object_get(golden, "mean"), *values = json_object_get(wanted, "x");
    size_t n = json_array_size(values);
    double *x = hn_malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = at(values, i);
    double mean, se;
    hn_stats_mean(x, n, &mean, &se);
    assert_near(mean, json_number_value(json_object_get(wanted, "mean")), 1e-14);
    assert_near(se, json_number_value(json_object_get(wanted, "se")), 1e-14);

    /* scipy draws other resamples: two percentiles of 20,000 and 200,000 draws agree to a few
     * hundredths of the standard error. */
    hn_interval boot, again;
    hn_error err;
    assert_int_equal(hn_stats_bootstrap(x, n, 20000, 1, 0.95, &boot, &err), HN_OK);
    const json_t *interval = json_object_get(wanted, "bootstrap");
    assert_true(fabs(boot.low - at(interval, 0)) < 0.05 * se);
    assert_true(fabs(boot.high - at(interval, 1)) < 0.05 * se);
    assert_int_equal(hn_stats_bootstrap(x, n, 20000, 1, 0.95, &again, &err), HN_OK);
    assert_true(again.low == boot.low && again.high == boot.high);
    assert_int_equal(hn_stats_bootstrap(x, 0, 10, 1, 0.95, &again, &err), HN_USAGE);

    hn_stats_sort(x, n);
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(wanted, "quantiles"), i, row)
        assert_near(hn_stats_quantile(x, n, at(row, 0)), at(row, 1), 1e-14);
    hn_free(x);
}

static void test_ranks(void **state) {
    (void)state;
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(golden, "upper_rank"), i, row)
        assert_int_equal(hn_stats_quantile_upper_rank(count_at(row, 0), at(row, 1), at(row, 2)),
                         count_at(row, 3));
    json_array_foreach (json_object_get(golden, "lower_rank"), i, row)
        assert_int_equal(hn_stats_quantile_lower_rank(count_at(row, 0), at(row, 1), at(row, 2)),
                         count_at(row, 3));
    /* spec/evaluation-release.md, "Gates" */
    assert_int_equal(hn_stats_quantile_upper_rank(59, 0.95, 0.95), 59);
    assert_int_equal(hn_stats_quantile_upper_rank(200, 0.95, 0.95), 196);
    assert_int_equal(hn_stats_quantile_upper_rank(500, 0.95, 0.95), 484);
    assert_int_equal(hn_stats_quantile_upper_rank(1000, 0.95, 0.95), 962);
}

static void test_paired_difference(void **state) {
    (void)state;
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(golden, "tango"), i, row) {
        hn_interval got = hn_stats_paired_difference(count_at(row, 0), count_at(row, 1),
                                                     count_at(row, 2), at(row, 3));
        assert_near(got.low, at(row, 4), 1e-6); /* the reference is a numeric maximum */
        assert_near(got.high, at(row, 5), 1e-6);
    }
    hn_interval none = hn_stats_paired_difference(0, 0, 0, 0.9);
    assert_true(none.low == -1 && none.high == 1);
}

static void test_items_needed(void **state) {
    (void)state;
    assert_int_equal(hn_stats_items_needed(0.02, 0.05, 0.05, 0.8), 773);
    assert_int_equal(hn_stats_items_needed(0.02, 0.10, 0.05, 0.8), 1546);
    assert_true(hn_stats_items_needed(0, 0.1, 0.05, 0.8) == SIZE_MAX);
    assert_true(hn_stats_detectable_effect(773, 0.05, 0.05, 0.8) <= 0.02);
    assert_true(hn_stats_detectable_effect(772, 0.05, 0.05, 0.8) > 0.02);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normal_quantile), cmocka_unit_test(test_wilson),
        cmocka_unit_test(test_mcnemar),         cmocka_unit_test(test_mean_and_bootstrap),
        cmocka_unit_test(test_ranks),           cmocka_unit_test(test_paired_difference),
        cmocka_unit_test(test_items_needed),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
