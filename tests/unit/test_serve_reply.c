/* Answers and chunks: each is JSON, with the fields that clients read. */
#include "base/mem.h"
#include "serve/json_text.h"
#include "serve/reply.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const hn_reply_head CHAT = {HN_API_CHAT, "chatcmpl-1", 17, "m\"x", "fp"};
static const hn_reply_head TEXT = {HN_API_COMPLETION, "cmpl-1", 17, "m", "fp"};
static const hn_reply_usage USAGE = {10, 4, 3};

/* Follows a path of keys and indices ("choices/0/delta") into parsed JSON. */
static const json_t *at(const json_t *value, const char *path) {
    char key[64];
    while (*path) {
        size_t n = strcspn(path, "/");
        memcpy(key, path, n);
        key[n] = '\0';
        value = json_is_array(value) ? json_array_get(value, (size_t)atoi(key))
                                     : json_object_get(value, key);
        path += n + (path[n] == '/');
    }
    return value;
}

static const char *text_at(const json_t *value, const char *path) {
    return json_string_value(at(value, path));
}

static json_t *parsed(const hn_buf *out) {
    json_error_t problem;
    json_t *value = json_loads(hn_buf_text(out), JSON_REJECT_DUPLICATES, &problem);
    if (!value)
        fail_msg("%s: %s", hn_buf_text(out), problem.text);
    return value;
}

/* The one event of a buffer. */
static json_t *event(hn_buf *out) {
    assert_memory_equal(out->data, "data: ", 6);
    assert_string_equal(out->data + out->size - 2, "\n\n");
    json_error_t problem;
    json_t *value = json_loadb(out->data + 6, out->size - 8, JSON_REJECT_DUPLICATES, &problem);
    if (!value)
        fail_msg("%s: %s", out->data, problem.text);
    assert_null(memchr(out->data, '\n', out->size - 2));
    hn_buf_reset(out);
    return value;
}

static void test_strings(void **state) {
    (void)state;
    static const char RAW[] = "a\"\\\n\t\x01\x7f\0é\xff\xf0\x9f\x98\x80\xe2\x80\xa8";
    hn_buf out = {0};
    hn_json_put_string(&out, RAW, sizeof RAW - 1);
    assert_string_equal(hn_buf_text(&out), "\"a\\\"\\\\\\n\\t\\u0001\\u007f\\u0000é\xef\xbf\xbd"
                                           "\xf0\x9f\x98\x80\\u2028\"");
    hn_buf_reset(&out);
    hn_json_put_real(&out, NAN);
    assert_string_equal(hn_buf_text(&out), "null");
    hn_buf_done(&out);
}

static void add(hn_reply_answer *a, hn_delta_kind kind, const char *text) {
    const hn_delta delta = {
        .kind = kind, .id = "call_1", .name = "f", .text = text, .n_bytes = strlen(text)};
    hn_reply_answer_add(a, &delta);
}

static void test_whole(void **state) {
    (void)state;
    hn_buf out = {0};
    hn_reply_answer answer = {0}, caller = {0};
    const hn_reply_timings timings = {6, 4, 3, 2, 1, 2000000, 3000000};
    add(&answer, HN_DELTA_REASONING, "why");
    add(&answer, HN_DELTA_CONTENT, "because");
    add(&caller, HN_DELTA_CALL, "");
    add(&caller, HN_DELTA_ARGUMENTS, "{\"a\":");
    add(&caller, HN_DELTA_ARGUMENTS, "1}");
    hn_reply_open(&CHAT, &out);
    hn_reply_message(0, &answer, NULL, "stop", &out);
    hn_reply_message(1, &caller, "{\"content\":[]}", "tool_calls", &out);
    hn_reply_close(&USAGE, &timings, &out);
    json_t *v = parsed(&out);
    assert_string_equal(text_at(v, "object"), "chat.completion");
    assert_string_equal(text_at(v, "model"), "m\"x");
    assert_string_equal(text_at(v, "choices/0/message/content"), "because");
    assert_string_equal(text_at(v, "choices/0/message/reasoning_content"), "why");
    assert_true(json_is_null(at(v, "choices/0/logprobs")));
    assert_true(json_is_null(at(v, "choices/1/message/content")));
    assert_string_equal(text_at(v, "choices/1/message/tool_calls/0/function/arguments"),
                        "{\"a\":1}");
    assert_string_equal(text_at(v, "choices/1/message/tool_calls/0/type"), "function");
    assert_string_equal(text_at(v, "choices/1/finish_reason"), "tool_calls");
    assert_int_equal(json_integer_value(at(v, "usage/total_tokens")), 13);
    assert_int_equal(json_integer_value(at(v, "usage/prompt_tokens_details/cached_tokens")), 4);
    assert_true(json_number_value(at(v, "timings/predicted_per_second")) == 1000);
    json_decref(v);
    hn_reply_answer_done(&answer);
    hn_reply_answer_done(&caller);
    hn_buf_reset(&out);
    hn_reply_open(&TEXT, &out);
    hn_reply_text(0, "a", 1, NULL, "length", &out);
    hn_reply_text(1, "b", 1, NULL, "stop", &out);
    hn_reply_close(&USAGE, NULL, &out);
    v = parsed(&out);
    assert_string_equal(text_at(v, "object"), "text_completion");
    assert_string_equal(text_at(v, "choices/1/text"), "b");
    assert_null(at(v, "timings"));
    json_decref(v);
    hn_buf_done(&out);
}

