/* Batch invariance (DESIGN.md, item 4): a row's logits are the same bits alone, among others, with
 * its prompt in chunks of any size, on any number of threads - for each instruction set level that
 * this machine executes, f32 and int8 products, every type of cache, with and without an adapter.
 */
#include "base/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/kv_type.h"
#include "model/model.h"
#include "release/quantise.h"
#include "support/check.h"
#include "support/stories.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base_model.h"

enum {
    N_TOKENS = 264, /* beyond the first part of attention's keys */
    N_WARM = 240,   /* given at once before the smallest chunks, for the sake of time */
    N_OTHERS = 16,
    N_STEPS = 24,
};
static const hn_dtype KV_TYPES[] = {HN_F32, HN_F16, HN_Q8_0, HN_Q4_0};
enum { N_KV_TYPES = sizeof KV_TYPES / sizeof *KV_TYPES };
static const int CHUNKS[] = {1, 2, 3, 7, 8, 9, 16, 31, 64};
enum { N_CHUNKS = sizeof CHUNKS / sizeof *CHUNKS };

typedef struct subject {
    hn_model *model;
    hn_adapter *adapter; /* or NULL */
    int n_tokens;
    float *wanted; /* (n_tokens, n_vocab): whole prompt, one thread */
    float *logits; /* the same shape, of the run at hand */
    bool thorough; /* else a third of the ways */
    char what[128];
} subject;

static int32_t token_at(const subject *s, int seq, int i) {
    return (int32_t)((i * 31 + seq * 97 + 3) % s->model->arch.n_vocab);
}

static hn_kv *new_kv(const subject *s, int n_seqs, int64_t n_positions) {
    hn_kv *kv = NULL;
    ASSERT_OK(hn_kv_new(&kv, s->model, n_seqs, n_positions, errp));
    return kv;
}

static void forward(const subject *s, hn_kv *kv, const hn_batch_row *rows, int n, float *logits) {
    const hn_adapter *adapters[1] = {s->adapter};
    ASSERT_OK(hn_forward(s->model, kv, adapters, s->adapter != NULL, rows, n, logits, NULL, errp));
}

/* Appends tokens first..end-1 of a sequence, `chunk` at a time, with logits of every row. */
static void feed(const subject *s, hn_kv *kv, int seq, int first, int end, int chunk,
                 float *logits) {
    hn_batch_row rows[N_TOKENS];
    for (int at = first; at < end; at += chunk) {
        int n = end - at < chunk ? end - at : chunk;
        for (int i = 0; i < n; i++)
            rows[i] = (hn_batch_row){.token = token_at(s, seq, at + i),
                                     .seq = seq,
                                     .adapter = s->adapter ? 0 : -1,
                                     .wants_logits = logits != NULL};
        forward(s, kv, rows, n, logits);
        if (logits)
            logits += (size_t)n * (size_t)s->model->arch.n_vocab;
    }
}

static void compare(const subject *s, int first, int n, const char *how, int number) {
    size_t row = (size_t)s->model->arch.n_vocab;
    for (int i = 0; i < n; i++)
        if (memcmp(s->logits + (size_t)i * row, s->wanted + (size_t)(first + i) * row,
                   row * sizeof *s->logits))
            fail_msg("%s: position %d differs: %s %d", s->what, first + i, how, number);
}

static void check_chunks(const subject *s) {
    for (int c = 0; c < N_CHUNKS; c += s->thorough ? 1 : 3) {
        int warm = CHUNKS[c] < 8 || !s->thorough ? N_WARM : 0;
        hn_kv *kv = new_kv(s, 1, s->n_tokens);
        if (warm)
            feed(s, kv, 0, 0, warm, warm, NULL);
        feed(s, kv, 0, warm, s->n_tokens, CHUNKS[c], s->logits);
        compare(s, warm, s->n_tokens - warm, "chunks of", CHUNKS[c]);
        hn_kv_free(kv);
    }
}

