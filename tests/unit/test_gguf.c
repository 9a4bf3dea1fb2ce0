#define _GNU_SOURCE
/* GGUF: what is written comes back, and everything a broken or hostile file may claim is refused.
 */
#include "base/mem.h"
#include "formats/gguf.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SAMPLE_MAX_BYTES = 4096 };

static const float VALUES[6] = {1, 2, 3, 4, 5, 6};

/* A file with one value of each kind and three tensors. */
static hn_status write_sample(const char *path, uint32_t alignment, hn_error *err) {
    hn_gguf_writer *w = NULL;
    hn_status status = HN_OK;
    const hn_gguf_string words[3] = {{"a", 1}, {"", 0}, {"\xff\x00z", 3}};
    const int32_t numbers[3] = {-1, 0, 7};
    const uint64_t matrix[2] = {2, 3}, vector[1] = {6}, blocks[2] = {2, 32};
    uint8_t q8[68] = {0};

    HN_TRY(hn_gguf_writer_new(&w, path, err));
    if (alignment)
        HN_GO(hn_gguf_writer_set_u32(w, "general.alignment", alignment, err));
    HN_GO(hn_gguf_writer_set_string(w, "general.architecture", "gone", 4, err));
    HN_GO(hn_gguf_writer_set_string(w, "general.architecture", "llama", 5, err));
    HN_GO(hn_gguf_writer_set_f32(w, "f", 1.5f, err));
    HN_GO(hn_gguf_writer_set_bool(w, "b", true, err));
    HN_GO(hn_gguf_writer_set_strings(w, "words", words, 3, err));
    HN_GO(hn_gguf_writer_set_array(w, "numbers", HN_GGUF_I32, numbers, 3, err));
    HN_GO(hn_gguf_writer_add_tensor(w, "matrix", HN_F32, 2, matrix, err));
    HN_GO(hn_gguf_writer_add_tensor(w, "vector", HN_F32, 1, vector, err));
    HN_GO(hn_gguf_writer_add_tensor(w, "blocks", HN_Q8_0, 2, blocks, err));
    HN_GO(hn_gguf_writer_begin(w, err));
    HN_GO(hn_gguf_writer_data(w, VALUES, 8, err));
    HN_GO(hn_gguf_writer_data(w, VALUES + 2, 16, err));
    HN_GO(hn_gguf_writer_data(w, VALUES, sizeof VALUES, err));
    HN_GO(hn_gguf_writer_data(w, q8, sizeof q8, err));
    status = hn_gguf_writer_commit(w, err);
    w = NULL;
done:
    hn_gguf_writer_abort(w);
    return status;
}

static char *temporary_path(void) {
    static char path[64];
    snprintf(path, sizeof path, "/tmp/hone-test-gguf-%ld", (long)getpid());
    return path;
}

static size_t load_sample(uint8_t *bytes) {
    hn_error err;
    const char *path = temporary_path();
    assert_int_equal(write_sample(path, 0, &err), HN_OK);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t size = fread(bytes, 1, SAMPLE_MAX_BYTES, file);
    fclose(file);
    unlink(path);
    return size;
}

static void test_round_trip(void **state) {
    (void)state;
    const uint32_t alignments[3] = {0, 8, 256};
    for (int a = 0; a < 3; a++) {
        hn_error err;
        hn_gguf gguf;
        assert_int_equal(write_sample(temporary_path(), alignments[a], &err), HN_OK);
        assert_int_equal(hn_gguf_open(&gguf, temporary_path(), &err), HN_OK);
        assert_int_equal(gguf.alignment, alignments[a] ? alignments[a] : 32);
        hn_gguf_string text = {0};
        double number = 0;
        bool flag = false;
        assert_int_equal(hn_gguf_get_string(&gguf, "general.architecture", &text, &err), HN_OK);
        assert_int_equal(text.size, 5);
        assert_memory_equal(text.data, "llama", 5);
        assert_int_equal(hn_gguf_get_f64(&gguf, "f", &number, &err), HN_OK);
        assert_true(number == 1.5);
        assert_int_equal(hn_gguf_get_bool(&gguf, "b", &flag, &err), HN_OK);
        assert_true(flag);
        uint64_t unset = 42;
        assert_int_equal(hn_gguf_get_u64(&gguf, "missing", &unset, &err), HN_OK);
        assert_int_equal(unset, 42);
        assert_int_equal(hn_gguf_get_u64(&gguf, "f", &unset, &err), HN_BAD_INPUT);

        hn_gguf_string words[3];
        const uint8_t *at = NULL;
        for (int i = 0; i < 3; i++)
            words[i] = hn_gguf_item_next(hn_gguf_find(&gguf, "words"), &at);
        assert_int_equal(words[1].size, 0);
        assert_int_equal(words[2].size, 3);
        assert_memory_equal(words[2].data, "\xff\x00z", 3);
        assert_int_equal(hn_gguf_item_i64(hn_gguf_find(&gguf, "numbers"), 0), -1);

        const hn_gguf_tensor *matrix = hn_gguf_find_tensor(&gguf, "matrix");
        assert_int_equal(matrix->n_dims, 2);
        assert_int_equal(matrix->shape[0], 2);
        assert_int_equal(matrix->shape[1], 3);
        assert_memory_equal(matrix->data, VALUES, sizeof VALUES);
        assert_int_equal((uintptr_t)matrix->data % gguf.alignment, 0);
        assert_int_equal(hn_gguf_find_tensor(&gguf, "blocks")->size_bytes, 68);
        assert_null(hn_gguf_find_tensor(&gguf, "matri"));
        hn_gguf_close(&gguf);
        unlink(temporary_path());
    }
}

