/* Bodies of requests: what is taken, what is refused and by which name, and that nothing hostile
 * costs more than its reading. */
#include "base/buf.h"
#include "base/mem.h"
#include "serve/history.h"
#include "serve/request.h"
#include "support/check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CHAT "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]"
#define TOOL "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"add\"}}]"

static hn_status parse(hn_api_request *r, hn_api_kind kind, const char *body, hn_problem *problem) {
    return hn_api_request_parse(r, kind, body, strlen(body), problem);
}

static void take(hn_api_request *r, hn_api_kind kind, const char *body) {
    hn_problem problem = {0};
    if (parse(r, kind, body, &problem) != HN_OK)
        fail_msg("%s: %s", body, problem.message);
}

static void refuse(hn_api_kind kind, const char *body, const char *param) {
    hn_problem problem = {0};
    hn_api_request r;
    if (parse(&r, kind, body, &problem) == HN_OK)
        fail_msg("taken: %s", body);
    assert_int_equal(problem.http, 400);
    if (strcmp(problem.param, param) != 0)
        fail_msg("%s: '%s', not '%s': %s", body, problem.param, param, problem.message);
    assert_true(problem.message[0]);
}

static void test_defaults(void **state) {
    (void)state;
    hn_api_request r;
    take(&r, HN_API_CHAT, CHAT ", \"unknown\": [1, {}], \"temperature\": null}");
    assert_true(r.temperature == 1 && r.top_p == 1 && r.n == 1 && r.max_tokens == -1);
    assert_true(r.cache_prompt && r.add_generation_prompt && !r.stream && !r.has_seed);
    assert_int_equal(r.n_logprobs, -1);
    assert_null(r.model);
    hn_api_request_done(&r);
    take(&r, HN_API_COMPLETION, "{\"prompt\": \"\"}");
    assert_int_equal(r.max_tokens, 16);
    assert_int_equal(r.n_prompts, 1);
    hn_api_request_done(&r);
}

static void test_fields(void **state) {
    (void)state;
    hn_api_request r;
    take(&r, HN_API_CHAT,
         CHAT ", \"model\": \"m\", \"temperature\": 0.5, \"top_p\": 0.9, \"top_k\": -1, "
              "\"min_p\": 0.1, \"max_tokens\": 5, \"max_completion_tokens\": 7.0, \"n\": 2, "
              "\"seed\": 18, \"presence_penalty\": -2, \"frequency_penalty\": 1, "
              "\"repeat_penalty\": 1.1, \"stop\": [\"a\", \"b\"], \"stream\": true, "
              "\"stream_options\": {\"include_usage\": true}, \"logprobs\": true, "
              "\"top_logprobs\": 3, \"logit_bias\": {\"5\": -100, \"6\": 1.5}, "
              "\"lora\": [{\"id\": 0, \"scale\": 0.5}], \"priority\": 3, \"timeout\": 2.5, "
              "\"min_tokens\": 1, \"ignore_eos\": true, \"cache_prompt\": false}");
    assert_true(r.temperature == 0.5 && r.top_p == 0.9 && r.top_k == 0 && r.min_p == 0.1);
    assert_true(r.max_tokens == 7 && r.n == 2 && r.has_seed && r.seed == 18);
    assert_true(r.presence_penalty == -2 && r.repeat_penalty == 1.1 && r.timeout_s == 2.5);
    assert_int_equal(r.n_stop, 2);
    assert_string_equal(r.stop[1], "b");
    assert_int_equal(r.n_bias, 2);
    assert_int_equal(r.bias[1].token, 6);
    assert_true(r.stream && r.include_usage && r.ignore_eos && !r.cache_prompt);
    assert_int_equal(r.n_logprobs, 3);
    assert_true(r.n_loras == 1 && r.loras[0].scale == 0.5 && r.priority == 3);
    hn_api_request_done(&r);
    take(&r, HN_API_CHAT, CHAT ", \"seed\": -1, \"stop\": \"x\", \"logit_bias\": [[3, false]]}");
    assert_true(!r.has_seed && r.n_stop == 1 && isinf(r.bias[0].bias));
    hn_api_request_done(&r);
}

