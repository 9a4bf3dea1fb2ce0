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

/* `golden_of` is the folder of the recorded run, `family` that of its model. */
static void check_run(const char *family, const char *golden_of) {
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
    snprintf(path, sizeof path, "%s/adapter", g.dir);
    if (hn_adapter_open(&adapter, path, &model->arch, &err) != HN_OK)
        fail_msg("%s", err.message);
    assert_int_equal(hn_params_new(&params, adapter, 0, &err), HN_OK);
    assert_int_equal(hn_net_new(&net, model, &params, 0, 0, &err), HN_OK);
    check_steps(&g, net, check_first_gradients);
    hn_net_free(net);
    hn_params_done(&params);
    hn_adapter_free(adapter);
    tiny_model_free(model);
    close_golden(&g);
}

static void test_llama(void **state) {
    (void)state;
    check_run("llama", "llama");
}

static void test_qwen2(void **state) {
    (void)state;
    check_run("qwen2", "qwen2");
}

static void test_qwen3(void **state) {
    (void)state;
    check_run("qwen3", "qwen3");
}

static void test_gemma3(void **state) {
    (void)state;
    check_run("gemma3", "gemma3");
}

static void test_rslora(void **state) {
    (void)state;
    check_run("llama", "llama_rslora");
    check_run("qwen2", "qwen2_rslora");
}

static void test_dora(void **state) {
    (void)state;
    check_run("llama", "llama_dora");
    check_run("qwen2", "qwen2_dora");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),  cmocka_unit_test(test_qwen2),  cmocka_unit_test(test_qwen3),
        cmocka_unit_test(test_gemma3), cmocka_unit_test(test_rslora), cmocka_unit_test(test_dora),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
