/* Tokenizers against what others recorded: llama.cpp's vocabulary files with texts and ids,
 * swift-transformers' encodings, and random text through the `tokenizers` package. */
#include "base/json.h"
#include "base/rng.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "tokenizer_help.h"

/* Compares with ids written as text, e.g. " 15 7 300". */
static int same_ids(const hn_ids *ids, const char *line, const char *end) {
    for (size_t i = 0; i < ids->size; i++) {
        char *next;
        long id = strtol(line, &next, 10);
        if (next == line || next > end || id != ids->data[i])
            return 0;
        line = next;
    }
    while (line < end && *line == ' ')
        line++;
    return line == end;
}

static void check_ggml(const char *name) {
    static const char SEPARATOR[] = "\n__ggml_vocab_test__\n";
    char path[128];
    snprintf(path, sizeof path, "tokenizers/ggml_vocab/ggml-vocab-%s.gguf", name);
    hn_tokenizer *tk = tokenizer_from_shared_gguf(path);
    size_t n_in, n_out;
    strcat(path, ".inp");
    char *in = read_shared(path, &n_in);
    strcpy(path + strlen(path) - 4, ".out");
    char *out = read_shared(path, &n_out);
    char *line = out;
    hn_ids ids = {0};
    int count = 0;
    for (char *text = in;; count++) {
        char *end = strstr(text, SEPARATOR);
        char *line_end = strchr(line, '\n');
        if (!end)
            break;
        assert_non_null(line_end);
        encode_or_fail(tk, text, (size_t)(end - text), 0, &ids);
        if (!same_ids(&ids, line, line_end))
            fail_msg("%s: text %d: '%.*s' should be %.*s", name, count, (int)(end - text), text,
                     (int)(line_end - line), line);
        line = line_end + 1;
        text = end + strlen(SEPARATOR);
    }
    assert_true(count > 40);
    hn_ids_done(&ids);
    hn_free(in);
    hn_free(out);
    hn_tokenizer_free(tk);
}

static void test_ggml_gpt2(void **state) {
    (void)state;
    check_ggml("gpt-2");
}

static void test_ggml_llama_bpe(void **state) {
    (void)state;
    check_ggml("llama-bpe");
}

static void test_ggml_llama_spm(void **state) {
    (void)state;
    check_ggml("llama-spm");
}

static void test_ggml_qwen2(void **state) {
    (void)state;
    check_ggml("qwen2");
}

/* --- swift-transformers --- */

static void check_array(const hn_ids *ids, const json_t *wanted, const char *text) {
    if (ids->size != json_array_size(wanted))
        fail_msg("'%s': %zu ids instead of %zu", text, ids->size, json_array_size(wanted));
    for (size_t i = 0; i < ids->size; i++)
        assert_int_equal(ids->data[i], json_integer_value(json_array_get(wanted, i)));
}

/* transformers removes the space before some marks after decoding (its
 * clean_up_tokenization_spaces); the recorded texts of some models went through that. */
static void clean_up(char *text) {
    static const char *const MARKS[] = {" .",  " ?",  " !",   " ,",  " n't",
                                        " 'm", " 's", " 've", " 're"};
    for (size_t i = 0; i < sizeof MARKS / sizeof *MARKS; i++)
        for (char *hit; (hit = strstr(text, MARKS[i]));)
            memmove(hit, hit + 1, strlen(hit));
}

static void check_decoded(const hn_tokenizer *tk, const hn_ids *ids, bool special, bool cleaned,
                          const char *wanted) {
    hn_buf out = {0};
    hn_error err;
    assert_int_equal(hn_decode(tk, ids->data, ids->size, special, &out, &err), HN_OK);
    if (cleaned)
        clean_up(out.data);
    assert_string_equal(out.data, wanted);
    hn_buf_done(&out);
}

static void check_swift(const char *gguf, const char *key, bool add_bos, bool cleaned) {
    hn_tokenizer *tk = tokenizer_from_shared_gguf(gguf);
    size_t size, i;
    char *text = read_shared("tokenizers/golden_swift_transformers/tokenizer_tests.json", &size);
    json_t *root, *item;
    hn_error err;
    hn_ids ids = {0};
    assert_int_equal(hn_json_parse(text, size, "tokenizer_tests.json", &root, &err), HN_OK);
    const json_t *cases = json_object_get(root, key);
    assert_true(json_array_size(cases) >= 18);
    json_array_foreach (cases, i, item) {
        const char *input = json_string_value(json_object_get(item, "input"));
        encode_or_fail(tk, input, strlen(input), add_bos ? HN_ENCODE_ADD_SPECIAL : 0, &ids);
        check_array(&ids, json_object_get(json_object_get(item, "encoded"), "input_ids"), input);
        check_decoded(tk, &ids, true, cleaned,
                      json_string_value(json_object_get(item, "decoded_with_special")));
        check_decoded(tk, &ids, false, cleaned,
                      json_string_value(json_object_get(item, "decoded_without_special")));
    }
    json_decref(root);
    hn_free(text);
    hn_ids_done(&ids);
    hn_tokenizer_free(tk);
}

static void test_swift_cases(void **state) {
    (void)state;
    check_swift("tokenizers/ggml_vocab/ggml-vocab-gpt-2.gguf", "distilgpt2", false, true);
    check_swift("tokenizers/ggml_vocab/ggml-vocab-llama-spm.gguf",
                "coreml-projects/Llama-2-7b-chat-coreml", true, false);
    check_swift("tokenizers/ggml_vocab/ggml-vocab-llama-bpe.gguf",
                "pcuenq/Llama-3.2-1B-Instruct-tokenizer", true, true);
}

static void check_swift_text(const char *gguf, const char *name, bool add_bos) {
    hn_tokenizer *tk = tokenizer_from_shared_gguf(gguf);
    size_t size;
    char *text = read_shared(name, &size);
    json_t *root;
    hn_error err;
    hn_ids ids = {0};
    assert_int_equal(hn_json_parse(text, size, name, &root, &err), HN_OK);
    const char *input = json_string_value(json_object_get(root, "text"));
    encode_or_fail(tk, input, strlen(input), add_bos ? HN_ENCODE_ADD_SPECIAL : 0, &ids);
    check_array(&ids, json_object_get(root, "token_ids"), input);
    hn_buf out = {0};
    assert_int_equal(hn_decode(tk, ids.data, ids.size, false, &out, &err), HN_OK);
    assert_string_equal(out.data, input);
    hn_buf_done(&out);
    json_decref(root);
    hn_free(text);
    hn_ids_done(&ids);
    hn_tokenizer_free(tk);
}

static void test_swift_texts(void **state) {
    (void)state;
    check_swift_text("tokenizers/ggml_vocab/ggml-vocab-gpt-2.gguf",
                     "tokenizers/golden_swift_transformers/gpt2_encoded_tokens.json", false);
    check_swift_text("tokenizers/ggml_vocab/ggml-vocab-llama-spm.gguf",
                     "tokenizers/golden_swift_transformers/llama_encoded.json", true);
    check_swift_text("tokenizers/ggml_vocab/ggml-vocab-llama-bpe.gguf",
                     "tokenizers/golden_swift_transformers/llama_3.2_encoded.json", true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ggml_gpt2),      cmocka_unit_test(test_ggml_llama_bpe),
        cmocka_unit_test(test_ggml_llama_spm), cmocka_unit_test(test_ggml_qwen2),
        cmocka_unit_test(test_swift_cases),    cmocka_unit_test(test_swift_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