static void test_wrong_fields(void **state) {
    (void)state;
    static const char *const WRONG[][2] = {
        {"\"temperature\": \"hot\"", "temperature"},
        {"\"temperature\": 3", "temperature"},
        {"\"temperature\": 1e300", "temperature"},
        {"\"top_p\": [1]", "top_p"},
        {"\"top_k\": 1.5", "top_k"},
        {"\"n\": 0", "n"},
        {"\"n\": 99999999999999999999999999", "n"},
        {"\"max_tokens\": 0", "max_tokens"},
        {"\"max_tokens\": -2", "max_tokens"},
        {"\"max_tokens\": true", "max_tokens"},
        {"\"stream\": 1", "stream"},
        {"\"stream_options\": true", "stream_options"},
        {"\"stream_options\": {\"include_usage\": 1}", "stream_options.include_usage"},
        {"\"seed\": \"1\"", "seed"},
        {"\"seed\": 1.5", "seed"},
        {"\"stop\": 5", "stop"},
        {"\"stop\": [\"\"]", "stop"},
        {"\"stop\": [\"a\", 1]", "stop"},
        {"\"stop\": \"a\\u0000b\"", "stop"},
        {"\"logprobs\": 3", "logprobs"},
        {"\"top_logprobs\": 3", "top_logprobs"},
        {"\"logprobs\": true, \"top_logprobs\": 21", "top_logprobs"},
        {"\"logit_bias\": 5", "logit_bias"},
        {"\"logit_bias\": {\"x\": 1}", "logit_bias"},
        {"\"logit_bias\": {\"-1\": 1}", "logit_bias"},
        {"\"logit_bias\": {\"99999999999999999999\": 1}", "logit_bias"},
        {"\"logit_bias\": {\"1\": 101}", "logit_bias"},
        {"\"logit_bias\": [[1]]", "logit_bias"},
        {"\"lora\": {}", "lora"},
        {"\"lora\": [{\"id\": \"a\"}]", "lora"},
        {"\"model\": 5", "model"},
        {"\"min_tokens\": 9, \"max_tokens\": 8", "min_tokens"},
        {"\"response_format\": \"json\"", "response_format"},
        {"\"response_format\": {}", "response_format.type"},
        {"\"response_format\": {\"type\": \"xml\"}", "response_format.type"},
        {"\"response_format\": {\"type\": \"json_schema\"}", "response_format.json_schema"},
        {"\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"schema\": 3}}",
         "response_format.json_schema.schema"},
        {"\"grammar\": 5", "grammar"},
        {"\"grammar\": \"root ::= \\\"a\\\"\", \"json_schema\": {}", "grammar"},
        {"\"chat_template_kwargs\": 1", "chat_template_kwargs"},
        {"\"continue_final_message\": true", "continue_final_message"},
        {"\"tools\": {}", "tools"},
        {"\"tools\": [1]", "tools[0]"},
        {"\"tools\": [{\"type\": \"web\"}]", "tools[0]"},
        {"\"tools\": [{\"function\": {}}]", "tools[0].function.name"},
        {"\"tools\": [{\"function\": {\"name\": \"a b\"}}]", "tools[0].function.name"},
        {"\"tools\": [{\"function\": {\"name\": \"a\", \"parameters\": 1}}]",
         "tools[0].function.parameters"},
        {"\"tools\": [{\"function\": {\"name\": \"a\"}}, {\"function\": {\"name\": \"a\"}}]",
         "tools[1].function.name"},
        {"\"tool_choice\": \"required\"", "tool_choice"},
        {TOOL ", \"tool_choice\": \"maybe\"", "tool_choice"},
        {TOOL ", \"tool_choice\": {\"function\": {\"name\": \"sub\"}}", "tool_choice"},
        {TOOL ", \"tool_choice\": \"required\", \"json_schema\": {}", "json_schema"},
    };
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        hn_buf body = {0};
        hn_buf_printf(&body, CHAT ", %s}", WRONG[i][0]);
        refuse(HN_API_CHAT, hn_buf_text(&body), WRONG[i][1]);
        hn_buf_done(&body);
    }
}

