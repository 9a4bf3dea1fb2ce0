/* One step: which rows, one pass over the model, and what becomes of its logits. */
#include "engine/internal.h"

#include "base/clock.h"

#include <string.h>

enum {
    MIN_PIECE = 16,    /* of prompts a step at least, so that they get on */
    SPEED_ROWS = 128,  /* rows from which on more aren't quicker for each */
    FIRST_MIXED = 32,  /* rows of a mixed step before its time is known */
    MIN_MIXED = 24,    /* fewer take longer each */
    SPREAD_STEPS = 16, /* over which short prompts that came together start */
};

int hn_engine_adapter(hn_engine *engine, const hn_adapter *adapter) {
    int i = 0;
    if (!adapter)
        return -1;
    while (i < engine->n_adapters && engine->adapters[i] != adapter)
        i++;
    if (i == engine->n_adapters)
        engine->adapters[engine->n_adapters++] = adapter;
    return i;
}

/* What is left of the pass that is being planned. */
typedef struct budget {
    int rows;                        /* of prompts */
    int full;                        /* as many as fill the time of a step */
    int guesses;                     /* rows of logits besides one a slot */
    int tokens, logits, prompt_rows; /* planned so far */
    int answers;                     /* being written */
    int blocked;                     /* prompts that have no blocks left */
    hn_error *err;
} budget;

/* Text is coming, and nearly all of it is computed. */
static bool is_answer(const hn_slot *slot) {
    return hn_job_streams(slot->job) && hn_writer_pending(&slot->job->writer) <= HN_ANSWER_ROWS;
}

/* Plans at most `rows` certain tokens of the slot, whose blocks are there. */
static hn_status plan_slot(hn_engine *engine, hn_slot *slot, budget *b, int rows) {
    hn_writer *w = &slot->job->writer;
    const int seq = hn_engine_seq(engine, slot), pending = hn_writer_pending(w);
    const int certain = rows < pending ? rows : pending;
    const bool room_to_guess =
        hn_engine_blocks_for(engine, seq, certain + HN_DRAFT_MAX) <= hn_engine_blocks_left(engine);
    const hn_writer_room room = {.rows = rows,
                                 .drafts = room_to_guess ? b->guesses : 0,
                                 .logits = 1 + b->guesses,
                                 .positions = engine->options.n_context};
    slot->plan = (hn_plan){.tokens = b->tokens};
    if (slot->speculator)
        hn_speculator_share(slot->speculator, b->answers, hn_row_cost_extra(&engine->row_cost));
    HN_TRY(hn_writer_next(w, &room, engine->tokens + b->tokens, &slot->plan.rows, b->err));
    const hn_writer_rows *r = &slot->plan.rows;
    slot->plan.restricted = r->n_logits > 0 && r->n_wanted >= r->n_logits;
    (void)hn_engine_reserve(engine, seq, r->n);
    b->tokens += r->n;
    b->logits += r->n_logits;
    b->guesses -= r->n_logits > 1 ? r->n_logits - 1 : 0;
    engine->batch[engine->n_batch++] = slot;
    return HN_OK;
}

/* As above; a slot that can't be planned ends, the others go on. */
static void plan_or_end(hn_engine *engine, hn_slot *slot, budget *b, int rows) {
    const hn_status status = plan_slot(engine, slot, b, rows);
    if (status != HN_OK)
        hn_slot_end(engine, slot, status, b->err->message, HN_FINISH_STOP);
}

/* Answers get their row each, if need be at the cost of who goes last. */
static void plan_answers(hn_engine *engine, budget *b) {
    for (int i = 0; i < engine->n_busy; i++)
        b->answers += is_answer(engine->by_age[i]);
    for (int i = 0; i < engine->n_busy; i++) {
        hn_slot *slot = engine->by_age[i];
        const int n_busy = engine->n_busy;
        if (!is_answer(slot))
            continue;
        const int seq = hn_engine_seq(engine, slot), n = hn_writer_pending(&slot->job->writer);
        while (slot->job && hn_engine_blocks_for(engine, seq, n) > hn_engine_blocks_left(engine))
            hn_engine_preempt_last(engine);
        if (slot->job)
            plan_or_end(engine, slot, b, n);
        if (engine->n_busy < n_busy && engine->by_age[i] != slot)
            i--; /* it is gone, the next one took its place */
    }
}

