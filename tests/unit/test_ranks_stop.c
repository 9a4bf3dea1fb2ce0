/* How ranks stop together and go on: run by mpirun (tests/meson.build). No failure of one may leave
 * the others waiting, and what stays is what one process would have left. */
#define _GNU_SOURCE
#include "ranks_setup.h"

/* Trains until the last rank is asked to stop after step `at`. */
static void train_until(setup *s, uint64_t at) {
    training_stopper stopper = {.at = at};
    hn_progress progress = {
        .context = &stopper, .update = stop_training, .cancel = &stopper.cancel};
    hn_error err = {0};
    bool last = my_rank() == size_of_all() - 1;
    hn_status status = train(s, ranks, last ? &progress : NULL, &err);
    check_all(status == HN_CANCELLED, "%s", err.message);
}

/* Stopped twice, the bits are those of a run without a break. */
static void test_resume(void **state) {
    (void)state;
    setup s;
    begin(&s, SFT);
    s.train.dropout = 0.1f;
    must_train(&s, ranks);
    size_t n, m;
    char *whole = read_learned(&s, s.shared, &n);
    check_all(true, "read");
    s.train.resume = false;
    train_until(&s, 3);
    s.train.resume = true;
    train_until(&s, 10);
    must_train(&s, ranks);
    char *parts = read_learned(&s, s.shared, &m);
    check_all(n == m && memcmp(whole, parts, n) == 0, "other bits after a break");
    hn_free(whole);
    hn_free(parts);
    end(&s);
}

/* What several began one process goes on with, and the other way round. */
static void test_resume_with_other_ranks(void **state) {
    (void)state;
    hn_error err = {0};
    setup s;
    begin(&s, SFT);
    must_train(&s, NULL);
    train_until(&s, 9);
    hn_status status = HN_OK;
    setup alone = s;
    strcpy(alone.own, s.shared);
    if (my_rank() == 0)
        status = train(&alone, NULL, NULL, &err);
    check_all(status == HN_OK, "%s", err.message);
    compare(&s);
    end(&s);

    begin(&s, DPO);
    must_train(&s, NULL);
    training_stopper stopper = {.at = 8};
    hn_progress progress = {
        .context = &stopper, .update = stop_training, .cancel = &stopper.cancel};
    alone = s;
    strcpy(alone.own, s.shared);
    if (my_rank() == 0)
        status = train(&alone, NULL, &progress, &err);
    check_all(status == (my_rank() == 0 ? HN_CANCELLED : HN_OK), "%s", err.message);
    must_train(&s, ranks);
    compare(&s);
    end(&s);
}

static void expect_failure(setup *s, hn_status wanted, const char *words) {
    hn_error err = {0};
    hn_status status = train(s, ranks, NULL, &err);
    check_all(status == wanted && strstr(err.message, words), "status %d: %s", (int)status,
              err.message);
}

static void test_ranks_that_differ(void **state) {
    (void)state;
    setup s;
    begin(&s, SFT);
    s.train.learning_rate += my_rank() == 1 ? 1e-3f : 0;
    expect_failure(&s, HN_USAGE, "rank 1 of");
    s.train.learning_rate = -1; /* everybody's mistake is rank 0's to tell */
    expect_failure(&s, HN_USAGE, "learning rate -1");
    end(&s);
}

static void test_nan(void **state) {
    (void)state;
    setup s;
    begin(&s, SFT);
    s.train.learning_rate = 1e30f;
    s.train.max_grad_norm = 0;
    expect_failure(&s, HN_FAILED, "its rows are lines");
    end(&s);
}

/* A file where rank 0's folder should be. */
static void test_no_folder(void **state) {
    (void)state;
    setup s;
    hn_error err;
    begin(&s, SFT);
    hn_status status = my_rank() ? HN_OK : hn_file_write(s.shared, "x", 1, &err);
    check_all(status == HN_OK, "no file");
    hn_error said = {0};
    status = train(&s, ranks, NULL, &said);
    check_all(status == HN_IO, "%s", said.message);
    end(&s);
}

/* Memory that ends on one rank, at ever later places of the run. */
static void check_memory(training_kind kind) {
    setup s;
    hn_status status = HN_NO_MEMORY;
    begin(&s, kind);
    s.train.max_steps = 3;
    s.train.eval_every = 2;
    for (int64_t after = 0; status == HN_NO_MEMORY; after += 1 + after / 8) {
        hn_error err = {0};
        s.fail_after = my_rank() == 1 ? after : -1;
        s.train.resume = false;
        status = train(&s, ranks, NULL, &err);
        check_all(status == HN_OK || (status == HN_NO_MEMORY && strstr(err.message, "rank 1 of")),
                  "after %lld allocations: status %d, %s", (long long)after, (int)status,
                  err.message);
    }
    end(&s);
}

static void test_memory(void **state) {
    (void)state;
    check_memory(SFT);
    check_memory(DPO);
    check_memory(DISTILL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_resume_with_other_ranks),
        cmocka_unit_test(test_ranks_that_differ),
        cmocka_unit_test(test_nan),
        cmocka_unit_test(test_no_folder),
        cmocka_unit_test(test_memory),
    };
    return run_all(tests, sizeof tests / sizeof *tests);
}