static void test_messages(void **state) {
    (void)state;
    hn_api_request r;
    take(&r, HN_API_CHAT,
         "{\"messages\": [{\"role\": \"developer\", \"content\": [{\"type\": \"text\", \"text\": "
         "\"a\"}, {\"type\": \"text\", \"text\": \"b\"}]}, {\"role\": \"assistant\", \"content\": "
         "null, \"tool_calls\": [{\"id\": \"x\", \"type\": \"function\", \"function\": {\"name\": "
         "\"f\", \"arguments\": \"{\\\"q\\\": 1}\"}}]}, {\"role\": \"tool\", \"tool_call_id\": "
         "\"x\", \"content\": \"2\"}]}");
    const json_t *system = json_array_get(r.messages, 0), *call = json_array_get(r.messages, 1);
    assert_string_equal(json_string_value(json_object_get(system, "role")), "system");
    assert_string_equal(json_string_value(json_object_get(system, "content")), "ab");
    call = json_array_get(json_object_get(call, "tool_calls"), 0);
    const json_t *arguments = json_object_get(json_object_get(call, "function"), "arguments");
    assert_int_equal(json_integer_value(json_object_get(arguments, "q")), 1);
    hn_api_request_done(&r);
    static const char *const WRONG[][2] = {
        {"{}", "messages"},
        {"{\"messages\": []}", "messages"},
        {"{\"messages\": \"hi\"}", "messages"},
        {"{\"messages\": [3]}", "messages[0]"},
        {"{\"messages\": [{\"content\": \"x\"}]}", "messages[0].role"},
        {"{\"messages\": [{\"role\": \"king\", \"content\": \"x\"}]}", "messages[0].role"},
        {"{\"messages\": [{\"role\": \"user\"}]}", "messages[0].content"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": 5}]}", "messages[0].content"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": [\"x\"]}]}", "messages[0].content[0]"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}",
         "messages[0].content[0].type"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}]}",
         "messages[0].content[0].text"},
        {"{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": 1}]}",
         "messages[0].tool_calls"},
        {"{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{\"id\": 1}]}]}",
         "messages[0].tool_calls[0]"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"x\", \"name\": 1}]}",
         "messages[0].name"},
    };
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++)
        refuse(HN_API_CHAT, WRONG[i][0], WRONG[i][1]);
}

static void expect_split(const char *given, bool expected_several, const char *expected) {
    json_t *messages = json_loads(given, 0, NULL), *wanted = json_loads(expected, 0, NULL), *out;
    bool several;
    assert_non_null(messages);
    assert_non_null(wanted);
    ASSERT_OK(hn_history_split(messages, &several, &out, errp));
    assert_int_equal(several, expected_several);
    if (!json_equal(out, wanted)) {
        char *text = json_dumps(out, JSON_COMPACT);
        fail_msg("split into %s", text);
    }
    json_decref(messages);
    json_decref(wanted);
    json_decref(out);
}

/* Calls of one turn, one after the other, each with its result. */
static void test_split_calls(void **state) {
    (void)state;
#define USER "{\"role\": \"user\", \"content\": \"u\"}"
#define CALL(id) "{\"id\": \"" id "\", \"function\": {\"name\": \"f\"}}"
#define TURN(more, content, calls)                                                                 \
    "{\"role\": \"assistant\", " more "\"content\": \"" content "\", \"tool_calls\": [" calls "]}"
#define RESULT(id, content)                                                                        \
    "{\"role\": \"tool\", \"tool_call_id\": \"" id "\", \"content\": \"" content "\"}"
#define NAMELESS "{\"role\": \"tool\", \"content\": \"?\"}"
#define THOUGHT "\"reasoning_content\": \"t\", "
    expect_split("[" USER "," TURN("", "c", CALL("a")) "," RESULT("a", "1") "]", false,
                 "[" USER "," TURN("", "c", CALL("a")) "," RESULT("a", "1") "]");
    expect_split("[" USER "," TURN(THOUGHT, "c", CALL("a") "," CALL("b")) "," RESULT(
                     "b", "2") "," RESULT("a", "1") "," USER "," TURN("", "", CALL("c")) "]",
                 true,
                 "[" USER "," TURN(THOUGHT, "c", CALL("a")) "," RESULT("a", "1") "," TURN(
                     "", "", CALL("b")) "," RESULT("b", "2") "," USER
                                                             "," TURN("", "", CALL("c")) "]");
    /* Results that belong to no call, or come twice, stay behind the turn. */
    expect_split("[" TURN("", "", CALL("a") "," CALL("b")) "," NAMELESS "," RESULT(
                     "a", "1") "," RESULT("a", "again") "," RESULT("x", "3") "]",
                 true,
                 "[" TURN("", "", CALL("a")) "," RESULT("a", "1") "," TURN(
                     "", "", CALL("b")) "," NAMELESS
                                        "," RESULT("a", "again") "," RESULT("x", "3") "]");
    expect_split("[" TURN("", "", CALL("a") "," CALL("b")) "]", true,
                 "[" TURN("", "", CALL("a")) "," TURN("", "", CALL("b")) "]");
}

