/* Safetensors: round trips, shards, and headers that lie. */
#include "base/file.h"
#include "base/mem.h"
#include "formats/safetensors.h"
#include "support/files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const float VALUES[6] = {1, 2, 3, 4, 5, 6};

static hn_status write_sample(const char *path, uint64_t max_shard_bytes, hn_error *err) {
    hn_st_writer *w = NULL;
    hn_status status = HN_OK;
    const uint64_t matrix[2] = {2, 3}, vector[1] = {4}, empty[1] = {0};
    HN_TRY(hn_st_writer_new(&w, path, max_shard_bytes, err));
    HN_GO(hn_st_writer_set_metadata(w, "format", "pt", err));
    HN_GO(hn_st_writer_add(w, "a.weight", HN_F32, 2, matrix, err));
    HN_GO(hn_st_writer_add(w, "empty", HN_F32, 1, empty, err));
    HN_GO(hn_st_writer_add(w, "b", HN_BF16, 1, vector, err));
    HN_GO(hn_st_writer_add(w, "scalar", HN_F32, 0, NULL, err));
    HN_GO(hn_st_writer_begin(w, err));
    HN_GO(hn_st_writer_data(w, VALUES, 12, err));
    HN_GO(hn_st_writer_data(w, VALUES + 3, 12, err));
    HN_GO(hn_st_writer_data(w, VALUES, 8, err));
    HN_GO(hn_st_writer_data(w, VALUES, 4, err));
    status = hn_st_writer_commit(w, err);
    w = NULL;
done:
    hn_st_writer_abort(w);
    return status;
}

static void check_sample(const char *path, size_t n_maps) {
    hn_error err;
    hn_safetensors st;
    assert_int_equal(hn_safetensors_open(&st, path, &err), HN_OK);
    assert_int_equal(st.n_maps, n_maps);
    assert_int_equal(st.n_tensors, 4);
    const hn_st_tensor *a = hn_safetensors_find(&st, "a.weight");
    assert_non_null(a);
    assert_int_equal(a->n_dims, 2);
    assert_int_equal(a->shape[1], 3);
    assert_int_equal(a->shape[2], 1);
    assert_memory_equal(a->data, VALUES, sizeof VALUES);
    assert_int_equal(hn_safetensors_find(&st, "b")->dtype, HN_BF16);
    assert_int_equal(hn_safetensors_find(&st, "scalar")->size_bytes, 4);
    assert_string_equal(json_string_value(json_object_get(st.metadata, "format")), "pt");
    hn_safetensors_close(&st);
}

static void test_round_trip(void **state) {
    (void)state;
    hn_error err;
    assert_int_equal(write_sample(in_dir("model.safetensors"), 0, &err), HN_OK);
    check_sample(in_dir("model.safetensors"), 1);
    check_sample(test_folder, 1);
    unlink(in_dir("model.safetensors"));
}

static void test_shards(void **state) {
    (void)state;
    hn_error err;
    assert_int_equal(write_sample(in_dir("model.safetensors"), 24, &err), HN_OK);
    assert_true(hn_path_exists(in_dir("model-00001-of-00002.safetensors")));
    assert_false(hn_path_exists(in_dir("model.safetensors")));
    check_sample(test_folder, 2);
    check_sample(in_dir("model.safetensors.index.json"), 2);

    /* An index may not lead out of its folder, nor list a file that isn't there. */
    static const char *const BAD[] = {
        "{\"weight_map\": {\"a\": \"../model-00001-of-00002.safetensors\"}}",
        "{\"weight_map\": {\"a\": \"/etc/passwd\"}}",
        "{\"weight_map\": {\"a\": 3}}",
        "{}",
        "{\"weight_map\": {\"a\": \"missing.safetensors\"}}",
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        hn_safetensors st;
        const char *path = in_dir("model.safetensors.index.json");
        assert_int_equal(hn_file_write(path, BAD[i], strlen(BAD[i]), &err), HN_OK);
        assert_int_not_equal(hn_safetensors_open(&st, test_folder, &err), HN_OK);
    }
}

/* Builds a file from a header text and n zero bytes of data, in memory of the exact size. */
static hn_status parse_text(const char *header, size_t n_data, hn_error *err) {
    uint64_t n = strlen(header);
    size_t size = sizeof n + n + n_data;
    uint8_t *bytes = calloc(1, size);
    assert_non_null(bytes);
    memcpy(bytes, &n, sizeof n);
    memcpy(bytes + sizeof n, header, n);
    hn_safetensors st;
    hn_status status = hn_safetensors_parse(&st, bytes, size, "sample", err);
    if (status == HN_OK)
        hn_safetensors_close(&st);
    free(bytes);
    return status;
}

