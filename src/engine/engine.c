/* The engine: made and freed, the thread's loop, and the door for jobs. */
#include "engine/internal.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <time.h>

enum {
    DEFAULT_SLOTS = 16,
    DEFAULT_CONTEXT = 4096,
    DEFAULT_SHARE = 1024, /* positions a slot */
    /* Of the cache, of which memory is had for what is only remembered, too: more than running
     * texts take at once under most loads, so that their peaks don't decide how large a process
     * gets. */
    REMEMBERED_SHARE = 4,
    DEFAULT_QUEUE = 512,
    DEFAULT_STEP_TOKENS = 512,
    DEFAULT_STEP_MS = 40,
    MAX_SLOTS = 1024,
    MAX_QUEUE = 1 << 20,
};

static int or_default(int given, int usual) {
    return given ? given : usual;
}

static hn_status fill_options(hn_engine_options *o, const hn_model *model, hn_error *err) {
    const int trained = model->arch.n_ctx_train;
    o->n_slots = or_default(o->n_slots, DEFAULT_SLOTS);
    o->max_queued = or_default(o->max_queued, DEFAULT_QUEUE);
    o->step_tokens = or_default(o->step_tokens, DEFAULT_STEP_TOKENS);
    o->step_ms = or_default(o->step_ms, DEFAULT_STEP_MS);
    o->n_context = or_default(o->n_context, trained < DEFAULT_CONTEXT ? trained : DEFAULT_CONTEXT);
    if (o->n_slots < 1 || o->n_slots > MAX_SLOTS || o->max_queued < 1 ||
        o->max_queued > MAX_QUEUE || o->step_ms < 1)
        return hn_fail(
            err, HN_USAGE,
            "an engine of %d slots, %d waiting jobs and steps of %d ms: 1 to %d slots, 1 "
            "to %d jobs and at least 1 ms are possible",
            o->n_slots, o->max_queued, o->step_ms, MAX_SLOTS, MAX_QUEUE);
    if (o->step_tokens < o->n_slots || o->step_tokens > HN_FORWARD_CHUNK)
        return hn_fail(err, HN_USAGE, "%d tokens a step: %d (one a slot) to %d are possible",
                       o->step_tokens, o->n_slots, HN_FORWARD_CHUNK);
    if (o->n_positions == 0) {
        o->n_positions = (int64_t)o->n_slots * DEFAULT_SHARE;
        if (o->n_positions < o->n_context)
            o->n_positions = o->n_context;
    }
    if (o->n_context < 1 || o->n_context > o->n_positions)
        return hn_fail(err, HN_USAGE,
                       "a cache of %lld tokens can't hold one context of %d: enlarge the cache or "
                       "shorten the context",
                       (long long)o->n_positions, o->n_context);
    if (o->speculation == HN_SPECULATION_MODEL && !o->draft)
        return hn_fail(err, HN_USAGE, "speculation with a draft model takes one");
    return HN_OK;
}

/* --- the thread --- */

/* Waits for something to do; false when there will be nothing any more. */
static bool wait_for_work(hn_engine *engine) {
    pthread_mutex_lock(&engine->lock);
    while (!engine->first && engine->n_busy == 0 && !engine->stopping)
        pthread_cond_wait(&engine->work, &engine->lock);
    const bool more = engine->first || engine->n_busy > 0;
    pthread_mutex_unlock(&engine->lock);
    return more;
}

static void turn(hn_engine *engine) {
    hn_engine_sweep(engine);
    hn_engine_admit(engine);
    hn_engine_publish(engine);
    if (engine->n_busy > 0)
        hn_engine_step(engine);
    hn_engine_publish(engine);
}

static void *compute(void *arg) {
    hn_engine *engine = arg;
    while (wait_for_work(engine))
        turn(engine);
    return NULL;
}

bool hn_engine_advance(hn_engine *engine) {
    pthread_mutex_lock(&engine->lock);
    const bool more = engine->n_jobs > 0;
    pthread_mutex_unlock(&engine->lock);
    if (more)
        turn(engine);
    return more;
}

/* --- made and freed --- */

