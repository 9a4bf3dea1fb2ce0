/* Chat templates against transformers (tests/golden/record_templates.py), language snippets against
 * jinja2 (record_snippets.py), limits, and every allocation failing. */
#include "base/arena.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "template/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static json_t *load(const char *name) {
    char path[1024];
    json_t *data = NULL;
    hn_error err;
    snprintf(path, sizeof path, "%s/golden/%s", HN_TEST_ROOT, name);
    if (hn_json_read(path, 64 << 20, &data, &err) != HN_OK)
        fail_msg("%s", err.message);
    return data;
}

/* --- chats ------------------------------------------------------------------------------------ */

static hn_chat_options options_of(const json_t *json, int64_t now) {
    bool bare = json_is_true(json_object_get(json, "no_tokens"));
    return (hn_chat_options){
        .tools = json_object_get(json, "tools"),
        .documents = json_object_get(json, "documents"),
        .extra = json_object_get(json, "extra"),
        .add_generation_prompt = json_is_true(json_object_get(json, "add_generation_prompt")),
        .continue_final_message = json_is_true(json_object_get(json, "continue_final_message")),
        .bos_token = bare ? "" : "<BOS>",
        .eos_token = bare ? "" : "<EOS>",
        .now = now};
}

static bool matches(const json_t *wanted, const hn_buf *text) {
    if (json_is_string(wanted))
        return json_string_length(wanted) == text->size &&
               !memcmp(json_string_value(wanted), hn_buf_text(text), text->size);
    char hex[HN_SHA256_HEX];
    const char *hash = json_string_value(json_object_get(wanted, "h"));
    hn_error err;
    assert_int_equal(hn_sha256_data(hn_buf_text(text), text->size, hex, &err), HN_OK);
    return hash && !strncmp(hash, hex, strlen(hash));
}

/* Generation spans, by way of the same variables that a chat has. */
static int check_spans(const hn_template *tmpl, const char *name, const json_t *data,
                       const json_t *wanted) {
    int bad = 0;
    const char *chat;
    json_t *pairs;
    json_object_foreach ((json_t *)wanted, chat, pairs) {
        const json_t *messages = json_object_get(json_object_get(data, "conversations"), chat);
        hn_chat_options options =
            options_of(NULL, json_integer_value(json_object_get(data, "now")));
        hn_buf text = {0};
        hn_template_span *spans = NULL;
        size_t n = 0;
        hn_error err;
        hn_status status = hn_chat_render_spans(tmpl, messages, &options, &text, &spans, &n, &err);
        bool good =
            json_is_null(pairs) ? status != HN_OK : status == HN_OK && n == json_array_size(pairs);
        for (size_t i = 0; good && i < n; i++) {
            const json_t *pair = json_array_get(pairs, i);
            good = spans[i].start == (size_t)json_integer_value(json_array_get(pair, 0)) &&
                   spans[i].end == (size_t)json_integer_value(json_array_get(pair, 1));
        }
        if (!good && ++bad)
            print_message("%s, %s: other spans\n", name, chat);
        hn_free(spans);
        hn_buf_done(&text);
    }
    return bad;
}

static int check_template(const json_t *data, const char *name, const json_t *wanted) {
    const char *shared = getenv("HONE_SHARED");
    char path[1024], *source;
    size_t n;
    hn_error err;
    hn_template *tmpl = NULL;
    int bad = 0;
    snprintf(path, sizeof path, "%s/data/%s", shared ? shared : HN_TEST_ROOT "/../../shared", name);
    if (!hn_path_exists(path)) {
        print_message("skipped: %s isn't there (HONE_SHARED)\n", path);
        return -1;
    }
    assert_int_equal(hn_file_read(path, 1 << 20, &source, &n, &err), HN_OK);
    if (hn_template_new(&tmpl, source, n, &err) != HN_OK)
        fail_msg("%s: %s", name, err.message);
    hn_free(source);
    const json_t *cases = json_object_get(data, "cases");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const char *chat = json_string_value(json_array_get(json_array_get(cases, i), 0));
        const char *kind = json_string_value(json_array_get(json_array_get(cases, i), 1));
        hn_chat_options options =
            options_of(json_object_get(json_object_get(data, "options"), kind),
                       json_integer_value(json_object_get(data, "now")));
        const json_t *messages = json_object_get(json_object_get(data, "conversations"), chat);
        const json_t *result = json_array_get(wanted, i);
        hn_buf text = {0};
        hn_status status = hn_chat_render(tmpl, messages, &options, &text, &err);
        bool good =
            json_is_null(result) ? status != HN_OK : status == HN_OK && matches(result, &text);
        if (!good && ++bad <= 5)
            print_message("%s, %s, %s: %s\n--- got\n%s\n--- wanted\n%s\n", name, chat, kind,
                          status == HN_OK ? "differs" : err.message, hn_buf_text(&text),
                          json_is_null(result)     ? "an error"
                          : json_is_string(result) ? json_string_value(result)
                                                   : "another hash");
        hn_buf_done(&text);
    }
    bad += check_spans(tmpl, name, data, json_object_get(json_object_get(data, "spans"), name));
    hn_template_free(tmpl);
    return bad;
}

