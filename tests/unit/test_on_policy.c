/* Distillation on what the student samples itself: the loss falls, runs go on exactly where they
 * stopped, samples depend on the parameters and the seed alone. */
#define _GNU_SOURCE
#include "kd_setup.h"

static void begin_sampled(setup *s, float share) {
    begin(s, "llama");
    s->distill.alpha = 1;
    s->distill.temperature = 1;
    s->distill.hidden = 0;
    s->distill.beta = 0.5f;
    s->distill.on_policy = share;
    s->distill.sample_tokens = 12;
    s->train.learning_rate = 1e-2f;
}

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
        assert_int_equal(read_steps(&s, "kd", kd), 20);
        read_steps(&s, "sampled", sampled);
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
    hn_train_result result;
    double sampled[20], sum = 0;
    begin_sampled(&whole, 0.5f);
    must_run(&whole, "llama", 1, teacher, &result);
    read_steps(&whole, "sampled", sampled);
    for (int i = 0; i < 20; i++)
        sum += sampled[i];
    assert_true(sum > 2 && sum < 18);
    begin_sampled(&parts, 0.5f);
    for (uint64_t at = 1; at < 20; at += 6) {
        training_stopper s = {.at = at};
        hn_progress progress = {.context = &s, .update = stop_training, .cancel = &s.cancel};
        hn_error err;
        assert_int_equal(run(&parts, "llama", 2, teacher, &progress, &result, &err), HN_CANCELLED);
    }
    must_run(&parts, "llama", 3, teacher, &result);
    check_same_adapter(whole.dir, parts.dir);
    end(&whole);
    end(&parts);
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
