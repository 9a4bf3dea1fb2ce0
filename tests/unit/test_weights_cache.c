/* The weights cache: what is found, what is written anew, and what a broken, foreign or crowded
 * folder does; on a small model of many types. */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "kernels/layout.h"
#include "model/model.h"
#include "model/weights_folder.h"
#include "support/check.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Where things lie in a file's header (weights_cache.c). */
enum { VERSION_AT = 8, LAYOUT_AT = 12, KEY_AT = 16, BOOT_AT = 48, OWN_SUM_AT = 96, DATA_AT = 4096 };

static char dir[128], model_path[160];

static void copy_file(const char *from, const char *to) {
    char *data;
    size_t size;
    ASSERT_OK(hn_file_read(from, 1 << 28, &data, &size, errp));
    ASSERT_OK(hn_file_write(to, data, size, errp));
    hn_free(data);
}

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/hone-weights-%ld", (long)getpid());
    snprintf(model_path, sizeof model_path, "%s.gguf", dir);
    copy_file(HN_TEST_ROOT "/golden/models/llama3.gguf", model_path);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    hn_mem_fail_after(-1);
    ASSERT_OK(hn_path_remove(dir, errp));
    ASSERT_OK(hn_path_remove(model_path, errp));
    return 0;
}

static hn_model_options options_for(hn_weights_cache_use use, uint64_t max_bytes) {
    return (hn_model_options){.n_threads = 2,
                              .weights_cache = {.use = use, .dir = dir, .max_bytes = max_bytes}};
}

static hn_model *open_with(hn_weights_cache_use use, uint64_t max_bytes) {
    hn_model *model = NULL;
    const hn_model_options options = options_for(use, max_bytes);
    ASSERT_OK(hn_model_open(&model, model_path, &options, errp));
    return model;
}

/* Opens with the cache on, checks that all weights are those of a model without it, and says where
 * they came from; `path` gets the file. */
static int kind_of_next(char path[512]) {
    hn_model *with = open_with(HN_WEIGHTS_CACHE_ON, 1 << 30);
    hn_model *without = open_with(HN_WEIGHTS_CACHE_OFF, 0);
    const int kind = with->origin.kind;
    assert_int_equal(without->origin.kind, HN_WEIGHTS_PACKED);
    assert_int_equal(with->origin.bytes, without->weights.bytes);
    assert_memory_equal(with->layers[0].w[0].packed, without->weights.data, without->weights.bytes);
    if (path)
        snprintf(path, 512, "%.500s", with->origin.text);
    hn_model_free(with);
    hn_model_free(without);
    return kind;
}

static void poke(const char *path, long at, const void *data, size_t n) {
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Puts `boot` into the header, which is right otherwise. */
static void set_boot(const char *path, const char *boot) {
    char header[OWN_SUM_AT + 8];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(header, 1, sizeof header, f), sizeof header);
    fclose(f);
    memset(header + BOOT_AT, 0, OWN_SUM_AT - BOOT_AT);
    snprintf(header + BOOT_AT, OWN_SUM_AT - BOOT_AT, "%s", boot);
    const uint64_t sum = hn_hash64(header, OWN_SUM_AT, 1);
    memcpy(header + OWN_SUM_AT, &sum, sizeof sum);
    poke(path, 0, header, sizeof header);
}

static void test_stored_then_found(void **state) {
    (void)state;
    char path[512], again[512];
    assert_int_equal(kind_of_next(path), HN_WEIGHTS_STORED);
    assert_int_equal(kind_of_next(again), HN_WEIGHTS_FOUND);
    assert_string_equal(path, again);
    assert_true(strncmp(path, dir, strlen(dir)) == 0);
    char other[200];
    snprintf(other, sizeof other, "%s.other", model_path);
    copy_file(model_path, other);
    assert_int_equal(rename(other, model_path), 0); /* another file by that name */
    assert_int_equal(kind_of_next(again), HN_WEIGHTS_STORED);
    assert_string_not_equal(path, again);
}