static bool is_prompt(const hn_slot *slot) {
    return !hn_job_embeds(slot->job) && !is_answer(slot);
}

/* The prompt that goes first. */
typedef struct leader {
    const hn_slot *slot;
    int pending, priority;
} leader;

static leader find_leader(const hn_engine *engine) {
    for (int i = 0; i < engine->n_busy; i++) {
        const hn_slot *slot = engine->by_age[i];
        if (is_prompt(slot))
            return (leader){slot, hn_writer_pending(&slot->job->writer),
                            slot->job->options.priority};
    }
    return (leader){0};
}

/* So much shorter than the one that goes first that it needn't wait for it. */
static bool is_short(const leader *first, const hn_slot *slot) {
    return slot != first->slot && slot->job->options.priority == first->priority &&
           2 * hn_writer_pending(&slot->job->writer) < first->pending;
}

/* Rows that the one that goes first leaves to short ones: half of them at most. */
static int rows_for_short(const hn_engine *engine, const leader *first, int rows) {
    int wanted = 0;
    for (int i = 0; i < engine->n_busy && wanted < rows; i++)
        if (is_prompt(engine->by_age[i]) && is_short(first, engine->by_age[i]))
            wanted += hn_writer_pending(&engine->by_age[i]->job->writer);
    return wanted < rows / 2 ? wanted : rows / 2;
}

/* Rows of all prompts. */
static int prompt_backlog(const hn_engine *engine) {
    int rows = 0;
    for (int i = 0; i < engine->n_busy; i++)
        if (is_prompt(engine->by_age[i]))
            rows += hn_writer_pending(&engine->by_age[i]->job->writer);
    return rows;
}

/* Rows for prompts beside answers. What starts in one step ends in one step as well and is followed
 * by new prompts together, which wait for one another: so about one starts at a time, or as many as
 * keep the last one from waiting for long. */
static int rows_beside_answers(const hn_engine *engine, int full) {
    const int spread = prompt_backlog(engine) / SPREAD_STEPS;
    int rows = find_leader(engine).pending;
    rows = rows > spread ? rows : spread;
    rows = rows > MIN_MIXED ? rows : MIN_MIXED;
    return rows < full && !engine->options.stepped ? rows : full;
}

/* Plans at most `most` tokens of the prompt; false when the slot is idle now. */
static bool plan_prompt(hn_engine *engine, hn_slot *slot, budget *b, int most) {
    const int seq = hn_engine_seq(engine, slot);
    int n = hn_writer_pending(&slot->job->writer);
    n = n < most ? n : most;
    while (n > 0 && hn_engine_blocks_for(engine, seq, n) > hn_engine_blocks_left(engine))
        n /= 2;
    if (n == 0) {
        b->blocked++;
        return true;
    }
    plan_or_end(engine, slot, b, n);
    if (!slot->job)
        return false;
    const hn_writer *w = &slot->job->writer;
    b->rows -= w->n_certain;
    b->prompt_rows += w->n_certain;
    /* While nobody waits for the next token, the first ones come sooner in smaller steps. */
    if (b->answers == 0 && !engine->options.stepped && w->reaches_end &&
        b->prompt_rows >= SPEED_ROWS)
        b->rows = 0;
    return true;
}

/* Prompts get what is left of the step, one after the other, short ones beside a long one. */
static void plan_prompts(hn_engine *engine, budget *b) {
    const leader first = find_leader(engine);
    const int kept = first.slot ? rows_for_short(engine, &first, b->rows) : 0;
    for (int early = 1; early >= 0; early--)
        for (int i = 0; i < engine->n_busy && b->rows > 0; i++) {
            hn_slot *slot = engine->by_age[i];
            const bool leads = slot == first.slot;
            if (!is_prompt(slot) || (leads || is_short(&first, slot)) != early)
                continue;
            if (!plan_prompt(engine, slot, b, leads ? b->rows - kept : b->rows))
                i--; /* it is gone, the next one took its place */
        }
}

