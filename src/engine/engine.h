/* Many answers at once from one model: continuous batching. One thread computes; any thread submits
 * jobs, cancels them and reads counters. (Whoever has all prompts at hand and waits for the answers
 * needs no thread: hn_engine_advance, and together.h over it.) Each step is one pass over one
 * ragged batch: a row (and guesses) for every answer that is being written, and a piece of the
 * prompts that wait, as long as the step stays short. What a job says never depends on who else is
 * being served: it is what hn_generate would say alone.
 *
 * Beginnings that jobs share are computed once, whether those jobs still run or not (prefix.h).
 * hn_piece and hn_piece_token, what callers are shown, are model/writer.h's. */
#pragma once

#include "model/constraint_pool.h"
#include "model/generate.h"
#include "model/writer.h"

typedef struct hn_engine hn_engine;
typedef struct hn_job hn_job;

typedef enum hn_speculation {
    HN_SPECULATION_NONE,
    HN_SPECULATION_NGRAM,
    HN_SPECULATION_MODEL, /* hn_engine_options.draft guesses */
} hn_speculation;

typedef struct hn_engine_options {
    int n_slots;         /* answers computed at once; 0 = 16 */
    int64_t n_positions; /* of KV for all of them together; 0 = n_slots * n_context */
    int n_context;   /* longest prompt and answer of one job; 0 = what the model was trained for, at
                        most 4096 */
    int max_queued;  /* jobs that may wait; 0 = 512 */
    int step_tokens; /* rows a step computes at most; 0 = 512 */
    int step_ms;     /* how long a step should take while answers are streaming; 0 = 40 */
    /* No thread: steps are made by hn_engine_advance alone. Nobody watches the answers come, so
     * that steps are as full as they can be, whatever the time, and the same jobs end in the same
     * order in every run. */
    bool stepped;
    hn_speculation speculation;
    hn_model *draft; /* borrowed; NULL unless HN_SPECULATION_MODEL */
} hn_engine_options;

/* `model` is borrowed; others may go on using it, taking turns. Starts the thread, if it is to have
 * one. HN_BAD_INPUT where the draft's vocabulary is another, HN_NO_MEMORY, HN_USAGE for sizes that
 * make no sense. */
HN_MUST_CHECK hn_status hn_engine_new(hn_engine **out, hn_model *model,
                                      const hn_engine_options *options, hn_error *err);
/* Cancels what still runs (their done is called), waits for the thread. Nobody may be in another
 * call on this engine; jobs may be released afterwards. NULL is nothing. */
void hn_engine_free(hn_engine *engine);
/* Of a stepped engine: one step, on the caller's thread, which is the compute thread meanwhile.
 * False when there was no job to make one for. Not from callbacks, and by one thread at a time. */
bool hn_engine_advance(hn_engine *engine);
/* The options as they are in force: no zeros. */
hn_engine_options hn_engine_options_of(const hn_engine *engine);

/* Times are hn_clock_ns(), 0 = it didn't come to that. */
typedef struct hn_job_times {
    uint64_t submitted, started; /* started: its prompt began to be computed */
    uint64_t first_token, ended;
} hn_job_times;

typedef struct hn_job_result {
    hn_status status;       /* HN_OK, or why there is no (whole) answer: */
    const char *message;    /* "" when HN_OK */
    hn_finish finish;       /* of HN_OK; HN_FINISH_CANCELLED and _DEADLINE may have any text */
    int stop;               /* index of the stop string that ended it, -1 = none did */
    int n_prompt, n_cached; /* prompt tokens, and how many of them were computed before */
    int n_generated;        /* tokens drawn, one that ended the answer included */
    int n_drafted, n_accepted;
    double log_prob; /* of the answer, as hn_writer has it; 0 where it wasn't asked for */
    hn_job_times times;
    const char *text; /* (n_bytes) the answer, NUL-terminated */
    size_t n_bytes;
    const int32_t *ids; /* (n_ids) of the answer, without an ending token */
    int n_ids;
    const float *embedding; /* (n_embd) of an embedding job, else NULL */
    int n_embd;
} hn_job_result;

/* All are called on the compute thread, one after the other, and must not wait: every answer waits
 * with them. They may call hn_job_cancel and hn_engine_submit. What they are shown is lent for the
 * call. All but done may be NULL. */
typedef struct hn_job_events {
    void *context; /* must live until done was called */
    /* n_done of n_prompt tokens are computed, n_cached of them from before. Once when the prompt
     * begins and after each piece of it. */
    void (*progress)(void *context, int n_done, int n_prompt, int n_cached);
    /* Tokens of the prompt in their order with log-probabilities, where prompt_logprobs was asked
     * for; all before the first piece. */
    void (*prompt)(void *context, const hn_piece_token *tokens, int n_tokens);
    /* False cancels. */
    bool (*piece)(void *context, const hn_piece *piece);
    /* Exactly once for each job that was submitted, and last. */
    void (*done)(void *context, const hn_job_result *result);
} hn_job_events;

typedef enum hn_pooling { HN_POOLING_NONE, HN_POOLING_MEAN, HN_POOLING_LAST } hn_pooling;

enum {
    HN_JOB_MAX_STOP = 256,           /* stop strings of a job */
    HN_JOB_MAX_STOP_BYTES = 1 << 14, /* of them all together */
};