static void test_hostile(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t n_data;
        hn_status wanted;
        const char *word;
    } CASES[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, HN_OK, ""},
        {"{\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, HN_OK, ""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, HN_BAD_INPUT,
         "beyond"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, HN_BAD_INPUT,
         "no tensor"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}", 9, HN_BAD_INPUT,
         "gap"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, HN_BAD_INPUT,
         "don't fit"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, HN_BAD_INPUT,
         "'a'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, HN_BAD_INPUT,
         "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,4],\"data_offsets\":[0,8]}}", 8,
         HN_BAD_INPUT, "overflows"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4, HN_BAD_INPUT, "overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         8, HN_BAD_INPUT, "duplicate"},
        {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8, HN_UNSUPPORTED,
         "F8_E4M3"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,2],\"data_offsets\":[0,8]}}", 8,
         HN_UNSUPPORTED, "dimensions"},
        {"{\"a\":[]}", 0, HN_BAD_INPUT, "object"},
        {"{\"a\":{}}", 0, HN_BAD_INPUT, "dtype"},
        {"{\"__metadata__\":3}", 0, HN_BAD_INPUT, "metadata"},
        {"[]", 0, HN_BAD_INPUT, "not a safetensors"},
        {"{\"a\"", 0, HN_BAD_INPUT, "line 1"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        hn_error err = {0};
        if (parse_text(CASES[i].header, CASES[i].n_data, &err) != CASES[i].wanted ||
            !strstr(err.message, CASES[i].word))
            fail_msg("case %zu: '%s'", i, err.message);
    }
}

static void test_truncated(void **state) {
    (void)state;
    hn_error err;
    char *text;
    size_t size;
    const char *path = in_dir("cut.safetensors");
    assert_int_equal(write_sample(path, 0, &err), HN_OK);
    assert_int_equal(hn_file_read(path, 4096, &text, &size, &err), HN_OK);
    for (size_t n = 0; n < size; n++) {
        hn_safetensors st;
        uint8_t *copy = malloc(n ? n : 1);
        memcpy(copy, text, n);
        assert_int_equal(hn_safetensors_parse(&st, copy, n, "sample", &err), HN_BAD_INPUT);
        free(copy);
    }
    hn_free(text);
}

static void test_allocation_failure(void **state) {
    (void)state;
    hn_error err;
    hn_status status = HN_NO_MEMORY;
    for (int n = 0; status != HN_OK; n++) {
        assert_true(n < 1000);
        hn_mem_fail_after(n);
        status = write_sample(in_dir("x.safetensors"), 24, &err);
        hn_mem_fail_after(-1);
        assert_true(status == HN_OK || status == HN_NO_MEMORY);
    }
    status = HN_NO_MEMORY;
    for (int n = 0; status != HN_OK; n++) {
        assert_true(n < 1000);
        hn_safetensors st;
        hn_mem_fail_after(n);
        status = hn_safetensors_open(&st, in_dir("x.safetensors.index.json"), &err);
        hn_mem_fail_after(-1);
        if (status == HN_OK)
            hn_safetensors_close(&st);
        else
            assert_int_equal(status, HN_NO_MEMORY);
    }
}

static void test_writer_refuses(void **state) {
    (void)state;
    hn_error err;
    hn_st_writer *w;
    const uint64_t four[1] = {4};
    const char *path = in_dir("refused.safetensors");
    assert_int_equal(hn_st_writer_new(&w, path, 0, &err), HN_OK);
    assert_int_equal(hn_st_writer_add(w, "t", HN_Q4_0, 1, four, &err), HN_USAGE);
    assert_int_equal(hn_st_writer_add(w, "t", HN_F32, 1, four, &err), HN_OK);
    assert_int_equal(hn_st_writer_add(w, "t", HN_F32, 1, four, &err), HN_USAGE);
    assert_int_equal(hn_st_writer_begin(w, &err), HN_OK);
    assert_int_equal(hn_st_writer_data(w, VALUES, 20, &err), HN_USAGE);
    assert_int_equal(hn_st_writer_commit(w, &err), HN_USAGE);
    assert_false(hn_path_exists(path));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_shards),
        cmocka_unit_test(test_hostile),        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_writer_refuses), cmocka_unit_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