/* The certain rows of a step while answers are streaming. */
static int mixed_rows(const hn_engine *engine) {
    if (engine->options.stepped)
        return engine->options.step_tokens;
    return engine->mixed_rows > 0 ? (int)engine->mixed_rows : FIRST_MIXED;
}

static void plan_pass(hn_engine *engine, budget *b) {
    engine->n_batch = 0;
    engine->reserved = 0;
    plan_answers(engine, b);
    b->full = b->answers ? mixed_rows(engine) - b->tokens : engine->options.step_tokens;
    b->full = b->full > MIN_PIECE ? b->full : MIN_PIECE;
    b->rows = b->answers ? rows_beside_answers(engine, b->full) : b->full;
    plan_prompts(engine, b);
    /* Nobody has blocks left: who goes last makes room for who goes first. */
    while (engine->n_batch == 0 && b->blocked && engine->n_busy > 1) {
        hn_engine_preempt_last(engine);
        b->blocked = 0;
        plan_prompts(engine, b);
    }
    engine->reserved = 0;
}

/* Adds the slot's rows to the batch. */
static int add_rows(hn_engine *engine, hn_slot *slot, int n) {
    const hn_job *job = slot->job;
    const hn_plan *plan = &slot->plan;
    const int adapter = hn_engine_adapter(engine, job->options.adapter);
    for (int i = 0; i < plan->rows.n; i++)
        engine->rows[n + i] =
            (hn_batch_row){.token = engine->tokens[plan->tokens + i],
                           .seq = hn_engine_seq(engine, slot),
                           .adapter = adapter,
                           .wants_logits = i >= plan->rows.n - plan->rows.n_logits};
    return n + plan->rows.n;
}

static void add_wanted(hn_engine *engine, const uint64_t *wanted) {
    for (size_t i = 0; i < ((size_t)engine->model->arch.n_vocab + 63) / 64; i++)
        engine->wanted[i] |= wanted[i];
}

/* The rows of the slots, those first whose logits a grammar restricts; *n_logits want logits, and
 * *n_wanted of these only some tokens'. */
static int build_rows(hn_engine *engine, hn_slot *const *slots, int n_slots, int *n_logits,
                      int *n_wanted) {
    int n = 0;
    *n_logits = *n_wanted = 0;
    engine->n_adapters = 0;
    memset(engine->wanted, 0,
           ((size_t)engine->model->arch.n_vocab + 63) / 64 * sizeof *engine->wanted);
    for (int restricted = 1; restricted >= 0; restricted--)
        for (int i = 0; i < n_slots; i++) {
            hn_slot *slot = slots[i];
            if (slot->plan.restricted != restricted)
                continue;
            n = add_rows(engine, slot, n);
            slot->plan.first = *n_logits;
            *n_logits += slot->plan.rows.n_logits;
            if (!restricted)
                continue;
            add_wanted(engine, slot->job->writer.wanted);
            *n_wanted = *n_logits;
        }
    return n;
}

/* Tells how far the prompt is, before its first text comes. */
static void report_progress(const hn_job *job) {
    const hn_job_events *events = &job->options.events;
    const int done = job->writer.base + job->writer.n_certain, n = job->options.n_prompt;
    if (events->progress && job->writer.n_drawn == 0)
        events->progress(events->context, done < n ? done : n, n, job->n_cached);
}

static void count(hn_engine *engine, const hn_writer *before, const hn_writer *after) {
    pthread_mutex_lock(&engine->lock);
    hn_engine_counts *c = &engine->counts;
    c->generated_tokens += (uint64_t)(after->n_drawn - before->n_drawn);
    c->drafted_tokens += (uint64_t)(after->n_drafted - before->n_drafted);
    c->accepted_tokens += (uint64_t)(after->n_accepted - before->n_accepted);
    if (before->n_drawn == 0)
        c->computed_tokens += (uint64_t)before->n_certain;
    pthread_mutex_unlock(&engine->lock);
}

