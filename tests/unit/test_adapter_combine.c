/* Several adapters as one: the change of every matrix is the weighted sum of theirs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tiny_model.h"

/* Element (row, col) of scale * B A. */
static double change(const hn_adapter *adapter, int l, int m, int64_t row, int64_t col) {
    const hn_lora *lora = &adapter->layers[l][m];
    double sum = 0;
    for (int k = 0; k < lora->r; k++)
        sum += (double)lora->b[row * lora->r + k] * (double)lora->a[k * lora->in + col];
    return sum * (double)lora->scale;
}

static void test_sum(void **state) {
    (void)state;
    hn_error err;
    hn_arch arch = tiny_arch("qwen3");
    hn_adapter *parts[2] = {tiny_adapter(&arch, 127, 4), tiny_adapter(&arch, 1 | 16, 3)};
    const float weights[2] = {0.7f, -1.5f};
    hn_adapter *sum;
    assert_int_equal(
        hn_adapter_combine(&sum, (const hn_adapter *const *)parts, weights, 2, &arch, &err), HN_OK);
    assert_int_equal(sum->r, 7);
    for (int l = 0; l < arch.n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            const hn_lora *lora = &sum->layers[l][m];
            assert_int_equal(lora->r, parts[0]->layers[l][m].r + parts[1]->layers[l][m].r);
            for (int64_t row = 0; row < lora->out; row += 3)
                for (int64_t col = 0; col < lora->in; col += 5) {
                    double wanted = 0;
                    for (int i = 0; i < 2; i++)
                        if (parts[i]->layers[l][m].r)
                            wanted += (double)weights[i] * change(parts[i], l, m, row, col);
                    assert_true(fabs(change(sum, l, m, row, col) - wanted) < 1e-5);
                }
        }
    hn_adapter_free(sum);
    for (int i = 0; i < 2; i++)
        tiny_adapter_free(parts[i]);
}

static void test_refused(void **state) {
    (void)state;
    hn_error err;
    hn_arch arch = tiny_arch("llama");
    hn_adapter *one = tiny_adapter(&arch, 1, 2), *sum = NULL;
    const float not_a_number = NAN, fine = 1;
    one->name = one->name ? one->name : hn_strdup("one");
    assert_int_equal(
        hn_adapter_combine(&sum, (const hn_adapter *const *)&one, &not_a_number, 1, &arch, &err),
        HN_USAGE);
    one->dora = true;
    assert_int_equal(
        hn_adapter_combine(&sum, (const hn_adapter *const *)&one, &fine, 1, &arch, &err),
        HN_UNSUPPORTED);
    one->dora = false;
    assert_null(sum);
    hn_adapter_free(one);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sum),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
