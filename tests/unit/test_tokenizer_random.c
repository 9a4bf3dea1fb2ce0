/* 100,000 random strings against the `tokenizers` package: ids with and without special tokens, and
 * the text that the ids decode to. tests/golden/record_tokenizer.py recorded a hash a thousand. */
#include "base/hash.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "support/files.h"
#include "tokenizer_help.h"

enum { KEPT_HEX = 16 };

static uint32_t below(hn_rng *rng, uint32_t n) {
    return (uint32_t)((uint64_t)hn_rng_u32(rng) * n >> 32);
}

static void add_char(hn_buf *out, uint32_t c) {
    char text[4];
    hn_buf_append(out, text, hn_utf8_encode(c >= 0xd800 && c < 0xe000 ? 0xfffd : c, text));
}

static void add_chars(hn_buf *out, hn_rng *rng, uint32_t most, uint32_t from, uint32_t count) {
    uint32_t n = 1 + below(rng, most);
    for (uint32_t i = 0; i < n; i++)
        add_char(out, from + below(rng, count));
}

static void add_listed(hn_buf *out, hn_rng *rng, const char *key) {
    const json_t *list = json_object_get(test_golden, key);
    const json_t *item = json_array_get(list, below(rng, (uint32_t)json_array_size(list)));
    hn_buf_append(out, json_string_value(item), json_string_length(item));
}

/* As make_string in record_tokenizer.py. */
static void make_string(hn_buf *out, uint64_t seed, uint64_t number) {
    hn_rng rng = hn_rng_new(seed, number);
    uint32_t pieces = 1 + below(&rng, 24);
    hn_buf_reset(out);
    for (uint32_t i = 0; i < pieces; i++) {
        uint32_t kind = below(&rng, 16);
        if (kind < 4)
            add_listed(out, &rng, "fragments");
        else if (kind == 4)
            hn_buf_printf(out, "%*s", (int)(1 + below(&rng, 4)), "");
        else if (kind == 5)
            add_listed(out, &rng, "breaks");
        else if (kind == 6)
            add_chars(out, &rng, 5, '0', 10);
        else if (kind == 7)
            add_chars(out, &rng, 6, 33, 94);
        else if (kind == 8)
            add_char(out, 0xa0 + below(&rng, 0x1b0));
        else if (kind == 9)
            add_chars(out, &rng, 4, 0x370, 0x600);
        else if (kind == 10)
            add_chars(out, &rng, 4, 0x4e00, 0x5200);
        else if (kind == 11)
            add_char(out,
                     below(&rng, 2) ? 0xac00 + below(&rng, 11172) : 0x1100 + below(&rng, 0x100));
        else if (kind == 12)
            add_char(out, 0x300 + below(&rng, 0x70));
        else if (kind == 13)
            add_char(out, 0x1f300 + below(&rng, 0x500));
        else
            add_char(out, below(&rng, kind == 14 ? 0x10000 : 0x110000));
    }
}

static void add_ids(hn_buf *sum, const hn_ids *ids) {
    const int32_t end = -1;
    hn_buf_append(sum, ids->data, ids->size * sizeof *ids->data);
    hn_buf_append(sum, &end, sizeof end);
}

/* What the package's hash of strings first .. first + count covers. */
static void sum_group(const hn_tokenizer *tk, uint64_t seed, uint64_t first, uint64_t count,
                      char hex[HN_SHA256_HEX]) {
    hn_buf text = {0}, sum = {0}, decoded = {0}, as_text = {0};
    hn_ids ids = {0};
    hn_error err;
    for (uint64_t i = 0; i < count; i++) {
        make_string(&text, seed, first + i);
        encode_or_fail(tk, hn_buf_text(&text), text.size, HN_ENCODE_PARSE_SPECIAL, &ids);
        add_ids(&sum, &ids);
        assert_int_equal(hn_decode(tk, ids.data, ids.size, false, &decoded, &err), HN_OK);
        hn_buf_putc(&decoded, '\xff');
        encode_or_fail(tk, hn_buf_text(&text), text.size, 0, &ids);
        add_ids(&as_text, &ids);
    }
    hn_buf_append(&sum, hn_buf_text(&decoded), decoded.size);
    hn_buf_append(&sum, hn_buf_text(&as_text), as_text.size);
    assert_int_equal(hn_sha256_data(sum.data, sum.size, hex, &err), HN_OK);
    hn_buf_done(&text);
    hn_buf_done(&sum);
    hn_buf_done(&decoded);
    hn_buf_done(&as_text);
    hn_ids_done(&ids);
}

static void check_random(const char *key, hn_tokenizer *tk) {
    const json_t *hashes = json_object_get(json_object_get(test_golden, "hashes"), key);
    uint64_t seed = (uint64_t)json_integer_value(json_object_get(test_golden, "seed"));
    uint64_t group = (uint64_t)json_integer_value(json_object_get(test_golden, "group"));
    assert_true(json_array_size(hashes) * group >= 100000);
    size_t g, wrong = 0;
    const json_t *hash;
    json_array_foreach (hashes, g, hash) {
        char hex[HN_SHA256_HEX];
        sum_group(tk, seed, g * group, group, hex);
        if (strncmp(hex, json_string_value(hash), KEPT_HEX) != 0) {
            fprintf(stderr, "%s: strings %zu to %zu differ\n", key, g * group, (g + 1) * group);
            wrong++;
        }
    }
    hn_tokenizer_free(tk);
    assert_int_equal(wrong, 0);
}

static void check_gguf(const char *name) {
    char key[128];
    snprintf(key, sizeof key, "tokenizers/ggml_vocab/ggml-vocab-%s.gguf", name);
    check_random(key, tokenizer_from_shared_gguf(key));
}

static void test_gpt2(void **state) {
    (void)state;
    check_gguf("gpt-2");
}

static void test_llama_bpe(void **state) {
    (void)state;
    check_gguf("llama-bpe");
}

static void test_qwen2(void **state) {
    (void)state;
    check_gguf("qwen2");
}

static void test_llama_spm(void **state) {
    (void)state;
    check_gguf("llama-spm");
}

static void test_smollm_json(void **state) {
    (void)state;
    size_t size;
    char *json = read_shared("smollm2/tokenizer.json", &size);
    hn_tokenizer *tk = NULL;
    hn_error err;
    if (hn_tokenizer_from_json(&tk, json, size, NULL, 0, "tokenizer.json", &err) != HN_OK)
        fail_msg("%s", err.message);
    hn_free(json);
    check_random("smollm2/tokenizer.json", tk);
}

/* The base model, whose GGUF names the smollm pre-tokeniser. */
static void test_smollm_gguf(void **state) {
    (void)state;
    hn_tokenizer *tk = tokenizer_of_base_model();
    check_random("base", tk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2),        cmocka_unit_test(test_llama_bpe),
        cmocka_unit_test(test_qwen2),       cmocka_unit_test(test_llama_spm),
        cmocka_unit_test(test_smollm_json), cmocka_unit_test(test_smollm_gguf),
    };
    test_golden_name = "tokenizer_random.json";
    return cmocka_run_group_tests(tests, test_golden_load, test_golden_free);
}
