#include "base/arena.h"
#include "base/buf.h"
#include "base/dtype.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void test_half_round_trip(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float value = hn_f16_to_f32((uint16_t)h);
        if (isnan(value))
            assert_true(isnan(hn_f16_to_f32(hn_f32_to_f16(value))));
        else
            assert_int_equal(hn_f32_to_f16(value), h);
    }
    assert_int_equal(hn_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(hn_f32_to_f16(65519.0f), 0x7bff);
}

static void test_buf_limit(void **state) {
    (void)state;
    hn_buf buf = {.max = 4};
    assert_true(hn_buf_puts(&buf, "abcd"));
    assert_false(hn_buf_putc(&buf, 'e'));
    hn_error err;
    assert_int_equal(hn_buf_check(&buf, &err), HN_NO_MEMORY);
    hn_buf_done(&buf);
}

static void test_out_is_atomic(void **state) {
    (void)state;
    char path[] = "/tmp/hone-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    hn_error err;
    assert_int_equal(hn_file_write(path, "old", 3, &err), HN_OK);
    hn_out out;
    assert_int_equal(hn_out_open(&out, path, &err), HN_OK);
    hn_out_write(&out, "new", 3);
    hn_out_abort(&out);
    char *text;
    assert_int_equal(hn_file_read(path, 100, &text, NULL, &err), HN_OK);
    assert_string_equal(text, "old");
    hn_free(text);
    unlink(path);
}

