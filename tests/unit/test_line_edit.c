#include "cli/line_edit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Types all bytes; the last one's action. */
static hn_edit_action type(hn_line_edit *edit, const char *bytes) {
    hn_edit_action action = HN_EDIT_MORE;
    for (; *bytes; bytes++)
        action = hn_line_edit_feed(edit, *bytes);
    return action;
}

static void check(const char *typed, const char *wanted, size_t cursor) {
    hn_line_edit edit = {0};
    assert_int_equal(type(&edit, typed), HN_EDIT_MORE);
    assert_string_equal(hn_buf_text(&edit.text), wanted);
    assert_int_equal(edit.cursor, cursor);
    hn_line_edit_done(&edit);
}

#define LEFT "\x1b[D"
#define RIGHT "\x1b[C"
#define HOME "\x1b[H"
#define END "\x1b[F"
#define DEL "\x1b[3~"

static void test_keys(void **state) {
    (void)state;
    check("abc" LEFT LEFT "x", "axbc", 2);
    check("abc" HOME "x" END "y", "xabcy", 5);
    check("abc\x01x\x05y", "xabcy", 5);
    check("one two\x17", "one ", 4);
    check("one two  \x17", "one ", 4);
    check("one two" LEFT LEFT LEFT "\x0b", "one ", 4);
    check("one two" LEFT LEFT LEFT "\x15", "two", 0);
    check("abc\x7f\x08", "a", 1);
    check("abc" HOME DEL, "bc", 0);
    check("abc\x02\x02\x04", "ac", 1);
    check("one two\x1b"
          "bx\x1b"
          "fy",
          "one xtwoy", 9);
    check("\x7f" LEFT RIGHT DEL "\x0b\x15\x17", "", 0);
    check("a\x1b[99;99~b\x1bz\x1bOP"
          "c",
          "abc", 3); /* unknown keys */
}

static void test_utf8(void **state) {
    (void)state;
    check("h\xc3\xa9" LEFT "x", "hx\xc3\xa9", 2);
    check("\xf0\x9f\x98\x80\x7f", "", 0);
    check("e\xcc\x81"
          "a" LEFT "\x7f",
          "a", 0); /* a combining accent goes with its letter */
    check("a\xff\xfe\xc3"
          "b",
          "a", 1); /* bytes that are no character are dropped */
}

static void test_actions(void **state) {
    (void)state;
    hn_line_edit edit = {0};
    assert_int_equal(type(&edit, "\x04"), HN_EDIT_END);
    assert_int_equal(type(&edit, "hi\r"), HN_EDIT_ACCEPT);
    assert_int_equal(type(&edit, "\x03"), HN_EDIT_CANCEL);
    assert_int_equal(type(&edit, "\x0c"), HN_EDIT_CLEAR);
    hn_line_edit_done(&edit);
}

static void test_history(void **state) {
    (void)state;
    hn_line_edit edit = {0};
    hn_line_edit_remember(&edit, "first");
    hn_line_edit_remember(&edit, "second");
    hn_line_edit_remember(&edit, "second");
    hn_line_edit_reset(&edit);
    type(&edit, "typed\x1b[A");
    assert_string_equal(hn_buf_text(&edit.text), "second");
    type(&edit, "\x10\x10");
    assert_string_equal(hn_buf_text(&edit.text), "first");
    type(&edit, "\x1b[B\x0e\x0e");
    assert_string_equal(hn_buf_text(&edit.text), "typed");
    for (int i = 0; i < HN_EDIT_HISTORY + 10; i++) {
        char line[16];
        snprintf(line, sizeof line, "%d", i);
        hn_line_edit_remember(&edit, line);
    }
    assert_int_equal(edit.n_history, HN_EDIT_HISTORY);
    assert_string_equal(edit.history[0], "10");
    hn_line_edit_done(&edit);
}

static void test_paste(void **state) {
    (void)state;
    hn_line_edit edit = {0};
    /* Enter within a paste is text; control characters too. */
    assert_int_equal(type(&edit, "a\x1b[200~one\rtwo\n\x1b[201~b"), HN_EDIT_MORE);
    assert_string_equal(hn_buf_text(&edit.text), "aone\ntwo\nb");
    assert_int_equal(type(&edit, "\r"), HN_EDIT_ACCEPT);
    hn_line_edit_done(&edit);
}

static void test_draw(void **state) {
    (void)state;
    hn_line_edit edit = {0};
    hn_buf out = {0};
    type(&edit, "a\xe4\xbd\xa0"
                "b");
    hn_line_edit_draw(&edit, "> ", 80, &out);
    assert_string_equal(hn_buf_text(&out), "\r> a\xe4\xbd\xa0"
                                           "b\x1b[K\r\x1b[6C");
    hn_buf_reset(&out);
    type(&edit, "0123456789012345678901234567890");
    hn_line_edit_draw(&edit, "> ", 20, &out); /* scrolled: the end is seen */
    assert_string_equal(hn_buf_text(&out), "\r> 5678901234567890\x1b[K\r\x1b[18C");
    hn_buf_done(&out);
    hn_line_edit_done(&edit);
}

/* Whatever is typed, the cursor stays within the text and on a character. */
static void test_random(void **state) {
    (void)state;
    static const char *const PIECES[] = {"a",         " ",    "\xc3\xa9", LEFT,      RIGHT,
                                         HOME,        END,    DEL,        "\x7f",    "\x17",
                                         "\x0b",      "\x15", "\x10",     "\x0e",    "\x1b[200~",
                                         "\x1b[201~", "\xff", "\x1b",     "\xe4\xbd"};
    uint32_t seed = 1;
    hn_line_edit edit = {0};
    hn_line_edit_remember(&edit, "earlier \xc3\xa9");
    for (int i = 0; i < 20000; i++) {
        seed = seed * 1664525 + 1013904223;
        type(&edit, PIECES[(seed >> 16) % (sizeof PIECES / sizeof PIECES[0])]);
        assert_true(edit.cursor <= edit.text.size);
        hn_buf out = {0};
        hn_line_edit_draw(&edit, "> ", 10 + (int)(seed >> 28), &out);
        assert_false(out.failed);
        hn_buf_done(&out);
    }
    hn_line_edit_done(&edit);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),    cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_actions), cmocka_unit_test(test_history),
        cmocka_unit_test(test_paste),   cmocka_unit_test(test_draw),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
