/* What tests of trainings share: recorded token ids as documents, adapters compared, and
 * Ctrl-C after a step. */
#pragma once

#include "base/file.h"
#include "base/mem.h"
#include "base/progress.h"
#include "data/records.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

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
