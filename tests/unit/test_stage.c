/* What runs and releases rest on: the stage cache, near copies, bundles. */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "pipeline/overlap.h"
#include "pipeline/stage.h"
#include "release/bundle.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

static hn_error err;
static char folder[64];

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/hone-stage-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state) {
    (void)state;
    hn_mem_fail_after(-1);
    return hn_path_remove(folder, &err) != HN_OK;
}

static void put(const char *dir, const char *name, const char *text) {
    char *path = hn_path_join(dir, name);
    assert_non_null(path);
    assert_int_equal(hn_file_write(path, text, strlen(text), &err), HN_OK);
    hn_free(path);
}

static void open_stage(hn_stage *stage, int value, bool resumes) {
    if (hn_stage_open(stage, folder, "s", json_pack("{s:i}", "x", value), resumes, &err) != HN_OK)
        fail_msg("%s", err.message);
}

static void test_stage_reuse(void **state) {
    (void)state;
    hn_stage stage, again;
    open_stage(&stage, 1, false);
    assert_false(stage.reused);
    put(stage.part, "out.txt", "hello");
    assert_int_equal(hn_stage_commit(&stage, &err), HN_OK);
    assert_false(hn_path_exists(stage.part));
    open_stage(&again, 1, false);
    assert_true(again.reused);
    assert_true(hn_stage_has(&again, "out.txt"));
    assert_int_equal(hn_stage_output_bytes(&again, "out.txt"), 5);
    char hex[65], other[65];
    assert_int_equal(hn_stage_output_hash(&again, "out.txt", hex, &err), HN_OK);
    assert_int_equal(hn_stage_output_hash(&stage, "out.txt", other, &err), HN_OK);
    assert_string_equal(hex, other);
    assert_int_equal(hn_stage_output_hash(&again, "nothing", hex, &err), HN_FAILED);
    hn_stage_done(&again);

    open_stage(&again, 2, false); /* another input, another key */
    assert_false(again.reused);
    hn_stage_done(&again);

    /* A damaged output, a longer one, a missing one: made again. */
    put(stage.dir, "out.txt", "hellp");
    open_stage(&again, 1, false);
    assert_false(again.reused);
    put(again.part, "out.txt", "hello");
    assert_int_equal(hn_stage_commit(&again, &err), HN_OK);
    hn_stage_done(&again);
    put(stage.dir, "done.json", "{\"key\":");
    open_stage(&again, 1, false);
    assert_false(again.reused);
    hn_stage_done(&again);
    hn_stage_done(&stage);
}

static void test_stage_leftovers(void **state) {
    (void)state;
    hn_stage stage;
    open_stage(&stage, 3, false);
    put(stage.part, "half.txt", "x");
    put(stage.part, "a.bin.tmp-123", "x");
    hn_stage_done(&stage);
    open_stage(&stage, 3, true); /* what resumes keeps its work but not torn files */
    char *half = hn_stage_path(&stage, "half.txt"), *torn = hn_stage_path(&stage, "a.bin.tmp-123");
    assert_true(hn_path_exists(half));
    assert_false(hn_path_exists(torn));
    hn_stage_done(&stage);
    open_stage(&stage, 3, false); /* what doesn't begins with nothing */
    assert_false(hn_path_exists(half));
    hn_stage_done(&stage);
    hn_free(half);
    hn_free(torn);
}

static void test_stage_out_of_memory(void **state) {
    (void)state;
    hn_status status = HN_NO_MEMORY;
    for (int allowed = 0; status == HN_NO_MEMORY && allowed < 200; allowed++) {
        hn_stage stage = {0};
        hn_mem_fail_after(allowed);
        status = hn_stage_open(&stage, folder, "m", json_pack("{s:i}", "x", 1), false, &err);
        if (status == HN_OK)
            status = hn_stage_commit(&stage, &err);
        hn_mem_fail_after(-1);
        hn_stage_done(&stage);
    }
    assert_int_equal(status, HN_OK);
}