static void test_chats(void **state) {
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    /* another recording, of templates that can't be committed, may be checked the same way */
    const char *other = getenv("HONE_TEMPLATE_GOLDEN");
    json_t *data = other ? json_load_file(other, 0, NULL) : load("templates.json");
    assert_non_null(data);
    const char *name;
    json_t *wanted;
    int bad = 0, missing = 0;
    json_object_foreach (json_object_get(data, "results"), name, wanted) {
        int n = check_template(data, name, wanted);
        bad += n > 0 ? n : 0;
        missing += n < 0;
    }
    bool all_missing =
        missing && missing == (int)json_object_size(json_object_get(data, "results"));
    json_decref(data);
    assert_int_equal(bad, 0);
    if (all_missing)
        skip();
}

/* --- snippets --------------------------------------------------------------------------------- */

static hn_status render(const char *source, size_t n, const json_t *variables, hn_buf *out,
                        hn_error *err) {
    hn_template *tmpl = NULL;
    hn_status status = hn_template_new(&tmpl, source, n, err);
    if (status == HN_OK)
        status = hn_template_render(tmpl, variables, 1753000000, out, err);
    hn_template_free(tmpl);
    return status;
}

static void test_snippets(void **state) {
    (void)state;
    json_t *data = load("snippets.json");
    const json_t *variables = json_object_get(data, "variables");
    const json_t *snippets = json_object_get(data, "snippets");
    int bad = 0;
    for (size_t i = 0; i < json_array_size(snippets); i++) {
        const json_t *source = json_array_get(json_array_get(snippets, i), 0);
        const json_t *wanted = json_array_get(json_array_get(snippets, i), 1);
        hn_buf text = {0};
        hn_error err = {0};
        hn_status status =
            render(json_string_value(source), json_string_length(source), variables, &text, &err);
        bool good = json_is_null(wanted) ? status == HN_BAD_INPUT
                                         : status == HN_OK && matches(wanted, &text);
        if (!good && ++bad)
            print_message("%s\n  got    [%s]\n  wanted [%s]\n", json_string_value(source),
                          status == HN_OK ? hn_buf_text(&text) : err.message,
                          json_is_null(wanted) ? "an error" : json_string_value(wanted));
        hn_buf_done(&text);
    }
    json_decref(data);
    assert_int_equal(bad, 0);
}

/* --- failures --------------------------------------------------------------------------------- */

static void test_error_says_where(void **state) {
    (void)state;
    json_t *none = json_object();
    hn_buf text = {0};
    hn_error err;
    const char *source = "a\n{% if x %}\n{{ nothing.at.all }}\n{% endif %}\n{{ y.z }}";
    assert_int_equal(render(source, strlen(source), none, &text, &err), HN_BAD_INPUT);
    assert_string_equal(err.message, "template line 5: 'y' is undefined");
    source = "\n\n{% for x in %}{% endfor %}";
    assert_int_equal(render(source, strlen(source), none, &text, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "template line 3: "));
    source = "one\n{{ raise_exception('no\nsystem role') }}";
    assert_int_equal(render(source, strlen(source), none, &text, &err), HN_BAD_INPUT);
    assert_string_equal(err.message, "template line 2: no system role");
    assert_int_equal(text.size, 0);
    hn_buf_done(&text);
    json_decref(none);
}

