/* The fine-tuning run on a tiny model: exact resume after Ctrl-C and after kill -9, the same bits
 * for any thread count, packing and sharing, evaluation and early stop, and what goes wrong. */
#define _GNU_SOURCE
#include <sys/resource.h>

#include "sft_run.h"

static void test_resume_after_cancel(void **state) {
    (void)state;
    char *whole = temporary_dir(), *parts = temporary_dir();
    hn_train_result wanted, result;
    hn_train_options o = make_options(whole);
    must_run(&o, 1, &wanted);
    o.out_dir = parts;
    for (uint64_t step = 1; step < 10; step += 2) {
        stopper s = {.at_step = step};
        hn_progress progress = {.context = &s, .update = on_update, .cancel = &s.cancel};
        hn_error err;
        assert_int_equal(run(&o, 2, true, &progress, &result, &err), HN_CANCELLED);
    }
    must_run(&o, 1, &result);
    check_same_adapter(whole, parts);
    assert_int_equal(result.steps, wanted.steps);
    assert_int_equal(result.best_step, wanted.best_step);
    assert_true(result.best_eval_loss == wanted.best_eval_loss);
    assert_int_equal(result.tokens, wanted.tokens);
    remove_dir(whole);
    remove_dir(parts);
}

static void test_resume_after_kill(void **state) {
    (void)state;
    char *whole = temporary_dir(), *parts = temporary_dir();
    hn_train_result result;
    hn_train_options o = make_options(whole);
    must_run(&o, 1, &result);
    o.out_dir = parts;
    for (uint64_t step = 1; step <= 9; step += 4)
        run_killed(&o, step, 2);
    must_run(&o, 3, &result);
    check_same_adapter(whole, parts);
    /* one line a step, in order, whatever was cut off */
    char path[300], *text;
    hn_error err;
    snprintf(path, sizeof path, "%s/metrics.jsonl", parts);
    assert_int_equal(hn_file_read(path, 1 << 20, &text, NULL, &err), HN_OK);
    int steps = 0;
    for (char *at = text; (at = strstr(at, "\"lr\"")); at++)
        steps++;
    assert_int_equal(steps, 10);
    hn_free(text);
    remove_dir(whole);
    remove_dir(parts);
}

static void test_finished_run_again(void **state) {
    (void)state;
    char *dir = temporary_dir();
    hn_train_result first, second;
    hn_train_options o = make_options(dir);
    must_run(&o, 1, &first);
    must_run(&o, 1, &second);
    assert_int_equal(second.steps, 10);
    assert_true(first.final_loss == second.final_loss && first.seconds == second.seconds);
    remove_dir(dir);
}

static void test_ways_to_compute(void **state) {
    (void)state;
    char *one = temporary_dir(), *other = temporary_dir();
    hn_train_result wanted, result;
    hn_train_options o = make_options(one);
    o.dropout = 0; /* masks differ with the packing */
    must_run(&o, 1, &wanted);
    for (int variant = 1; variant < 4; variant++) {
        o.out_dir = other;
        o.resume = false;
        o.plain_batches = variant & 1;
        o.budget_bytes = variant & 2 ? 1 : 0; /* a pass a document, everything computed twice */
        must_run(&o, 2, &result);
        assert_true(fabs(result.final_loss - wanted.final_loss) < 1e-4 * wanted.final_loss);
    }
    remove_dir(one);
    remove_dir(other);
}

static void test_early_stop_and_best(void **state) {
    (void)state;
    char *dir = temporary_dir();
    hn_train_result result;
    hn_train_options o = make_options(dir);
    o.max_steps = 200;
    o.learning_rate = 0.05f;
    o.schedule = HN_SCHEDULE_CONSTANT;
    o.early_stop_evals = 2; /* random tokens can't be learnt: soon it only overfits */
    must_run(&o, 2, &result);
    assert_true(result.steps < 200);
    assert_int_equal(result.steps, result.best_step + 2 * o.eval_every);
    remove_dir(dir);
}