static void test_chunks(void **state) {
    (void)state;
    hn_buf out = {0};
    const hn_reply_extra none = {.usage_null = true}, usage = {.usage = &USAGE};
    hn_reply_chunk_role(&CHAT, 2, &none, &out);
    json_t *v = event(&out);
    assert_string_equal(text_at(v, "object"), "chat.completion.chunk");
    assert_string_equal(text_at(v, "choices/0/delta/role"), "assistant");
    assert_int_equal(json_integer_value(at(v, "choices/0/index")), 2);
    assert_true(json_is_null(at(v, "usage")) && json_is_null(at(v, "choices/0/finish_reason")));
    json_decref(v);
    const hn_delta call = {.kind = HN_DELTA_CALL, .call = 1, .id = "i", .name = "f", .text = ""};
    hn_reply_chunk_delta(&CHAT, 0, &call, NULL, NULL, &out);
    v = event(&out);
    assert_int_equal(json_integer_value(at(v, "choices/0/delta/tool_calls/0/index")), 1);
    assert_string_equal(text_at(v, "choices/0/delta/tool_calls/0/function/name"), "f");
    json_decref(v);
    const hn_delta more = {.kind = HN_DELTA_ARGUMENTS, .call = 1, .text = "{\"", .n_bytes = 2};
    hn_reply_chunk_delta(&CHAT, 0, &more, NULL, NULL, &out);
    v = event(&out);
    assert_null(at(v, "choices/0/delta/tool_calls/0/id"));
    assert_string_equal(text_at(v, "choices/0/delta/tool_calls/0/function/arguments"), "{\"");
    json_decref(v);
    hn_reply_chunk_finish(&CHAT, 0, "stop", "{\"content\":[]}", NULL, &out);
    v = event(&out);
    assert_int_equal(json_object_size(at(v, "choices/0/delta")), 0);
    assert_string_equal(text_at(v, "choices/0/finish_reason"), "stop");
    assert_true(json_is_object(at(v, "choices/0/logprobs")));
    json_decref(v);
    hn_reply_chunk_usage(&CHAT, &usage, &out);
    v = event(&out);
    assert_int_equal(json_array_size(at(v, "choices")), 0);
    assert_int_equal(json_integer_value(at(v, "usage/prompt_tokens")), 10);
    json_decref(v);
    hn_reply_chunk_text(&TEXT, 0, "a\n", 2, NULL, NULL, NULL, &out);
    v = event(&out);
    assert_string_equal(text_at(v, "choices/0/text"), "a\n");
    json_decref(v);
    hn_sse_done(&out);
    assert_string_equal(hn_buf_text(&out), "data: [DONE]\n\n");
    hn_buf_done(&out);
}

static void test_memory(void **state) {
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        hn_reply_answer answer = {0};
        hn_mem_fail_after(n);
        add(&answer, HN_DELTA_CONTENT, "a");
        add(&answer, HN_DELTA_CALL, "");
        add(&answer, HN_DELTA_ARGUMENTS, "{}");
        hn_mem_fail_after(-1);
        done = !answer.failed;
        hn_reply_answer_done(&answer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_strings), cmocka_unit_test(test_whole),
                                       cmocka_unit_test(test_chunks),
                                       cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
