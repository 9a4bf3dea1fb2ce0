/* Every setting of tokenizer.json that hone takes, as the `tokenizers` package does it
 * (tests/golden/record_tokenizer_json.py), and what is refused. */
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "support/files.h"
#include "tokenizer_help.h"

static void check_ids(const char *name, const char *text, const hn_ids *ids, const json_t *wanted) {
    bool same = ids->size == json_array_size(wanted);
    for (size_t i = 0; same && i < ids->size; i++)
        same = ids->data[i] == json_integer_value(json_array_get(wanted, i));
    if (same)
        return;
    char *dump = json_dumps(wanted, JSON_COMPACT);
    fprintf(stderr, "%s: '%s' should be %s, is", name, text, dump);
    for (size_t i = 0; i < ids->size; i++)
        fprintf(stderr, " %d", ids->data[i]);
    fprintf(stderr, "\n");
    fail();
}

static void check_encoded(const hn_tokenizer *tk, const char *name, const json_t *rows) {
    size_t i;
    const json_t *row, *texts = json_object_get(test_golden, "texts");
    hn_ids ids = {0};
    json_array_foreach (rows, i, row) {
        const json_t *text = json_array_get(texts, i);
        const char *data = json_string_value(text);
        encode_or_fail(tk, data, json_string_length(text),
                       HN_ENCODE_ADD_SPECIAL | HN_ENCODE_PARSE_SPECIAL, &ids);
        check_ids(name, data, &ids, json_array_get(row, 0));
        encode_or_fail(tk, data, json_string_length(text), 0, &ids);
        check_ids(name, data, &ids, json_array_get(row, 1));
    }
    hn_ids_done(&ids);
}

static void check_decoded(const hn_tokenizer *tk, const char *name, const json_t *rows) {
    size_t i, k;
    const json_t *row, *id;
    json_array_foreach (rows, i, row) {
        hn_ids ids = {0};
        hn_error err;
        json_array_foreach (json_array_get(json_object_get(test_golden, "ids"), i), k, id) {
            assert_int_equal(hn_ids_push(&ids, (int32_t)json_integer_value(id), &err), HN_OK);
        }
        for (int special = 0; special < 2; special++) {
            const json_t *wanted = json_array_get(row, (size_t)special);
            hn_buf out = {0};
            assert_int_equal(hn_decode(tk, ids.data, ids.size, special, &out, &err), HN_OK);
            if (out.size != json_string_length(wanted) ||
                memcmp(hn_buf_text(&out), json_string_value(wanted), out.size) != 0)
                fail_msg("%s: ids %zu: '%s' should be '%s'", name, i, hn_buf_text(&out),
                         json_string_value(wanted));
            hn_buf_done(&out);
        }
        hn_ids_done(&ids);
    }
}

static void test_settings(void **state) {
    (void)state;
    size_t i;
    const json_t *item;
    json_array_foreach (json_object_get(test_golden, "cases"), i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        const json_t *config = json_object_get(item, "config");
        hn_tokenizer *tk = NULL;
        hn_error err;
        if (hn_tokenizer_from_json(&tk, json_string_value(config), json_string_length(config), NULL,
                                   0, name, &err) != HN_OK)
            fail_msg("%s", err.message);
        check_encoded(tk, name, json_object_get(item, "encoded"));
        check_decoded(tk, name, json_object_get(item, "decoded"));
        hn_tokenizer_free(tk);
    }
    assert_true(i > 40);
}

/* The first recorded file (a byte-level one), with one piece of its text replaced. */
static char *edited(const char *from, const char *to) {
    const json_t *item = json_array_get(json_object_get(test_golden, "cases"), 0);
    const char *text = json_string_value(json_object_get(item, "config"));
    const char *hit = strstr(text, from);
    if (!hit)
        fail_msg("'%s' is not in the file", from);
    char *out = hn_malloc(strlen(text) + strlen(to) + 1);
    assert_non_null(out);
    sprintf(out, "%.*s%s%s", (int)(hit - text), text, to, hit + strlen(from));
    return out;
}