static void test_prompts(void **state) {
    (void)state;
    hn_api_request r;
    take(&r, HN_API_COMPLETION, "{\"prompt\": [\"a\", \"b\"], \"logprobs\": 5, \"echo\": true}");
    assert_true(r.n_prompts == 2 && r.n_logprobs == 5 && r.echo);
    hn_api_request_done(&r);
    take(&r, HN_API_COMPLETION, "{\"prompt\": [1, 2, 3], \"suffix\": null}");
    assert_true(r.n_prompts == 1 && r.prompts[0].n_tokens == 3 && r.prompts[0].tokens[2] == 3);
    hn_api_request_done(&r);
    take(&r, HN_API_EMBEDDING, "{\"input\": [[1], [2, 3]], \"encoding_format\": \"base64\"}");
    assert_true(r.n_prompts == 2 && r.prompts[1].n_tokens == 2 && r.base64);
    hn_api_request_done(&r);
    static const char *const WRONG[][2] = {
        {"{}", "prompt"},
        {"{\"prompt\": []}", "prompt"},
        {"{\"prompt\": {}}", "prompt"},
        {"{\"prompt\": [[]]}", "prompt"},
        {"{\"prompt\": [1, \"a\"]}", "prompt"},
        {"{\"prompt\": [\"a\", 1]}", "prompt"},
        {"{\"prompt\": [-1]}", "prompt"},
        {"{\"prompt\": [99999999999]}", "prompt"},
        {"{\"prompt\": \"a\", \"suffix\": \"b\"}", "suffix"},
        {"{\"prompt\": \"a\", \"logprobs\": true}", "logprobs"},
        {"{\"prompt\": [\"a\", \"b\"], \"n\": 100}", "prompt"},
    };
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++)
        refuse(HN_API_COMPLETION, WRONG[i][0], WRONG[i][1]);
    refuse(HN_API_EMBEDDING, "{\"input\": \"x\", \"encoding_format\": \"hex\"}", "encoding_format");
    refuse(HN_API_EMBEDDING, "{\"input\": []}", "input");
}

static void test_formats(void **state) {
    (void)state;
    hn_api_request r;
    take(&r, HN_API_CHAT,
         CHAT ", \"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"name\": "
              "\"p\", \"strict\": true, \"schema\": {\"type\": \"object\"}}}}");
    assert_string_equal(r.constraint, "{\"type\":\"object\"}");
    assert_int_equal(r.constraint_kind, HN_CONSTRAINT_SCHEMA);
    hn_api_request_done(&r);
    take(&r, HN_API_CHAT, CHAT ", \"response_format\": {\"type\": \"json_object\"}}");
    assert_non_null(r.constraint);
    hn_api_request_done(&r);
    take(&r, HN_API_CHAT,
         CHAT ", " TOOL ", \"tool_choice\": {\"type\": \"function\", "
              "\"function\": {\"name\": \"add\"}}}");
    assert_int_equal(r.tool_choice, HN_TOOL_CHOICE_REQUIRED);
    assert_string_equal(r.tool_name, "add");
    hn_api_request_done(&r);
    take(&r, HN_API_CHAT, CHAT ", " TOOL "}");
    assert_int_equal(r.tool_choice, HN_TOOL_CHOICE_AUTO);
    hn_api_request_done(&r);
}

static void test_no_json(void **state) {
    (void)state;
    static const char *const WRONG[] = {"",
                                        "{",
                                        "[]",
                                        "null",
                                        "\"x\"",
                                        "{\"a\": 1, \"a\": 2}",
                                        "{\"messages\": NaN}",
                                        "{\"a\": \"\xff\"}",
                                        "{\"a\": \"\\ud800\"}",
                                        "{\"a\": \"\xed\xa0\x80\"}",
                                        "{} {}",
                                        "{\"a\": 1e999}",
                                        "{\"a\": \"\\ude00\\ud83d\"}"};
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++)
        refuse(HN_API_CHAT, WRONG[i], "");
    const char *good = CHAT ", \"stop\": [\"a\"]}";
    for (size_t n = 0; n < strlen(good); n++) {
        hn_api_request r;
        hn_problem problem;
        assert_int_not_equal(hn_api_request_parse(&r, HN_API_CHAT, good, n, &problem), HN_OK);
        assert_int_equal(problem.http, 400);
    }
}

