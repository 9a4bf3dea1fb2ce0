/* Answers taken apart as they stream: every format, cut at every place, and texts that only look
 * like calls. */
#include "base/mem.h"
#include "base/text.h"
#include "grammar/calls.h"
#include "serve/reply.h"
#include "serve/tool_calls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const hn_api_tool TOOLS[] = {{"add", NULL, false}, {"look", NULL, false}};
enum { N_TOOLS = 2 };

/* Deltas in one line: C(content) R(reasoning) then the calls name{arguments}. */
typedef struct heard {
    hn_reply_answer answer;
    bool half; /* a character was cut */
} heard;

static void hear(void *context, const hn_delta *delta) {
    heard *h = context;
    h->half |= !hn_utf8_valid(delta->text, delta->n_bytes);
    hn_reply_answer_add(&h->answer, delta);
}

static char *told(heard *h) {
    hn_buf line = {0};
    const hn_reply_answer *a = &h->answer;
    if (a->reasoning.size)
        hn_buf_printf(&line, "R(%s)", hn_buf_text(&a->reasoning));
    if (a->content.size)
        hn_buf_printf(&line, "C(%s)", hn_buf_text(&a->content));
    for (size_t i = 0; i < a->n_calls; i++)
        hn_buf_printf(&line, "%s%s", a->calls[i].name, hn_buf_text(&a->calls[i].arguments));
    assert_false(a->failed || h->half);
    hn_reply_answer_done(&h->answer);
    return line.size ? hn_buf_take(&line) : hn_strdup("");
}

static hn_answer_options options_of(hn_tool_format format, heard *h) {
    return (hn_answer_options){.format = format,
                               .tools = TOOLS,
                               .n_tools = N_TOOLS,
                               .seed = 7,
                               .emit = hear,
                               .context = h};
}

static void push(hn_answer_parser *p, const char *text, size_t n) {
    assert_int_equal(hn_answer_parser_push(p, text, n, NULL), HN_OK);
}

/* The same at every split in two, and byte by byte. */
static void expect_with(const hn_answer_options *given, const char *text, const char *wanted) {
    size_t n = strlen(text);
    for (size_t cut = 0; cut <= n + 1; cut++) {
        heard h = {0};
        hn_answer_options options = *given;
        options.context = &h;
        hn_answer_parser p;
        hn_answer_parser_init(&p, &options);
        if (cut <= n) {
            push(&p, text, cut);
            push(&p, text + cut, n - cut);
        } else {
            for (size_t i = 0; i < n; i++)
                push(&p, text + i, 1);
        }
        assert_int_equal(hn_answer_parser_finish(&p, NULL), HN_OK);
        hn_answer_parser_done(&p);
        char *line = told(&h);
        if (strcmp(line, wanted) != 0)
            fail_msg("cut at %zu of '%s': %s, not %s", cut, text, line, wanted);
        hn_free(line);
    }
}

static void expect(hn_tool_format format, const char *text, const char *wanted) {
    const hn_answer_options options = options_of(format, NULL);
    expect_with(&options, text, wanted);
}

static void test_plain(void **state) {
    (void)state;
    expect(HN_TOOLS_NONE, "", "");
    expect(HN_TOOLS_NONE, " Grüße \n", "C( Grüße \n)");
    expect(HN_TOOLS_NONE, "<tool_call>{\"name\": \"add\"}", "C(<tool_call>{\"name\": \"add\"})");
    expect(HN_TOOLS_HERMES, "Hello <tool", "C(Hello <tool)");
    expect(HN_TOOLS_HERMES, "a < b \n", "C(a < b \n)");
    expect(HN_TOOLS_LLAMA3, "\n ", "C(\n )");
    expect(HN_TOOLS_MISTRAL, "see [TOOL", "C(see [TOOL)");
}

