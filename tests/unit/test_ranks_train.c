/* Whole trainings on several ranks: run by mpirun (tests/meson.build). Every rank also trains
 * alone, in a folder of its own, and compares: losses and gradient norms of 20 steps within 1e-5
 * (those of the first steps are as close as f32 sums in another order are), what was learned within
 * what Adam makes of that, which divides by the size of a gradient, however small. */
#define _GNU_SOURCE
#include "ranks_setup.h"

static void run_and_compare(setup *s) {
    must_train(s, NULL);
    must_train(s, ranks);
    compare(s);
    end(s);
}

static void test_sft(void **state) {
    (void)state;
    setup s;
    begin(&s, SFT);
    must_train(&s, NULL);
    must_train(&s, ranks);
    compare(&s);
    compare_values(&s, "accuracy", 0, 1e-9);
    compare_values(&s, "eval_row_accuracy", 0, 1e-9);
    end(&s);
}

static void test_sft_with_passes(void **state) {
    (void)state;
    setup s;
    begin(&s, SFT);
    s.train.budget_bytes = 40000; /* a few documents a pass, and some of those twice */
    run_and_compare(&s);
}

static void test_fewer_rows_than_ranks(void **state) {
    (void)state;
    setup s;
    begin(&s, SFT);
    s.train.batch_rows = 1;
    s.train.eval_every = 5;
    run_and_compare(&s);
    begin(&s, DPO);
    s.train.batch_rows = 1;
    run_and_compare(&s);
}

static void test_replay_and_dora(void **state) {
    (void)state;
    setup s;
    begin(&s, SFT);
    s.train.replay = &s.eval;
    s.train.replay_share = 0.3f;
    s.train.dora = true;
    must_train(&s, NULL);
    must_train(&s, ranks);
    compare(&s);
    compare_values(&s, "replayed_rows", 0, 1e-9);
    end(&s);
}

static void test_optimisers(void **state) {
    (void)state;
    setup s;
    begin(&s, SFT);
    s.train.optimiser = HN_LION; /* steps by signs: some turn */
    s.train.learning_rate = 1e-4f;
    must_train(&s, NULL);
    must_train(&s, ranks);
    compare_values(&s, "loss", 1e-4, 0);
    end(&s);
}

static void test_full(void **state) {
    (void)state;
    setup s;
    begin(&s, SFT);
    s.train.full = true;
    s.train.learning_rate = 1e-4f;
    run_and_compare(&s);
    begin(&s, SFT);
    s.train.full = true;
    s.train.shared = 3;
    s.train.learning_rate = 1e-4f;
    run_and_compare(&s);
}

static void test_dpo(void **state) {
    (void)state;
    setup s;
    begin(&s, DPO);
    must_train(&s, NULL);
    must_train(&s, ranks);
    compare(&s);
    compare_values(&s, "rewards/margins", 1e-4, 1e-5);
    compare_values(&s, "rewards/accuracies", 0, 1e-9);
    compare_values(&s, "eval_logps/chosen", 1e-5, 0);
    end(&s);
}

static void test_distill(void **state) {
    (void)state;
    setup s;
    begin(&s, DISTILL);
    s.distill.hidden = 0.5f; /* with projections, which belong to no layer */
    must_train(&s, NULL);
    must_train(&s, ranks);
    compare(&s);
    compare_values(&s, "kd", 1e-4, 0);
    compare_values(&s, "hidden", 1e-4, 0);
    end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sft),
        cmocka_unit_test(test_sft_with_passes),
        cmocka_unit_test(test_fewer_rows_than_ranks),
        cmocka_unit_test(test_replay_and_dora),
        cmocka_unit_test(test_optimisers),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_dpo),
        cmocka_unit_test(test_distill),
    };
    return run_all(tests, sizeof tests / sizeof *tests);
}
