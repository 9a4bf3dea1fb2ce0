/* What tokenizers do with odd text, odd vocabularies and no memory; the scanners by hand against
 * PCRE2. */
#include "base/clock.h"
#include "base/rng.h"

#include <utf8proc.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "tiny_vocab.h"
#include "tokenizer_help.h"

static hn_tokenizer *tiny(const char *pre) {
    static tiny_vocab t;
    hn_tokenizer *tk = NULL;
    hn_error err;
    if (pre)
        tiny_byte_level(&t, pre);
    else
        tiny_sentencepiece(&t);
    if (hn_tokenizer_from_vocab(&tk, &t.vocab, &err) != HN_OK)
        fail_msg("%s", err.message);
    return tk;
}

static void assert_ids(const hn_tokenizer *tk, const char *text, int flags, size_t n,
                       const int32_t *wanted) {
    hn_ids ids = {0};
    encode_or_fail(tk, text, strlen(text), flags, &ids);
    assert_int_equal(ids.size, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids.data[i], wanted[i]);
    hn_ids_done(&ids);
}

/* "<|end|>" is 268 and "<u>" 269 in the tiny byte-level vocabulary. */
static void test_special_tokens_in_text(void **state) {
    (void)state;
    hn_tokenizer *tk = tiny("gpt-2");
    hn_ids ids = {0};
    const char text[] = "hello<|end|><u>";
    encode_or_fail(tk, text, strlen(text), 0, &ids);
    for (size_t i = 0; i < ids.size; i++)
        assert_int_not_equal(ids.data[i], 268);
    assert_int_equal(ids.data[ids.size - 1], 269); /* the user's own token always counts */
    assert_ids(tk, text, HN_ENCODE_PARSE_SPECIAL, 3, (int32_t[]){259, 268, 269});
    assert_true(hn_tokenizer_is_end(tk, 268));
    assert_true(hn_tokenizer_is_control(tk, 268));
    assert_false(hn_tokenizer_is_control(tk, 269));
    assert_int_equal(hn_tokenizer_find(tk, "<|end|>", 7), 268);
    assert_int_equal(hn_tokenizer_find(tk, "<|end|", 6), -1);
    hn_ids_done(&ids);
    hn_tokenizer_free(tk);
}

static void test_bos_and_space_prefix(void **state) {
    (void)state;
    hn_tokenizer *tk = tiny(NULL);
    int32_t hello = hn_tokenizer_find(tk, "\u2581hello", 8);
    int32_t world = hn_tokenizer_find(tk, "\u2581world", 8);
    assert_ids(tk, "hello world", HN_ENCODE_ADD_SPECIAL, 3, (int32_t[]){1, hello, world});
    assert_ids(tk, "", HN_ENCODE_ADD_SPECIAL, 1, (int32_t[]){1});
    assert_ids(tk, "", 0, 0, NULL);
    assert_true(hn_tokenizer_adds_bos(tk));
    hn_buf out = {0};
    hn_error err;
    int32_t ids[4] = {1, hello, world, 3 + 0xff};
    assert_int_equal(hn_decode(tk, ids, 4, false, &out, &err), HN_OK);
    assert_string_equal(out.data, "hello world\ufffd");
    hn_buf_done(&out);
    hn_tokenizer_free(tk);
}

static void test_bad_utf8(void **state) {
    (void)state;
    hn_tokenizer *tk = tiny("qwen2");
    const struct {
        const char *text;
        size_t size;
        const char *offset;
    } cases[] = {{"abcdefghij\xff", 11, "byte 10 "}, {"\xc3", 1, "byte 0 "},
                 {"a\xed\xa0\x80", 4, "byte 1 "},    {"\xf4\x90\x80\x80", 4, "byte 0 "},
                 {"ab\xc0\x80", 4, "byte 2 "},       {"\xe2\x82", 2, "byte 0 "}};
    hn_ids ids = {0};
    hn_error err;
    assert_int_equal(hn_ids_push(&ids, 7, &err), HN_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(hn_encode(tk, cases[i].text, cases[i].size, 1, &ids, &err), HN_BAD_INPUT);
        assert_non_null(strstr(err.message, cases[i].offset));
        assert_int_equal(ids.size, 1); /* untouched */
    }
    hn_ids_done(&ids);
    hn_tokenizer_free(tk);
}

