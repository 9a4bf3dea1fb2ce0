/* Embeddings: hidden states behind the last norm, their mean over a text's tokens or the last
 * one's, many texts in one pass that needs no logits. */
#include "engine/internal.h"

#include "base/clock.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

hn_status hn_embed_begin(hn_engine *engine, hn_job *job, hn_error *err) {
    const size_t n_embd = (size_t)engine->model->arch.n_embd;
    if (!engine->hidden)
        engine->hidden = hn_reallocarray(NULL, HN_EMBED_ROWS, n_embd * sizeof *engine->hidden);
    job->sums = hn_calloc(n_embd, sizeof *job->sums);
    job->embedding = hn_calloc(n_embd, sizeof *job->embedding);
    if (!engine->hidden || !job->sums || !job->embedding)
        return hn_fail_no_memory(err, HN_EMBED_ROWS * n_embd * sizeof *engine->hidden);
    return HN_OK;
}

/* The slot's share of the pass: at most max tokens from n_embedded on. */
static void plan(hn_engine *engine, hn_slot *slot, int first_row, int max) {
    const hn_job *job = slot->job;
    const int seq = hn_engine_seq(engine, slot), left = job->options.n_prompt - job->n_embedded;
    int n = left < max ? left : max;
    while (n > 0 && !hn_engine_reserve(engine, seq, n))
        n /= 2;
    slot->plan = (hn_plan){.rows = {.n = n}, .first = first_row};
    if (n == 0)
        return;
    const int adapter = hn_engine_adapter(engine, job->options.adapter);
    for (int i = 0; i < n; i++)
        engine->rows[first_row + i] =
            (hn_batch_row){.token = job->options.prompt[job->n_embedded + i],
                           .seq = seq,
                           .adapter = adapter,
                           .wants_logits = true};
    engine->batch[engine->n_batch++] = slot;
}

static void finish(hn_job *job, int n_embd) {
    double squares = 0;
    for (int d = 0; d < n_embd; d++)
        squares += job->sums[d] * job->sums[d];
    const bool mean = job->options.pooling == HN_POOLING_MEAN;
    const double n = mean ? (double)job->options.n_prompt : 1;
    const double divisor = !job->options.raw_embedding && squares > 0 ? sqrt(squares) : n;
    for (int d = 0; d < n_embd; d++)
        job->embedding[d] = (float)(job->sums[d] / divisor);
}

/* Adds the hidden states of the slot's rows up, in the order of their tokens. */
static void take(hn_engine *engine, hn_slot *slot) {
    hn_job *job = slot->job;
    const int n_embd = engine->model->arch.n_embd;
    const bool mean = job->options.pooling == HN_POOLING_MEAN;
    if (job->n_embedded == 0)
        memset(job->sums, 0, (size_t)n_embd * sizeof *job->sums);
    for (int i = 0; i < slot->plan.rows.n; i++) {
        const float *hidden = engine->hidden + (size_t)(slot->plan.first + i) * (size_t)n_embd;
        job->n_embedded++;
        if (!mean && job->n_embedded < job->options.n_prompt)
            continue;
        for (int d = 0; d < n_embd; d++)
            job->sums[d] += (double)hidden[d];
    }
    if (job->n_embedded < job->options.n_prompt)
        return;
    finish(job, n_embd);
    hn_slot_end(engine, slot, HN_OK, "", HN_FINISH_STOP);
}

/* One pass over *n_rows tokens of these slots. */
static hn_status run(hn_engine *engine, hn_slot *const *slots, int n_slots, int max_rows,
                     int *n_rows, hn_error *err) {
    int n = 0;
    engine->n_batch = engine->n_adapters = 0;
    engine->reserved = 0;
    for (int i = 0; i < n_slots && n < max_rows; i++)
        if (slots[i]->job && hn_job_embeds(slots[i]->job)) {
            plan(engine, slots[i], n, max_rows - n);
            n += slots[i]->plan.rows.n;
        }
    engine->reserved = 0;
    *n_rows = n;
    if (n == 0)
        return HN_OK;
    const uint64_t began = hn_clock_ns();
    HN_TRY(hn_forward(engine->model, engine->kv, engine->adapters, engine->n_adapters, engine->rows,
                      n, NULL, engine->hidden, err));
    hn_engine_count_pass(engine, n, hn_clock_ns() - began);
    for (int i = 0; i < engine->n_batch; i++)
        take(engine, engine->batch[i]);
    return HN_OK;
}

int hn_engine_embed(hn_engine *engine, int max_rows) {
    hn_error err;
    int n, n_rows;
    max_rows = max_rows < HN_EMBED_ROWS ? max_rows : HN_EMBED_ROWS;
    if (run(engine, engine->by_age, engine->n_busy, max_rows, &n_rows, &err) == HN_OK)
        return n_rows;
    /* Memory is short: one by one, so that one alone can fail. */
    for (int i = 0; i < engine->options.n_slots; i++) {
        hn_slot *slot = &engine->slots[i];
        if (slot->job && hn_job_embeds(slot->job) &&
            run(engine, &slot, 1, max_rows, &n, &err) != HN_OK)
            hn_slot_end(engine, slot, err.status, err.message, HN_FINISH_STOP);
    }
    return n_rows;
}
