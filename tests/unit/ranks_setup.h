/* A training on the ranks and the same one alone, on random rows and tiny models; how far apart the
 * two may be. */
#pragma once

#include "base/json.h"
#include "formats/jsonl.h"

#include <math.h>

#include "ranks_help.h"
#include "train_help.h"

enum { N_DOCS = 26, STEPS = 20 };
static const double STEP_TOLERANCE = 1e-5, LEARNED_TOLERANCE = 1e-3;

typedef enum training_kind { SFT, DPO, DISTILL } training_kind;

typedef struct setup {
    training_kind kind;
    hn_train_options train;
    hn_distill_options distill;
    hn_documents docs, eval;
    hn_pairs pairs;
    char own[64], shared[64]; /* folders: of this rank alone, of all */
    int64_t fail_after;       /* so many allocations of the training; -1 = never */
} setup;

static inline hn_document random_document(hn_rng *rng, uint64_t line, uint64_t of) {
    hn_rng prompt = hn_rng_new(99, of); /* the same for both of a pair */
    int32_t n = 12 + (int32_t)hn_rng_below(rng, 20);
    hn_document d = {.n = n, .line = line};
    d.ids = hn_malloc(2 * (size_t)n * sizeof *d.ids);
    d.labels = d.ids + n;
    for (int32_t p = 0; p < n; p++)
        d.ids[p] = p < 5 ? p : (int32_t)hn_rng_below(p < 9 ? &prompt : rng, TINY_VOCAB);
    for (int32_t p = 0; p < n; p++) {
        d.labels[p] = p >= 8 && p + 1 < n ? d.ids[p + 1] : -1;
        d.n_supervised += d.labels[p] >= 0;
    }
    return d;
}

static inline hn_documents random_documents(uint64_t seed) {
    hn_documents docs = {.items = hn_calloc(N_DOCS, sizeof *docs.items), .n = N_DOCS};
    hn_rng rng = hn_rng_new(seed, 1);
    for (uint64_t i = 0; i < N_DOCS; i++) {
        docs.items[i] = random_document(&rng, i + 1, i);
        docs.n_tokens += (uint64_t)docs.items[i].n;
        docs.n_supervised += (uint64_t)docs.items[i].n_supervised;
    }
    return docs;
}

static inline void begin(setup *s, training_kind kind) {
    *s = (setup){.kind = kind, .train = hn_train_options_default(), .fail_after = -1};
    s->distill = hn_distill_options_default();
    s->docs = random_documents(1);
    s->eval = random_documents(2);
    s->pairs = (hn_pairs){.items = hn_calloc(N_DOCS, sizeof *s->pairs.items), .n = N_DOCS};
    hn_rng rng = hn_rng_new(3, 1);
    for (uint64_t i = 0; i < N_DOCS; i++)
        s->pairs.items[i] =
            (hn_pair){random_document(&rng, i + 1, i), random_document(&rng, i + 1, i)};
    s->train.r = 4;
    s->train.alpha = 8;
    s->train.learning_rate = 2e-3f;
    s->train.max_steps = STEPS;
    s->train.eval_every = s->train.save_every = 7;
    strcpy(s->own, "/tmp/hone-ranks-XXXXXX");
    assert_non_null(mkdtemp(s->own));
    strcpy(s->shared, s->own);
    hn_ranks_broadcast(ranks, s->shared, sizeof s->shared);
    strcat(s->own, "/alone");
    strcat(s->shared, "/together");
}

static inline void end(setup *s) {
    hn_error err;
    double all = 0;
    hn_ranks_add(ranks, &all, 1); /* nobody reads rank 0's folder any more */
    *strrchr(s->own, '/') = '\0';
    assert_int_equal(hn_path_remove(s->own, &err), HN_OK);
    hn_documents_done(&s->docs);
    hn_documents_done(&s->eval);
    hn_pairs_done(&s->pairs);
}

