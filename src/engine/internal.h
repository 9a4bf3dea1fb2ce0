/* Between the files of engine/. `lock` guards the queue and what is published; all else belongs to
 * the compute thread. */
#pragma once

#include "engine/engine.h"
#include "model/kv.h"
#include "model/prefix.h"
#include "model/row_cost.h"
#include "model/scratch.h"

#include <pthread.h>
#include <stdatomic.h>

struct hn_job {
    atomic_int holds; /* the engine's, and the caller's */
    atomic_bool cancelled, ended;
    hn_engine *engine;
    uint64_t number;
    hn_job_options options; /* what it points to lies in `copies` */
    void *copies;
    hn_pooled_constraint constraint;
    hn_job_times times;

    hn_job *next, *before; /* in the queue */
    bool preempted;        /* was set back: not counted against the bound */

    /* of the compute thread, from the first start on */
    bool begun;
    hn_writer writer;
    int n_cached;
    double *sums; /* (n_embd) of hidden states; of an embedding */
    float *embedding;
    int n_embedded; /* tokens */
};

/* What a slot computes in the pass at hand. */
typedef struct hn_plan {
    hn_writer_rows rows;
    int tokens;      /* they begin there in engine->tokens */
    int first;       /* its first row of the pass's logits, or hidden states */
    bool restricted; /* all its rows of logits are of wanted tokens alone */
} hn_plan;

/* Its number is its sequence's in the cache. */
typedef struct hn_slot {
    hn_job *job; /* NULL = idle */
    hn_speculator *speculator;
    hn_plan plan;
} hn_slot;

struct hn_engine {
    hn_model *model;
    hn_engine_options options;
    hn_kv *kv;
    hn_constraint_pool *constraints;
    hn_slot *slots;   /* (n_slots) */
    hn_slot **by_age; /* (n_slots) the busy ones, who goes first in front */
    int n_busy;
    hn_slot **batch; /* (n_slots) those that take part in the pass at hand */
    int n_batch;
    int32_t reserved; /* KV blocks that pass takes */

    /* what a step is made of, as large as it can be */
    int max_rows, max_logits;
    int32_t *tokens;             /* (max_rows) */
    hn_batch_row *rows;          /* (max_rows) */
    float *logits;               /* (max_logits, n_vocab) */
    uint64_t *wanted;            /* (n_vocab bits) */
    hn_candidate *candidates;    /* HN_CANDIDATES(n_vocab), scratch of the samplers */
    const hn_adapter **adapters; /* (n_slots) of the step's jobs, each once */
    int n_adapters;
    float *hidden;        /* (HN_EMBED_ROWS, n_embd) from the first embedding on */
    float mixed_rows;     /* rows a step may have while answers are streaming */
    hn_row_cost row_cost; /* of passes over answers alone */

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    hn_job *first, *last; /* the queue: higher priorities first, then by number */
    int n_queued, n_jobs; /* n_queued: new ones in the queue; n_jobs: not over */
    uint64_t n_submitted;
    bool stopping, draining;
    hn_engine_counts counts; /* published after each step */
    hn_slot_info *infos;     /* (n_slots) the same */
};

enum {
    HN_EMBED_ROWS = 256,
    HN_ANSWER_ROWS = 64, /* tokens that are certain and wait: more are read like a prompt */
    HN_GUESSES_MAX = 32, /* rows of logits for guesses, in the whole batch */
};

static inline int hn_engine_seq(const hn_engine *engine, const hn_slot *slot) {
    return (int)(slot - engine->slots);
}
static inline bool hn_job_embeds(const hn_job *job) {
    return job->options.pooling != HN_POOLING_NONE;
}
/* Its prompt is read: text is coming. */
static inline bool hn_job_streams(const hn_job *job) {
    return !hn_job_embeds(job) && job->writer.n_drawn > 0;
}
/* The tokens to compute: the prompt, and what was drawn. */
static inline const int32_t *hn_job_text(const hn_job *job, int *n) {
    const bool begun = job->begun && !hn_job_embeds(job);
    *n = begun ? (int)job->writer.text.size : job->options.n_prompt;
    return begun ? job->writer.text.data : job->options.prompt;
}
static inline int hn_job_computed(const hn_job *job) {
    return hn_job_embeds(job) ? job->n_embedded : hn_writer_computed(&job->writer);
}

/* job.c */
HN_MUST_CHECK hn_status hn_job_new(hn_engine *engine, const hn_job_options *options, hn_job **out,
                                   hn_error *err);
/* One that wasn't taken. */
void hn_job_drop(hn_job *job);
/* On the compute thread: tells the caller, gives everything back, lets go. `status` as
 * hn_job_result has it; finish counts for HN_OK where there is no writer that says. */
void hn_job_end(hn_engine *engine, hn_job *job, hn_status status, const char *message,
                hn_finish finish);

/* admit.c: the queue and the slots. */
void hn_queue_insert(hn_engine *engine, hn_job *job); /* with the lock */
/* Ends what was cancelled or came too late, in the queue and in the slots. */
void hn_engine_sweep(hn_engine *engine);
/* Jobs go from the queue into slots, as far as there is room. */
void hn_engine_admit(hn_engine *engine);
/* The slot's job is over, or set back: what was computed is remembered, the slot is idle. */
void hn_slot_clear(hn_engine *engine, hn_slot *slot);
void hn_slot_end(hn_engine *engine, hn_slot *slot, hn_status status, const char *message,
                 hn_finish finish);

/* room.c: KV blocks. */
int32_t hn_engine_blocks_left(const hn_engine *engine);
/* Blocks that n positions more of the sequence take. */
int32_t hn_engine_blocks_for(const hn_engine *engine, int seq, int n);
/* Keeps them for the pass at hand; false when they aren't left. */
bool hn_engine_reserve(hn_engine *engine, int seq, int n);
/* Sets the slot that is last in by_age back into the queue. */
void hn_engine_preempt_last(hn_engine *engine);

/* step.c, embed.c */
void hn_engine_step(hn_engine *engine);
/* One pass over at most max_rows tokens of embeddings; returns how many it took. */
int hn_engine_embed(hn_engine *engine, int max_rows);
HN_MUST_CHECK hn_status hn_embed_begin(hn_engine *engine, hn_job *job, hn_error *err);
/* The adapter's index in the step's list, -1 = the base alone. */
int hn_engine_adapter(hn_engine *engine, const hn_adapter *adapter);

/* counts.c: a pass took place; what the slots do now. */
void hn_engine_count_pass(hn_engine *engine, int n_rows, uint64_t ns);
void hn_engine_publish(hn_engine *engine);