/* Tokens of single bytes: what comes out is whole characters at every step. */
static void test_streaming(void **state) {
    (void)state;
    hn_tokenizer *tk = tiny("gpt-2");
    const char text[] = "a\u00e9\u4e16\U0001f999\xf0\x9f.\xe4\xb8";
    const char wanted[] = "a\u00e9\u4e16\U0001f999\ufffd.\ufffd";
    hn_decoder decoder;
    hn_buf out = {0}, whole = {0};
    hn_error err;
    int32_t ids[32];
    hn_decoder_init(&decoder, tk, false);
    for (size_t i = 0; i < strlen(text); i++) {
        char name[4];
        size_t n = hn_utf8_encode(hn_tk_byte_to_char((uint8_t)text[i]), name);
        ids[i] = hn_tokenizer_find(tk, name, n);
        assert_int_equal(hn_decoder_push(&decoder, ids[i], &out, &err), HN_OK);
        assert_true(hn_utf8_valid(hn_buf_text(&out), out.size));
        if (i % 3 == 0) /* a hidden token in the middle of a character changes nothing */
            assert_int_equal(hn_decoder_push(&decoder, 268, &out, &err), HN_OK);
    }
    assert_int_equal(hn_decoder_finish(&decoder, &out, &err), HN_OK);
    assert_string_equal(out.data, wanted);
    assert_int_equal(hn_decode(tk, ids, strlen(text), false, &whole, &err), HN_OK);
    assert_string_equal(whole.data, wanted);
    hn_buf_done(&out);
    hn_buf_done(&whole);
    hn_tokenizer_free(tk);
}

/* A megabyte without a break costs n log n, not n squared. */
static void test_long_word(void **state) {
    (void)state;
    enum { SIZE = 1 << 20 };
    const char *const pre[] = {"gpt-2", "llama-bpe", NULL};
    char *text = hn_malloc(SIZE);
    assert_non_null(text);
    for (size_t i = 0; i < SIZE; i++)
        text[i] = "hello"[i % 5];
    for (int i = 0; i < 3; i++) {
        hn_tokenizer *tk = tiny(pre[i]);
        hn_ids ids = {0};
        double start = hn_clock_seconds();
        encode_or_fail(tk, text, SIZE, 0, &ids);
        assert_true(hn_clock_seconds() - start < 20);
        assert_in_range(ids.size, SIZE / 5, SIZE / 5 + 3);
        hn_ids_done(&ids);
        hn_tokenizer_free(tk);
    }
    hn_free(text);
}

/* Long words go through the heap: all of the text is there, and nothing is left to merge. */
static void test_long_words_merge_fully(void **state) {
    (void)state;
    hn_tokenizer *tk = tiny("gpt-2");
    hn_rng rng = hn_rng_new(5, 1);
    hn_ids one = {0};
    for (int round = 0; round < 200; round++) {
        char text[400];
        size_t n = 60 + hn_rng_below(&rng, 300), at = 0;
        for (size_t i = 0; i < n; i++)
            text[i] = "helowrd"[hn_rng_below(&rng, 7)];
        encode_or_fail(tk, text, n, 0, &one); /* one word of n letters */
        for (size_t i = 0; i < one.size; i++)
            at += tk->bytes[one.data[i]].size;
        assert_int_equal(at, n);
        /* no two neighbours merge any more */
        for (size_t i = 0; i + 1 < one.size; i++)
            assert_int_equal(
                hn_tk_pair_find(&tk->pairs, (uint32_t)one.data[i], (uint32_t)one.data[i + 1])
                    ->rank1,
                0);
    }
    hn_ids_done(&one);
    hn_tokenizer_free(tk);
}

