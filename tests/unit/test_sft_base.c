/* Training of the real base model against transformers + PEFT over the dequantised weights: losses,
 * gradient norms and rates of twenty steps (tests/golden/record_sft.py base). */
#include "base_model.h"
#include "sft_golden.h"

/* SplitMix64 of (layer * 7 + module) << 32 | i, as a float in [-1, 1): the recorder's A. */
static float hash_uniform(uint64_t layer, uint64_t module, uint64_t i) {
    uint64_t z = ((layer * 7 + module) << 32 | i) + 1;
    z *= 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (float)(z >> 40) * 0x1p-23f - 1.0f;
}

static void test_base(void **state) {
    (void)state;
    need_base_model();
    hn_error err;
    hn_model *model;
    hn_adapter *adapter;
    hn_params params;
    hn_net *net;
    golden g;
    hn_model_options options = {.numerics = HN_NUMERICS_F32};
    if (hn_model_open(&model, base_model(), &options, &err) != HN_OK)
        fail_msg("%s", err.message);
    assert_int_equal(hn_adapter_new(&adapter, &model->arch, 127, 16, 32, 1, &err), HN_OK);
    for (int l = 0; l < adapter->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            hn_lora *lora = &adapter->layers[l][m];
            float scale = (float)(1.0 / sqrt((double)lora->in));
            for (int64_t i = 0; i < lora->r * lora->in; i++)
                lora->a[i] = hash_uniform((uint64_t)l, (uint64_t)m, (uint64_t)i) * scale;
        }
    assert_int_equal(hn_params_new(&params, adapter, 0, &err), HN_OK);
    assert_int_equal(hn_net_new(&net, model, &params, 0, 0, &err), HN_OK);
    open_golden(&g, "base.json");
    check_steps(&g, net, NULL);
    close_golden(&g);
    hn_net_free(net);
    hn_params_done(&params);
    hn_adapter_free(adapter);
    hn_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_base)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
