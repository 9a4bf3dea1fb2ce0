/* Models through hone's own writers and back: Hugging Face to GGUF to Hugging Face gives the same
 * logits and ids for every family, adapters merge, calibrated quantisation runs, and no failed
 * allocation leaves a half-written file. */
#define _GNU_SOURCE /* nftw */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/model.h"
#include "release/quantise.h"
#include "support/files.h"

#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_TOKENS = 12 };

static void must(hn_status status, const hn_error *err) {
    if (status != HN_OK)
        fail_msg("%s", err->message);
}

static char *path_of(char *out, const char *folder, const char *name) {
    snprintf(out, 256, "%s/%s", folder, name);
    return out;
}

/* Logits of the last of some tokens; freed by the caller. */
static float *logits_of(const char *path, const char *adapter_path, int *n_vocab) {
    hn_error err;
    hn_model *model;
    hn_kv *kv;
    hn_adapter *adapter = NULL;
    hn_model_options options = {.n_threads = 1};
    hn_batch_row rows[N_TOKENS];
    must(hn_model_open(&model, path, &options, &err), &err);
    if (adapter_path)
        must(hn_adapter_open(&adapter, adapter_path, &model->arch, &err), &err);
    must(hn_kv_new(&kv, model, 1, N_TOKENS, &err), &err);
    for (int i = 0; i < N_TOKENS; i++)
        rows[i] = (hn_batch_row){.token = (7 * i + 3) % model->arch.n_vocab,
                                 .adapter = adapter ? 0 : -1,
                                 .wants_logits = i == N_TOKENS - 1};
    *n_vocab = model->arch.n_vocab;
    float *logits = hn_calloc((size_t)*n_vocab, sizeof *logits);
    const hn_adapter *adapters[1] = {adapter};
    must(hn_forward(model, kv, adapters, adapter ? 1 : 0, rows, N_TOKENS, logits, NULL, &err),
         &err);
    hn_kv_free(kv);
    hn_adapter_free(adapter);
    hn_model_free(model);
    return logits;
}

static double distance(const char *a, const char *adapter, const char *b) {
    int n_a, n_b;
    float *x = logits_of(a, adapter, &n_a), *y = logits_of(b, NULL, &n_b);
    double most = 0;
    assert_int_equal(n_a, n_b);
    for (int i = 0; i < n_a; i++)
        most = fmax(most, fabs((double)(x[i] - y[i])));
    hn_free(x);
    hn_free(y);
    return most;
}

static void same_ids(const char *a, const char *b) {
    static const char TEXT[] = "Hello  world, 123 it's\n\tfine \xc3\xa9";
    hn_checkpoint x, y;
    hn_error err;
    hn_ids first = {0}, second = {0};
    must(hn_checkpoint_open(&x, a, &err), &err);
    must(hn_checkpoint_open(&y, b, &err), &err);
    must(hn_encode(x.tokenizer, TEXT, strlen(TEXT), HN_ENCODE_ADD_SPECIAL, &first, &err), &err);
    must(hn_encode(y.tokenizer, TEXT, strlen(TEXT), HN_ENCODE_ADD_SPECIAL, &second, &err), &err);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size * sizeof *first.data);
    hn_ids_done(&first);
    hn_ids_done(&second);
    hn_checkpoint_close(&x);
    hn_checkpoint_close(&y);
}

static hn_status quantise(const char *from, const char *adapter_path, const char *to,
                          hn_quantise_options options, hn_quantise_report *report, hn_error *err) {
    hn_checkpoint ckpt;
    hn_adapter *adapter = NULL;
    must(hn_checkpoint_open(&ckpt, from, err), err);
    if (adapter_path)
        must(hn_adapter_open(&adapter, adapter_path, &ckpt.arch, err), err);
    hn_status status = hn_quantise(&ckpt, adapter, to, &options, NULL, report, err);
    hn_adapter_free(adapter);
    hn_checkpoint_close(&ckpt);
    return status;
}

