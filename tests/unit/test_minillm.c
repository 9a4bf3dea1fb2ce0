/* MiniLLM's loss: advantages, value and gradients on given completions against torch
 * (tests/golden/record_minillm.py), runs on what the student samples, exact resume, bad options. */
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
    assert_int_equal(hn_kd_teacher_new(&m.teacher, taught_by, &err), HN_OK);
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

static void begin_minillm(setup *s, float share) {
    begin_sampled(s, share);
    s->distill.minillm = true;
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

/* Half of the steps sampled, stopped again and again, other thread counts: the same bits. */
static void test_resume(void **state) {
    (void)state;
    hn_model *teacher = golden_model("qwen3", 2);
    setup whole, parts;
    begin_minillm(&whole, 0.5f);
    begin_minillm(&parts, 0.5f);
    check_resume(&whole, &parts, teacher);
    tiny_model_free(teacher);
}

/* A step's completions in one pass and one a pass: the same run. */
static void test_ways_to_compute(void **state) {
    (void)state;
    setup s;
    hn_train_result wanted, result;
    hn_model *teacher = golden_model("qwen3", 2);
    begin_minillm(&s, 1);
    s.t.options.max_steps = 4; /* before roundings choose other tokens */
    must_run(&s, "llama", 1, teacher, &wanted);
    for (int variant = 1; variant < 4; variant++) {
        s.t.options.resume = false;
        s.t.options.plain_batches = variant & 1;
        s.t.options.budget_bytes = variant & 2 ? 1 : 0;
        must_run(&s, "llama", 2, teacher, &result);
        assert_true(fabs(result.final_loss - wanted.final_loss) < 1e-4 * fabs(wanted.final_loss));
    }
    end(&s);
    tiny_model_free(teacher);
}

static void test_bad_options(void **state) {
    (void)state;
    setup s;
    hn_train_result result;
    hn_error err;
    hn_model *teacher = golden_model("qwen3", 1);
    begin_minillm(&s, 1);
    hn_distill_options good = s.distill;
    s.distill.gamma = 1.5f;
    assert_int_equal(run(&s, "llama", 1, teacher, NULL, &result, &err), HN_USAGE);
    s.distill = good;
    s.distill.single_step = -1;
    assert_int_equal(run(&s, "llama", 1, teacher, NULL, &result, &err), HN_USAGE);
    s.distill = good;
    s.distill.hidden = 1;
    assert_int_equal(run(&s, "llama", 1, teacher, NULL, &result, &err), HN_USAGE);
    s.distill = good;
    s.distill.on_policy = 0;
    assert_int_equal(run(&s, "llama", 1, teacher, NULL, &result, &err), HN_USAGE);
    end(&s);
    tiny_model_free(teacher);
}

/* A step on what is sampled, with memory failing at every place. */
static void test_no_memory(void **state) {
    (void)state;
    setup s;
    hn_model *teacher = golden_model("qwen3", 1);
    begin_minillm(&s, 1);
    check_no_memory(&s, "llama", teacher);
    end(&s);
    tiny_model_free(teacher);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_torch), cmocka_unit_test(test_divergence_falls),
        cmocka_unit_test(test_resume),        cmocka_unit_test(test_ways_to_compute),
        cmocka_unit_test(test_bad_options),   cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
