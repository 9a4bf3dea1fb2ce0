/* What a model writes by itself: the same each time, of the tokens that it has, and quantising on
 * it gives a file like any other. */
#include "base/hash.h"
#include "base/mem.h"
#include "release/quantise.h"
#include "release/self_text.h"
#include "support/files.h"

#include <math.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const char MODEL[] = HN_TEST_ROOT "/golden/models/llama";
enum { N_SEQUENCES = 11, LENGTH = 20 }; /* more than go together, and not a whole number of times */

static hn_error err;

static hn_model *open_model(int n_threads) {
    hn_model *model;
    hn_model_options options = {.n_threads = n_threads};
    if (hn_model_open(&model, MODEL, &options, &err) != HN_OK)
        fail_msg("%s", err.message);
    return model;
}

static void write_text(int n_threads, hn_ids *ids) {
    hn_model *model = open_model(n_threads);
    if (hn_self_text(model, N_SEQUENCES, LENGTH, NULL, ids, &err) != HN_OK)
        fail_msg("%s", err.message);
    assert_int_equal(ids->size, N_SEQUENCES * LENGTH);
    for (size_t i = 0; i < ids->size; i++)
        assert_true(ids->data[i] >= 0 && ids->data[i] < model->arch.n_vocab);
    hn_model_free(model);
}

static void test_text(void **state) {
    (void)state;
    hn_ids first = {0}, second = {0};
    write_text(1, &first);
    write_text(2, &second);
    assert_memory_equal(first.data, second.data, first.size * sizeof *first.data);
    for (int i = 1; i < N_SEQUENCES; i++) { /* each begins alike and goes its own way */
        assert_int_equal(first.data[i * LENGTH], first.data[0]);
        assert_memory_not_equal(first.data + i * LENGTH, first.data, LENGTH * sizeof *first.data);
    }
    hn_ids_done(&first);
    hn_ids_done(&second);
}

static void test_no_memory(void **state) {
    (void)state;
    hn_model *model = open_model(1);
    int left;
    for (left = 0; left < 100; left++) {
        hn_ids ids = {0};
        hn_mem_fail_after(left);
        hn_status status = hn_self_text(model, 2, LENGTH, NULL, &ids, &err);
        hn_mem_fail_after(-1);
        if (status == HN_OK) {
            hn_ids_done(&ids);
            break;
        }
        assert_int_equal(status, HN_NO_MEMORY);
        assert_null(ids.data);
    }
    assert_true(left > 3 && left < 100);
    hn_model_free(model);
}

static void test_cancelled(void **state) {
    (void)state;
    hn_model *model = open_model(1);
    hn_ids ids = {0};
    const atomic_bool cancel = true;
    const hn_progress progress = {.cancel = &cancel};
    assert_int_equal(hn_self_text(model, 2, LENGTH, &progress, &ids, &err), HN_CANCELLED);
    assert_null(ids.data);
    hn_model_free(model);
}

static void test_not_finite(void **state) {
    (void)state;
    hn_model *model = open_model(1);
    hn_ids ids = {0};
    model->output_norm[0] = NAN;
    assert_int_equal(hn_self_text(model, 2, LENGTH, NULL, &ids, &err), HN_FAILED);
    assert_non_null(strstr(err.message, "the model's logits are NaN"));
    assert_null(ids.data);
    hn_model_free(model);
}

static void quantise(const char *path, hn_ftype ftype, bool own_text, char *sum) {
    hn_quantise_options options = {
        .ftype = ftype, .n_threads = 2, .calibrate_on_own_text = own_text};
    hn_quantise_report report;
    hn_checkpoint ckpt;
    assert_int_equal(hn_checkpoint_open(&ckpt, MODEL, &err), HN_OK);
    if (hn_quantise(&ckpt, NULL, path, &options, NULL, &report, &err) != HN_OK)
        fail_msg("%s", err.message);
    hn_checkpoint_close(&ckpt);
    assert_int_equal(hn_sha256_file(path, sum, &err), HN_OK);
}

static void test_quantise(void **state) {
    (void)state;
    const char *path = in_dir("q.gguf");
    char plain[HN_SHA256_HEX], first[HN_SHA256_HEX], second[HN_SHA256_HEX];
    quantise(path, HN_FTYPE_Q4_0, false, plain);
    quantise(path, HN_FTYPE_Q4_0, true, first);
    quantise(path, HN_FTYPE_Q4_0, true, second);
    assert_string_equal(first, second);
    assert_string_not_equal(first, plain);
    quantise(path, HN_FTYPE_F16, false, plain); /* nothing to calibrate */
    quantise(path, HN_FTYPE_F16, true, first);
    assert_string_equal(first, plain);
}

static void test_coarse(void **state) {
    (void)state;
    static const hn_ftype COARSE[] = {HN_FTYPE_Q4_0,  HN_FTYPE_Q4_1,   HN_FTYPE_Q5_0,
                                      HN_FTYPE_Q5_1,  HN_FTYPE_Q4_K_S, HN_FTYPE_Q4_K_M,
                                      HN_FTYPE_Q5_K_M};
    int n = 0;
    for (int i = 0; i < HN_FTYPE_COUNT; i++)
        n += hn_ftype_is_coarse((hn_ftype)i);
    for (size_t i = 0; i < sizeof COARSE / sizeof *COARSE; i++)
        assert_true(hn_ftype_is_coarse(COARSE[i]));
    assert_int_equal(n, sizeof COARSE / sizeof *COARSE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),      cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_cancelled), cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_quantise),  cmocka_unit_test(test_coarse),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