static void test_thought(void **state) {
    (void)state;
    expect(HN_TOOLS_NONE, "<think>\nwhy é\n</think>\n\nso", "R(why é)C(so)");
    expect(HN_TOOLS_NONE, "\n<think>a", "R(a)");
    expect(HN_TOOLS_NONE, "<think></think>b", "C(b)");
    expect(HN_TOOLS_NONE, "x <think>a</think>", "C(x <think>a</think>)");
    expect(HN_TOOLS_NONE, "<thin", "C(<thin)");
    expect(HN_TOOLS_HERMES,
           "<think>t <tool_call></think>\n<tool_call>\n{\"name\": \"add\", \"arguments\": {}}\n"
           "</tool_call>",
           "R(t <tool_call>)add{}");
    expect(HN_TOOLS_LLAMA3, "<think>t</think> {\"name\": \"add\", \"parameters\": {\"a\": 1}}",
           "R(t)add{\"a\": 1}");
    hn_answer_options open = options_of(HN_TOOLS_NONE, NULL);
    open.in_thought = true;
    expect_with(&open, "\na </thin b\n</think>\nc", "R(a </thin b)C(c)");
    hn_answer_options keep = options_of(HN_TOOLS_NONE, NULL);
    keep.keep_thought = true;
    expect_with(&keep, "<think>a</think>b", "C(<think>a</think>b)");
}

static void test_hermes(void **state) {
    (void)state;
    const hn_tool_format f = HN_TOOLS_HERMES;
    expect(f, "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": \"}\\\"é\"}}\n</tool_call>",
           "add{\"a\": \"}\\\"é\"}");
    expect(f,
           "I look.\n<tool_call>{\"arguments\": {\"q\": [1, {}]}, \"name\": \"look\"}</tool_call>\n"
           "<tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call>\n",
           "C(I look.)look{\"q\": [1, {}]}add{}");
    expect(f,
           "<tool_call>[{\"name\": \"add\", \"arguments\": {}}, {\"name\": \"look\"}]</tool_call>",
           "add{}look{}");
    expect(f, "<tool_call>{\"name\": \"add\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call> done",
           "C(done)add{\"a\": 1}");
    expect(f,
           "<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"add\", \"arguments\": "
           "{\"a\": null}}}</tool_call>",
           "add{\"a\": null}");
    expect(f, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1", "add{\"a\": 1");
    expect(f, "<tool_call>{\"name\": \"add\", \"arguments\": null}</tool_call>", "add{}");
}

static void test_no_calls(void **state) {
    (void)state;
    static const char *const TEXTS[] = {
        "<tool_call>",
        "<tool_call>nothing</tool_call>",
        "<tool_call>{\"name\": \"add\"",
        "<tool_call>{\"name\": \"rm\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": 5}</tool_call>",
        "<tool_call>{\"arguments\": {}}</tool_call>",
        "<tool_call>{}</tool_call>",
        "<tool_call>[]</tool_call>",
        "<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>",
        "<tool_call>{\"name\": \"add\" \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\"; \"add\"}</tool_call>",
        "<tool_call>{\"a\": }</tool_call>",
        "<tool_call>{\"name\": \"a\\u12\"}",
        "<tool_call><tool_call>{",
        "<tool_call>{\"a\": \"\\\\\\\" <tool_call>",
        "<tool_call>{\"a\":[[[[[[[[{{{{",
    };
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
        hn_buf wanted = {0};
        hn_buf_printf(&wanted, "C(%s)", TEXTS[i]);
        expect(HN_TOOLS_HERMES, TEXTS[i], hn_buf_text(&wanted));
        hn_buf_done(&wanted);
    }
    expect(HN_TOOLS_LLAMA3, "{\"name\": \"add\", \"age\": 3}",
           "C({\"name\": \"add\", \"age\": 3})");
    expect(HN_TOOLS_LLAMA3, "{\"name\": \"add\"}", "C({\"name\": \"add\"})");
    expect(HN_TOOLS_LLAMA3, "{ok}", "C({ok})");
    expect(HN_TOOLS_LLAMA3, "<|python_tag|>print(1)", "C(<|python_tag|>print(1))");
    expect(HN_TOOLS_LLAMA3, "see {\"name\": \"add\", \"parameters\": {}}",
           "C(see {\"name\": \"add\", \"parameters\": {}})");
}