static inline hn_status train(setup *s, hn_ranks *together, const hn_progress *progress,
                              hn_error *err) {
    hn_train_result result;
    hn_arch narrow = tiny_arch("llama");
    narrow.n_embd = 24; /* its states are the teacher's through a projection */
    hn_model *model = s->kind == DISTILL && s->distill.hidden > 0 ? tiny_model_of(&narrow, 1)
                                                                  : tiny_model("llama", 1);
    hn_model *teacher = s->kind == DISTILL ? tiny_model("qwen3", 1) : NULL;
    hn_dpo_options dpo = {.loss = {.beta = 0.1f}};
    s->train.ranks = together;
    s->train.out_dir = together ? s->shared : s->own;
    s->distill.teacher = teacher;
    hn_status status;
    hn_mem_fail_after(s->fail_after);
    if (s->kind == SFT)
        status = hn_train_sft(model, &s->docs, &s->eval, &s->train, progress, &result, err);
    else if (s->kind == DPO)
        status = hn_train_dpo(model, &s->pairs, &s->pairs, &dpo, &s->train, progress, &result, err);
    else
        status = hn_train_distill(model, &s->docs, &s->eval, &s->distill, &s->train, progress,
                                  &result, err);
    hn_mem_fail_after(-1);
    if (s->train.full && status == HN_OK) { /* what was learned, for compare */
        char path[100];
        snprintf(path, sizeof path, "%s/weights", s->train.out_dir);
        if (hn_ranks_is_first(together))
            status = hn_file_write(path, model->weights.data, model->weights.bytes, err);
    }
    tiny_model_free(model);
    if (teacher)
        tiny_model_free(teacher);
    return status;
}

static inline void must_train(setup *s, hn_ranks *together) {
    hn_error err = {0};
    hn_status status = train(s, together, NULL, &err);
    check_all(status == HN_OK, "%s", err.message);
}

/* A value of every line of metrics.jsonl that has it. */
static inline int read_values(const char *dir, const char *key, double *values, int most) {
    char path[100];
    hn_jsonl lines;
    hn_error err;
    json_t *row;
    int n = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    if (hn_jsonl_open(&lines, path, &err) != HN_OK)
        return 0;
    for (; hn_jsonl_next(&lines, &row, &err) == HN_OK && row; json_decref(row))
        if (json_object_get(row, key) && n < most)
            values[n++] = json_number_value(json_object_get(row, key));
    hn_jsonl_close(&lines);
    return n;
}

static inline void compare_values(const setup *s, const char *key, double relative,
                                  double absolute) {
    double alone[STEPS + 8], together[STEPS + 8];
    int n = read_values(s->own, key, alone, STEPS + 8), worst = 0;
    int m = read_values(s->shared, key, together, STEPS + 8);
    double most = 0;
    for (int i = 0; i < n && i < m; i++) {
        double apart = fabs(alone[i] - together[i]) / (relative * fabs(alone[i]) + absolute);
        if (!(apart <= most)) {
            most = apart;
            worst = i;
        }
    }
    check_all(n > 0 && n == m && most <= 1, "%s: %d and %d values, %.9g alone, %.9g together (%d)",
              key, n, m, alone[worst], together[worst], worst);
}

static inline char *read_learned(const setup *s, const char *dir, size_t *size) {
    char path[200], *text;
    hn_error err;
    snprintf(path, sizeof path, "%s/%s", dir,
             s->train.full ? "weights" : "adapter/adapter_model.safetensors");
    if (hn_file_read(path, 1 << 26, &text, size, &err) != HN_OK)
        fail_msg("%s", err.message);
    return text;
}

/* The distance of what was learned, of its size. A safetensors file's head is a multiple of 8 bytes
 * long and alike in both. */
static inline void compare_learned(const setup *s, double tolerance) {
    size_t n, m, head = 0;
    char *alone = read_learned(s, s->own, &n), *together = read_learned(s, s->shared, &m);
    double apart = 0, size = 0;
    if (!s->train.full) {
        uint64_t length;
        memcpy(&length, alone, sizeof length);
        head = sizeof length + (size_t)length;
    }
    for (size_t at = head; n == m && at + sizeof(float) <= n; at += sizeof(float)) {
        float a, b;
        memcpy(&a, alone + at, sizeof a);
        memcpy(&b, together + at, sizeof b);
        apart += (double)(a - b) * (double)(a - b);
        size += (double)a * (double)a;
    }
    check_all(n == m && sqrt(apart) <= tolerance * sqrt(size), "learned: %g apart of %g",
              sqrt(apart), sqrt(size));
    hn_free(alone);
    hn_free(together);
}

static inline void compare(const setup *s) {
    compare_values(s, "loss", STEP_TOLERANCE, 1e-7);
    compare_values(s, "grad_norm", 10 * STEP_TOLERANCE, 1e-7);
    compare_values(s, "eval_loss", STEP_TOLERANCE, 1e-7);
    compare_values(s, "tokens", 0, 1e-9);
    compare_values(s, "supervised", 0, 1e-9);
    compare_learned(s, LEARNED_TOLERANCE);
}