/* A full disk: the error says so, and nothing stands under the final name. */
static void test_full_disk(void **state) {
    (void)state;
    char disk[96];
    snprintf(disk, sizeof disk, "%s/disk", folder);
    assert_int_equal(hn_dir_make(disk, &err), HN_OK);
    if (geteuid() || mount("none", disk, "tmpfs", 0, "size=64k")) {
        print_message("skipped: mounting a small tmpfs needs root\n");
        skip();
    }
    hn_stage stage;
    assert_int_equal(hn_stage_open(&stage, disk, "s", json_pack("{s:i}", "x", 1), false, &err),
                     HN_OK);
    enum { BIG = 40000 };
    char *text = hn_calloc(BIG, 1), *path = hn_stage_path(&stage, "a");
    hn_status status = HN_OK;
    for (int i = 0; status == HN_OK && i < 4; i++) {
        path[strlen(path) - 1] = (char)('a' + i);
        status = hn_file_write(path, text, BIG, &err);
    }
    assert_int_equal(status, HN_IO);
    assert_non_null(strstr(err.message, "No space left"));
    assert_false(hn_path_exists(stage.dir));

    hn_bundle_options options = {.name = "n",
                                 .version = "1",
                                 .min_runtime_version = "1",
                                 .architecture = "llama",
                                 .quantisation = "q8_0"};
    char big[128], bundle[128];
    snprintf(big, sizeof big, "%s/big", folder);
    assert_int_equal(hn_file_write(big, text, BIG, &err), HN_OK);
    options.model_path = options.golden_path = options.samples_path = big;
    snprintf(bundle, sizeof bundle, "%s/bundle", disk);
    assert_int_equal(hn_bundle_write(bundle, &options, NULL, &err), HN_IO);
    assert_false(hn_path_exists(bundle));
    hn_free(text);
    hn_free(path);
    hn_stage_done(&stage);
    assert_int_equal(umount(disk), 0);
}

static void test_overlap(void **state) {
    (void)state;
    static const char *const A[] = {"turn on the lights", "play some jazz", "Ünïcode straße", ""};
    static const char *const B[] = {"Turn ON, the lights!", "play some music", "what", "?"};
    hn_overlap found;
    assert_int_equal(hn_overlap_find(A, 4, B, 4, 0.9, &found, &err), HN_OK);
    assert_int_equal(found.n_rows, 2); /* the lights; and nothing against nothing */
    assert_true(found.a == 0 && found.b == 0 && found.similarity == 1);
    assert_int_equal(hn_overlap_find(A, 2, B + 1, 2, 0.9, &found, &err), HN_OK);
    assert_int_equal(found.n_rows, 0);
    assert_int_equal(hn_overlap_find(A, 2, B + 1, 1, 0.3, &found, &err), HN_OK);
    assert_int_equal(found.n_rows, 1);
    assert_int_equal(hn_overlap_find(A, 0, B, 4, 0.5, &found, &err), HN_OK);
    assert_int_equal(found.n_rows, 0);
}

/* Prefix filtering misses nothing: the same counts as each row against each, one at a time. */
static void test_duplicates(void **state) {
    (void)state;
    static const char *const TEXTS[] = {"turn on the light",
                                        "what time is it",
                                        "Turn on the light!",
                                        "turn on the lights",
                                        "",
                                        "what  time is it?",
                                        ""};
    static const size_t KEPT = HN_OVERLAP_KEPT;
    size_t copy_of[7];
    assert_int_equal(hn_overlap_duplicates(TEXTS, 7, 1, copy_of, &err), HN_OK);
    const size_t exact[] = {KEPT, KEPT, 0, KEPT, KEPT, 1, 4};
    assert_memory_equal(copy_of, exact, sizeof exact);
    assert_int_equal(hn_overlap_duplicates(TEXTS, 7, 0.8, copy_of, &err), HN_OK);
    assert_int_equal(copy_of[3], 0);
    assert_int_equal(hn_overlap_duplicates(TEXTS, 0, 0.8, copy_of, &err), HN_OK);
    /* Like both others, which aren't like each other: the first counts. */
    static const char *const CHAIN[] = {"abcdefgh", "efghijkl", "abcdefghijkl"};
    assert_int_equal(hn_overlap_duplicates(CHAIN, 3, 0.4, copy_of, &err), HN_OK);
    const size_t chain[] = {KEPT, KEPT, 0};
    assert_memory_equal(copy_of, chain, sizeof chain);
}