/* Everything is copied by hn_engine_submit, save the adapter and the events' context. */
typedef struct hn_job_options {
    const int32_t *prompt; /* (n_prompt), at least one token */
    int n_prompt;
    hn_sampling sampling;    /* with seed and logit biases */
    int max_tokens;          /* below 0 = until the context is full; 0 = the prompt alone is read */
    int min_tokens;          /* no token that ends the answer is drawn before so many */
    const char *const *stop; /* (n_stop) stop strings; not part of the answer */
    int n_stop;
    bool ignore_eos; /* tokens that end an answer are like others */
    /* Borrowed until done; NULL = the base alone. Jobs with different ones share a batch. DoRA's
     * must have been fitted (hn_adapter_load). */
    const hn_adapter *adapter;
    const char *constraint; /* (n_constraint bytes) a grammar or schema; NULL = anything goes */
    size_t n_constraint;
    hn_constraint_kind constraint_kind;
    const char *constraint_name; /* opens messages about it; NULL = "grammar" or "json_schema" */
    /* Made already, instead of a text: borrowed until done, used on the compute thread alone. Jobs
     * may share one, and so its masks. NULL = none is. */
    hn_constraint *made_constraint;
    int priority;         /* higher ones go first; 0 is usual */
    uint64_t deadline_ns; /* hn_clock_ns() at which it is given up; 0 = never */
    /* -1 = none; else so many of the likeliest, HN_WRITER_MAX_LOGPROBS or less, and the token's */
    int n_logprobs;
    bool prompt_logprobs; /* the prompt's too (n_logprobs of 0 or more): computes all of it */
    bool log_prob;        /* the answer's, as the result has it */
    bool no_cache;        /* neither uses nor leaves remembered beginnings */
    hn_pooling pooling;   /* other than NONE: an embedding of the prompt instead of an answer */
    bool raw_embedding;   /* isn't normalised */
    hn_job_events events;
} hn_job_options;

/* Greedy, no limit but the context, no log-probabilities. */
hn_job_options hn_job_options_default(void);

/* From any thread; grammars are compiled here, on the caller's. *out may be NULL where nobody will
 * cancel; otherwise it is the caller's until hn_job_release. Callbacks may come before it returns.
 * HN_BUSY: too many jobs wait, or the engine is draining (hn_engine_draining tells which): nothing
 * was begun, try later. HN_BAD_INPUT: the prompt doesn't fit n_context (hn_engine_fits tells this
 * one from others) or the cache, or a token that isn't one, with the numbers; a grammar or schema
 * that is wrong. HN_UNSUPPORTED: a schema that can't be kept. HN_USAGE: options out of range. */
HN_MUST_CHECK hn_status hn_engine_submit(hn_engine *engine, const hn_job_options *options,
                                         hn_job **out, hn_error *err);
/* Whether a prompt of so many tokens fits n_context. */
bool hn_engine_fits(const hn_engine *engine, int64_t n_prompt);
/* From any thread, callbacks included, at any time and any number of times: in the queue, in
 * prefill, while it writes, or when it is over. done follows soon. */
void hn_job_cancel(hn_job *job);
/* Gives the handle back; the job goes on. NULL is nothing. */
void hn_job_release(hn_job *job);

/* No job is taken any more; those that wait or run are finished. */
void hn_engine_drain(hn_engine *engine);
bool hn_engine_draining(const hn_engine *engine);
/* Waits until no job is left, at most so long; false when some are. A stepped engine is advanced
 * by whoever waits for it, not with this. */
bool hn_engine_wait_idle(hn_engine *engine, uint64_t timeout_ns);

/* For metrics. Since the engine's start, unless they say "now". */
typedef struct hn_engine_counts {
    int running, waiting;                      /* jobs now */
    int n_slots, max_queued;                   /* as they are in force */
    int64_t kv_blocks, kv_live, kv_remembered; /* all blocks; now held by running jobs; now only by
                                                  the prefix tree, so to be had */
    uint64_t prefix_queries, prefix_hits;      /* prompt tokens looked for, and found */
    uint64_t prompt_tokens, generated_tokens;  /* prompt: computed or found; generated: drawn */
    uint64_t computed_tokens;                  /* rows of prompts that were computed */
    uint64_t drafted_tokens, accepted_tokens;
    uint64_t submitted, refused;        /* jobs; refused: the queue was full or draining */
    uint64_t finished[HN_FINISH_COUNT]; /* by finish, of those without an error */
    uint64_t failed, preempted;         /* ended by an error; times one was set back */
    uint64_t steps, step_rows, step_ns; /* passes over the model, their rows, their time */
} hn_engine_counts;
void hn_engine_counts_get(hn_engine *engine, hn_engine_counts *out);

typedef enum hn_slot_state { HN_SLOT_IDLE, HN_SLOT_PREFILL, HN_SLOT_DECODE } hn_slot_state;

typedef struct hn_slot_info {
    hn_slot_state state;
    uint64_t job; /* number of its job, from 1 on in the order of submission; 0 = idle */
    int n_prompt, n_cached, n_computed, n_generated;
    int priority;
    uint64_t submitted_ns;
} hn_slot_info;
/* The slots' states; at most max of them are written. Returns n_slots. */
int hn_engine_slots_get(hn_engine *engine, hn_slot_info *out, int max);
/* The number of the job, as hn_slot_info has it. */
uint64_t hn_job_number(const hn_job *job);
