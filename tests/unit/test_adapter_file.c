/* Adapter files: what PEFT wrote is read, round trips through both formats, refusals by name. */
#include "base/file.h"
#include "base/mem.h"
#include "formats/adapter_file.h"
#include "formats/gguf.h"
#include "support/files.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_HEAD = 4, N_HEAD_KV = 2 }; /* of the model in tests/golden/make_adapters.py */

static const char *golden(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/golden/adapters/%s", HN_TEST_ROOT, name);
    return path;
}

/* The formula of make_adapters.py. */
static float a_value(int64_t i, int layer) {
    return (float)((i * 7 + layer) % 13 - 6) / 8;
}

static float b_value(int64_t i, int layer) {
    return (float)((i * 5 + layer) % 11 - 5) / 4;
}

static void check_values(const hn_adapter_file *file) {
    for (size_t p = 0; p < file->n_pairs; p++) {
        const hn_lora_pair *pair = &file->pairs[p];
        for (int64_t i = 0; i < pair->r * pair->in; i++)
            assert_true(pair->a[i] == a_value(i, pair->layer));
        for (int64_t i = 0; i < pair->out * pair->r; i++)
            assert_true(pair->b[i] == b_value(i, pair->layer));
    }
}

static void test_read_peft(void **state) {
    (void)state;
    hn_error err;
    hn_adapter_file file;
    assert_int_equal(hn_adapter_file_read(&file, golden("plain"), N_HEAD, N_HEAD_KV, &err), HN_OK);
    assert_int_equal(file.n_pairs, 6);
    assert_int_equal(file.r, 2);
    assert_true(file.alpha == 6);
    assert_false(file.use_rslora);
    assert_string_equal(file.pairs[0].module, "q_proj");
    assert_string_equal(file.pairs[2].module, "down_proj");
    assert_int_equal(file.pairs[2].in, 24);
    assert_int_equal(file.pairs[2].out, 16);
    assert_int_equal(file.pairs[3].layer, 1);
    check_values(&file);
    hn_adapter_file_done(&file);
}

static void test_patterns(void **state) {
    (void)state;
    hn_error err;
    hn_adapter_file file, again;
    assert_int_equal(hn_adapter_file_read(&file, golden("patterns"), 0, 0, &err), HN_OK);
    assert_int_equal(file.n_pairs, 4);
    assert_int_equal(file.pairs[0].r, 2);
    assert_true(file.pairs[0].alpha == 6);
    assert_true(file.pairs[1].alpha == 10); /* v_proj */
    assert_int_equal(file.pairs[2].r, 3);   /* layer 1, q_proj */
    assert_int_equal(hn_adapter_file_write_peft(&file, in_dir("patterns"), &err), HN_OK);
    assert_int_equal(hn_adapter_file_read(&again, in_dir("patterns"), 0, 0, &err), HN_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(again.pairs[i].r, file.pairs[i].r);
        assert_true(again.pairs[i].alpha == file.pairs[i].alpha);
    }
    assert_int_equal(
        hn_adapter_file_write_gguf(&file, in_dir("p.gguf"), "llama", N_HEAD, N_HEAD_KV, &err),
        HN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "alpha_pattern"));
    assert_false(hn_path_exists(in_dir("p.gguf")));
    hn_adapter_file_done(&file);
    hn_adapter_file_done(&again);
}

static void test_gguf_round_trip(void **state) {
    (void)state;
    static const char *const ARCHITECTURES[2] = {"llama", "qwen2"};
    hn_error err;
    for (int i = 0; i < 2; i++) {
        hn_adapter_file file, again;
        hn_gguf gguf;
        const char *path = in_dir("a.gguf");
        assert_int_equal(hn_adapter_file_read(&file, golden("plain"), 0, 0, &err), HN_OK);
        assert_int_equal(
            hn_adapter_file_write_gguf(&file, path, ARCHITECTURES[i], N_HEAD, N_HEAD_KV, &err),
            HN_OK);
        assert_int_equal(hn_gguf_open(&gguf, path, &err), HN_OK);
        const hn_gguf_tensor *b = hn_gguf_find_tensor(&gguf, "blk.0.attn_q.weight.lora_b");
        assert_non_null(b);
        float rows[8];
        memcpy(rows, b->data, sizeof rows);
        /* heads of four rows: 0 1 2 3 on halves become 0 2 1 3 on pairs */
        int second = i == 0 ? 2 : 1;
        assert_true(rows[2] == b_value(second * 2, 0));
        hn_gguf_close(&gguf);
        assert_int_equal(hn_adapter_file_read(&again, path, N_HEAD, N_HEAD_KV, &err), HN_OK);
        assert_int_equal(again.n_pairs, file.n_pairs);
        assert_true(again.pairs[0].alpha == 6);
        check_values(&again);
        hn_adapter_file_done(&file);
        hn_adapter_file_done(&again);
    }
}

static void test_rslora(void **state) {
    (void)state;
    hn_error err;
    hn_adapter_file file, again;
    assert_int_equal(hn_adapter_file_read(&file, golden("rslora"), 0, 0, &err), HN_OK);
    assert_true(file.use_rslora);
    assert_int_equal(
        hn_adapter_file_write_gguf(&file, in_dir("rs.gguf"), "llama", N_HEAD, N_HEAD_KV, &err),
        HN_OK);
    assert_int_equal(hn_adapter_file_read(&again, in_dir("rs.gguf"), N_HEAD, N_HEAD_KV, &err),
                     HN_OK);
    assert_false(again.use_rslora);
    assert_true(fabsf(again.pairs[0].alpha - 6 * sqrtf(2)) < 1e-6f);
    hn_adapter_file_done(&file);
    hn_adapter_file_done(&again);
}