static void test_not_finite(void **state) {
    (void)state;
    char *dir = temporary_dir();
    hn_train_result result;
    hn_error err;
    hn_train_options o = make_options(dir);
    o.learning_rate = 1e30f;
    o.dropout = 0;
    assert_int_equal(run(&o, 1, false, NULL, &result, &err), HN_FAILED);
    assert_non_null(strstr(err.message, "lines "));
    assert_non_null(strstr(err.message, "rows.jsonl"));
    char path[300];
    snprintf(path, sizeof path, "%s/checkpoint", dir);
    assert_true(hn_path_exists(path));
    snprintf(path, sizeof path, "%s/adapter", dir);
    assert_false(hn_path_exists(path));
    remove_dir(dir);
}

static void test_checkpoint_of_another_run(void **state) {
    (void)state;
    char *dir = temporary_dir(), path[300];
    hn_train_result result;
    hn_error err;
    hn_train_options o = make_options(dir);
    must_run(&o, 1, &result);
    o.learning_rate = 2e-2f;
    assert_int_equal(run(&o, 1, true, NULL, &result, &err), HN_USAGE);
    assert_non_null(strstr(err.message, "another output folder"));
    o.learning_rate = 1e-2f;
    snprintf(path, sizeof path, "%s/checkpoint", dir);
    char *text;
    size_t size;
    assert_int_equal(hn_file_read(path, 1 << 24, &text, &size, &err), HN_OK);
    text[size / 2] ^= 1;
    assert_int_equal(hn_file_write(path, text, size, &err), HN_OK);
    assert_int_equal(run(&o, 1, true, NULL, &result, &err), HN_BAD_INPUT);
    assert_int_equal(hn_file_write(path, text, size / 3, &err), HN_OK);
    assert_int_equal(run(&o, 1, true, NULL, &result, &err), HN_BAD_INPUT);
    assert_int_equal(hn_file_write(path, "", 0, &err), HN_OK);
    assert_int_equal(run(&o, 1, true, NULL, &result, &err), HN_BAD_INPUT);
    hn_free(text);
    remove_dir(dir);
}

/* A limit on file sizes stands in for a full disk: writes fail in the middle of a file. */
static void test_full_disk(void **state) {
    (void)state;
    char *dir = temporary_dir(), path[300], *before, *after;
    hn_train_result result;
    hn_error err;
    hn_train_options o = make_options(dir);
    stopper s = {.at_step = 4};
    hn_progress progress = {.context = &s, .update = on_update, .cancel = &s.cancel};
    assert_int_equal(run(&o, 1, true, &progress, &result, &err), HN_CANCELLED);
    snprintf(path, sizeof path, "%s/checkpoint", dir);
    size_t n_before, n_after;
    assert_int_equal(hn_file_read(path, 1 << 24, &before, &n_before, &err), HN_OK);
    struct rlimit limit, small;
    getrlimit(RLIMIT_FSIZE, &limit);
    small = (struct rlimit){.rlim_cur = 8192, .rlim_max = limit.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    hn_status status = run(&o, 1, true, NULL, &result, &err);
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(status, HN_IO);
    assert_int_equal(hn_file_read(path, 1 << 24, &after, &n_after, &err), HN_OK);
    assert_int_equal(n_before, n_after);
    assert_memory_equal(before, after, n_before);
    must_run(&o, 1, &result); /* there is room again */
    assert_int_equal(result.steps, 10);
    hn_free(before);
    hn_free(after);
    remove_dir(dir);
}

static void test_bad_options(void **state) {
    (void)state;
    hn_error err;
    hn_train_options good = make_options("/tmp/never-made"), o = good;
    assert_int_equal(hn_train_options_check(&good, &err), HN_OK);
    o.batch_rows = 0;
    assert_int_equal(hn_train_options_check(&o, &err), HN_USAGE);
    o = good;
    o.learning_rate = NAN;
    assert_int_equal(hn_train_options_check(&o, &err), HN_USAGE);
    o = good;
    o.dropout = 1;
    assert_int_equal(hn_train_options_check(&o, &err), HN_USAGE);
    o = good;
    o.max_steps = 0;
    o.epochs = 0;
    assert_int_equal(hn_train_options_check(&o, &err), HN_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resume_after_cancel),
        cmocka_unit_test(test_resume_after_kill),
        cmocka_unit_test(test_finished_run_again),
        cmocka_unit_test(test_ways_to_compute),
        cmocka_unit_test(test_early_stop_and_best),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_checkpoint_of_another_run),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
