/* Distillation on the small models of golden_model.h: rows of tests/golden/kd.json and a run. */
#pragma once

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

#include "golden_model.h"
#include "train_help.h"

typedef struct setup {
    training t;
    hn_documents docs;
    hn_distill_options distill;
} setup;

/* Rows {"prompt", "chosen"} of ids. */
static inline hn_documents recorded_documents(const json_t *list) {
    hn_documents docs = {.n = json_array_size(list)};
    docs.items = hn_calloc(docs.n, sizeof *docs.items);
    for (size_t i = 0; i < docs.n; i++) {
        const json_t *row = json_array_get(list, i);
        docs.items[i] = recorded_document(json_object_get(row, "prompt"),
                                          json_object_get(row, "chosen"), i + 1);
        docs.n_supervised += (uint64_t)docs.items[i].n_supervised;
    }
    return docs;
}

static inline float recorded_float(const setup *s, const char *key) {
    return (float)json_number_value(json_object_get(s->t.golden, key));
}

static inline void begin(setup *s, const char *family) {
    *s = (setup){.distill = hn_distill_options_default()};
    training_begin(&s->t, "kd.json", family);
    s->docs = recorded_documents(json_object_get(s->t.golden, "rows"));
    s->distill.alpha = recorded_float(s, "alpha");
    s->distill.temperature = recorded_float(s, "temperature");
    s->distill.hidden = recorded_float(s, "hidden");
}

static inline void end(setup *s) {
    hn_documents_done(&s->docs);
    training_end(&s->t);
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

/* A student, ready to sample where the run does. */
static inline hn_model *student_of(const setup *s, const char *family, int threads) {
    hn_model *model = golden_model(family, threads);
    if (s->distill.on_policy > 0) {
        model->ckpt.tokenizer = tiny_tokenizer();
        hn_free(model->rope_inv_freq_local); /* llama has no local layers */
        model->rope_inv_freq_local = NULL;
    }
    return model;
}

static inline hn_status run(setup *s, const char *family, int threads, hn_model *teacher,
                            const hn_progress *progress, hn_train_result *result, hn_error *err) {
    hn_model *model = student_of(s, family, threads);
    s->distill.teacher = teacher;
    hn_status status = hn_train_distill(model, &s->docs, &s->docs, &s->distill, &s->t.options,
                                        progress, result, err);
    tiny_model_free(model);
    return status;
}

static inline void must_run(setup *s, const char *family, int threads, hn_model *teacher,
                            hn_train_result *result) {
    hn_error err = {0};
    if (run(s, family, threads, teacher, NULL, result, &err) != HN_OK)
        fail_msg("%s", err.message);
}

/* Of the steps, this share on what the student samples. */
static inline void begin_sampled(setup *s, float share) {
    begin(s, "llama");
    s->distill.alpha = 1;
    s->distill.temperature = 1;
    s->distill.hidden = 0;
    s->distill.beta = 0.5f;
    s->distill.on_policy = share;
    s->distill.sample_tokens = 12;
    s->t.options.learning_rate = 1e-2f;
}

static inline void begin_minillm(setup *s, float share) {
    begin_sampled(s, share);
    s->distill.minillm = true;
}

/* A run of one step with memory failing at every place: an error, and nothing lost. */
static inline void check_no_memory(setup *s, const char *family, hn_model *teacher) {
    hn_model *model = student_of(s, family, 1);
    hn_status status = HN_NO_MEMORY;
    s->distill.teacher = teacher;
    s->t.options.max_steps = 1;
    s->t.options.batch_rows = 2;
    s->t.options.resume = false;
    for (int64_t n = 0; status != HN_OK; n++) {
        hn_train_result result;
        hn_error err;
        hn_mem_fail_after(n);
        status = hn_train_distill(model, &s->docs, NULL, &s->distill, &s->t.options, NULL, &result,
                                  &err);
        hn_mem_fail_after(-1);
        if (status != HN_OK && status != HN_NO_MEMORY)
            fail_msg("allocation %lld: %s", (long long)n, err.message);
    }
    tiny_model_free(model);
}