/* All metadata of one file copied into another comes out the same. */
static void test_copy(void **state) {
    (void)state;
    hn_error err;
    hn_gguf first, second;
    hn_gguf_writer *w;
    char other[80];
    snprintf(other, sizeof other, "%s-copy", temporary_path());
    assert_int_equal(write_sample(temporary_path(), 0, &err), HN_OK);
    assert_int_equal(hn_gguf_open(&first, temporary_path(), &err), HN_OK);
    assert_int_equal(hn_gguf_writer_new(&w, other, &err), HN_OK);
    for (uint64_t i = 0; i < first.n_values; i++)
        assert_int_equal(hn_gguf_writer_copy(w, &first.values[i], &err), HN_OK);
    assert_int_equal(hn_gguf_writer_begin(w, &err), HN_OK);
    assert_int_equal(hn_gguf_writer_commit(w, &err), HN_OK);
    assert_int_equal(hn_gguf_open(&second, other, &err), HN_OK);
    assert_int_equal(second.n_values, first.n_values);
    assert_int_equal(second.n_tensors, 0);
    for (uint64_t i = 0; i < first.n_values; i++) {
        const hn_gguf_value *a = &first.values[i], *b = &second.values[i];
        assert_int_equal(a->type, b->type);
        assert_int_equal(a->size_bytes, b->size_bytes);
        assert_memory_equal(a->data, b->data, a->size_bytes);
    }
    hn_gguf_close(&first);
    hn_gguf_close(&second);
    unlink(other);
    unlink(temporary_path());
}

/* The map is heap memory of the exact size, so that ASan and valgrind see every stray read. */
static hn_status parse_copy(const uint8_t *bytes, size_t size, hn_error *err) {
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    hn_gguf gguf;
    hn_status status = hn_gguf_parse(&gguf, copy, size, "sample", err);
    if (status == HN_OK)
        hn_gguf_close(&gguf);
    free(copy);
    return status;
}

static void test_truncated(void **state) {
    (void)state;
    uint8_t bytes[SAMPLE_MAX_BYTES];
    size_t size = load_sample(bytes);
    hn_error err;
    size_t last_data = size - 28; /* 68 bytes are padded to 96 */
    for (size_t n = 0; n < last_data; n++) {
        assert_int_equal(parse_copy(bytes, n, &err), HN_BAD_INPUT);
        assert_non_null(strstr(err.message, "sample"));
    }
    assert_int_equal(parse_copy(bytes, last_data, &err), HN_OK);
}

/* Whatever byte is changed, the parser answers and never reads outside. */
static void test_flipped_bytes(void **state) {
    (void)state;
    uint8_t bytes[SAMPLE_MAX_BYTES];
    size_t size = load_sample(bytes);
    const uint8_t masks[4] = {0xff, 0x80, 0x01, 0x40};
    hn_error err;
    for (size_t i = 0; i < size; i++)
        for (int m = 0; m < 4; m++) {
            bytes[i] ^= masks[m];
            hn_status status = parse_copy(bytes, size, &err);
            assert_true(status == HN_OK || status == HN_BAD_INPUT || status == HN_UNSUPPORTED);
            bytes[i] ^= masks[m];
        }
}

static uint8_t *find_bytes(uint8_t *bytes, size_t size, const char *text) {
    uint8_t *found = memmem(bytes, size, text, strlen(text));
    assert_non_null(found);
    return found + strlen(text);
}

static void expect_refusal(const uint8_t *bytes, size_t size, hn_status wanted, const char *word) {
    hn_error err;
    assert_int_equal(parse_copy(bytes, size, &err), wanted);
    if (!strstr(err.message, word))
        fail_msg("'%s' says nothing of '%s'", err.message, word);
}

