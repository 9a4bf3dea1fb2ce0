/* Jobs of an engine, waited for and compared with what hn_generate says alone. */
#pragma once

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "support/check.h"
#include "support/stories.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BOS = 1, PROMPT_MAX = 400, BLOCK = 32 /* positions of KV */ };

static char story_path[64];
static hn_model *model, *twin; /* the same file twice: its own draft */

static inline int open_story(void **state) {
    (void)state;
    char shared[512];
    hn_error err;
    hn_model_options options = {.n_threads = 2};
    if (!shared_file(shared, sizeof shared, "stories260K/stories260K.bin"))
        return 0;
    stories_make(story_path, NULL);
    if (hn_model_open(&model, story_path, &options, &err) != HN_OK ||
        hn_model_open(&twin, story_path, &options, &err) != HN_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    return 0;
}

static inline int close_story(void **state) {
    (void)state;
    hn_model_free(model);
    hn_model_free(twin);
    if (*story_path)
        remove(story_path);
    return 0;
}

static inline void need_story(void) {
    if (model)
        return;
    print_message("skipped: stories260K isn't there (set HONE_SHARED)\n");
    skip();
}

static inline hn_engine *new_engine(const hn_engine_options *options) {
    hn_engine *engine = NULL;
    ASSERT_OK(hn_engine_new(&engine, model, options, errp));
    return engine;
}

/* All that is seen of one job. */
typedef struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool over;
    hn_status status;
    char message[512];
    hn_finish finish;
    int stop, n_prompt, n_cached, n_generated, n_drafted, n_accepted;
    hn_job_times times;
    hn_buf text, pieces; /* the result's, and what came piece by piece */
    hn_ids ids, piece_ids;
    float *embedding;
    int n_embd;
    int n_pieces, n_progress, n_done_calls, cancel_after; /* pieces; 0 = never */
    int n_scored;                                         /* prompt tokens */
    double score;                                         /* sum of all log-probabilities */
    bool wrong;                                           /* something that may not be */
    int n_tokens_done;
    bool held;         /* the callback of pieces waits, and the engine with it */
    int held_progress; /* that of progress waits at this call; 0 = never */
    hn_job *job;
} told;

static inline void told_init(told *t) {
    *t = (told){0};
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
}

static inline void told_done(told *t) {
    hn_job_release(t->job);
    hn_buf_done(&t->text);
    hn_buf_done(&t->pieces);
    hn_ids_done(&t->ids);
    hn_ids_done(&t->piece_ids);
    free(t->embedding);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
}