static void repeat(hn_buf *out, const char *text, size_t times) {
    for (size_t i = 0; i < times; i++)
        hn_buf_puts(out, text);
}

static void test_large(void **state) {
    (void)state;
    enum { MANY = 2000000, DEEP = 100000 };
    hn_buf body = {0};
    hn_buf_puts(&body, CHAT ", \"stop\": [\"a\"");
    repeat(&body, ",\"a\"", MANY);
    hn_buf_puts(&body, "]}");
    refuse(HN_API_CHAT, hn_buf_text(&body), "");
    hn_buf_reset(&body);
    hn_buf_puts(&body, CHAT ", \"stop\": [\"a\"");
    repeat(&body, ",\"a\"", HN_API_MAX_STOP);
    hn_buf_puts(&body, "]}");
    refuse(HN_API_CHAT, hn_buf_text(&body), "stop");
    hn_buf_reset(&body);
    hn_buf_puts(&body, CHAT ", \"x\": ");
    repeat(&body, "[", DEEP);
    refuse(HN_API_CHAT, hn_buf_text(&body), "");
    hn_buf_reset(&body);
    hn_buf_puts(&body, CHAT ", \"json_schema\": {\"description\": \"");
    repeat(&body, "long", HN_GRAMMAR_MAX_BYTES);
    hn_buf_puts(&body, "\"}}");
    refuse(HN_API_CHAT, hn_buf_text(&body), "json_schema");
    hn_buf_done(&body);
}

static void test_memory(void **state) {
    (void)state;
    const char *body = CHAT ", \"stop\": [\"a\"], \"logit_bias\": {\"1\": 1}, \"lora\": [], " TOOL
                            ", \"response_format\": {\"type\": \"json_schema\", \"json_schema\": "
                            "{\"schema\": {}}}}";
    bool done = false;
    for (int n = 0; !done; n++) {
        hn_api_request r;
        hn_problem problem = {0};
        hn_mem_fail_after(n);
        hn_status status = parse(&r, HN_API_CHAT, body, &problem);
        hn_mem_fail_after(-1);
        done = status == HN_OK;
        if (done)
            hn_api_request_done(&r);
        else
            assert_int_equal(problem.http, 503);
    }
}

static void test_split_memory(void **state) {
    (void)state;
    json_t *messages =
        json_loads("[" TURN("", "", CALL("a") "," CALL("b")) "," RESULT("a", "1") "]", 0, NULL);
    json_t *out = NULL;
    bool several;
    for (int n = 0; !out; n++) {
        hn_error err;
        hn_mem_fail_after(n);
        const hn_status status = hn_history_split(messages, &several, &out, &err);
        hn_mem_fail_after(-1);
        assert_int_equal(status, out ? HN_OK : HN_NO_MEMORY);
    }
    json_decref(out);
    json_decref(messages);
}

static void test_problem_json(void **state) {
    (void)state;
    hn_problem problem;
    hn_buf out = {0};
    assert_int_equal(hn_problem_too_long(&problem, 5000, 4096), HN_BAD_INPUT);
    hn_problem_json(&problem, &out);
    json_t *value = json_loads(hn_buf_text(&out), 0, NULL);
    const json_t *error = json_object_get(value, "error");
    assert_string_equal(json_string_value(json_object_get(error, "type")),
                        "exceed_context_size_error");
    assert_int_equal(json_integer_value(json_object_get(error, "n_prompt_tokens")), 5000);
    assert_int_equal(json_integer_value(json_object_get(error, "n_ctx")), 4096);
    json_decref(value);
    hn_buf_done(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),     cmocka_unit_test(test_fields),
        cmocka_unit_test(test_wrong_fields), cmocka_unit_test(test_messages),
        cmocka_unit_test(test_split_calls),  cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_formats),      cmocka_unit_test(test_no_json),
        cmocka_unit_test(test_large),        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_split_memory), cmocka_unit_test(test_problem_json)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
