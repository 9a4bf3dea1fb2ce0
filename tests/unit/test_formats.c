/* JSON lines and .npy. */
#include "base/file.h"
#include "base/mem.h"
#include "formats/jsonl.h"
#include "formats/npy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *temporary_path(void) {
    static char path[64];
    snprintf(path, sizeof path, "/tmp/hone-test-formats-%ld", (long)getpid());
    return path;
}

static const char SAMPLE[] = "\xef\xbb\xbf{\"a\": 1}\r\n"
                             "\n"
                             "{\"a\": 1, \"a\": 2}\n"
                             "[1]\n"
                             "{\"b\": \"\xc3\xa9\"}\n"
                             "{\"b\": \"\xff\"}\n"
                             "  {\"last\": true}";

static void test_jsonl(void **state) {
    (void)state;
    hn_error err;
    hn_jsonl lines;
    json_t *row = NULL;
    assert_int_equal(hn_file_write(temporary_path(), SAMPLE, sizeof SAMPLE - 1, &err), HN_OK);
    assert_int_equal(hn_jsonl_open(&lines, temporary_path(), &err), HN_OK);
    assert_int_equal(hn_jsonl_next(&lines, &row, &err), HN_OK);
    assert_int_equal(lines.line, 1);
    assert_int_equal(json_integer_value(json_object_get(row, "a")), 1);
    json_decref(row);
    assert_int_equal(hn_jsonl_next(&lines, &row, &err), HN_BAD_INPUT); /* a key twice */
    assert_non_null(strstr(err.message, ":3: "));
    assert_int_equal(hn_jsonl_next(&lines, &row, &err), HN_BAD_INPUT); /* no object */
    assert_non_null(strstr(err.message, ":4: "));
    assert_int_equal(hn_jsonl_next(&lines, &row, &err), HN_OK);
    json_decref(row);
    assert_int_equal(hn_jsonl_next(&lines, &row, &err), HN_BAD_INPUT); /* no UTF-8 */
    assert_int_equal(hn_jsonl_next(&lines, &row, &err), HN_OK);
    assert_int_equal(lines.line, 7);
    json_decref(row);
    assert_int_equal(hn_jsonl_next(&lines, &row, &err), HN_OK);
    assert_null(row);
    hn_jsonl_close(&lines);
    unlink(temporary_path());
}

static void test_jsonl_empty_and_missing(void **state) {
    (void)state;
    hn_error err;
    hn_jsonl lines;
    json_t *row;
    assert_int_equal(hn_file_write(temporary_path(), "", 0, &err), HN_OK);
    assert_int_equal(hn_jsonl_open(&lines, temporary_path(), &err), HN_OK);
    assert_int_equal(hn_jsonl_next(&lines, &row, &err), HN_OK);
    assert_null(row);
    hn_jsonl_close(&lines);
    unlink(temporary_path());
    assert_int_equal(hn_jsonl_open(&lines, temporary_path(), &err), HN_IO);
}

static void test_jsonl_long_line(void **state) {
    (void)state;
    hn_error err;
    hn_jsonl lines;
    json_t *row;
    size_t size = HN_JSONL_MAX_LINE_BYTES + 16;
    char *text = hn_malloc(size);
    assert_non_null(text);
    memset(text, ' ', size);
    text[0] = '{';
    text[size - 5] = '}';
    memcpy(text + size - 4, "\n{}\n", 4);
    assert_int_equal(hn_file_write(temporary_path(), text, size, &err), HN_OK);
    hn_free(text);
    assert_int_equal(hn_jsonl_open(&lines, temporary_path(), &err), HN_OK);
    assert_int_equal(hn_jsonl_next(&lines, &row, &err), HN_BAD_INPUT);
    assert_int_equal(hn_jsonl_next(&lines, &row, &err), HN_OK);
    assert_non_null(row);
    json_decref(row);
    hn_jsonl_close(&lines);
    unlink(temporary_path());
}

static void test_npy(void **state) {
    (void)state;
    hn_error err;
    const float values[6] = {1, 2, 3, 4, 5, 6};
    const uint64_t shape[2] = {2, 3};
    assert_int_equal(hn_npy_write(temporary_path(), values, 2, shape, &err), HN_OK);
    char *bytes;
    size_t size;
    assert_int_equal(hn_file_read(temporary_path(), 4096, &bytes, &size, &err), HN_OK);
    assert_memory_equal(bytes, "\x93NUMPY\x01\x00", 8);
    size_t header = (size_t)(uint8_t)bytes[8] + ((size_t)(uint8_t)bytes[9] << 8);
    assert_int_equal((10 + header) % 64, 0);
    assert_int_equal(bytes[9 + header], '\n');
    assert_int_equal(size, 10 + header + sizeof values);
    assert_memory_equal(bytes + 10 + header, values, sizeof values);
    hn_free(bytes);
    unlink(temporary_path());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jsonl),
        cmocka_unit_test(test_jsonl_empty_and_missing),
        cmocka_unit_test(test_jsonl_long_line),
        cmocka_unit_test(test_npy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
