/* Fine-tuning runs on a tiny model, for tests of what a run leaves. */
#pragma once

#include "base/file.h"
#include "train/train.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tiny_model.h"
#include "train_help.h"

enum { N_DOCS = 13 };

static inline hn_documents make_docs(uint64_t seed) {
    hn_documents docs = {.items = hn_calloc(N_DOCS, sizeof *docs.items), .n = N_DOCS};
    docs.path = hn_strdup("rows.jsonl");
    hn_rng rng = hn_rng_new(seed, 1);
    for (int i = 0; i < N_DOCS; i++) {
        int32_t n = 12 + (int32_t)hn_rng_below(&rng, 20);
        hn_document *d = &docs.items[i];
        *d = (hn_document){.n = n, .line = (uint64_t)i + 1};
        d->ids = hn_malloc(2 * (size_t)n * sizeof *d->ids);
        d->labels = d->ids + n;
        for (int32_t p = 0; p < n; p++)
            d->ids[p] = p < 9 ? p : (int32_t)hn_rng_below(&rng, TINY_VOCAB);
        for (int32_t p = 0; p < n; p++) {
            d->labels[p] = p >= 8 && p + 1 < n ? d->ids[p + 1] : -1;
            d->n_supervised += d->labels[p] >= 0;
        }
        docs.n_tokens += (uint64_t)n;
        docs.n_supervised += (uint64_t)d->n_supervised;
    }
    return docs;
}

static inline char *temporary_dir(void) {
    char *dir = hn_strdup("/tmp/hone-sft-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return dir;
}

static inline void remove_dir(char *dir) {
    hn_error err;
    assert_int_equal(hn_path_remove(dir, &err), HN_OK);
    hn_free(dir);
}

static inline hn_train_options make_options(const char *dir) {
    hn_train_options o = hn_train_options_default();
    o.r = 4;
    o.alpha = 8;
    o.learning_rate = 1e-2f;
    o.batch_rows = 4;
    o.max_steps = 10;
    o.eval_every = 3;
    o.save_every = 2;
    o.dropout = 0.1f;
    o.out_dir = dir;
    return o;
}

/* Runs in a model of its own; the thread count must not matter. */
static inline hn_status run(const hn_train_options *o, int threads, bool with_eval,
                            const hn_progress *progress, hn_train_result *result, hn_error *err) {
    hn_model *model = tiny_model("qwen3", threads);
    hn_documents docs = make_docs(1), eval = make_docs(2);
    hn_status status =
        hn_train_sft(model, &docs, with_eval ? &eval : NULL, o, progress, result, err);
    hn_documents_done(&docs);
    hn_documents_done(&eval);
    tiny_model_free(model);
    return status;
}

static inline void must_run(const hn_train_options *o, int threads, hn_train_result *result) {
    hn_error err = {0};
    if (run(o, threads, true, NULL, result, &err) != HN_OK)
        fail_msg("%s", err.message);
}

typedef struct stopper {
    uint64_t at_step;
    bool kill;
    atomic_bool cancel;
} stopper;

static inline void on_update(void *context, const char *label, uint64_t done, uint64_t total,
                             const char *unit, const char *detail) {
    (void)label, (void)total, (void)unit, (void)detail;
    stopper *s = context;
    if (done != s->at_step)
        return;
    if (s->kill)
        raise(SIGKILL);
    atomic_store(&s->cancel, true);
}

/* Runs in a process of its own that is killed after `step`. */
static inline void run_killed(const hn_train_options *o, uint64_t step, int threads) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        stopper s = {.at_step = step, .kill = true};
        hn_progress progress = {.context = &s, .update = on_update};
        hn_train_result result;
        hn_error err;
        _exit(run(o, threads, true, &progress, &result, &err) != HN_OK);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}