/* Decodes beside 16 sequences that are anywhere in their own texts. */
static void check_company(const subject *s) {
    size_t n_vocab = (size_t)s->model->arch.n_vocab;
    int start = s->n_tokens - N_STEPS;
    hn_kv *kv = new_kv(s, 1 + N_OTHERS, (int64_t)(1 + N_OTHERS) * (s->n_tokens + HN_KV_BLOCK));
    float *logits = malloc((1 + N_OTHERS) * n_vocab * sizeof *logits);
    feed(s, kv, 0, 0, start, s->n_tokens, NULL);
    for (int other = 1; other <= N_OTHERS; other++)
        feed(s, kv, other, 0, other * 4, s->n_tokens, NULL);
    for (int i = 0; i < N_STEPS; i++) {
        hn_batch_row rows[1 + N_OTHERS];
        int mine = i % (1 + N_OTHERS); /* its place in the batch is nothing to depend on either */
        for (int r = 0; r <= N_OTHERS; r++) {
            int seq = r == mine ? 0 : r < mine ? r + 1 : r;
            rows[r] = (hn_batch_row){.token = token_at(s, seq, hn_kv_length(kv, seq)),
                                     .seq = seq,
                                     .adapter = s->adapter && (seq == 0 || seq % 2) ? 0 : -1,
                                     .wants_logits = true};
        }
        forward(s, kv, rows, 1 + N_OTHERS, logits);
        memcpy(s->logits + (size_t)i * n_vocab, logits + (size_t)mine * n_vocab,
               n_vocab * sizeof *logits);
    }
    compare(s, start, N_STEPS, "in a batch of", 1 + N_OTHERS);
    free(logits);
    hn_kv_free(kv);
}

/* Decodes beside sequences that begin as it does: whole blocks of it, part of one, all but the
 * last. */
static void check_family(const subject *s) {
    static const int32_t shared[] = {32, 64, 70, 200, 240};
    enum { N_FAMILY = sizeof shared / sizeof *shared, OWN = 9 };
    size_t n_vocab = (size_t)s->model->arch.n_vocab;
    int start = s->n_tokens - N_STEPS;
    hn_kv *kv = new_kv(s, 1 + N_FAMILY, (int64_t)(1 + N_FAMILY) * (s->n_tokens + HN_KV_BLOCK));
    float *logits = malloc((1 + N_FAMILY) * n_vocab * sizeof *logits);
    feed(s, kv, 0, 0, start, s->n_tokens, NULL);
    for (int other = 1; other <= N_FAMILY; other++) {
        int32_t length = shared[other - 1];
        ASSERT_OK(hn_kv_fork(kv, 0, other, length, errp));
        feed(s, kv, other, length, length + OWN * other, s->n_tokens, NULL);
    }
    for (int i = 0; i < N_STEPS; i++) {
        hn_batch_row rows[1 + N_FAMILY];
        int n = 1 + i % (1 + N_FAMILY), mine = i % n;
        for (int r = 0; r < n; r++) {
            int seq = r == mine ? 0 : r < mine ? r + 1 : r;
            rows[r] = (hn_batch_row){.token = token_at(s, seq, hn_kv_length(kv, seq)),
                                     .seq = seq,
                                     .adapter = s->adapter ? 0 : -1,
                                     .wants_logits = true};
        }
        forward(s, kv, rows, n, logits);
        memcpy(s->logits + (size_t)i * n_vocab, logits + (size_t)mine * n_vocab,
               n_vocab * sizeof *logits);
    }
    compare(s, start, N_STEPS, "with others that begin alike", N_FAMILY);
    free(logits);
    hn_kv_free(kv);
}

/* Everything with one thread; with more, the ways that cut the work differently. */
static void check_all(subject *s, int threads) {
    char label[sizeof s->what];
    snprintf(label, sizeof label, "%s", s->what);
    if (threads == 1) {
        hn_kv *kv = new_kv(s, 1, s->n_tokens);
        feed(s, kv, 0, 0, s->n_tokens, s->n_tokens, s->wanted);
        hn_kv_free(kv);
        check_chunks(s);
    } else {
        hn_kv *kv = new_kv(s, 1, s->n_tokens);
        int last = s->n_tokens - N_STEPS;
        snprintf(s->what, sizeof s->what, "%.90s, %d threads", label, threads);
        feed(s, kv, 0, 0, last, s->n_tokens, s->logits);
        compare(s, 0, last, "whole prompt", last);
        feed(s, kv, 0, last, last + N_STEPS / 2, 1, s->logits);
        feed(s, kv, 0, last + N_STEPS / 2, s->n_tokens, 4,
             s->logits + (size_t)(N_STEPS / 2) * (size_t)s->model->arch.n_vocab);
        compare(s, last, N_STEPS, "then one and four at a time", 4);
        hn_kv_free(kv);
    }
    if (threads <= (s->thorough ? 2 : 1)) {
        check_company(s);
        check_family(s);
    }
    memcpy(s->what, label, sizeof label);
}

static hn_adapter *random_adapter(const hn_model *model) {
    hn_adapter *adapter;
    ASSERT_OK(hn_adapter_new(&adapter, &model->arch, 0x7f, 11, 8, 1, errp));
    hn_rng rng = hn_rng_new(3, 1000);
    for (int l = 0; l < model->arch.n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++)
            for (int64_t i = 0; i < adapter->layers[l][m].r * adapter->layers[l][m].out; i++)
                adapter->layers[l][m].b[i] = hn_rng_float(&rng) - 0.5f;
    return adapter;
}