static void merge(const char *from, const char *adapter_path, const char *to, hn_dtype dtype) {
    hn_checkpoint ckpt;
    hn_adapter *adapter = NULL;
    hn_error err;
    must(hn_checkpoint_open(&ckpt, from, &err), &err);
    if (adapter_path)
        must(hn_adapter_open(&adapter, adapter_path, &ckpt.arch, &err), &err);
    must(hn_merge_to_hf(&ckpt, adapter, to, dtype, NULL, &err), &err);
    hn_adapter_free(adapter);
    hn_checkpoint_close(&ckpt);
}

static const char MODELS[] = HN_TEST_ROOT "/golden/models";

static void test_there_and_back(void **state) {
    (void)state;
    static const char *const FAMILIES[] = {"llama", "llama_linear", "llama3",
                                           "qwen2", "qwen3",        "gemma3"};
    for (size_t i = 0; i < sizeof FAMILIES / sizeof *FAMILIES; i++) {
        char from[256], gguf[256], back[256];
        hn_error err;
        hn_quantise_report report;
        path_of(from, MODELS, FAMILIES[i]);
        if (!hn_path_exists(from))
            continue;
        path_of(gguf, test_folder, "model.gguf");
        path_of(back, test_folder, FAMILIES[i]);
        hn_status status =
            quantise(from, NULL, gguf, (hn_quantise_options){.n_threads = 2}, &report, &err);
        if (status == HN_UNSUPPORTED && strstr(err.message, "no name for the way"))
            continue; /* a golden tokenizer that no GGUF can hold: refused, as it should be */
        must(status, &err);
        double there = distance(from, NULL, gguf);
        if (there > 1e-5)
            fail_msg("%s in GGUF: logits differ by %g", FAMILIES[i], there);
        same_ids(from, gguf);
        if (!strcmp(FAMILIES[i], "llama3"))
            continue; /* its rope parameters are no released model's: refused on the way back */
        merge(gguf, NULL, back, HN_F32);
        double again = distance(from, NULL, back);
        if (again > 1e-5)
            fail_msg("%s back in a folder: logits differ by %g", FAMILIES[i], again);
        same_ids(from, back);
    }
}

static void test_adapter(void **state) {
    (void)state;
    char from[256], adapter[256], to[256];
    hn_error err;
    hn_quantise_report report;
    path_of(from, MODELS, "llama3");
    path_of(adapter, MODELS, "llama3_lora");
    merge(from, adapter, path_of(to, test_folder, "merged"), HN_F32);
    assert_true(distance(from, adapter, to) < 1e-4);
    assert_true(distance(from, NULL, to) > 1e-3);
    path_of(to, test_folder, "tuned.gguf");
    hn_status status =
        quantise(from, adapter, to, (hn_quantise_options){.ftype = HN_FTYPE_Q8_0, .n_threads = 1},
                 &report, &err);
    must(status, &err);
    double share = report.adapter_cosine * report.adapter_norm_ratio;
    assert_true(share > 0.9 && share < 1.1);
    assert_true(report.size_bytes > 0);
}

static void test_calibrated(void **state) {
    (void)state;
    char from[256], plain[256], calibrated[256], text[8192];
    hn_error err;
    hn_quantise_report report;
    hn_quantise_options options = {.ftype = HN_FTYPE_Q4_0, .n_threads = 2};
    path_of(from, MODELS, "llama");
    for (size_t i = 0; i + 1 < sizeof text; i++)
        text[i] = (char)('a' + (i * i + i / 7) % 26);
    text[sizeof text - 1] = 0;
    must(quantise(from, NULL, path_of(plain, test_folder, "p.gguf"), options, &report, &err), &err);
    uint64_t size = report.size_bytes;
    options.calibration_text = text;
    must(quantise(from, NULL, path_of(calibrated, test_folder, "c.gguf"), options, &report, &err),
         &err);
    assert_int_equal(report.size_bytes, size);
    assert_true(distance(from, NULL, calibrated) < 2 * distance(from, NULL, plain));
    options.calibration_text = "too short";
    path_of(calibrated, test_folder, "none.gguf");
    assert_int_equal(quantise(from, NULL, calibrated, options, &report, &err), HN_BAD_INPUT);
    assert_false(hn_path_exists(calibrated));
}