/* Each would take for ever, all memory or all stack. */
static void test_hostile(void **state) {
    (void)state;
    static const char *const SOURCES[] = {
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
        "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
        "{% endfor %}",
        "{{ 'x' * 99999999999 }}",
        "{{ [1] * 999999999 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% set ns = namespace(l=[]) %}{% for i in range(5000) %}{% set ns.l = [ns.l] %}{% endfor "
        "%}"
        "{{ ns.l }}",
        "{% set ns = namespace(l=[]) %}{% for i in range(5000) %}{% set ns.l = [ns.l] %}{% endfor "
        "%}"
        "{{ ns.l == [[ns.l]] }}{{ ns.l | tojson }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(5000) %}{% set ns.l = ns.l | "
        "map('upper') "
        "%}{% endfor %}{{ ns.l | list }}",
        "{% set ns = namespace() %}{% set ns.n = ns %}{{ ns }}",
        "{{ '%99999999d' % 1 }}",
        "{{ '{:99999999}'.format(1) }}",
        "{{ '%.99999999f' % 1.5 }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{{ ('a' * 3000000) | replace('', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb') }}",
        "{{ range(0, 1000000000) }}",
        "{% set s = 'a' * 9000000 %}{% for i in range(90000) %}{% if 'b' in s %}{% endif %}"
        "{% endfor %}",
        "{{ 'a'.ljust(999999999) }}",
        "{{ 'a' | indent(999999999, true) }}",
        "{{ 9223372036854775807 + 1 }}",
        "{{ 2 ** 64 }}",
        "{{ -9223372036854775807 - 2 }}",
        "{{ (-9223372036854775807 - 1) // -1 }}",
        "{% for i in range(99999) %}{{ 'y' * 99999 }}{% endfor %}",
        "{% set l = range(90000) | list %}{% for i in l %}{% if l | sort %}{% endif %}{% endfor %}",
        "{{ [1, 2] | slice(99999999999) | list }}",
        "{{ [1] | batch(99999999999, 0) | list }}",
        "{{ '\t' .expandtabs(99999999999) }}",
    };
    json_t *none = json_object();
    for (size_t i = 0; i < sizeof SOURCES / sizeof *SOURCES; i++) {
        hn_buf text = {0};
        hn_error err;
        clock_t start = clock();
        if (render(SOURCES[i], strlen(SOURCES[i]), none, &text, &err) != HN_BAD_INPUT)
            fail_msg("%s gave %.100s", SOURCES[i], hn_buf_text(&text));
        assert_true(clock() - start < 20 * CLOCKS_PER_SEC); /* even with sanitizers */
        hn_buf_done(&text);
    }
    json_decref(none);
}

static void test_nested_source(void **state) {
    (void)state;
    static const char *const UNITS[][3] = {{"{{ ", "(", "1"},      {"{{ ", "[", "1"},
                                           {"{{ ", "-", "1"},      {"{{ ", "not ", "1"},
                                           {"{{ 1", "+1", ""},     {"{{ x", ".y", ""},
                                           {"", "{% if 1 %}", ""}, {"", "{% for x in y %}", ""},
                                           {"{{ x", "|upper", ""}, {"{{ 1", " if 1 else 1", ""}};
    json_t *none = json_object();
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++) {
        hn_buf source = {0}, text = {0};
        hn_error err;
        hn_buf_puts(&source, UNITS[i][0]);
        for (int n = 0; n < 50000; n++)
            hn_buf_puts(&source, UNITS[i][1]);
        hn_buf_puts(&source, UNITS[i][2]);
        assert_int_equal(render(source.data, source.size, none, &text, &err), HN_BAD_INPUT);
        hn_buf_done(&source);
        hn_buf_done(&text);
    }
    json_decref(none);
}