static void test_refused_vocabularies(void **state) {
    (void)state;
    static tiny_vocab t;
    hn_tokenizer *tk = NULL;
    hn_error err;
    tiny_byte_level(&t, "no-such-pre");
    assert_int_equal(hn_tokenizer_from_vocab(&tk, &t.vocab, &err), HN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "no-such-pre"));
    tiny_byte_level(&t, "gpt-2");
    t.vocab.model = "t5";
    assert_int_equal(hn_tokenizer_from_vocab(&tk, &t.vocab, &err), HN_UNSUPPORTED);
    tiny_byte_level(&t, "gpt-2");
    t.merges[3] = (hn_vocab_text){"hell x", 6};
    assert_int_equal(hn_tokenizer_from_vocab(&tk, &t.vocab, &err), HN_BAD_INPUT);
    t.merges[3] = (hn_vocab_text){"hello", 5};
    assert_int_equal(hn_tokenizer_from_vocab(&tk, &t.vocab, &err), HN_BAD_INPUT);
    tiny_byte_level(&t, "gpt-2");
    t.vocab.eos = 100000;
    assert_int_equal(hn_tokenizer_from_vocab(&tk, &t.vocab, &err), HN_BAD_INPUT);
    tiny_sentencepiece(&t);
    t.scores[300 - 40] = 0.0f / 0.0f;
    assert_int_equal(hn_tokenizer_from_vocab(&tk, &t.vocab, &err), HN_BAD_INPUT);
    t.vocab.scores = NULL;
    assert_int_equal(hn_tokenizer_from_vocab(&tk, &t.vocab, &err), HN_BAD_INPUT);
    assert_null(tk);
}

/* Every pre-tokeniser that a GGUF may name compiles and loses no byte. */
static void test_every_pre(void **state) {
    (void)state;
    static const char *const PRE[] = {"gpt-2",     "llama-bpe", "smaug-bpe",   "qwen2",
                                      "stablelm2", "smollm",    "qwen35",      "tekken",
                                      "gpt-4o",    "falcon",    "deepseek-v3", "default"};
    const char text[] =
        "Hello's WORLD'LL 12345\n\n  x_y ... \u4e16\u754c\u3042 \u00c9t\u00e9 $3 \t";
    for (size_t i = 0; i < sizeof PRE / sizeof *PRE; i++) {
        hn_tokenizer *tk = tiny(PRE[i]);
        hn_ids ids = {0};
        hn_buf out = {0};
        hn_error err;
        encode_or_fail(tk, text, strlen(text), 0, &ids);
        assert_int_equal(hn_decode(tk, ids.data, ids.size, true, &out, &err), HN_OK);
        assert_string_equal(out.data, text);
        hn_buf_done(&out);
        hn_ids_done(&ids);
        hn_tokenizer_free(tk);
    }
}

/* Every allocation of building, encoding and decoding fails once. */
static void test_no_memory(void **state) {
    (void)state;
    static tiny_vocab t;
    const char *const pre[] = {"qwen2", "gpt-4o", NULL};
    const char text[] =
        "hello 123 e\u0301 world, helloworldhelloworldhelloworldhelloworldhelloworld";
    for (int i = 0; i < 3; i++) {
        if (pre[i])
            tiny_byte_level(&t, pre[i]);
        else
            tiny_sentencepiece(&t);
        hn_status status = HN_NO_MEMORY;
        for (int n = 0; status == HN_NO_MEMORY; n++) {
            hn_tokenizer *tk = NULL;
            hn_ids ids = {0};
            hn_buf out = {0};
            hn_error err;
            hn_mem_fail_after(n);
            status = hn_tokenizer_from_vocab(&tk, &t.vocab, &err);
            if (status == HN_OK)
                status = hn_encode(tk, text, strlen(text), 3, &ids, &err);
            if (status == HN_OK)
                status = hn_decode(tk, ids.data, ids.size, true, &out, &err);
            hn_mem_fail_after(-1);
            assert_true(status == HN_OK || status == HN_NO_MEMORY);
            assert_true(n < 1000);
            hn_buf_done(&out);
            hn_ids_done(&ids);
            hn_tokenizer_free(tk);
        }
    }
}

/* --- the scanners against the patterns that they stand for --- */