static hn_status make_speculators(hn_engine *engine, hn_error *err) {
    const hn_engine_options *o = &engine->options;
    for (int i = 0; i < o->n_slots; i++) {
        hn_speculator **at = &engine->slots[i].speculator;
        if (o->speculation == HN_SPECULATION_NGRAM)
            HN_TRY(hn_speculator_new_ngram(at, err));
        else if (o->speculation == HN_SPECULATION_MODEL)
            HN_TRY(hn_speculator_new_model(at, o->draft, engine->model, o->n_context, err));
    }
    if (o->speculation == HN_SPECULATION_MODEL) /* it reads whole texts */
        HN_TRY(hn_forward_reserve(o->draft, o->n_context, err));
    return HN_OK;
}

static hn_status make_parts(hn_engine *engine, hn_error *err) {
    const hn_engine_options *o = &engine->options;
    const size_t n_vocab = (size_t)engine->model->arch.n_vocab, n = (size_t)o->n_slots;
    engine->max_logits = o->n_slots + HN_GUESSES_MAX;
    /* Answers with what a grammar forced, a piece of prompts, guesses. */
    engine->max_rows = o->step_tokens + (int)n * HN_ANSWER_ROWS + HN_GUESSES_MAX;
    HN_TRY(hn_kv_new(&engine->kv, engine->model, o->n_slots, o->n_positions, err));
    HN_TRY(hn_prefix_enable(engine->kv,
                            hn_kv_blocks_of((int32_t)(o->n_positions / REMEMBERED_SHARE)), err));
    engine->counts.kv_blocks = engine->kv->n_blocks;
    HN_TRY(hn_constraint_pool_new(&engine->constraints, engine->model->ckpt.tokenizer, err));
    engine->slots = hn_calloc(n, sizeof *engine->slots);
    engine->by_age = hn_calloc(n, sizeof *engine->by_age);
    engine->batch = hn_calloc(n, sizeof *engine->batch);
    engine->infos = hn_calloc(n, sizeof *engine->infos);
    engine->adapters = hn_calloc(n, sizeof *engine->adapters);
    engine->tokens = hn_calloc((size_t)engine->max_rows, sizeof *engine->tokens);
    engine->rows = hn_calloc((size_t)engine->max_rows, sizeof *engine->rows);
    engine->logits = hn_reallocarray(NULL, (size_t)engine->max_logits, n_vocab * sizeof(float));
    engine->wanted = hn_calloc((n_vocab + 63) / 64, sizeof *engine->wanted);
    engine->candidates = hn_reallocarray(NULL, HN_CANDIDATES(n_vocab), sizeof *engine->candidates);
    if (!engine->slots || !engine->by_age || !engine->batch || !engine->infos ||
        !engine->adapters || !engine->tokens || !engine->rows || !engine->logits ||
        !engine->wanted || !engine->candidates)
        return hn_fail_no_memory(err, (size_t)engine->max_logits * n_vocab * sizeof(float));
    hn_mem_touch(engine->logits, (size_t)engine->max_logits * n_vocab * sizeof(float));
    HN_TRY(hn_forward_reserve(engine->model, engine->max_rows, err));
    return make_speculators(engine, err);
}

static void free_parts(hn_engine *engine) {
    for (int i = 0; engine->slots && i < engine->options.n_slots; i++)
        hn_speculator_free(engine->slots[i].speculator);
    hn_kv_free(engine->kv);
    hn_constraint_pool_free(engine->constraints);
    hn_free(engine->slots);
    hn_free(engine->by_age);
    hn_free(engine->batch);
    hn_free(engine->infos);
    hn_free(engine->adapters);
    hn_free(engine->tokens);
    hn_free(engine->rows);
    hn_free(engine->logits);
    hn_free(engine->wanted);
    hn_free(engine->candidates);
    hn_free(engine->hidden);
    pthread_cond_destroy(&engine->idle);
    pthread_cond_destroy(&engine->work);
    pthread_mutex_destroy(&engine->lock);
    hn_free(engine);
}