static void test_damage(void **state) {
    (void)state;
    char path[512];
    struct stat info;
    assert_int_equal(kind_of_next(path), HN_WEIGHTS_STORED);
    assert_int_equal(stat(path, &info), 0);
    const off_t sizes[] = {0, 50, DATA_AT, info.st_size - 1, info.st_size + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(truncate(path, sizes[i]), 0);
        assert_int_equal(kind_of_next(NULL), HN_WEIGHTS_STORED);
        assert_int_equal(kind_of_next(NULL), HN_WEIGHTS_FOUND);
    }
    const long places[] = {0, VERSION_AT, LAYOUT_AT, KEY_AT, OWN_SUM_AT};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        poke(path, places[i], "\x7f", 1);
        assert_int_equal(kind_of_next(NULL), HN_WEIGHTS_STORED);
        assert_int_equal(kind_of_next(NULL), HN_WEIGHTS_FOUND);
    }
}

static void test_sum_after_a_boot(void **state) {
    (void)state;
    char path[512], wrong[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    assert_int_equal(kind_of_next(path), HN_WEIGHTS_STORED);
    set_boot(path, "another");
    assert_int_equal(kind_of_next(NULL), HN_WEIGHTS_FOUND); /* summed, and noted */
    assert_int_equal(kind_of_next(NULL), HN_WEIGHTS_FOUND);
    poke(path, DATA_AT + 640, wrong, sizeof wrong);
    set_boot(path, "another");
    assert_int_equal(kind_of_next(NULL), HN_WEIGHTS_STORED);
    poke(path, DATA_AT + 640, wrong, sizeof wrong);
    set_boot(path, "");
    assert_int_equal(kind_of_next(NULL), HN_WEIGHTS_STORED);
}

/* Opening says PACKED, with this in its reason. */
static void expect_none(uint64_t max_bytes, const char *reason) {
    hn_model *model = open_with(HN_WEIGHTS_CACHE_ON, max_bytes);
    assert_int_equal(model->origin.kind, HN_WEIGHTS_PACKED);
    assert_null(model->mapped.data);
    if (!strstr(model->origin.text, reason))
        fail_msg("'%s' isn't in '%s'", reason, model->origin.text);
    hn_model_free(model);
}

static void test_no_place(void **state) {
    (void)state;
    char path[512], other[540];
    expect_none(100, "is the most that is kept");
    assert_int_equal(kind_of_next(path), HN_WEIGHTS_STORED);
    ASSERT_OK(hn_path_remove(path, errp));
    assert_int_equal(mkdir(path, 0700), 0); /* a folder in its place */
    expect_none(1 << 30, path);
    ASSERT_OK(hn_path_remove(path, errp));
    assert_int_equal(symlink("/dev/zero", path), 0); /* a link isn't followed but replaced */
    assert_int_equal(kind_of_next(NULL), HN_WEIGHTS_STORED);
    assert_int_equal(kind_of_next(NULL), HN_WEIGHTS_FOUND);
    ASSERT_OK(hn_path_remove(path, errp));

    snprintf(other, sizeof other, "%s-new", path);
    int fd = open(other, O_RDWR | O_CREAT, 0600); /* somebody else is writing it */
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    expect_none(1 << 30, "another process is writing it");
    close(fd); /* and was killed */
    assert_int_equal(kind_of_next(NULL), HN_WEIGHTS_STORED);
    assert_false(hn_path_exists(other));

    ASSERT_OK(hn_path_remove(dir, errp));
    ASSERT_OK(hn_file_write(dir, "x", 1, errp)); /* a file where the folder should be */
    expect_none(1 << 30, dir);
}

static void test_oldest_go(void **state) {
    (void)state;
    char path[512], name[200];
    assert_int_equal(kind_of_next(path), HN_WEIGHTS_STORED);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    const uint64_t each = (uint64_t)info.st_size;
    for (int i = 0; i < 4; i++) { /* the first is the oldest */
        snprintf(name, sizeof name, "%s/%d" HN_WEIGHTS_SUFFIX, dir, i);
        copy_file(path, name);
        const struct timespec times[2] = {{.tv_sec = 1000 + i}, {.tv_sec = 1000 + i}};
        assert_int_equal(utimensat(AT_FDCWD, name, times, 0), 0);
    }
    snprintf(name, sizeof name, "%s/left" HN_WEIGHTS_NEW_SUFFIX, dir);
    ASSERT_OK(hn_file_write(name, "x", 1, errp));
    ASSERT_OK(hn_weights_folder_make_room(dir, each, 4 * each, 1, errp));
    assert_false(hn_path_exists(name)); /* nobody writes it any more */
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s/%d" HN_WEIGHTS_SUFFIX, dir, i);
        assert_int_equal(hn_path_exists(name), i >= 2);
    }
    assert_true(hn_path_exists(path));
    hn_error err;
    assert_int_equal(hn_weights_folder_make_room(dir, 1000, 1 << 30, 0, &err), HN_IO);
    assert_non_null(strstr(err.message, "free there"));
}