static void test_llama3(void **state) {
    (void)state;
    const hn_tool_format f = HN_TOOLS_LLAMA3;
    expect(f, "{\"name\": \"add\", \"parameters\": {\"a\": 1}}", "add{\"a\": 1}");
    expect(f, "\n{\"type\": \"function\", \"name\": \"add\", \"parameters\": {}}", "add{}");
    expect(f,
           "<|python_tag|>{\"name\": \"add\", \"parameters\": {}}; {\"name\": \"look\", "
           "\"parameters\": {\"x\": \"y\"}}",
           "add{}look{\"x\": \"y\"}");
    expect(f, "{\"type\": \"function\", \"function\": \"add\", \"parameters\": {}}", "add{}");
}

static void test_mistral(void **state) {
    (void)state;
    const hn_tool_format f = HN_TOOLS_MISTRAL, newer = HN_TOOLS_MISTRAL_ARGS;
    expect(f,
           "[TOOL_CALLS] [{\"name\": \"add\", \"arguments\": {\"a\": 1}}, {\"name\": \"look\", "
           "\"arguments\": {}}]",
           "add{\"a\": 1}look{}");
    expect(f, "Sure. [TOOL_CALLS][{\"name\": \"add\", \"arguments\": {}}]", "C(Sure.)add{}");
    expect(newer, "[TOOL_CALLS]add[ARGS]{\"a\": {}}[TOOL_CALLS]look[ARGS]{}",
           "add{\"a\": {}}look{}");
    expect(newer, "I look. [TOOL_CALLS]look[CALL_ID]a1B2c3D4e[ARGS] {\"x\": \"}\"}",
           "C(I look.)look{\"x\": \"}\"}");
    expect(newer, "[TOOL_CALLS]add{}", "add{}"); /* its tag got lost */
    expect(newer, "[TOOL_CALLS][{\"name\": \"add\", \"arguments\": {}}]", "add{}");
    expect(newer, "[TOOL_CALLS]rm[ARGS]{}", "C([TOOL_CALLS]rm[ARGS]{})");
    expect(newer, "[TOOL_CALLS]add[ARGS]1", "C([TOOL_CALLS]add[ARGS]1)");
    expect(newer, "[TOOL_CALLS]add[ARG", "C([TOOL_CALLS]add[ARG)");
    expect(newer, "[TOOL_CALLS]add[CALL_ID]a b", "C([TOOL_CALLS]add[CALL_ID]a b)");
    expect(f, "[TOOL_CALLS] none", "C([TOOL_CALLS] none)");
    expect(f, "[TOOL_CALLS]", "C([TOOL_CALLS])");
}

static void test_one_call(void **state) {
    (void)state;
    hn_answer_options options = options_of(HN_TOOLS_HERMES, NULL);
    options.one_call = true;
    expect_with(&options,
                "<tool_call>{\"name\": \"add\"}</tool_call><tool_call>{\"name\": \"look\"}"
                "</tool_call>",
                "add{}");
    options.in_call = true;
    expect_with(&options, "{\"name\": \"look\", \"arguments\": {}}", "look{}");
    options.one_call = false;
    expect_with(&options, "{\"name\": \"look\", \"arguments\": {\"a", "look{\"a");
    expect_with(&options, "{\"name\": \"lo", "C({\"name\": \"lo)");
}

