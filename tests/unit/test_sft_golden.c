/* Training against transformers + PEFT (tests/golden/record_sft.py): gradients of the first step
 * and losses, gradient norms and rates of the first twenty, on a small random model of each
 * family. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sft_golden.h"

/* `golden_of` is the folder of the recorded run, `family` that of its model; budget as
 * hn_net_new has it. */
static void check_run(const char *family, const char *golden_of, size_t budget) {
    golden g;
    hn_error err;
    hn_params params;
    hn_net *net;
    hn_adapter *adapter;
    char name[64], path[700];
    snprintf(name, sizeof name, "%s/golden.json", golden_of);
    open_golden(&g, name);
    snprintf(path, sizeof path, "%s/golden/sft/%s", HN_TEST_ROOT, family);
    hn_model *model = load_model(path, family, 2);
    const char *adapter_of = json_string_value(json_object_get(g.values, "adapter"));
    float dropout = (float)json_number_value(json_object_get(g.values, "dropout"));
    snprintf(path, sizeof path, "%s/golden/sft/%s/adapter", HN_TEST_ROOT,
             adapter_of ? adapter_of : golden_of);
    if (hn_adapter_open(&adapter, path, &model->arch, &err) != HN_OK)
        fail_msg("%s", err.message);
    assert_int_equal(hn_params_new(&params, adapter, 0, &err), HN_OK);
    assert_int_equal(hn_net_new(&net, model, &params, dropout, budget, &err), HN_OK);
    check_steps(&g, net, check_first_gradients);
    hn_net_free(net);
    hn_params_done(&params);
    hn_adapter_free(adapter);
    tiny_model_free(model);
    close_golden(&g);
}

static void test_llama(void **state) {
    (void)state;
    check_run("llama", "llama", 0);
}

static void test_qwen2(void **state) {
    (void)state;
    check_run("qwen2", "qwen2", 0);
}

static void test_qwen3(void **state) {
    (void)state;
    check_run("qwen3", "qwen3", 0);
}

static void test_gemma3(void **state) {
    (void)state;
    check_run("gemma3", "gemma3", 0);
}

static void test_rslora(void **state) {
    (void)state;
    check_run("llama", "llama_rslora", 0);
    check_run("qwen2", "qwen2_rslora", 0);
}

static void test_dora(void **state) {
    (void)state;
    check_run("llama", "llama_dora", 0);
    check_run("qwen2", "qwen2_dora", 0);
}

/* Masks that PEFT's layers were given too (tests/golden/record_dropout.py). */
static void test_dropout(void **state) {
    (void)state;
    check_run("llama", "llama_dropout", 0);
    check_run("llama", "llama_dora_dropout", 0);
    check_run("qwen2", "qwen2_dora_dropout", 0);
    check_run("qwen2", "qwen2_dora_dropout", 1); /* layers computed twice: the same masks */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),   cmocka_unit_test(test_qwen2),  cmocka_unit_test(test_qwen3),
        cmocka_unit_test(test_gemma3),  cmocka_unit_test(test_rslora), cmocka_unit_test(test_dora),
        cmocka_unit_test(test_dropout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