/* The slot's logits are there. */
static void take_slot(hn_engine *engine, hn_slot *slot) {
    hn_job *job = slot->job;
    hn_writer *w = &job->writer;
    const hn_writer before = *w;
    const int seq = hn_engine_seq(engine, slot);
    hn_error err;
    float *logits = engine->logits + (size_t)slot->plan.first * (size_t)engine->model->arch.n_vocab;
    report_progress(job);
    hn_status status = hn_writer_take(w, logits, engine->options.n_context, &err);
    count(engine, &before, w);
    hn_kv_truncate(engine->kv, seq, hn_writer_computed(w));
    if (!job->options.no_cache)
        hn_prefix_remember(engine->kv, seq, hn_writer_computed(w));
    if (status != HN_OK)
        hn_slot_end(engine, slot, status, err.message, HN_FINISH_STOP);
    else if (w->over)
        hn_slot_end(engine, slot, HN_OK, "", w->finish);
}

/* One pass over the planned rows of these slots. */
static hn_status run(hn_engine *engine, hn_slot *const *slots, int n_slots, hn_error *err) {
    int n_logits, n_wanted;
    const int n = build_rows(engine, slots, n_slots, &n_logits, &n_wanted);
    const uint64_t began = hn_clock_ns();
    HN_TRY(hn_forward_wanted(engine->model, engine->kv, engine->adapters, engine->n_adapters,
                             engine->rows, n, engine->wanted, n_wanted, engine->logits, NULL, err));
    const uint64_t ns = hn_clock_ns() - began;
    hn_engine_count_pass(engine, n, ns);
    if (n_logits == n && n_wanted == 0) /* answers alone, and their whole head */
        hn_row_cost_learn(&engine->row_cost, n, ns);
    for (int i = 0; i < n_slots; i++)
        take_slot(engine, slots[i]);
    return HN_OK;
}

/* Where memory is short one by one, so that one alone can fail. */
static void run_each(hn_engine *engine, hn_error *err) {
    for (int i = 0; i < engine->n_batch; i++) {
        hn_slot *slot = engine->batch[i];
        const hn_status status = run(engine, &slot, 1, err);
        if (status != HN_OK)
            hn_slot_end(engine, slot, status, err->message, HN_FINISH_STOP);
    }
}

/* Learns how many rows fit a step while answers are streaming. */
static void learn(hn_engine *engine, const budget *b, uint64_t ns) {
    const float target = 1e6f * (float)engine->options.step_ms, most = 1.05f, least = 0.8f;
    if (b->prompt_rows == 0 || engine->options.stepped)
        return;
    const float factor = target / (float)ns;
    if (b->answers && (b->prompt_rows >= b->full || factor < 1)) {
        engine->mixed_rows = (float)mixed_rows(engine) * (factor > most    ? most
                                                          : factor < least ? least
                                                                           : factor);
    } else if (!b->answers && engine->mixed_rows <= 0 && b->tokens >= SPEED_ROWS) {
        engine->mixed_rows = (float)b->tokens * factor;
    }
    if (engine->mixed_rows > 0 && engine->mixed_rows < MIN_MIXED)
        engine->mixed_rows = MIN_MIXED;
    if (engine->mixed_rows > (float)engine->options.step_tokens)
        engine->mixed_rows = (float)engine->options.step_tokens;
}

void hn_engine_step(hn_engine *engine) {
    hn_error err;
    const uint64_t began = hn_clock_ns();
    budget b = {.guesses = HN_GUESSES_MAX, .err = &err};
    plan_pass(engine, &b);
    if (engine->n_batch > 0 && run(engine, engine->batch, engine->n_batch, &err) != HN_OK)
        run_each(engine, &err);
    if (engine->n_batch > 0)
        learn(engine, &b, hn_clock_ns() - began); /* drawing and callbacks count, too */
    const bool idle = engine->n_batch == 0;
    if (hn_engine_embed(engine, b.answers ? mixed_rows(engine) / 2 : HN_EMBED_ROWS) == 0 && idle &&
        engine->n_busy > 1)
        hn_engine_preempt_last(engine); /* embeddings alone, and nobody has blocks left */
}