static const char EVERYTHING[] =
    "{%- macro m(a, b=2) -%}{{ a ~ b }}{{ caller() if caller else '' }}{%- endmacro -%}"
    "{% set ns = namespace(n=0, text='') %}{% for k, v in d | dictsort if v %}"
    "{% set ns.n = ns.n + loop.index %}{% set ns.text = ns.text + k + loop.length | string %}"
    "{% endfor %}{{ ns.n }}{{ ns.text }}{% call m(1) %}x{% endcall %}"
    "{% generation %}{{ d | tojson(indent=2) }}{% endgeneration %}"
    "{{ '%s-%05.1f' % ('a', 2.5) }}{{ '{:>5}|{}'.format('x', [1, {'a': 2}]) }}"
    "{{ 'a,b,c'.split(',') | map('upper') | select('ne', 'B') | join('+') }}"
    "{% set block | upper %}text{% endset %}{{ block }}{% filter lower %}ABC{% endfilter %}"
    "{% for x in [[1, []], [2, [[3, []]]]] recursive %}{{ x[0] }}{{ loop(x[1]) }}{% endfor %}"
    "{{ 'hello'[::-1] }}{{ range(3) | list }}{{ [3, 1, 2] | sort | first }}";

/* Each allocation fails in turn: an error, no leak, and outputs as they were. */
static void test_allocation_failures(void **state) {
    (void)state;
    json_t *variables = json_pack("{s:{s:i,s:i,s:s}}", "d", "b", 1, "a", 0, "c", "\xc3\xbc");
    hn_buf want = {0};
    hn_error err;
    assert_int_equal(render(EVERYTHING, strlen(EVERYTHING), variables, &want, &err), HN_OK);
    bool done = false;
    for (int64_t n = 0; !done && n < 10000; n++) {
        hn_buf text = {0};
        hn_mem_fail_after(n);
        hn_status status = render(EVERYTHING, strlen(EVERYTHING), variables, &text, &err);
        hn_mem_fail_after(-1);
        done = status == HN_OK;
        if (done)
            assert_string_equal(hn_buf_text(&text), hn_buf_text(&want));
        else
            assert_int_equal(status, HN_NO_MEMORY);
        hn_buf_done(&text);
    }
    assert_true(done);
    hn_buf_done(&want);
    json_decref(variables);
}

static void test_spans(void **state) {
    (void)state;
    static const char SOURCE[] =
        "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}{% generation %}"
        "{{ m.content }}!{% endgeneration %}{% else %}{{ m.content }}{% endif %}\n{% endfor %}";
    json_t *variables =
        json_pack("{s:[{s:s,s:s},{s:s,s:s}]}", "messages", "role", "user", "content", "h\xc3\xa9",
                  "role", "assistant", "content", "y\xc3\xb6");
    hn_template *tmpl;
    hn_template_span *spans;
    size_t n;
    hn_error err;
    hn_buf text = {0};
    hn_buf_puts(&text, "before ");
    assert_int_equal(hn_template_new(&tmpl, SOURCE, strlen(SOURCE), &err), HN_OK);
    assert_int_equal(hn_template_render_spans(tmpl, variables, 0, &text, &spans, &n, &err), HN_OK);
    assert_string_equal(hn_buf_text(&text), "before user:h\xc3\xa9"
                                            "assistant:y\xc3\xb6!");
    assert_int_equal(n, 1);
    assert_memory_equal(text.data + spans[0].start, "y\xc3\xb6!", 4);
    assert_int_equal(spans[0].end - spans[0].start, 4);
    hn_free(spans);
    hn_template_free(tmpl);
    hn_buf_done(&text);
    json_decref(variables);
}

static void test_bad_bytes(void **state) {
    (void)state;
    hn_template *tmpl = NULL;
    hn_error err;
    assert_int_equal(hn_template_new(&tmpl, "a\xff", 2, &err), HN_BAD_INPUT);
    assert_int_equal(hn_template_new(&tmpl, "{{ '\\ud800' }}", 14, &err), HN_BAD_INPUT);
    assert_int_equal(hn_template_new(&tmpl, "{{ 'a }}", 8, &err), HN_BAD_INPUT);
    assert_int_equal(hn_template_new(&tmpl, "{\0{ 1 }}{{ \0 }}", 15, &err), HN_BAD_INPUT);
    assert_null(tmpl);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chats),     cmocka_unit_test(test_snippets),
        cmocka_unit_test(test_spans),     cmocka_unit_test(test_error_says_where),
        cmocka_unit_test(test_hostile),   cmocka_unit_test(test_nested_source),
        cmocka_unit_test(test_bad_bytes), cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
