/* Distillation on what the student samples itself: the loss falls, runs go on exactly where they
 * stopped, samples depend on the parameters and the seed alone. */
#define _GNU_SOURCE
#include "kd_setup.h"

static void test_loss_falls(void **state) {
    (void)state;
    hn_model *teacher = golden_model("qwen3", 2);
    for (float beta = 0; beta <= 1; beta += 0.5f) {
        setup s;
        hn_train_result result;
        double kd[20], sampled[20], first = 0, last = 0;
        begin_sampled(&s, 1);
        s.distill.beta = beta;
        must_run(&s, "llama", 2, teacher, &result);
        assert_int_equal(read_steps(&s.t, "kd", kd), 20);
        read_steps(&s.t, "sampled", sampled);
        for (int i = 0; i < 5; i++) {
            assert_true(sampled[i] == 1);
            first += kd[i];
            last += kd[15 + i];
        }
        assert_true(last < first);
        end(&s);
    }
    tiny_model_free(teacher);
}

/* Half of the steps sampled, stopped again and again, other thread counts: the same bits. */
static void test_resume(void **state) {
    (void)state;
    hn_model *teacher = golden_model("qwen3", 2);
    setup whole, parts;
    begin_sampled(&whole, 0.5f);
    begin_sampled(&parts, 0.5f);
    check_resume(&whole, &parts, teacher);
    tiny_model_free(teacher);
}

static void test_bad_options(void **state) {
    (void)state;
    setup s;
    hn_train_result result;
    hn_error err;
    hn_model *teacher = golden_model("qwen3", 1);
    begin_sampled(&s, 1);
    hn_distill_options good = s.distill;
    s.distill.beta = 2;
    assert_int_equal(run(&s, "llama", 1, teacher, NULL, &result, &err), HN_USAGE);
    s.distill = good;
    s.distill.alpha = 0;
    assert_int_equal(run(&s, "llama", 1, teacher, NULL, &result, &err), HN_USAGE);
    s.distill = good;
    s.distill.sample_tokens = 0;
    assert_int_equal(run(&s, "llama", 1, teacher, NULL, &result, &err), HN_USAGE);
    end(&s);
    tiny_model_free(teacher);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss_falls),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