static inline void on_progress(void *context, int n_done, int n_prompt, int n_cached) {
    told *t = context;
    pthread_mutex_lock(&t->lock);
    t->wrong |= n_done < t->n_tokens_done || n_done > n_prompt || n_cached > n_done;
    t->n_tokens_done = n_done;
    t->n_progress++;
    pthread_cond_broadcast(&t->changed);
    while (t->n_progress == t->held_progress)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

static inline void on_prompt(void *context, const hn_piece_token *tokens, int n_tokens) {
    told *t = context;
    for (int i = 0; i < n_tokens; i++) {
        t->wrong |= t->n_pieces > 0;
        if (t->n_scored++ > 0)
            t->score += (double)tokens[i].logprob;
    }
}

static inline bool on_piece(void *context, const hn_piece *piece) {
    told *t = context;
    hn_error err;
    bool on;
    pthread_mutex_lock(&t->lock);
    hn_buf_append(&t->pieces, piece->text, piece->n_bytes);
    for (int i = 0; i < piece->n_tokens; i++) {
        t->wrong |= hn_ids_push(&t->piece_ids, piece->tokens[i].id, &err) != HN_OK;
        t->wrong |= piece->tokens[i].offset > t->pieces.size;
    }
    on = ++t->n_pieces != t->cancel_after;
    pthread_cond_broadcast(&t->changed);
    while (t->held)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
    return on;
}

static inline void on_done(void *context, const hn_job_result *r) {
    told *t = context;
    hn_error err;
    pthread_mutex_lock(&t->lock);
    t->n_done_calls++;
    t->status = r->status;
    snprintf(t->message, sizeof t->message, "%s", r->message);
    t->finish = r->finish;
    t->stop = r->stop;
    t->n_prompt = r->n_prompt;
    t->n_cached = r->n_cached;
    t->n_generated = r->n_generated;
    t->n_drafted = r->n_drafted;
    t->n_accepted = r->n_accepted;
    t->times = r->times;
    hn_buf_append(&t->text, r->text, r->n_bytes);
    for (int i = 0; i < r->n_ids; i++)
        t->wrong |= hn_ids_push(&t->ids, r->ids[i], &err) != HN_OK;
    if (r->embedding) {
        t->embedding = malloc((size_t)r->n_embd * sizeof *t->embedding);
        memcpy(t->embedding, r->embedding, (size_t)r->n_embd * sizeof *t->embedding);
        t->n_embd = r->n_embd;
    }
    t->over = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static inline hn_job_events events_of(told *t) {
    return (hn_job_events){.context = t,
                           .progress = on_progress,
                           .prompt = on_prompt,
                           .piece = on_piece,
                           .done = on_done};
}

static inline void wait_over(told *t) {
    pthread_mutex_lock(&t->lock);
    while (!t->over)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

static inline void wait_pieces(told *t, int n) {
    pthread_mutex_lock(&t->lock);
    while (!t->over && t->n_pieces < n)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

static inline void let_go(told *t) {
    pthread_mutex_lock(&t->lock);
    t->held = false;
    t->held_progress = 0;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static inline void wait_progress(told *t, int n) {
    pthread_mutex_lock(&t->lock);
    while (!t->over && t->n_progress < n)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

static inline hn_status submit(hn_engine *engine, told *t, const hn_job_options *options,
                               hn_error *err) {
    hn_job_options o = *options;
    told_init(t);
    o.events = events_of(t);
    return hn_engine_submit(engine, &o, &t->job, err);
}

/* BOS and letters that a seed picks. */
static inline void make_prompt(int32_t *prompt, int n, uint64_t seed) {
    hn_rng rng = hn_rng_new(seed, 9);
    prompt[0] = BOS;
    for (int i = 1; i < n; i++)
        prompt[i] = 259 + (int32_t)hn_rng_below(&rng, 250);
}

/* An adapter that changes something. */
static inline hn_adapter *make_adapter(uint64_t seed) {
    hn_adapter *adapter = NULL;
    hn_rng rng = hn_rng_new(seed, 3);
    ASSERT_OK(hn_adapter_new(&adapter, &model->arch, 0x7f, 4, 8, seed, errp));
    for (int l = 0; l < adapter->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            hn_lora *lora = &adapter->layers[l][m];
            for (int64_t i = 0; i < lora->r * lora->out; i++)
                lora->b[i] = 0.1f * (float)hn_rng_normal(&rng);
        }
    return adapter;
}

/* What hn_generate says to the same job alone. */
static inline void generate_alone(const hn_job_options *o, int n_context, hn_generation *out) {
    hn_kv *kv = NULL;
    hn_constraint_pool *pool = NULL;
    hn_pooled_constraint constraint = {0};
    ASSERT_OK(hn_kv_new(&kv, model, 1, n_context - BLOCK, errp));
    ASSERT_OK(hn_constraint_pool_new(&pool, model->ckpt.tokenizer, errp));
    if (o->constraint)
        ASSERT_OK(hn_constraint_pool_take(pool, o->constraint_kind, o->constraint, o->n_constraint,
                                          "test", &constraint, errp));
    const hn_generate_options options = {.sampling = o->sampling,
                                         .max_tokens = o->max_tokens < 0 ? 0 : o->max_tokens,
                                         .stop = o->stop,
                                         .n_stop = o->n_stop,
                                         .ignore_eos = o->ignore_eos,
                                         .adapter = o->adapter,
                                         .constraint = constraint.constraint};
    ASSERT_OK(hn_generate(model, kv, 0, o->prompt, o->n_prompt, &options, out, errp));
    hn_constraint_pool_give(pool, &constraint);
    hn_constraint_pool_free(pool);
    hn_kv_free(kv);
}

/* The job said what hn_generate says. */
static inline void check_same(told *t, const hn_generation *alone) {
    assert_string_equal(t->message, "");
    assert_int_equal(t->status, HN_OK);
    assert_int_equal(t->n_done_calls, 1);
    assert_false(t->wrong);
    assert_string_equal(hn_buf_text(&t->text), alone->text);
    assert_int_equal(t->text.size, alone->n_bytes);
    assert_string_equal(hn_buf_text(&t->pieces), alone->text);
    assert_int_equal(t->ids.size, alone->ids.size);
    for (size_t i = 0; i < t->ids.size; i++)
        assert_int_equal(t->ids.data[i], alone->ids.data[i]);
    assert_int_equal(t->finish, alone->finish);
}