static void test_overlap_is_exact(void **state) {
    (void)state;
    enum { N = 60, LENGTH = 24 };
    static char text[2 * N][LENGTH + 1];
    const char *rows[2 * N];
    hn_rng rng = hn_rng_new(9, 0);
    for (int i = 0; i < 2 * N; i++) {
        bool copy = i >= N && hn_rng_below(&rng, 2);
        for (int k = 0; k < LENGTH; k++)
            text[i][k] = "abcde fgh"[hn_rng_below(&rng, 9)];
        if (copy) {
            memcpy(text[i], text[i - N], LENGTH);
            text[i][hn_rng_below(&rng, LENGTH)] = 'x';
        }
        rows[i] = text[i];
    }
    for (double alike = 0.2; alike < 1; alike += 0.2) {
        hn_overlap all, one;
        size_t wanted = 0;
        assert_int_equal(hn_overlap_find(rows, N, rows + N, N, alike, &all, &err), HN_OK);
        for (int i = 0; i < N; i++) {
            bool any = false;
            for (int k = 0; k < N; k++) {
                assert_int_equal(hn_overlap_find(rows + k, 1, rows + N + i, 1, alike, &one, &err),
                                 HN_OK);
                any = any || one.n_rows;
            }
            wanted += any;
        }
        assert_int_equal(all.n_rows, wanted);
    }
}

static void test_bundle(void **state) {
    (void)state;
    char model[128], adapter[128], rows[128], dir[128], twin[128];
    snprintf(model, sizeof model, "%s/m.gguf", folder);
    snprintf(adapter, sizeof adapter, "%s/a.gguf", folder);
    snprintf(rows, sizeof rows, "%s/rows.jsonl", folder);
    snprintf(dir, sizeof dir, "%s/bundle", folder);
    snprintf(twin, sizeof twin, "%s/twin", folder);
    put(folder, "m.gguf", "model");
    put(folder, "a.gguf", "adapter");
    put(folder, "rows.jsonl", "{}\n");
    hn_bundle_options options = {.name = "n",
                                 .version = "1.0",
                                 .min_runtime_version = "0.1.0",
                                 .architecture = "llama",
                                 .quantisation = "q4_1 + lora",
                                 .model_path = model,
                                 .adapter_path = adapter,
                                 .golden_path = rows,
                                 .samples_path = rows,
                                 .kv_bytes_per_token = 10,
                                 .n_ctx_train = 8192};
    if (hn_bundle_write(dir, &options, NULL, &err) != HN_OK)
        fail_msg("%s", err.message);
    assert_int_equal(hn_bundle_verify(dir, &err), HN_OK);
    assert_int_equal(hn_bundle_write(dir, &options, NULL, &err), HN_USAGE);
    assert_int_equal(hn_bundle_write(twin, &options, NULL, &err), HN_OK);
    char path[160], *a, *b;
    snprintf(path, sizeof path, "%s/manifest.json", dir);
    assert_int_equal(hn_file_read(path, 1 << 20, &a, NULL, &err), HN_OK);
    snprintf(path, sizeof path, "%s/manifest.json", twin);
    assert_int_equal(hn_file_read(path, 1 << 20, &b, NULL, &err), HN_OK);
    assert_string_equal(a, b);
    assert_non_null(strstr(a, "\"8192\""));
    assert_null(strstr(a, "\"32768\""));
    hn_free(a);
    hn_free(b);

    put(dir, "stranger", "x");
    assert_int_equal(hn_bundle_verify(dir, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "not named"));
    snprintf(path, sizeof path, "%s/stranger", dir);
    unlink(path);
    put(dir, "model.gguf", "mxdel");
    assert_int_equal(hn_bundle_verify(dir, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "sha256"));
    put(dir, "model.gguf", "mode");
    assert_int_equal(hn_bundle_verify(dir, &err), HN_BAD_INPUT);
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    unlink(path);
    assert_int_equal(hn_bundle_verify(dir, &err), HN_BAD_INPUT);
    put(dir, "manifest.json", "{\"files\":[{\"name\":\"../x\",\"sha256\":\"\"}]}");
    assert_int_equal(hn_bundle_verify(dir, &err), HN_BAD_INPUT);

    options.model_path = "/nonexistent";
    snprintf(dir, sizeof dir, "%s/other", folder);
    assert_int_equal(hn_bundle_write(dir, &options, NULL, &err), HN_IO);
    assert_false(hn_path_exists(dir));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stage_reuse),
        cmocka_unit_test(test_stage_leftovers),
        cmocka_unit_test(test_stage_out_of_memory),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_overlap_is_exact),
        cmocka_unit_test(test_bundle),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
