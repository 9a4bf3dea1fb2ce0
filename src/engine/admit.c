/* The queue and the slots: who is next, who is given up. */
#include "engine/internal.h"

#include "base/clock.h"

/* a goes before b. */
static bool goes_first(const hn_job *a, const hn_job *b) {
    if (a->options.priority != b->options.priority)
        return a->options.priority > b->options.priority;
    return a->number < b->number;
}

void hn_queue_insert(hn_engine *engine, hn_job *job) {
    hn_job *before = engine->last;
    while (before && goes_first(job, before))
        before = before->before;
    job->before = before;
    job->next = before ? before->next : engine->first;
    *(job->next ? &job->next->before : &engine->last) = job;
    *(before ? &before->next : &engine->first) = job;
    engine->n_queued += !job->preempted;
}

static void queue_remove(hn_engine *engine, hn_job *job) {
    *(job->next ? &job->next->before : &engine->last) = job->before;
    *(job->before ? &job->before->next : &engine->first) = job->next;
    job->next = job->before = NULL;
    engine->n_queued -= !job->preempted;
}

/* Whether the job is to be given up, and as what. */
static bool given_up(const hn_engine *engine, const hn_job *job, uint64_t now, hn_finish *finish) {
    if (engine->stopping || atomic_load(&job->cancelled)) {
        *finish = HN_FINISH_CANCELLED;
        return true;
    }
    *finish = HN_FINISH_DEADLINE;
    return job->options.deadline_ns && now >= job->options.deadline_ns;
}

/* One that is given up, out of the queue; NULL = none is. */
static hn_job *next_given_up(hn_engine *engine, uint64_t now, hn_finish *finish) {
    pthread_mutex_lock(&engine->lock);
    hn_job *job = engine->first;
    while (job && !given_up(engine, job, now, finish))
        job = job->next;
    if (job)
        queue_remove(engine, job);
    pthread_mutex_unlock(&engine->lock);
    return job;
}

static void give_up(hn_engine *engine, hn_job *job, hn_finish finish) {
    if (job->begun && !hn_job_embeds(job))
        hn_writer_stop(&job->writer, finish);
    hn_job_end(engine, job, HN_OK, "", finish);
}

void hn_engine_sweep(hn_engine *engine) {
    const uint64_t now = hn_clock_ns();
    hn_finish finish;
    for (hn_job *job; (job = next_given_up(engine, now, &finish)) != NULL;)
        give_up(engine, job, finish);
    for (int i = engine->n_busy; i-- > 0;) {
        hn_slot *slot = engine->by_age[i];
        pthread_mutex_lock(&engine->lock);
        const bool ends = given_up(engine, slot->job, now, &finish);
        pthread_mutex_unlock(&engine->lock);
        if (!ends)
            continue;
        hn_job *job = slot->job;
        hn_slot_clear(engine, slot);
        give_up(engine, job, finish);
    }
}

/* --- slots --- */

void hn_slot_clear(hn_engine *engine, hn_slot *slot) {
    const int seq = hn_engine_seq(engine, slot);
    int i = 0;
    while (engine->by_age[i] != slot)
        i++;
    for (engine->n_busy--; i < engine->n_busy; i++)
        engine->by_age[i] = engine->by_age[i + 1];
    hn_kv_truncate(engine->kv, seq, 0);
    slot->job = NULL;
}

void hn_slot_end(hn_engine *engine, hn_slot *slot, hn_status status, const char *message,
                 hn_finish finish) {
    hn_job *job = slot->job;
    hn_slot_clear(engine, slot);
    hn_job_end(engine, job, status, message, finish);
}

static void take_place(hn_engine *engine, hn_slot *slot, hn_job *job) {
    int i = engine->n_busy++;
    for (; i > 0 && goes_first(job, engine->by_age[i - 1]->job); i--)
        engine->by_age[i] = engine->by_age[i - 1];
    engine->by_age[i] = slot;
    slot->job = job;
}

/* What the job can take from what is remembered. */
static bool may_share(const hn_job *job) {
    return !hn_job_embeds(job) && !job->options.no_cache && !job->options.prompt_logprobs;
}

static int common_length(const int32_t *a, int n_a, const int32_t *b, int n_b) {
    int n = 0;
    while (n < n_a && n < n_b && a[n] == b[n])
        n++;
    return n;
}

/* A job in a slot is computing a block or more of this one's beginning that isn't remembered yet.
 */
static bool waits_to_share(const hn_engine *engine, const hn_job *job, int known) {
    int n, n_other;
    const int32_t *text = hn_job_text(job, &n);
    for (int i = 0; i < engine->n_busy; i++) {
        const hn_job *other = engine->by_age[i]->job;
        if (!may_share(other) || other->options.adapter != job->options.adapter ||
            hn_writer_pending(&other->writer) <= 1)
            continue;
        const int32_t *theirs = hn_job_text(other, &n_other);
        const int common = common_length(text, n - 1, theirs, n_other);
        /* Part of a block is shared too, once the other has all of it. */
        const int full = n_other / HN_KV_BLOCK, blocks = hn_kv_blocks_of(common);
        const int wanted = blocks < full ? blocks : full;
        const int shared = common < wanted * HN_KV_BLOCK ? common : wanted * HN_KV_BLOCK;
        if (hn_job_computed(other) < wanted * HN_KV_BLOCK && shared >= known + HN_KV_BLOCK)
            return true;
    }
    return false;
}