/* As root, a rename onto /dev/null would leave a file there for every program of the machine. */
static void test_output_keeps_what_is_no_file(void **state) {
    (void)state;
    const char *pipe = "test-out.pipe", *link = "test-out.link", *file = "test-out.tmp";
    hn_error err;
    char got[8] = "", *text;
    struct stat info;
    unlink(pipe);
    unlink(link);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    int reader = open(pipe, O_RDONLY | O_NONBLOCK);
    assert_true(reader >= 0);
    assert_int_equal(hn_file_write(pipe, "piped", 5, &err), HN_OK);
    assert_int_equal(read(reader, got, sizeof got - 1), 5);
    assert_string_equal(got, "piped");
    close(reader);
    assert_int_equal(lstat(pipe, &info), 0);
    assert_true(S_ISFIFO(info.st_mode));
    unlink(pipe);

    assert_int_equal(hn_file_write(file, "old", 3, &err), HN_OK);
    assert_int_equal(symlink(file, link), 0);
    assert_int_equal(hn_file_write(link, "new", 3, &err), HN_OK);
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(hn_file_read(file, 100, &text, NULL, &err), HN_OK);
    assert_string_equal(text, "new");
    hn_free(text);
    unlink(link);
    unlink(file);

    assert_int_equal(hn_file_write("/dev/full", "x", 1, &err), HN_IO);
    assert_non_null(strstr(err.message, "/dev/full: No space left"));
    assert_int_equal(hn_file_write("/dev/null", "x", 1, &err), HN_OK);
    assert_int_equal(stat("/dev/null", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
}

static void test_failures_say_what_to_do(void **state) {
    (void)state;
    hn_error err;
    errno = ENOSPC;
    assert_int_equal(hn_fail_errno(&err, "%s", "x.gguf"), HN_IO);
    assert_string_equal(err.message, "x.gguf: No space left on device; free some space there, or "
                                     "name another place");
    errno = ENOENT;
    assert_int_equal(hn_fail_errno(&err, "%s", "x.gguf"), HN_IO);
    assert_string_equal(err.message, "x.gguf: No such file or directory");
    hn_out out;
    assert_int_equal(hn_out_open(&out, "/tmp", &err), HN_IO); /* before any work is done for it */
    assert_non_null(strstr(err.message, "/tmp: is a directory"));
    assert_int_equal(hn_out_open(&out, "/tmp/hone-no-folder/a/x.gguf", &err), HN_IO);
    assert_string_equal(err.message, "/tmp/hone-no-folder/a/x.gguf: there is no folder "
                                     "/tmp/hone-no-folder/a; make it first: "
                                     "mkdir -p /tmp/hone-no-folder/a");
}

/* Memory that was given back comes again from the file; what isn't the map's is left alone. */
static void test_map_release(void **state) {
    (void)state;
    enum { SIZE = 300000 };
    const char *path = "test-map-release.tmp";
    hn_error err;
    hn_map map;
    uint8_t *bytes = hn_alloc_aligned(SIZE);
    assert_non_null(bytes);
    for (int i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    assert_int_equal(hn_file_write(path, bytes, SIZE, &err), HN_OK);
    assert_int_equal(hn_map_open(&map, path, &err), HN_OK);
    assert_memory_equal(map.data, bytes, SIZE);
    hn_map_release(&map, map.data + 70001, 150000);
    hn_map_release(&map, map.data, SIZE);
    hn_map_release(&map, map.data + SIZE, 0);
    hn_map_release(&map, map.data + 1, SIZE); /* one byte too many */
    assert_memory_equal(map.data, bytes, SIZE);
    hn_map_release(&map, bytes, SIZE);
    assert_int_equal(bytes[SIZE - 1], (uint8_t)((SIZE - 1) * 7 + (SIZE - 1) / 251));
    hn_map_close(&map);
    hn_map_release(&map, bytes, SIZE);
    hn_free_aligned(bytes, SIZE);
    unlink(path);
}

/* Known answers of Philox-4x32-10 for counter 0, key 0 (Random123's kat_vectors). */
static void test_philox(void **state) {
    (void)state;
    static const uint32_t WANTED[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    hn_rng rng = hn_rng_new(0, 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(hn_rng_u32(&rng), WANTED[i]);
}

static void test_utf8(void **state) {
    (void)state;
    assert_true(hn_utf8_valid("h\xc3\xa9\xf0\x9f\x98\x80", 7));
    assert_false(hn_utf8_valid("\xed\xa0\x80", 3));
    assert_false(hn_utf8_valid("\xc0\x80", 2));
    assert_int_equal(hn_utf8_complete_prefix("ab\xf0\x9f\x98", 5), 2);
    assert_int_equal(hn_utf8_complete_prefix("ab\xc3\xa9", 4), 4);
    static const char *const KEYS[] = {"learning_rate", "epochs"};
    assert_string_equal(hn_text_nearest("learnig_rate", KEYS, 2), "learning_rate");
    assert_null(hn_text_nearest("zzzzzz", KEYS, 2));
    assert_string_equal(hn_text_nearest("learn", KEYS, 2), "learning_rate");
}

static void test_sha256(void **state) {
    (void)state;
    char hex[HN_SHA256_HEX];
    hn_error err;
    assert_int_equal(hn_sha256_data("abc", 3, hex, &err), HN_OK);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* 10^30 is what transformers writes for "no limit". */
static void test_json_wide(void **state) {
    (void)state;
    static const char TEXT[] = "{\"a\\\"99999999999999999999\": 1000000000000000019884624838656,"
                               " \"b\": -9223372036854775808, \"c\": [7, -99999999999999999999],"
                               " \"d\": 1e19, \"e\": 9223372036854775807}";
    json_t *value = NULL;
    hn_error err;
    assert_int_equal(hn_json_parse(TEXT, strlen(TEXT), "t", &value, &err), HN_BAD_INPUT);
    assert_int_equal(hn_json_parse_wide(TEXT, strlen(TEXT), "t", &value, &err), HN_OK);
    assert_true(json_real_value(json_object_get(value, "a\"99999999999999999999")) == 1e30);
    assert_true(json_number_value(json_object_get(value, "b")) == -0x1p63);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(value, "c"), 0)), 7);
    assert_true(json_real_value(json_array_get(json_object_get(value, "c"), 1)) == -1e20);
    assert_true(json_real_value(json_object_get(value, "d")) == 1e19);
    json_decref(value);
    static const char *const BROKEN[] = {"[99999999999999999999",
                                         "{\"a: 99999999999999999999}",
                                         "1e999",
                                         "99999999999999999999 -",
                                         "\"\\",
                                         ""};
    for (size_t i = 0; i < sizeof BROKEN / sizeof *BROKEN; i++)
        assert_int_equal(hn_json_parse_wide(BROKEN[i], strlen(BROKEN[i]), "t", &value, &err),
                         HN_BAD_INPUT);
}

static void test_arena(void **state) {
    (void)state;
    hn_arena arena = {0};
    for (size_t n = 1; n < 200000; n = n * 3 + 1) {
        unsigned char *p = hn_arena_alloc(&arena, n, 64);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        memset(p, 0xff, n);
    }
    hn_arena_reset(&arena);
    unsigned char *p = hn_arena_alloc(&arena, 100, 1);
    for (int i = 0; i < 100; i++)
        assert_int_equal(p[i], 0);
    hn_arena_done(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_round_trip),
        cmocka_unit_test(test_buf_limit),
        cmocka_unit_test(test_out_is_atomic),
        cmocka_unit_test(test_output_keeps_what_is_no_file),
        cmocka_unit_test(test_failures_say_what_to_do),
        cmocka_unit_test(test_map_release),
        cmocka_unit_test(test_philox),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_json_wide),
        cmocka_unit_test(test_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