static void test_auto_leaves_small_ones(void **state) {
    (void)state;
    hn_model *model = open_with(HN_WEIGHTS_CACHE_AUTO, 1 << 30);
    assert_int_equal(model->origin.kind, HN_WEIGHTS_PACKED);
    assert_string_equal(model->origin.text, "");
    hn_model_free(model);
    assert_false(hn_path_exists(dir));
}

/* Whoever changes where a bit lies must change the version too, or old files would be taken for new
 * ones: this sum is of all types packed from fixed bytes. */
static void test_layout_version(void **state) {
    (void)state;
    enum { ROWS = 19, COLS = 512, MAX_BYTES = ROWS * COLS * 4 };
    const uint64_t OF_THIS_VERSION = 0x4e34ea5833b789a1;
    uint8_t *bytes = malloc(MAX_BYTES);
    uint64_t sum = HN_LAYOUT_VERSION, random = 1;
    for (int i = 0; i < MAX_BYTES; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (uint8_t)(random >> 58); /* at most 0x3f: no scale is infinite */
    }
    hn_compute *compute;
    ASSERT_OK(hn_compute_new(&compute, HN_ISA_SCALAR, 1, errp));
    for (int t = 0; t < HN_DTYPE_COUNT; t++) {
        hn_matrix matrix;
        ASSERT_OK(hn_matrix_pack(compute, &matrix, (hn_dtype)t, ROWS, COLS, bytes, errp));
        sum = hn_hash64(matrix.packed, matrix.packed_bytes, sum);
        hn_matrix_done(&matrix);
    }
    hn_compute_free(compute);
    free(bytes);
    if (sum != OF_THIS_VERSION)
        fail_msg("the packed layout changed: add 1 to HN_LAYOUT_VERSION (layout.h) and put 0x%llx "
                 "here",
                 (unsigned long long)sum);
}

static void test_no_memory(void **state) {
    (void)state;
    const hn_model_options options = options_for(HN_WEIGHTS_CACHE_ON, 1 << 30);
    bool opened = false;
    for (int64_t n = 0; n < 100000 && !opened; n++) {
        hn_model *model = NULL;
        hn_error err = {0};
        hn_mem_fail_after(n);
        hn_status status = hn_model_open(&model, model_path, &options, &err);
        hn_mem_fail_after(-1);
        if (status != HN_OK) {
            assert_int_equal(status, HN_NO_MEMORY);
            assert_null(model);
            continue;
        }
        opened = model->origin.kind != HN_WEIGHTS_PACKED;
        hn_model_free(model);
    }
    assert_true(opened);
    assert_int_equal(kind_of_next(NULL), HN_WEIGHTS_FOUND);
}

/* The header says so: nothing is read, packed or kept for a model that can't be talked to. */
static void test_no_chat_template(void **state) {
    (void)state;
    hn_model *model = NULL;
    hn_error err = {0};
    hn_model_options options = options_for(HN_WEIGHTS_CACHE_ON, 1 << 30);
    options.chats = true;
    assert_int_equal(hn_model_open(&model, model_path, &options, &err), HN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "no chat template"));
    assert_false(hn_path_exists(dir));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stored_then_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sum_after_a_boot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_oldest_go, setup, teardown),
        cmocka_unit_test_setup_teardown(test_auto_leaves_small_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_chat_template, setup, teardown),
        cmocka_unit_test(test_layout_version),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