static int n_entries;

static int count_entry(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)path, (void)info, (void)kind, (void)where;
    n_entries++;
    return 0;
}

static int entries_below(const char *path) {
    n_entries = 0;
    assert_int_equal(nftw(path, count_entry, 8, FTW_PHYS), 0);
    return n_entries;
}

typedef hn_status write_fn(const hn_checkpoint *ckpt, const hn_adapter *adapter, const char *to,
                           hn_error *err);

static hn_status write_gguf(const hn_checkpoint *ckpt, const hn_adapter *adapter, const char *to,
                            hn_error *err) {
    hn_quantise_report report;
    hn_quantise_options options = {.ftype = HN_FTYPE_Q8_0, .n_threads = 1};
    return hn_quantise(ckpt, adapter, to, &options, NULL, &report, err);
}

static hn_status write_calibrated(const hn_checkpoint *ckpt, const hn_adapter *adapter,
                                  const char *to, hn_error *err) {
    static char text[1024];
    hn_quantise_report report;
    hn_quantise_options options = {.ftype = HN_FTYPE_Q4_0,
                                   .n_threads = 1,
                                   .allow_lost_adapter = true,
                                   .calibration_text = text};
    for (size_t i = 0; i + 1 < sizeof text; i++)
        text[i] = (char)('a' + (i * i + i / 7) % 26);
    return hn_quantise(ckpt, adapter, to, &options, NULL, &report, err);
}

static hn_status write_folder(const hn_checkpoint *ckpt, const hn_adapter *adapter, const char *to,
                              hn_error *err) {
    return hn_merge_to_hf(ckpt, adapter, to, HN_BF16, NULL, err);
}

/* Every allocation fails once: an error that says so, nothing half-written, and what was there
 * before is still there. `name` is the file below `to` whose bytes are compared, or "". */
static void fail_each(write_fn *write, const char *to, const char *name) {
    char from[256], lora[256], parent[256], file[512], before[HN_SHA256_HEX], after[HN_SHA256_HEX];
    hn_checkpoint ckpt;
    hn_adapter *adapter;
    hn_error err;
    must(hn_checkpoint_open(&ckpt, path_of(from, MODELS, "llama3"), &err), &err);
    must(hn_adapter_open(&adapter, path_of(lora, MODELS, "llama3_lora"), &ckpt.arch, &err), &err);
    must(hn_dir_make(path_of(parent, test_folder, "failing"), &err), &err);
    snprintf(file, sizeof file, "%s/%s%s", parent, to, name);
    char *target = hn_path_join(parent, to);
    int64_t count = hn_mem_count();
    must(write(&ckpt, adapter, target, &err), &err);
    int64_t needed = hn_mem_count() - count;
    int entries = entries_below(parent), n_done = 0;
    must(hn_sha256_file(file, before, &err), &err);
    for (int64_t n = 0; n < needed; n++) {
        hn_mem_fail_after(n);
        hn_status status = write(&ckpt, adapter, target, &err);
        hn_mem_fail_after(-1);
        n_done += status == HN_OK; /* a folder whose fsync is left out is no failure */
        if (status != HN_NO_MEMORY && status != HN_OK)
            fail_msg("%s: allocation %lld of %lld: status %d, %s", to, (long long)n,
                     (long long)needed, status, err.message);
        if (entries_below(parent) != entries)
            fail_msg("%s: allocation %lld of %lld: a file is left over, or gone", to, (long long)n,
                     (long long)needed);
        must(hn_sha256_file(file, after, &err), &err);
        assert_string_equal(before, after);
    }
    assert_true(n_done < 8);
    hn_free(target);
    hn_adapter_free(adapter);
    hn_checkpoint_close(&ckpt);
}