/* Whether there are blocks for all of the job's text and one more, and a block more for each answer
 * that is being written. */
static bool has_room(const hn_engine *engine, int n, hn_prefix_match match) {
    if (engine->n_busy == 0)
        return true;
    int32_t left = hn_engine_blocks_left(engine) - (hn_kv_blocks_of(n + 1) - match.n_live);
    for (int i = 0; i < engine->n_busy; i++) {
        const hn_job *other = engine->by_age[i]->job;
        const int seq = hn_engine_seq(engine, engine->by_age[i]);
        int other_n;
        (void)hn_job_text(other, &other_n);
        left -= 1 + hn_engine_blocks_for(engine, seq, other_n - hn_job_computed(other));
    }
    return left >= 0;
}

/* The job that goes next, out of the queue; NULL = none can. */
static hn_job *next_job(hn_engine *engine) {
    enum { MAX_LOOKED = 64 }; /* a step can't look at a long queue */
    hn_job *found = NULL;
    int looked = 0;
    pthread_mutex_lock(&engine->lock);
    for (hn_job *job = engine->first; job && !found && looked < MAX_LOOKED;
         job = job->next, looked++) {
        hn_prefix_match match = {0};
        int n;
        const int32_t *text = hn_job_text(job, &n);
        if (may_share(job)) {
            match = hn_prefix_find(engine->kv, job->options.adapter, text, n - 1);
            if (waits_to_share(engine, job, match.length))
                continue; /* those behind it may go */
        }
        if (!has_room(engine, n, match))
            break; /* who is smaller doesn't overtake it */
        found = job;
    }
    if (found)
        queue_remove(engine, found);
    pthread_mutex_unlock(&engine->lock);
    return found;
}

static hn_status begin_writing(hn_engine *engine, hn_job *job, hn_error *err) {
    const hn_job_options *o = &job->options;
    const hn_writer_options options = {
        .sampling = o->sampling,
        .max_tokens = o->max_tokens < 0 ? -1 : o->max_tokens,
        .min_tokens = o->min_tokens,
        .stop = o->stop,
        .n_stop = o->n_stop,
        .ignore_eos = o->ignore_eos,
        .constraint = o->made_constraint ? o->made_constraint : job->constraint.constraint,
        .shares_constraint = o->made_constraint != NULL,
        .n_logprobs = o->n_logprobs,
        .prompt_logprobs = o->prompt_logprobs,
        .log_prob = o->log_prob,
        .candidates = engine->candidates,
        .context = o->events.context,
        .on_prompt = o->events.prompt,
        .on_piece = o->events.piece};
    return hn_writer_init(&job->writer, engine->model, o->prompt, o->n_prompt, &options, err);
}

static void report_progress(const hn_job *job) {
    const hn_job_events *events = &job->options.events;
    if (events->progress)
        events->progress(events->context, hn_job_computed(job), job->options.n_prompt,
                         job->n_cached);
}

/* The job goes on in this slot with what is remembered of its text. */
static void resume(hn_engine *engine, hn_slot *slot, hn_job *job) {
    const int seq = hn_engine_seq(engine, slot);
    int known = 0, n;
    if (hn_job_embeds(job))
        return;
    const int32_t *text = hn_job_text(job, &n);
    if (may_share(job))
        known = hn_prefix_adopt(engine->kv, seq, job->options.adapter, text, n - 1);
    hn_kv_truncate(engine->kv, seq, hn_writer_resume(&job->writer, known));
    job->writer.options.speculator = slot->speculator;
    if (slot->speculator)
        hn_speculator_start(slot->speculator);
}

static void start(hn_engine *engine, hn_slot *slot, hn_job *job) {
    hn_error err;
    hn_status status = HN_OK;
    const bool first = !job->begun;
    if (first) {
        job->times.started = hn_clock_ns();
        status = hn_job_embeds(job) ? hn_embed_begin(engine, job, &err)
                                    : begin_writing(engine, job, &err);
        if (status != HN_OK) {
            hn_job_end(engine, job, status, err.message, HN_FINISH_STOP);
            return;
        }
        job->begun = true;
    }
    if (!hn_job_embeds(job) && job->writer.over) { /* nothing may be said */
        hn_job_end(engine, job, HN_OK, "", HN_FINISH_STOP);
        return;
    }
    take_place(engine, slot, job);
    resume(engine, slot, job);
    if (!first)
        return;
    job->n_cached = hn_job_computed(job);
    pthread_mutex_lock(&engine->lock);
    engine->counts.prefix_queries += (uint64_t)job->options.n_prompt;
    engine->counts.prefix_hits += (uint64_t)job->n_cached;
    engine->counts.prompt_tokens += (uint64_t)job->options.n_prompt;
    pthread_mutex_unlock(&engine->lock);
    report_progress(job);
}

void hn_engine_admit(hn_engine *engine) {
    for (int i = 0; i < engine->options.n_slots; i++) {
        hn_slot *slot = &engine->slots[i];
        if (slot->job)
            continue;
        hn_job *job = next_job(engine);
        if (!job)
            return;
        start(engine, slot, job);
        if (!slot->job)
            i--; /* it ended at once */
    }
}