static void init_sync(hn_engine *engine) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->work, NULL);
    pthread_cond_init(&engine->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static hn_status start_thread(hn_engine *engine, hn_error *err) {
    errno = pthread_create(&engine->thread, NULL, compute, engine);
    return errno ? hn_fail_errno(err, "starting the engine's thread") : HN_OK;
}

hn_status hn_engine_new(hn_engine **out, hn_model *model, const hn_engine_options *options,
                        hn_error *err) {
    hn_engine_options filled = *options;
    HN_TRY(fill_options(&filled, model, err));
    hn_engine *engine = hn_calloc(1, sizeof *engine);
    if (!engine)
        return hn_fail_no_memory(err, sizeof *engine);
    engine->model = model;
    engine->options = filled;
    engine->counts.n_slots = filled.n_slots;
    engine->counts.max_queued = filled.max_queued;
    init_sync(engine);
    hn_status status = make_parts(engine, err);
    if (status == HN_OK && !filled.stepped)
        status = start_thread(engine, err);
    if (status != HN_OK) {
        free_parts(engine);
        return status;
    }
    *out = engine;
    return HN_OK;
}

void hn_engine_free(hn_engine *engine) {
    if (!engine)
        return;
    pthread_mutex_lock(&engine->lock);
    engine->stopping = engine->draining = true;
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->lock);
    if (engine->options.stepped)
        turn(engine); /* cancels all of them */
    else
        pthread_join(engine->thread, NULL);
    free_parts(engine);
}

hn_engine_options hn_engine_options_of(const hn_engine *engine) {
    return engine->options;
}

/* --- the door --- */

/* Refuses or takes the job. Not asked before the job is made, so that a wrong request is told so
 * even when there is no room. */
static hn_status enqueue(hn_engine *engine, hn_job *job, hn_error *err) {
    hn_status status = HN_OK;
    pthread_mutex_lock(&engine->lock);
    if (engine->draining)
        status = hn_fail(err, HN_BUSY, "no more is taken: what runs is being finished");
    else if (engine->n_queued >= engine->options.max_queued)
        status = hn_fail(err, HN_BUSY, "%d jobs wait already: try again later", engine->n_queued);
    if (status == HN_OK) {
        job->number = ++engine->n_submitted;
        job->times.submitted = hn_clock_ns();
        engine->n_jobs++;
        engine->counts.submitted++;
        hn_queue_insert(engine, job);
        pthread_cond_signal(&engine->work);
    } else {
        engine->counts.refused++;
    }
    pthread_mutex_unlock(&engine->lock);
    return status;
}

hn_status hn_engine_submit(hn_engine *engine, const hn_job_options *options, hn_job **out,
                           hn_error *err) {
    hn_job *job;
    HN_TRY(hn_job_new(engine, options, &job, err));
    if (out)
        atomic_store(&job->holds, 2);
    const hn_status status = enqueue(engine, job, err);
    if (status != HN_OK)
        hn_job_drop(job);
    else if (out)
        *out = job;
    return status;
}

void hn_engine_drain(hn_engine *engine) {
    pthread_mutex_lock(&engine->lock);
    engine->draining = true;
    pthread_mutex_unlock(&engine->lock);
}

bool hn_engine_draining(const hn_engine *engine) {
    hn_engine *e = (hn_engine *)(uintptr_t)engine;
    pthread_mutex_lock(&e->lock);
    const bool draining = e->draining;
    pthread_mutex_unlock(&e->lock);
    return draining;
}

bool hn_engine_wait_idle(hn_engine *engine, uint64_t timeout_ns) {
    const uint64_t second = 1000000000;
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    const uint64_t nanos = (uint64_t)end.tv_nsec + timeout_ns % second;
    end.tv_sec += (time_t)(timeout_ns / second + nanos / second);
    end.tv_nsec = (long)(nanos % second);
    pthread_mutex_lock(&engine->lock);
    int waited = 0;
    while (engine->n_jobs > 0 && waited == 0)
        waited = pthread_cond_timedwait(&engine->idle, &engine->lock, &end);
    const bool idle = engine->n_jobs == 0;
    pthread_mutex_unlock(&engine->lock);
    return idle;
}