static void test_every_allocation_fails(void **state) {
    (void)state;
    fail_each(write_gguf, "model.gguf", "");
    fail_each(write_calibrated, "calibrated.gguf", "");
    fail_each(write_folder, "folder", "/model.safetensors");
}

static void make_adapter(const char *from, const char *to) {
    hn_checkpoint ckpt;
    hn_adapter *adapter;
    hn_error err;
    hn_rng rng = hn_rng_new(9, 1);
    must(hn_checkpoint_open(&ckpt, from, &err), &err);
    must(hn_adapter_new(&adapter, &ckpt.arch, (1u << HN_MODULE_COUNT) - 1, 4, 8, 1, &err), &err);
    for (int layer = 0; layer < adapter->n_layer; layer++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            hn_lora *lora = &adapter->layers[layer][m];
            for (int64_t i = 0; i < lora->out * lora->r; i++)
                lora->b[i] = 0.1f * (float)hn_rng_normal(&rng);
        }
    must(hn_adapter_save(adapter, &ckpt.arch, to, &err), &err);
    hn_adapter_free(adapter);
    hn_checkpoint_close(&ckpt);
}

/* Rows that begin alike: with their common beginning computed once, and an adapter to keep. */
static void test_calibrated_rows(void **state) {
    (void)state;
    enum { N_ROWS = 30, LENGTH = 24, COMMON = 9 };
    static int32_t ids[N_ROWS][LENGTH + 1]; /* each token is the label of the one before it */
    hn_document items[N_ROWS];
    char from[256], adapter[256], plain[256], calibrated[256];
    hn_error err;
    hn_quantise_report report;
    hn_quantise_options options = {
        .ftype = HN_FTYPE_Q4_1, .n_threads = 2, .allow_lost_adapter = true};
    path_of(from, MODELS, "llama");
    make_adapter(from, path_of(adapter, test_folder, "lora.gguf"));
    for (int r = 0; r < N_ROWS; r++) {
        for (int i = 0; i <= LENGTH; i++)
            ids[r][i] = i < COMMON ? i + 5 : (13 * i + 31 * r + i * r) % 200;
        items[r] = (hn_document){.ids = ids[r],
                                 .labels = ids[r] + 1,
                                 .n = LENGTH - r % 3,
                                 .n_supervised = LENGTH - r % 3};
    }
    hn_documents rows = {.items = items, .n = N_ROWS, .n_tokens = N_ROWS * LENGTH};
    must(quantise(from, adapter, path_of(plain, test_folder, "rp.gguf"), options, &report, &err),
         &err);
    uint64_t size = report.size_bytes;
    assert_true(isnan(report.output_share));
    options.calibration_rows = &rows;
    must(quantise(from, adapter, path_of(calibrated, test_folder, "rc.gguf"), options, &report,
                  &err),
         &err);
    assert_int_equal(report.size_bytes, size);
    assert_true(distance(from, adapter, calibrated) < 1.5 * distance(from, adapter, plain));
    double alone = report.output_error;
    options.calibrate_on_own_text = true; /* beside them */
    path_of(plain, test_folder, "ro.gguf");
    must(quantise(from, adapter, plain, options, &report, &err), &err);
    assert_int_equal(report.size_bytes, size);
    assert_true(isfinite(report.output_share) && report.output_error != alone);
    double both = report.output_error;
    options.calibration_rows = NULL;
    must(quantise(from, adapter, plain, options, &report, &err), &err);
    assert_true(report.output_error != both);
    options.calibrate_on_own_text = false;
    options.calibration_rows = &rows;
    rows.n = 2; /* too few tokens to say anything */
    path_of(calibrated, test_folder, "few.gguf");
    assert_int_equal(quantise(from, adapter, calibrated, options, &report, &err), HN_BAD_INPUT);
    assert_false(hn_path_exists(calibrated));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_adapter),
        cmocka_unit_test(test_calibrated),
        cmocka_unit_test(test_calibrated_rows),
        cmocka_unit_test(test_every_allocation_fails),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
