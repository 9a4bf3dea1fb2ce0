/* The optimisers by themselves: Lion against recorded steps, and what 8-bit moments keep. */
#include "base/mem.h"
#include "base/rng.h"
#include "support/files.h"
#include "train/optim.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { N = 37 };

static double recorded(const char *key, size_t step, size_t i) {
    return json_number_value(
        json_array_get(json_array_get(json_object_get(test_golden, key), step), i));
}

static double setting(const char *key) {
    return json_number_value(json_object_get(test_golden, key));
}

static void test_lion(void **state) {
    (void)state;
    float values[N], grads[N];
    hn_error err;
    hn_optimiser optimiser;
    hn_params params = {.values = values, .grads = grads, .n = N};
    hn_net *net = hn_calloc(1, sizeof *net);
    net->params = &params;
    net->ops = &hn_train_ops_base;
    hn_train_options options = hn_train_options_default();
    options.weight_decay = (float)setting("decay");
    options.beta1 = (float)setting("beta1");
    options.max_grad_norm = 0;
    assert_int_equal(hn_optimiser_new(&optimiser, HN_LION, N, &err), HN_OK);
    for (size_t i = 0; i < N; i++)
        values[i] =
            (float)json_number_value(json_array_get(json_object_get(test_golden, "first"), i));
    size_t steps = json_array_size(json_object_get(test_golden, "grads"));
    for (size_t step = 0; step < steps; step++) {
        for (size_t i = 0; i < N; i++)
            grads[i] = (float)recorded("grads", step, i);
        hn_optimiser_update(&optimiser, net, &options, setting("rate"), 1);
        for (size_t i = 0; i < N; i++)
            assert_true(fabs((double)values[i] - recorded("values", step, i)) < 2e-6);
    }
    hn_optimiser_done(&optimiser);
    hn_free(net);
}

/* Values over many orders of magnitude: small ones come back small, nothing becomes 0. */
static void test_moments(void **state) {
    (void)state;
    enum { BLOCK = HN_MOMENT_BLOCK };
    float x[BLOCK], back[BLOCK];
    int8_t first[BLOCK];
    uint8_t second[BLOCK];
    hn_rng rng = hn_rng_new(1, 1);
    for (int i = 0; i < BLOCK; i++)
        x[i] = (float)hn_rng_normal(&rng) * powf(10, -4 * hn_rng_float(&rng));
    hn_moment_decode_first(first, BLOCK, hn_moment_encode_first(x, BLOCK, first), back);
    for (int i = 0; i < BLOCK; i++) /* half a step of the root, times its slope */
        assert_true(fabsf(back[i] - x[i]) <= 0.0085f * sqrtf(fabsf(x[i]) * 4) + 1e-4f);
    for (int i = 0; i < BLOCK; i++)
        x[i] = x[i] * x[i];
    hn_moment_decode_second(second, BLOCK, hn_moment_encode_second(x, BLOCK, second), back);
    for (int i = 0; i < BLOCK; i++) {
        assert_true(back[i] > 0);
        assert_true(fabsf(sqrtf(back[i]) - sqrtf(x[i])) <= 0.03f * sqrtf(x[i]) + 0.004f);
    }
    memset(x, 0, sizeof x);
    hn_moment_decode_first(first, BLOCK, hn_moment_encode_first(x, BLOCK, first), back);
    assert_memory_equal(x, back, sizeof x);
    hn_moment_decode_second(second, BLOCK, hn_moment_encode_second(x, BLOCK, second), back);
    assert_memory_equal(x, back, sizeof x);
}

static void test_no_memory(void **state) {
    (void)state;
    hn_error err;
    for (int kind = HN_ADAMW; kind <= HN_LION; kind++) {
        hn_status status = HN_NO_MEMORY;
        for (int n = 0; status != HN_OK; n++) {
            hn_optimiser optimiser = {0};
            hn_mem_fail_after(n);
            status = hn_optimiser_new(&optimiser, (hn_optimiser_kind)kind, 1000, &err);
            hn_mem_fail_after(-1);
            assert_true(status == HN_OK || (status == HN_NO_MEMORY && optimiser.n_arrays == 0));
            hn_optimiser_done(&optimiser);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lion),
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_no_memory),
    };
    test_golden_name = "lion.json";
    return cmocka_run_group_tests(tests, test_golden_load, test_golden_free);
}