static void test_dora(void **state) {
    (void)state;
    hn_error err;
    hn_adapter_file file, again;
    assert_int_equal(hn_adapter_file_read(&file, golden("dora"), 0, 0, &err), HN_OK);
    assert_true(file.use_dora);
    assert_int_equal(file.n_pairs, 2);
    for (size_t i = 0; i < file.n_pairs; i++)
        assert_true(file.pairs[i].magnitude && file.pairs[i].n_magnitude == file.pairs[i].out);
    assert_int_equal(hn_adapter_file_write_peft(&file, in_dir("dora"), &err), HN_OK);
    if (hn_adapter_file_read(&again, in_dir("dora"), 0, 0, &err) != HN_OK)
        fail_msg("%s", err.message);
    assert_memory_equal(file.pairs[1].magnitude, again.pairs[1].magnitude,
                        (size_t)file.pairs[1].out * sizeof(float));
    hn_adapter_file_done(&again);
    /* magnitudes without use_dora: which of the two is meant? */
    static const char PLAIN[] = "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 6}";
    assert_int_equal(hn_file_write(in_dir("dora/adapter_config.json"), PLAIN, strlen(PLAIN), &err),
                     HN_OK);
    assert_int_equal(hn_adapter_file_read(&again, in_dir("dora"), 0, 0, &err), HN_BAD_INPUT);
    assert_int_equal(
        hn_adapter_file_write_gguf(&file, in_dir("d.gguf"), "llama", N_HEAD, N_HEAD_KV, &err),
        HN_UNSUPPORTED);
    hn_adapter_file_done(&file);
}

static void expect_refusal(const char *config, hn_status wanted, const char *word) {
    hn_error err;
    hn_adapter_file file;
    char *weights;
    size_t size;
    const char *path = golden("plain/adapter_model.safetensors");
    assert_int_equal(hn_file_read(path, 1 << 20, &weights, &size, &err), HN_OK);
    assert_int_equal(hn_dir_make(in_dir("refused"), &err), HN_OK);
    assert_int_equal(
        hn_file_write(in_dir("refused/adapter_model.safetensors"), weights, size, &err), HN_OK);
    hn_free(weights);
    assert_int_equal(
        hn_file_write(in_dir("refused/adapter_config.json"), config, strlen(config), &err), HN_OK);
    assert_int_equal(hn_adapter_file_read(&file, in_dir("refused"), 0, 0, &err), wanted);
    if (!strstr(err.message, word))
        fail_msg("'%s' says nothing of '%s'", err.message, word);
}

static void test_refusals(void **state) {
    (void)state;
    hn_error err;
    hn_adapter_file file;
    expect_refusal("{\"peft_type\": \"LORA\", \"r\": 2, \"use_dora\": true}", HN_BAD_INPUT,
                   "magnitude");
    expect_refusal("{\"peft_type\": \"IA3\"}", HN_UNSUPPORTED, "IA3");
    expect_refusal("{\"peft_type\": \"LORA\", \"r\": 2, \"bias\": \"all\"}", HN_UNSUPPORTED,
                   "bias");
    expect_refusal("{\"peft_type\": \"LORA\", \"r\": 2, \"modules_to_save\": [\"lm_head\"]}",
                   HN_UNSUPPORTED, "modules_to_save");
    expect_refusal("{\"peft_type\": \"LORA\", \"r\": 2, \"init_lora_weights\": \"pissa_niter_4\"}",
                   HN_UNSUPPORTED, "pissa");
    expect_refusal("{\"peft_type\": \"LORA\", \"r\": 4}", HN_BAD_INPUT, "rank");
    expect_refusal("{\"peft_type\": \"LORA\", \"r\": 0}", HN_BAD_INPUT, "r, lora_alpha");
    expect_refusal("{\"peft_type\": \"LORA\", \"r\": \"2\"}", HN_BAD_INPUT, "'r'");
    expect_refusal("{\"peft_type\": \"LORA\", \"r\": 2, \"alpha_pattern\": {\"(\": 3}}",
                   HN_BAD_INPUT, "pattern");
    expect_refusal("[]", HN_BAD_INPUT, "object");
    assert_int_equal(hn_adapter_file_read(&file, in_dir("nothing"), 0, 0, &err), HN_IO);
}

static void test_allocation_failure(void **state) {
    (void)state;
    hn_error err;
    hn_status status = HN_NO_MEMORY;
    for (int n = 0; status != HN_OK; n++) {
        assert_true(n < 1000);
        hn_adapter_file file = {0};
        hn_mem_fail_after(n);
        status = hn_adapter_file_read(&file, golden("plain"), 0, 0, &err);
        if (status == HN_OK)
            status = hn_adapter_file_write_gguf(&file, in_dir("x.gguf"), "llama", N_HEAD, N_HEAD_KV,
                                                &err);
        hn_mem_fail_after(-1);
        hn_adapter_file_done(&file);
        if (status != HN_OK) {
            assert_int_equal(status, HN_NO_MEMORY);
            assert_false(hn_path_exists(in_dir("x.gguf")));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_peft),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_gguf_round_trip),
        cmocka_unit_test(test_rslora),
        cmocka_unit_test(test_dora),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
