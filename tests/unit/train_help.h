/* What tests of trainings share: runs as files of tests/golden have recorded them, token ids as
 * documents, steps and adapters compared, and Ctrl-C after a step. */
#pragma once

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/progress.h"
#include "formats/jsonl.h"
#include "train/train.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RECORDED_STEPS = 20 };

/* A run with the rate, warm-up and batch of a file of tests/golden, in the order of its rows, from
 * the adapter of a family of tests/golden/sft, in a folder of its own. */
typedef struct training {
    json_t *golden;
    char dir[64], adapter[600];
    hn_train_options options;
} training;

static inline json_t *recorded_golden(const char *file) {
    char path[600];
    json_t *golden;
    hn_error err;
    snprintf(path, sizeof path, "%s/golden/%s", HN_TEST_ROOT, file);
    if (hn_json_read(path, 1 << 24, &golden, &err) != HN_OK)
        fail_msg("%s", err.message);
    return golden;
}

static inline void training_begin(training *t, const char *file, const char *family) {
    *t = (training){.dir = "/tmp/hone-training-XXXXXX", .options = hn_train_options_default()};
    t->golden = recorded_golden(file);
    assert_non_null(mkdtemp(t->dir));
    snprintf(t->adapter, sizeof t->adapter, "%s/golden/sft/%s/adapter", HN_TEST_ROOT, family);
    t->options.learning_rate = (float)json_number_value(json_object_get(t->golden, "rate"));
    t->options.warmup_steps = (int)json_integer_value(json_object_get(t->golden, "warmup"));
    t->options.batch_rows = (int)json_integer_value(json_object_get(t->golden, "batch"));
    t->options.max_steps = RECORDED_STEPS;
    t->options.shuffle = false;
    t->options.init_adapter = t->adapter;
    t->options.out_dir = t->dir;
}

static inline void training_end(training *t) {
    hn_error err;
    json_decref(t->golden);
    assert_int_equal(hn_path_remove(t->dir, &err), HN_OK);
}

/* The named value of each step in metrics.jsonl; how many there are. */
static inline size_t read_steps(const training *t, const char *key, double values[RECORDED_STEPS]) {
    char path[100];
    snprintf(path, sizeof path, "%s/metrics.jsonl", t->dir);
    hn_jsonl lines;
    hn_error err;
    json_t *row;
    size_t n = 0;
    assert_int_equal(hn_jsonl_open(&lines, path, &err), HN_OK);
    for (; hn_jsonl_next(&lines, &row, &err) == HN_OK && row; json_decref(row))
        if (json_object_get(row, "lr") && n < RECORDED_STEPS)
            values[n++] = json_number_value(json_object_get(row, key));
    hn_jsonl_close(&lines);
    return n;
}

/* Relative to what was recorded, of the first step and of the later ones; absolute for all. */
typedef struct tolerances {
    double first, later, absolute;
} tolerances;

/* Each step's value of `key` against a recorded list. */
static inline void check_recorded(const training *t, const char *what, const char *key,
                                  const json_t *wanted, tolerances most) {
    double ours[RECORDED_STEPS];
    assert_int_equal(read_steps(t, key, ours), RECORDED_STEPS);
    assert_int_equal(json_array_size(wanted), RECORDED_STEPS);
    for (size_t step = 0; step < RECORDED_STEPS; step++) {
        double theirs = json_number_value(json_array_get(wanted, step));
        double relative = step ? most.later : most.first;
        if (!(fabs(ours[step] - theirs) <= relative * fabs(theirs) + most.absolute))
            fail_msg("%s step %zu: %s %.9g, recorded %.9g", what, step, key, ours[step], theirs);
    }
}

/* Lists of ids: the answer is what is learned. */
static inline hn_document recorded_document(const json_t *prompt, const json_t *answer,
                                            uint64_t line) {
    size_t before = json_array_size(prompt), n = before + json_array_size(answer);
    hn_document d = {.n = (int32_t)n, .n_supervised = (int32_t)(n - before), .line = line};
    d.ids = hn_malloc(2 * n * sizeof *d.ids);
    d.labels = d.ids + n;
    for (size_t i = 0; i < n; i++)
        d.ids[i] = (int32_t)json_integer_value(i < before ? json_array_get(prompt, i)
                                                          : json_array_get(answer, i - before));
    for (size_t i = 0; i < n; i++)
        d.labels[i] = i + 1 >= before && i + 1 < n ? d.ids[i + 1] : -1;
    return d;
}

static inline char *read_adapter(const char *dir, size_t *size) {
    char path[300], *text;
    hn_error err;
    snprintf(path, sizeof path, "%s/adapter/adapter_model.safetensors", dir);
    if (hn_file_read(path, 1 << 24, &text, size, &err) != HN_OK)
        fail_msg("%s", err.message);
    return text;
}

/* Of two runs' folders, to the byte. */
static inline void check_same_adapter(const char *a, const char *b) {
    size_t na, nb;
    char *x = read_adapter(a, &na), *y = read_adapter(b, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(x, y, na);
    hn_free(x);
    hn_free(y);
}

/* Ctrl-C after step `at`, as hn_progress: context, update = stop_training, cancel. Tests that kill
 * have their own (sft_run.h). */
typedef struct training_stopper {
    uint64_t at;
    atomic_bool cancel;
} training_stopper;

static inline void stop_training(void *context, const char *label, uint64_t done, uint64_t total,
                                 const char *unit, const char *detail) {
    (void)total, (void)unit, (void)detail;
    training_stopper *s = context;
    if (strcmp(label, "training") == 0 && done >= s->at)
        atomic_store(&s->cancel, true);
}