/* One level and numerics: all types of cache, with and without an adapter, 1 to 8 threads. Levels
 * below the best one take many times as long for the same loops: fewer ways, f32 with a cache of
 * f32, int8 with one of q4_0 and an adapter. */
static void check_model(const char *path, const char *isa, hn_numerics numerics, bool thorough) {
    static const int threads[] = {1, 2, 8, 3, 5};
    enum { N_SUBJECTS = 2 * N_KV_TYPES, N_THREADS = 5, FEW_THREADS = 2 };
    float *wanted[N_SUBJECTS] = {NULL}, *logits = NULL;
    for (int t = 0; t < (thorough ? N_THREADS : FEW_THREADS); t++) {
        hn_model_options options = {.n_threads = threads[t], .isa = isa, .numerics = numerics};
        hn_model *model;
        ASSERT_OK(hn_model_open(&model, path, &options, errp));
        hn_adapter *adapter = random_adapter(model);
        size_t bytes = sizeof(float) * N_TOKENS * (size_t)model->arch.n_vocab;
        logits = logits ? logits : malloc(bytes);
        for (int i = 0; i < N_SUBJECTS; i++) {
            if (!thorough && i != (numerics == HN_NUMERICS_INT8 ? N_SUBJECTS - 1 : 0))
                continue;
            wanted[i] = wanted[i] ? wanted[i] : malloc(bytes);
            subject s = {.model = model,
                         .adapter = i % 2 ? adapter : NULL,
                         .n_tokens = N_TOKENS,
                         .wanted = wanted[i],
                         .logits = logits,
                         .thorough = thorough};
            model->kv_type = KV_TYPES[i / 2];
            snprintf(s.what, sizeof s.what, "%s, %s, cache in %s%s", isa,
                     numerics == HN_NUMERICS_INT8 ? "int8" : "f32", hn_dtype_name(model->kv_type),
                     i % 2 ? ", adapter" : "");
            check_all(&s, threads[t]);
        }
        hn_adapter_free(adapter);
        hn_model_free(model);
    }
    for (int i = 0; i < N_SUBJECTS; i++)
        free(wanted[i]);
    free(logits);
}

static void check_levels(const char *path) {
    for (int isa = 0; isa < HN_ISA_COUNT; isa++) {
        if (!hn_cpu_supports((hn_isa)isa)) {
            print_message("skipped: this machine lacks %s\n", hn_isa_name((hn_isa)isa));
            continue;
        }
        bool thorough = isa == (int)hn_cpu_best_isa();
        check_model(path, hn_isa_name((hn_isa)isa), HN_NUMERICS_F32, thorough);
        check_model(path, hn_isa_name((hn_isa)isa), HN_NUMERICS_INT8, thorough);
    }
}

/* Quantised weights, so that int8 products are taken. */
static void test_stories(void **state) {
    (void)state;
    char source[64], path[80];
    stories_make(source, NULL);
    snprintf(path, sizeof path, "%s.q8_0.gguf", source);
    hn_checkpoint ckpt;
    hn_quantise_report report;
    hn_quantise_options options = {.ftype = HN_FTYPE_Q8_0, .n_threads = 1};
    ASSERT_OK(hn_checkpoint_open(&ckpt, source, errp));
    ASSERT_OK(hn_quantise(&ckpt, NULL, path, &options, NULL, &report, errp));
    hn_checkpoint_close(&ckpt);
    check_levels(path);
    remove(source);
    remove(path);
}

/* A sliding window, norms on queries and keys, one key-value head. */
static void test_window(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s/golden/models/gemma3.gguf", HN_TEST_ROOT);
    check_levels(path);
}

/* A few steps of the real base, at the level that runs by itself. */
static void test_base(void **state) {
    (void)state;
    enum { N = 264, LAST = 6 }; /* the last steps have two parts of keys */
    need_base_model();
    float *wanted = NULL;
    for (int threads = 1; threads <= 2; threads++) {
        hn_model_options options = {
            .n_threads = threads, .numerics = HN_NUMERICS_INT8, .kv_type = HN_Q8_0};
        subject s = {.n_tokens = N};
        ASSERT_OK(hn_model_open(&s.model, base_model(), &options, errp));
        size_t bytes = LAST * sizeof(float) * (size_t)s.model->arch.n_vocab;
        s.logits = malloc(bytes);
        hn_kv *kv = new_kv(&s, 1, N);
        feed(&s, kv, 0, 0, N - LAST, threads == 1 ? N : 101, NULL);
        feed(&s, kv, 0, N - LAST, N, threads == 1 ? LAST : 1, s.logits);
        if (wanted)
            assert_memory_equal(s.logits, wanted, bytes);
        free(wanted);
        wanted = s.logits;
        hn_kv_free(kv);
        hn_model_free(s.model);
    }
    free(wanted);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_base),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