static void add_random_char(hn_rng *rng, hn_buf *text) {
    static const char COMMON[] = "aZ'sSltLTveEmdr 01 \t\n\r.,!-_(";
    char bytes[4];
    uint64_t kind = hn_rng_below(rng, 8);
    uint32_t c = (uint32_t)hn_rng_below(rng, kind == 6 ? 0x3100 : 0x10000);
    if (kind < 6) {
        hn_buf_putc(text, COMMON[hn_rng_below(rng, sizeof COMMON - 1)]);
        return;
    }
    /* PCRE2 has an older Unicode: only what both have */
    if ((c >= 0xd800 && c < 0xe000) || utf8proc_category((int32_t)c) == UTF8PROC_CATEGORY_CN)
        c = 0x17f;
    hn_buf_append(text, bytes, hn_utf8_encode(c, bytes));
}

static void check_scanner(const char *pattern, hn_tk_step_kind kind) {
    hn_tokenizer *tk = tiny("gpt-2");
    hn_tk_regex *regex;
    hn_tk_regex_match match;
    hn_tk_step step = {0};
    hn_error err;
    assert_int_equal(hn_tk_step_pattern(tk, pattern, strlen(pattern), "test", &step, &err), HN_OK);
    assert_int_equal(step.kind, kind); /* known by its text */
    assert_int_equal(hn_tk_regex_new(tk, pattern, strlen(pattern), "test", &regex, &err), HN_OK);
    assert_int_equal(hn_tk_regex_match_new(regex, &match, &err), HN_OK);
    hn_rng rng = hn_rng_new(11, (uint64_t)kind);
    hn_buf text = {0};
    for (int round = 0; round < 20000; round++) {
        size_t begin, end, n = 1 + hn_rng_below(&rng, 20);
        hn_buf_reset(&text);
        for (size_t i = 0; i < n; i++)
            add_random_char(&rng, &text);
        for (size_t at = 0; at < text.size; at = end) {
            assert_int_equal(
                hn_tk_regex_find(regex, &match, text.data, text.size, at, &begin, &end, &err),
                HN_OK);
            const char *p = text.data + at;
            size_t left = text.size - at;
            size_t got =
                kind == HN_TK_STEP_GPT2
                    ? hn_tk_scan_gpt2(tk->classes, p, left)
                    : hn_tk_scan_llama3(tk->classes, p, left, kind == HN_TK_STEP_LLAMA3 ? 3 : 1);
            if (begin != at || got != end - begin)
                fail_msg("'%s' at %zu: %zu bytes instead of %zu", text.data, at, got, end - begin);
        }
    }
    hn_buf_done(&text);
    hn_tk_regex_match_done(&match);
    hn_tokenizer_free(tk);
}

static void test_scanners(void **state) {
    (void)state;
    check_scanner(
        "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
        HN_TK_STEP_GPT2);
    check_scanner("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
                  HN_TK_STEP_LLAMA3);
    check_scanner("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
                  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
                  HN_TK_STEP_QWEN2);
}

/* The class table against utf8proc, whose Unicode is older: all that it knows agrees. */
static void test_classes(void **state) {
    (void)state;
    hn_tokenizer *tk = tiny("gpt-2");
    for (uint32_t c = 0; c < HN_TK_CODE_POINTS; c++) {
        utf8proc_category_t category = utf8proc_category((int32_t)c);
        unsigned kind = hn_tk_class_of(tk->classes, c) & HN_TK_KIND;
        if (category == UTF8PROC_CATEGORY_CN || (c >= 0xd800 && c < 0xe000))
            continue;
        bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
        bool number = category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
        assert_int_equal(letter, kind == HN_TK_LETTER);
        assert_int_equal(number, kind == HN_TK_NUMBER);
    }
    hn_tokenizer_free(tk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_special_tokens_in_text),
        cmocka_unit_test(test_bos_and_space_prefix),
        cmocka_unit_test(test_bad_utf8),
        cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_long_word),
        cmocka_unit_test(test_long_words_merge_fully),
        cmocka_unit_test(test_refused_vocabularies),
        cmocka_unit_test(test_every_pre),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_scanners),
        cmocka_unit_test(test_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
