#include "cli/cli.h"
#include "cli/progress_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_table_is_sound(void **state) {
    (void)state;
    for (size_t n = 0; HN_COMMANDS[n]; n++) {
        const hn_command *c = HN_COMMANDS[n];
        char *argv[] = {"hone", NULL};
        hn_command any = *c;
        any.min_args = 0;
        hn_parsed parsed;
        hn_error err;
        assert_non_null(c->run);
        assert_non_null(c->summary);
        assert_non_null(c->details);
        /* Reads every default by its type. */
        assert_int_equal(hn_parsed_read(&parsed, &any, 1, argv, &err), HN_OK);
        for (size_t i = 0; i < parsed.n_values; i++) {
            const hn_option *a = parsed.values[i].option;
            assert_true(strlen(a->help) > 0);
            assert_int_equal(a->type == HN_OPT_FLAG, a->value == NULL);
            assert_int_equal(a->type == HN_OPT_CHOICE, a->choices != NULL);
            if (a->needs) /* the command has it: asking aborts otherwise */
                assert_false(hn_parsed_get(&parsed, a->needs)->given);
            for (const char *at = a->not_with; at && *at; at += strspn(at, "|")) {
                char other[64];
                snprintf(other, sizeof other, "%.*s", (int)strcspn(at, "|"), at);
                assert_false(hn_parsed_get(&parsed, other)->given);
                at += strcspn(at, "|");
            }
            for (size_t j = 0; j < i; j++) {
                const hn_option *b = parsed.values[j].option;
                assert_string_not_equal(a->name, b->name);
                assert_false(a->letter && a->letter == b->letter);
            }
        }
        hn_parsed_done(&parsed);
    }
}

static const hn_option OPTIONS[] = {
    {"threads", 't', HN_OPT_INT, "N", "2", "Threads", NULL, 1, 64},
    {"rate", 0, HN_OPT_REAL, "X", "0.5", "Rate", NULL, 0, 1},
    {"kind", 0, HN_OPT_CHOICE, "KIND", "good", "Kind", "good|better", 0, 0},
    {"stop", 's', HN_OPT_LIST, "TEXT", NULL, "Stop", NULL, 0, 0},
    {0},
};
static const hn_command COMMAND = {
    .name = "try", .args = "FILE", .min_args = 1, .max_args = 1, .groups = {OPTIONS}};

static hn_status parse(hn_parsed *parsed, hn_error *err, int argc, char **argv) {
    return hn_parsed_read(parsed, &COMMAND, argc, argv, err);
}
#define PARSE(parsed, err, ...)                                                                    \
    parse(parsed, err, sizeof((char *[]){"hone", __VA_ARGS__}) / sizeof(char *),                   \
          (char *[]){"hone", __VA_ARGS__, NULL})

static void test_values(void **state) {
    (void)state;
    hn_parsed parsed;
    hn_error err;
    assert_int_equal(PARSE(&parsed, &err, "-t", "7", "file", "--stop=a", "-sb", "--rate", "1e-1"),
                     HN_OK);
    assert_int_equal(hn_parsed_get(&parsed, "threads")->integer, 7);
    assert_true(hn_parsed_get(&parsed, "rate")->real == 0.1);
    assert_string_equal(hn_parsed_get(&parsed, "kind")->text, "good");
    assert_false(hn_parsed_get(&parsed, "kind")->given);
    assert_int_equal(hn_parsed_get(&parsed, "stop")->n_list, 2);
    assert_string_equal(hn_parsed_get(&parsed, "stop")->list[1], "b");
    assert_string_equal(parsed.args[0], "file");
    hn_parsed_done(&parsed);
}

static void assert_usage(hn_status status, const hn_error *err, const char *part) {
    assert_int_equal(status, HN_USAGE);
    if (!strstr(err->message, part))
        fail_msg("'%s' lacks '%s'", err->message, part);
}

static void test_wrong_values(void **state) {
    (void)state;
    hn_parsed p;
    hn_error err;
    assert_usage(PARSE(&p, &err, "f", "--threads=x"), &err, "--threads: 'x' is no whole number");
    assert_usage(PARSE(&p, &err, "f", "-t", "0"), &err, "not between 1 and 64");
    assert_usage(PARSE(&p, &err, "f", "-t", "99999999999999999999"), &err, "no whole number");
    assert_usage(PARSE(&p, &err, "f", "--rate=nan"), &err, "no number");
    assert_usage(PARSE(&p, &err, "f", "--kind=best"), &err, "none of good|better");
    assert_usage(PARSE(&p, &err, "f", "--kind=goo"), &err, "none of");
    assert_usage(PARSE(&p, &err, "f", "--rate"), &err, "--rate needs a value");
    assert_usage(PARSE(&p, &err, "f", "--thread", "3", "--tread=1"), &err, "'--threads'");
    assert_usage(PARSE(&p, &err, "--rate", "1"), &err, "too few");
    assert_usage(PARSE(&p, &err, "f", "g"), &err, "'g' is one argument too many");
    assert_usage(PARSE(&p, &err, "f", "-xt"), &err, "'-x'");
}

static void test_units(void **state) {
    (void)state;
    char text[32];
    assert_string_equal(hn_cli_bytes(text, 999), "999 B");
    assert_string_equal(hn_cli_bytes(text, 98362432), "98.4 MB");
    assert_string_equal(hn_cli_bytes(text, 999999999), "1.0 GB");
    assert_string_equal(hn_cli_duration(text, 59.6), "1:00");
    assert_string_equal(hn_cli_duration(text, 3723), "1:02:03");
    assert_string_equal(hn_cli_duration(text, 1e300), "99:59:59");
    assert_int_equal(hn_text_columns("h\xc3\xa9\xe4\xbd\xa0", 6), 4); /* h, e acute, a wide one */
}

static void test_progress_line(void **state) {
    (void)state;
    hn_progress_view view = {.label = "train", .total = 400, .done = 100, .unit = "steps"};
    snprintf(view.detail, sizeof view.detail, "loss 1.25");
    char line[512];
    hn_progress_view_line(&view, 10.0, 100, line, sizeof line);
    assert_string_equal(line, "train  [=====               ]  25%  100/400 steps  10/s, 0:30 left"
                              "  loss 1.25");
    for (int width = 1; width < 100; width++) {
        hn_progress_view_line(&view, 10.0, width, line, sizeof line);
        assert_true(strlen(line) <= (size_t)width);
    }
    view = (hn_progress_view){.label = "pull", .done = 5000000, .unit = "bytes"};
    hn_progress_view_line(&view, 1.0, 0, line, sizeof line);
    assert_string_equal(line, "pull  5.0 MB  5.0 MB/s, 0:01");
    view.total = 1; /* more done than there was to do */
    hn_progress_view_line(&view, 0.0, 0, line, sizeof line);
    assert_string_equal(line, "pull  100%  5.0 MB/1 B");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_sound), cmocka_unit_test(test_values),
        cmocka_unit_test(test_wrong_values),   cmocka_unit_test(test_units),
        cmocka_unit_test(test_progress_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
