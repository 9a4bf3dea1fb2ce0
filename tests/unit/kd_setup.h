/* Distillation on the small models of golden_model.h: rows of tests/golden/kd.json, a run, and what
 * it has logged. */
#pragma once

#include "base/file.h"
#include "base/json.h"
#include "train/loss_kd.h"
#include "train/train.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/jsonl.h"
#include "golden_model.h"
#include "train_help.h"

static inline json_t *read_golden(void) {
    json_t *golden;
    hn_error err;
    assert_int_equal(hn_json_read(HN_TEST_ROOT "/golden/kd.json", 1 << 24, &golden, &err), HN_OK);
    return golden;
}

static inline hn_document row_document(const json_t *row, uint64_t line) {
    return recorded_document(json_object_get(row, "prompt"), json_object_get(row, "chosen"), line);
}

typedef struct setup {
    json_t *golden;
    hn_documents docs;
    char dir[64], adapter[600];
    hn_distill_options distill;
    hn_train_options train;
} setup;

static inline void begin(setup *s, const char *family) {
    *s = (setup){.golden = read_golden()};
    const json_t *list = json_object_get(s->golden, "rows");
    s->docs.n = json_array_size(list);
    s->docs.items = hn_calloc(s->docs.n, sizeof *s->docs.items);
    for (size_t i = 0; i < s->docs.n; i++) {
        s->docs.items[i] = row_document(json_array_get(list, i), i + 1);
        s->docs.n_supervised += (uint64_t)s->docs.items[i].n_supervised;
    }
    strcpy(s->dir, "/tmp/hone-kd-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->adapter, sizeof s->adapter, "%s/golden/sft/%s/adapter", HN_TEST_ROOT, family);
    s->distill = hn_distill_options_default();
    s->distill.alpha = (float)json_number_value(json_object_get(s->golden, "alpha"));
    s->distill.temperature = (float)json_number_value(json_object_get(s->golden, "temperature"));
    s->distill.hidden = (float)json_number_value(json_object_get(s->golden, "hidden"));
    s->train = hn_train_options_default();
    s->train.learning_rate = (float)json_number_value(json_object_get(s->golden, "rate"));
    s->train.warmup_steps = (int)json_integer_value(json_object_get(s->golden, "warmup"));
    s->train.batch_rows = (int)json_integer_value(json_object_get(s->golden, "batch"));
    s->train.max_steps = 20;
    s->train.shuffle = false;
    s->train.init_adapter = s->adapter;
    s->train.out_dir = s->dir;
}

static inline void end(setup *s) {
    hn_error err;
    json_decref(s->golden);
    hn_documents_done(&s->docs);
    assert_int_equal(hn_path_remove(s->dir, &err), HN_OK);
}

static inline hn_model *golden_model(const char *family, int threads) {
    char dir[600];
    snprintf(dir, sizeof dir, "%s/golden/sft/%s", HN_TEST_ROOT, family);
    return load_model(dir, family, threads);
}

/* 61 tokens, each a character; the last one ends a turn. */
static inline hn_tokenizer *tiny_tokenizer(void) {
    static char text[TINY_VOCAB];
    hn_vocab_text tokens[TINY_VOCAB];
    int32_t kinds[TINY_VOCAB];
    hn_tokenizer *tokenizer;
    hn_error err;
    for (int i = 0; i < TINY_VOCAB; i++) {
        text[i] = (char)('!' + i);
        tokens[i] = (hn_vocab_text){&text[i], 1};
        kinds[i] = i == TINY_VOCAB - 1 ? HN_TOKEN_CONTROL : HN_TOKEN_NORMAL;
    }
    hn_vocab vocab = {.model = "gpt2",
                      .pre = "gpt-2",
                      .n_tokens = TINY_VOCAB,
                      .tokens = tokens,
                      .kinds = kinds,
                      .bos = -1,
                      .eos = TINY_VOCAB - 1,
                      .eot = -1,
                      .unk = -1,
                      .pad = -1};
    if (hn_tokenizer_from_vocab(&tokenizer, &vocab, &err) != HN_OK)
        fail_msg("%s", err.message);
    return tokenizer;
}

static inline hn_status run(setup *s, const char *family, int threads, hn_model *teacher,
                            const hn_progress *progress, hn_train_result *result, hn_error *err) {
    hn_model *model = golden_model(family, threads);
    s->distill.teacher = teacher;
    if (s->distill.on_policy > 0) {
        model->ckpt.tokenizer = tiny_tokenizer();
        hn_free(model->rope_inv_freq_local); /* llama has no local layers */
        model->rope_inv_freq_local = NULL;
    }
    hn_status status =
        hn_train_distill(model, &s->docs, &s->docs, &s->distill, &s->train, progress, result, err);
    tiny_model_free(model);
    return status;
}

static inline void must_run(setup *s, const char *family, int threads, hn_model *teacher,
                            hn_train_result *result) {
    hn_error err = {0};
    if (run(s, family, threads, teacher, NULL, result, &err) != HN_OK)
        fail_msg("%s", err.message);
}

/* The named value of each step in metrics.jsonl. */
static inline size_t read_steps(const setup *s, const char *key, double values[20]) {
    char path[100];
    snprintf(path, sizeof path, "%s/metrics.jsonl", s->dir);
    hn_jsonl lines;
    hn_error err;
    json_t *row;
    size_t n = 0;
    assert_int_equal(hn_jsonl_open(&lines, path, &err), HN_OK);
    for (; hn_jsonl_next(&lines, &row, &err) == HN_OK && row; json_decref(row))
        if (json_object_get(row, "lr") && n < 20)
            values[n++] = json_number_value(json_object_get(row, key));
    hn_jsonl_close(&lines);
    return n;
}