static void test_refused(void **state) {
    (void)state;
    const struct {
        const char *from, *to;
        hn_status status;
        const char *says;
    } cases[] = {
        {"\"type\": \"BPE\"", "\"type\": \"Unigram\"", HN_UNSUPPORTED, "Unigram"},
        {"\"dropout\": null", "\"dropout\": 0.1", HN_UNSUPPORTED, "dropout"},
        {"\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"</w>\"", HN_UNSUPPORTED,
         "end_of_word_suffix"},
        {"\"normalizer\": null", "\"normalizer\": {\"type\": \"Lowercase\"}", HN_UNSUPPORTED,
         "Lowercase"},
        {"\"pre_tokenizer\": {\"type\": \"ByteLevel\"",
         "\"pre_tokenizer\": {\"type\": \"Whitespace\"", HN_UNSUPPORTED, "Whitespace"},
        {"\"decoder\": {\"type\": \"ByteLevel\"", "\"decoder\": {\"type\": \"WordPiece\"",
         HN_UNSUPPORTED, "WordPiece"},
        {"\"type\": \"TemplateProcessing\"", "\"type\": \"BertProcessing\"", HN_UNSUPPORTED,
         "BertProcessing"},
        {"\"h\": 0", "\"h\": 1", HN_BAD_INPUT, "id 1"},
        {"\"h\": 0", "\"e\": 0", HN_BAD_INPUT, "twice"},
        {"\"h\": 0", "\"h\": -1", HN_BAD_INPUT, "vocab"},
        {"\"h\": 0", "\"h\": 2000000000", HN_BAD_INPUT, "ids up to"},
        {"\"h\": 0", "\"h\\ud800\": 0", HN_BAD_INPUT, "surrogate"},
        {"\"h\": 0", "\"h\xff\": 0", HN_BAD_INPUT, "UTF-8"},
        {"[\"h\", \"e\"]", "[\"h\", \"Q\"]", HN_BAD_INPUT, "'Q'"},
        {"[\"h\", \"e\"]", "[\"h\"]", HN_BAD_INPUT, "merge"},
        {"[\"h\", \"e\"]", "\"h e l\"", HN_BAD_INPUT, "two tokens"},
        {"\"merges\"", "\"mergers\"", HN_BAD_INPUT, "merges"},
        {"\"ids\": [", "\"ids\": [77777, ", HN_BAD_INPUT, "post_processor"},
        {"\"version\"", "\"version\": 1, \"version\"", HN_BAD_INPUT, "duplicate"},
        {"\"special\": true", "\"special\": 3", HN_BAD_INPUT, "special"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hn_tokenizer *tk = NULL;
        hn_error err;
        char *text = edited(cases[i].from, cases[i].to);
        hn_status status =
            hn_tokenizer_from_json(&tk, text, strlen(text), NULL, 0, "tokenizer.json", &err);
        if (status != cases[i].status || !strstr(err.message, cases[i].says))
            fail_msg("case %zu ('%s'): status %d, '%s'", i, cases[i].to, status,
                     status ? err.message : "");
        assert_null(tk);
        hn_free(text);
    }
}

static void test_truncated(void **state) {
    (void)state;
    char *text = edited("\"h\": 0", "\"h\": 0");
    size_t size = strlen(text);
    for (size_t n = 0; n < size; n++) {
        hn_tokenizer *tk = NULL;
        hn_error err;
        assert_int_equal(hn_tokenizer_from_json(&tk, text, n, NULL, 0, "cut", &err), HN_BAD_INPUT);
    }
    hn_free(text);
}

static void test_no_memory(void **state) {
    (void)state;
    const json_t *cases = json_object_get(test_golden, "cases");
    for (size_t i = 0; i < 6; i++) {
        const json_t *config = json_object_get(json_array_get(cases, i), "config");
        hn_status status = HN_NO_MEMORY;
        for (int n = 0; status == HN_NO_MEMORY; n++) {
            hn_tokenizer *tk = NULL;
            hn_ids ids = {0};
            hn_error err;
            hn_mem_fail_after(n);
            status = hn_tokenizer_from_json(&tk, json_string_value(config),
                                            json_string_length(config), NULL, 0, "x", &err);
            if (status == HN_OK)
                status = hn_encode(tk, " hello w\u00e9", 10, 0, &ids, &err);
            hn_mem_fail_after(-1);
            if (status != HN_OK && status != HN_NO_MEMORY)
                fail_msg("case %zu, allocation %d: %s", i, n, err.message);
            assert_true(n < 1000);
            hn_ids_done(&ids);
            hn_tokenizer_free(tk);
        }
    }
}

static void test_config(void **state) {
    (void)state;
    char *text = edited("\"h\": 0", "\"h\": 0");
    const char config[] = "{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": \"<|end|>\","
                          " \"tokenizer_class\": \"LlamaTokenizerFast\", \"add_bos_token\": false}";
    hn_tokenizer *tk = NULL;
    hn_vocab vocab;
    hn_error err;
    assert_int_equal(
        hn_tokenizer_from_json(&tk, text, strlen(text), config, strlen(config), "x", &err), HN_OK);
    assert_int_equal(hn_tokenizer_bos(tk), hn_tokenizer_find(tk, "<s>", 3));
    assert_int_equal(hn_tokenizer_eos(tk), hn_tokenizer_find(tk, "<|end|>", 7));
    assert_false(hn_tokenizer_adds_bos(tk));
    assert_true(hn_tokenizer_is_end(tk, hn_tokenizer_eos(tk)));
    hn_tokenizer_vocab(tk, &vocab);
    assert_string_equal(vocab.model, "gpt2");
    assert_string_equal(vocab.pre, "gpt-2");
    /* out as GGUF has it and in again: the same ids */
    hn_tokenizer *again = NULL;
    hn_ids a = {0}, b = {0};
    hn_arena arena = {0};
    assert_int_equal(hn_tokenizer_merges(tk, &arena, &vocab, &err), HN_OK);
    assert_int_equal(hn_tokenizer_from_vocab(&again, &vocab, &err), HN_OK);
    hn_arena_done(&arena);
    encode_or_fail(tk, "hello world<s>", 14, 3, &a);
    encode_or_fail(again, "hello world<s>", 14, 3, &b);
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size * sizeof *a.data);
    hn_ids_done(&a);
    hn_ids_done(&b);
    hn_tokenizer_free(tk);
    hn_tokenizer_free(again);
    hn_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_truncated), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_config),
    };
    test_golden_name = "tokenizer_json.json";
    return cmocka_run_group_tests(tests, test_golden_load, test_golden_free);
}