/* Arguments come while they are written, and ids have the form that templates want. */
/* What is held to a call and ends early was cut: it is neither a call nor text. */
static void test_cut(void **state) {
    (void)state;
    static const char *const CUT[] = {"<tool_call>", "<tool_call>\n{\"name\": \"ad",
                                      "<tool_call>{\"name\": \"add\", \"argu"};
    heard h = {0};
    hn_answer_options options = options_of(HN_TOOLS_HERMES, &h);
    options.is_held = true;
    for (size_t i = 0; i < sizeof CUT / sizeof *CUT; i++) {
        hn_buf text = {0};
        hn_buf_printf(&text, "Well. %s", CUT[i]);
        expect_with(&options, hn_buf_text(&text), "C(Well.)");
        hn_buf_done(&text);
    }
    expect_with(&options, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a", "add{\"a");
    expect_with(&options, "a <tool_", "C(a <tool_)");
}

static void test_streaming(void **state) {
    (void)state;
    const char *text = "[TOOL_CALLS][{\"name\": \"add\", \"arguments\": {\"a\": \"long";
    heard h = {0};
    hn_answer_options options = options_of(HN_TOOLS_MISTRAL, &h);
    hn_answer_parser p;
    hn_answer_parser_init(&p, &options);
    push(&p, text, strlen(text));
    assert_int_equal(h.answer.n_calls, 1);
    assert_string_equal(hn_buf_text(&h.answer.calls[0].arguments), "{\"a\": \"long");
    assert_int_equal(strlen(h.answer.calls[0].id), 9);
    hn_answer_parser_done(&p);
    hn_reply_answer_done(&h.answer);
    options.format = HN_TOOLS_HERMES;
    hn_answer_parser_init(&p, &options);
    text = "<tool_call>{\"name\": \"add\", \"arguments\": {";
    push(&p, text, strlen(text));
    assert_memory_equal(h.answer.calls[0].id, "call_", 5);
    hn_answer_parser_done(&p);
    hn_reply_answer_done(&h.answer);
}

static void test_detect(void **state) {
    (void)state;
    bool shows;
    assert_int_equal(hn_tool_format_detect(NULL, &shows), HN_TOOLS_HERMES);
    assert_false(shows);
    assert_int_equal(hn_tool_format_detect("{% if tools %}<tool_call>", &shows), HN_TOOLS_HERMES);
    assert_true(shows);
    assert_int_equal(hn_tool_format_detect("{{ tools }} [TOOL_CALLS]", &shows), HN_TOOLS_MISTRAL);
    assert_int_equal(hn_tool_format_detect("{{ tools }} [TOOL_CALLS] name [ARGS]", &shows),
                     HN_TOOLS_MISTRAL_ARGS);
    assert_int_equal(hn_tool_format_detect("tools <|python_tag|>", &shows), HN_TOOLS_LLAMA3);
    assert_int_equal(hn_tool_format_detect("tools <|start_header_id|> \"parameters\": x", &shows),
                     HN_TOOLS_LLAMA3);
}

/* ---- what calls are held to ---- */

typedef enum verdict { DEAD, HALF, WHOLE } verdict;

static const hn_api_tool *held_tools; /* two */

static verdict judge(const hn_tool_demand *demand, const char *text) {
    hn_tool_demand d = *demand;
    hn_grammar *grammar;
    hn_matcher *matcher;
    hn_error err;
    char *described;
    size_t n;
    bool accepted;
    d.tools = held_tools;
    d.n_tools = N_TOOLS;
    assert_int_equal(hn_tool_grammar(&d, &described, &n, NULL), HN_OK);
    if (hn_grammar_from_calls_text(&grammar, described, n, "tools", &err) != HN_OK)
        fail_msg("%s: %s", described, err.message);
    assert_int_equal(hn_matcher_new(&matcher, grammar, NULL, NULL), HN_OK);
    assert_int_equal(hn_matcher_feed(matcher, text, strlen(text), &accepted, NULL), HN_OK);
    const verdict v = !accepted ? DEAD : hn_matcher_may_end(matcher) ? WHOLE : HALF;
    hn_matcher_free(matcher);
    hn_grammar_free(grammar);
    hn_free(described);
    return v;
}

static void expect_held(const hn_tool_demand *d, const char *text, verdict wanted) {
    const verdict got = judge(d, text);
    if (got != wanted)
        fail_msg("%s: %d, wanted %d", text, got, wanted);
}

static json_t *number_parameter(void) {
    return json_loads(
        "{\"properties\": {\"p\": {\"$ref\": \"#/$defs/P\"}}, \"required\": [\"p\"], "
        "\"additionalProperties\": false, \"$defs\": {\"P\": {\"type\": \"integer\"}}}",
        0, NULL);
}

static void test_required(void **state) {
    (void)state;
    json_t *parameters = number_parameter();
    const hn_api_tool tools[] = {{"add", parameters, false}, {"look", NULL, false}};
    hn_tool_demand d = {.format = HN_TOOLS_HERMES, .required = true, .parallel = true};
    held_tools = tools;
    assert_string_equal(hn_tool_opening(HN_TOOLS_HERMES), "<tool_call>");
    expect_held(&d, "\n{\"name\": \"add\", \"arguments\": {\"p\": 3}}\n</tool_call>", WHOLE);
    expect_held(&d, "{\"name\":\"look\",\"arguments\":{}}</tool_call>", WHOLE);
    expect_held(&d, "\n{\"name\": \"add\", \"arguments\": {\"p\": 3}}", HALF);
    expect_held(&d, "\n{\"name\": \"look\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{",
                HALF);
    expect_held(&d, "{\"name\": \"add\", \"arguments\": {\"p\": \"", DEAD);
    expect_held(&d, "{\"name\": \"rm", DEAD);
    expect_held(&d, "No", DEAD);
    d.name = "add";
    expect_held(&d, "{\"name\": \"l", DEAD);
    d.format = HN_TOOLS_MISTRAL;
    expect_held(&d, " [{\"name\": \"add\", \"arguments\": {\"p\": 3}}]", WHOLE);
    expect_held(&d, "[]", DEAD);
    expect_held(&d, "[{\"name\": \"add\", \"arguments\": {\"p\": 3}},", DEAD);
    d.format = HN_TOOLS_MISTRAL_ARGS;
    d.name = NULL;
    expect_held(&d, "add[ARGS]{\"p\": 3}", WHOLE);
    expect_held(&d, "add\xFF[ARGS]{\"p\": 3}\xFF[TOOL_CALLS]look\xFF[ARGS]{}", WHOLE);
    expect_held(&d, "add{", DEAD);
    d.format = HN_TOOLS_LLAMA3;
    assert_string_equal(hn_tool_opening(HN_TOOLS_LLAMA3), "");
    expect_held(&d, "{\"name\": \"add\", \"parameters\": {\"p\": 3}}", WHOLE);
    expect_held(&d, "{\"name\": \"look\", \"parameters\": {}}; {\"name\": \"add\"", HALF);
    json_decref(parameters);
}

/* Free text until a call begins, whatever it looks like; from there on no way past the schema. */
static void test_auto(void **state) {
    (void)state;
    json_t *parameters = number_parameter();
    const hn_api_tool tools[] = {{"add", parameters, true}, {"look", NULL, false}};
    hn_tool_demand d = {.format = HN_TOOLS_HERMES, .parallel = true};
    held_tools = tools;
    expect_held(&d, "", WHOLE);
    expect_held(&d, "Any \xC3\xA9 text, <tool_cal <<tool_calm> {\"name\": \"rm\"} \xFF<|x|>",
                WHOLE);
    expect_held(&d, "Well. <tool_call>", HALF);
    expect_held(&d, "<<tool_call>\n{\"name\": \"add\", \"arguments\": {\"p\": 3}}\n</tool_call>",
                WHOLE);
    expect_held(&d, "\xFF<tool_call>\n{\"name\": \"add\", \"arguments\": {\"p\": \"", DEAD);
    expect_held(&d, "a<tool_call>b", DEAD);
    expect_held(&d,
                "<tool_call>{\"name\":\"look\",\"arguments\":{}}</tool_call> And "
                "<tool_call>{\"name\":\"add\",\"arguments\":{\"p\":1}}</tool_call>.",
                WHOLE);
    expect_held(&d, "<tool_call>{\"name\":\"look\",\"arguments\":{}}</tool_call><tool_call>x",
                DEAD);
    expect_held(&d, "<think>a <tool_call> b</think>c", WHOLE);
    expect_held(&d, " <think>a</think><tool_call>b", DEAD);
    d.thought = HN_THOUGHT_NEVER;
    expect_held(&d, "<think>a <tool_call> b", DEAD);
    d.thought = HN_THOUGHT_OPEN;
    expect_held(&d, "a <tool_call> b", WHOLE);
    expect_held(&d, "a</think><tool_call> b", DEAD);
    d.thought = HN_THOUGHT_MAY;
    d.parallel = false;
    expect_held(&d, "<tool_call>{\"name\":\"look\",\"arguments\":{}}</tool_call>", WHOLE);
    expect_held(&d, "<tool_call>{\"name\":\"look\",\"arguments\":{}}</tool_call>.", DEAD);
    d.parallel = true;
    d.format = HN_TOOLS_MISTRAL;
    expect_held(&d, "[TOOL_CALL]", WHOLE);
    expect_held(&d, "ok [TOOL_CALLS] [{\"name\": \"look\", \"arguments\": {}}, {\"name\"", HALF);
    expect_held(&d, "[TOOL_CALLS]look", DEAD);
    d.format = HN_TOOLS_MISTRAL_ARGS;
    expect_held(&d, "\xFF[TOOL_CALLS]add\xFF[ARGS]{\"p\": 12}", WHOLE);
    expect_held(&d, "[TOOL_CALLS]add[ARGS]{\"q\"", DEAD);
    d.format = HN_TOOLS_LLAMA3;
    expect_held(&d, "<|python_tag|>{\"name\": \"add\", \"parameters\": {\"p\": x", DEAD);
    expect_held(&d, "\n {\"name\": \"add\", \"parameters\": {\"p\": 3}}", WHOLE);
    expect_held(&d, "{\"name\": \"add\", \"parameters\": {\"p\": \"", DEAD);
    expect_held(&d, "{\"name\":\"add\",\"parameters\":{\"q\"", DEAD);
    expect_held(&d, "<think>a</think>{\"name\": \"add\", \"arguments\"", DEAD);
    expect_held(&d, "{\"name\": \"additive\", \"arguments\": {}}", WHOLE);
    expect_held(&d, "{\"name\": \"Ann\"}", WHOLE);
    expect_held(&d, "So: {\"name\": \"add\", 1}", WHOLE);
    expect_held(&d, "<|python_ta <|python_tag|>{", HALF);
    json_decref(parameters);
}

/* Beside a schema an answer is calls, or keeps to it. */
static void test_held_beside_schema(void **state) {
    (void)state;
    json_t *schema = json_loads("{\"enum\": [{\"a\": 1}]}", 0, NULL);
    hn_tool_demand d = {.format = HN_TOOLS_HERMES, .parallel = true, .schema = schema};
    held_tools = TOOLS;
    expect_held(&d, "{\"a\":1}", WHOLE);
    expect_held(&d, "{\"b\"", DEAD);
    expect_held(&d, "<tool_call>\n{\"name\": \"look\", \"arguments\": {}}\n</tool_call>", WHOLE);
    expect_held(&d, "a", DEAD);
    d.thought = HN_THOUGHT_OPEN;
    expect_held(&d, "hm</think>\n\n{\"a\":1}", WHOLE);
    d.thought = HN_THOUGHT_MAY;
    d.format = HN_TOOLS_LLAMA3;
    expect_held(&d, "{\"name\": \"look\", \"parameters\": {}}", WHOLE);
    expect_held(&d, "{\"a\":1}", WHOLE);
    json_decref(schema);
}

/* A schema that can't be kept is refused where the tool is strict or must be called. */
static void test_loose(void **state) {
    (void)state;
    json_t *odd = json_loads("{\"type\": \"object\", \"not\": {}}", 0, NULL);
    hn_api_tool tools[] = {{"add", odd, false}, {"look", NULL, false}};
    hn_tool_demand d = {.format = HN_TOOLS_HERMES, .tools = tools, .n_tools = N_TOOLS};
    held_tools = tools;
    expect_held(&d, "<tool_call>{\"name\": \"add\", \"arguments\": {\"x\": [1]}}</tool_call>",
                WHOLE);
    expect_held(&d, "<tool_call>{\"name\": \"add\", \"arguments\": 1", DEAD);
    for (int required = 0; required < 2; required++) {
        hn_grammar *grammar;
        hn_error err;
        char *text;
        size_t n;
        tools[0].strict = !required;
        d.required = required;
        assert_int_equal(hn_tool_grammar(&d, &text, &n, NULL), HN_OK);
        assert_int_equal(hn_grammar_from_calls_text(&grammar, text, n, "tools", &err),
                         HN_UNSUPPORTED);
        assert_non_null(strstr(err.message, "the tool 'add': #/not"));
        hn_free(text);
    }
    json_decref(odd);
}

/* Work grows with the text, not with its square. */
static void test_long(void **state) {
    (void)state;
    enum { TIMES = 20000 };
    hn_buf text = {0};
    for (int i = 0; i < TIMES; i++)
        hn_buf_puts(&text, "<tool_call>{\"a\":\"");
    heard h = {0};
    hn_answer_options options = options_of(HN_TOOLS_HERMES, &h);
    hn_answer_parser p;
    hn_answer_parser_init(&p, &options);
    for (size_t i = 0; i < text.size; i += 3)
        push(&p, text.data + i, text.size - i < 3 ? text.size - i : 3);
    assert_int_equal(hn_answer_parser_finish(&p, NULL), HN_OK);
    assert_int_equal(h.answer.content.size, text.size);
    hn_answer_parser_done(&p);
    hn_reply_answer_done(&h.answer);
    hn_buf_done(&text);
}

static void test_memory(void **state) {
    (void)state;
    const char *text = "<think>a</think>b <tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}"
                       "</tool_call>";
    bool done = false;
    for (int n = 0; !done; n++) {
        heard h = {0};
        hn_answer_options options = options_of(HN_TOOLS_HERMES, &h);
        hn_answer_parser p;
        hn_error err = {0};
        hn_answer_parser_init(&p, &options);
        hn_mem_fail_after(n);
        hn_status status = hn_answer_parser_push(&p, text, strlen(text), &err);
        hn_status end = hn_answer_parser_finish(&p, &err);
        hn_mem_fail_after(-1);
        done = status == HN_OK && end == HN_OK && !h.answer.failed;
        hn_answer_parser_done(&p);
        hn_reply_answer_done(&h.answer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plain),
                                       cmocka_unit_test(test_thought),
                                       cmocka_unit_test(test_hermes),
                                       cmocka_unit_test(test_no_calls),
                                       cmocka_unit_test(test_llama3),
                                       cmocka_unit_test(test_mistral),
                                       cmocka_unit_test(test_one_call),
                                       cmocka_unit_test(test_cut),
                                       cmocka_unit_test(test_streaming),
                                       cmocka_unit_test(test_detect),
                                       cmocka_unit_test(test_required),
                                       cmocka_unit_test(test_auto),
                                       cmocka_unit_test(test_held_beside_schema),
                                       cmocka_unit_test(test_loose),
                                       cmocka_unit_test(test_long),
                                       cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