static void test_hostile(void **state) {
    (void)state;
    uint8_t good[SAMPLE_MAX_BYTES], bytes[SAMPLE_MAX_BYTES];
    size_t size = load_sample(good);
    const uint64_t huge = UINT64_MAX, large = (uint64_t)1 << 62;

    memcpy(bytes, good, size);
    memcpy(bytes + 8, &huge, 8);
    expect_refusal(bytes, size, HN_BAD_INPUT, "claims");
    memcpy(bytes, good, size);
    memcpy(bytes + 16, &large, 8);
    expect_refusal(bytes, size, HN_BAD_INPUT, "claims");
    memcpy(bytes, good, size);
    bytes[4] = 9;
    expect_refusal(bytes, size, HN_UNSUPPORTED, "version 9");
    memcpy(bytes, good, size);
    memcpy(find_bytes(bytes, size, "numbers") + 8, &large, 8); /* items of an array */
    expect_refusal(bytes, size, HN_BAD_INPUT, "array");
    memcpy(bytes, good, size);
    find_bytes(bytes, size, "numbers")[4] = HN_GGUF_ARRAY;
    expect_refusal(bytes, size, HN_UNSUPPORTED, "arrays of arrays");
    memcpy(bytes, good, size);
    memcpy(find_bytes(bytes, size, "vector") - 6, "matrix", 6);
    expect_refusal(bytes, size, HN_BAD_INPUT, "'matrix' occurs twice");
    memcpy(bytes, good, size);
    find_bytes(bytes, size, "blocks")[4] = 31; /* innermost dimension no multiple of the block */
    expect_refusal(bytes, size, HN_BAD_INPUT, "blocks");
    memcpy(bytes, good, size);
    memcpy(find_bytes(bytes, size, "matrix") + 4, &large, 8);
    expect_refusal(bytes, size, HN_BAD_INPUT, "matrix");
    memcpy(bytes, good, size);
    find_bytes(bytes, size, "matrix")[20] = 17;
    expect_refusal(bytes, size, HN_UNSUPPORTED, "ggml type 17");
    memcpy(bytes, good, size);
    find_bytes(bytes, size, "matrix")[24] = 32; /* onto the second tensor */
    expect_refusal(bytes, size, HN_BAD_INPUT, "overlaps");
    memcpy(bytes, good, size);
    find_bytes(bytes, size, "matrix")[24] = 1;
    expect_refusal(bytes, size, HN_BAD_INPUT, "aligned");
    memcpy(bytes, good, size);
    memset(find_bytes(bytes, size, "matrix") + 24, 0xe0, 8); /* an offset near 2^64 */
    expect_refusal(bytes, size, HN_BAD_INPUT, "beyond");
}

static void test_writer_refuses(void **state) {
    (void)state;
    hn_error err;
    hn_gguf_writer *w;
    const uint64_t odd[2] = {2, 33}, none[1] = {0}, four[1] = {4};
    assert_int_equal(hn_gguf_writer_new(&w, temporary_path(), &err), HN_OK);
    assert_int_equal(hn_gguf_writer_add_tensor(w, "t", HN_Q4_0, 2, odd, &err), HN_USAGE);
    assert_int_equal(hn_gguf_writer_add_tensor(w, "t", HN_F32, 1, none, &err), HN_USAGE);
    assert_int_equal(hn_gguf_writer_add_tensor(w, "t", HN_F32, 1, four, &err), HN_OK);
    assert_int_equal(hn_gguf_writer_add_tensor(w, "t", HN_F32, 1, four, &err), HN_USAGE);
    assert_int_equal(hn_gguf_writer_begin(w, &err), HN_OK);
    assert_int_equal(hn_gguf_writer_set_u32(w, "late", 1, &err), HN_USAGE);
    assert_int_equal(hn_gguf_writer_data(w, VALUES, 20, &err), HN_USAGE);
    assert_int_equal(hn_gguf_writer_data(w, VALUES, 8, &err), HN_OK);
    assert_int_equal(hn_gguf_writer_commit(w, &err), HN_USAGE);
    assert_int_equal(access(temporary_path(), F_OK), -1); /* nothing half-written */
}

static void test_allocation_failure(void **state) {
    (void)state;
    hn_error err;
    uint8_t bytes[SAMPLE_MAX_BYTES];
    size_t size = load_sample(bytes);
    hn_status status = HN_NO_MEMORY;
    for (int n = 0; status != HN_OK; n++) {
        assert_true(n < 1000);
        hn_gguf gguf;
        hn_mem_fail_after(n);
        status = hn_gguf_parse(&gguf, bytes, size, "sample", &err);
        hn_mem_fail_after(-1);
        if (status == HN_OK)
            hn_gguf_close(&gguf);
        else
            assert_int_equal(status, HN_NO_MEMORY);
    }
    status = HN_NO_MEMORY;
    for (int n = 0; status != HN_OK; n++) {
        assert_true(n < 1000);
        hn_mem_fail_after(n);
        status = write_sample(temporary_path(), 0, &err);
        hn_mem_fail_after(-1);
        if (status != HN_OK) {
            assert_int_equal(status, HN_NO_MEMORY);
            assert_int_equal(access(temporary_path(), F_OK), -1);
        }
    }
    unlink(temporary_path());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_flipped_bytes),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_writer_refuses),
        cmocka_unit_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
