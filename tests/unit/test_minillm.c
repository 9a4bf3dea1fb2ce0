/* MiniLLM's loss: advantages, value and gradients on given completions against torch
 * (tests/golden/record_minillm.py), runs on what the student samples. */
#define _GNU_SOURCE
#include "kd_setup.h"
#include "sft_golden.h"
#include "train/loss_minillm.h"

static hn_loss loss_of(void *context, float weight) {
    return hn_loss_minillm(context, weight);
}

/* `family` taught by the recorded teacher, on completions as they were recorded. */
static void check_run(const char *family) {
    golden g;
    hn_error err;
    hn_params params;
    hn_net *net;
    hn_adapter *adapter;
    hn_minillm m = {.share = 1};
    char name[64], path[700];
    snprintf(name, sizeof name, "%s_minillm/golden.json", family);
    open_golden(&g, name);
    const char *teacher = json_string_value(json_object_get(g.values, "teacher"));
    hn_model *student = golden_model(family, 2), *taught_by = golden_model(teacher, 2);
    snprintf(path, sizeof path, "%s/golden/sft/%s/adapter", HN_TEST_ROOT, family);
    assert_int_equal(hn_adapter_open(&adapter, path, &student->arch, &err), HN_OK);
    assert_int_equal(hn_params_new(&params, adapter, 0, &err), HN_OK);
    assert_int_equal(hn_net_new(&net, student, &params, 0, 0, &err), HN_OK);
    assert_int_equal(hn_kd_teacher_new(&m.teacher, taught_by, NULL, &err), HN_OK);
    m.options = (hn_minillm_options){
        (float)json_number_value(json_object_get(g.values, "gamma")),
        (float)json_number_value(json_object_get(g.values, "single_step")),
        (float)json_number_value(json_object_get(g.values, "temperature")),
        (float)json_number_value(json_object_get(g.values, "sample_temperature"))};
    g.loss = loss_of;
    g.context = &m;
    check_steps(&g, net, check_first_gradients);
    hn_minillm_done(&m);
    hn_kd_teacher_free(m.teacher);
    hn_net_free(net);
    hn_params_done(&params);
    hn_adapter_free(adapter);
    tiny_model_free(student);
    tiny_model_free(taught_by);
    close_golden(&g);
}

static void test_against_torch(void **state) {
    (void)state;
    check_run("llama");
    check_run("qwen2");
    check_run("qwen3");
    check_run("gemma3");
}

/* The mean of the first and of the last five steps' values. */
static void ends_of(const setup *s, const char *key, double *first, double *last) {
    double values[RECORDED_STEPS];
    assert_int_equal(read_steps(&s->t, key, values), RECORDED_STEPS);
    *first = *last = 0;
    for (int i = 0; i < 5; i++) {
        *first += values[i] / 5;
        *last += values[RECORDED_STEPS - 5 + i] / 5;
    }
}

static void check_falls(setup *s, hn_model *teacher) {
    hn_train_result result;
    double first, last;
    must_run(s, "llama", 2, teacher, &result);
    ends_of(s, "kd", &first, &last);
    assert_true(last < first);
    ends_of(s, "reverse_kl", &first, &last);
    assert_true(last < first);
    end(s);
}

static void test_divergence_falls(void **state) {
    (void)state;
    hn_model *teacher = golden_model("qwen3", 2);
    setup s;
    begin_minillm(&s, 1);
    check_falls(&s, teacher);
    begin_minillm(&s, 1); /* by the policy gradient alone, which takes more samples */
    s.distill.single_step = s.distill.gamma = 0;
    s.distill.sample_temperature = 1;
    s.distill.sample_tokens = 32;
    s.t.options.batch_rows = 8;
    check_falls(&s, teacher);
    tiny_model_free(teacher);
}

/* At gamma 0 the head runs once. A gamma so small that no sum feels it goes the other way, twice
 * over the rows, and ends with the same bits. */
static void test_gamma_0(void **state) {
    (void)state;
    setup once, twice;
    hn_train_result result;
    hn_model *teacher = golden_model("qwen3", 2);
    double a[RECORDED_STEPS], b[RECORDED_STEPS];
    begin_minillm(&once, 1);
    begin_minillm(&twice, 1);
    once.distill.gamma = 0;
    twice.distill.gamma = 1e-30f;
    hn_minillm m = {.options.gamma = 0};
    assert_null(hn_loss_minillm(&m, 1).between);
    m.options.gamma = twice.distill.gamma;
    assert_non_null(hn_loss_minillm(&m, 1).between);
    must_run(&once, "llama", 2, teacher, &result);
    must_run(&twice, "llama", 2, teacher, &result);
    check_same_adapter(once.t.dir, twice.t.dir);
    assert_int_equal(read_steps(&once.t, "reverse_kl", a), RECORDED_STEPS);
    assert_int_equal(read_steps(&twice.t, "reverse_kl", b), RECORDED_STEPS);
    assert_memory_equal(a, b, sizeof a);
    end(&once);
    end(&twice);
    tiny_model_free(teacher);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_torch),
        cmocka_unit_test(test_divergence_falls),
        cmocka_unit_test(test_gamma_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
