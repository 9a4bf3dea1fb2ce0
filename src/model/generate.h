/* Turning logits into text: sampling, stop strings, streaming. */
#pragma once

#include "model/constraint.h"
#include "model/model.h"
#include "model/speculate.h"

#include <stdatomic.h>

typedef struct hn_logit_bias {
    int32_t token;
    float bias;
} hn_logit_bias;

typedef struct hn_sampling {
    float temperature;                         /* 0 = greedy */
    int top_k;                                 /* 0 = off */
    float top_p, min_p;                        /* 1 and 0 = off */
    float repetition_penalty;                  /* 1 = off; divides positive, multiplies negative */
    float presence_penalty, frequency_penalty; /* OpenAI's definitions, over generated tokens */
    const hn_logit_bias *bias;
    int n_bias;
    uint64_t seed;
} hn_sampling;

/* Greedy, nothing penalised. */
hn_sampling hn_sampling_default(void);

typedef enum hn_finish {
    HN_FINISH_STOP,
    HN_FINISH_LENGTH,
    HN_FINISH_CANCELLED,
    HN_FINISH_DEADLINE, /* of the engine's jobs */
} hn_finish;
enum { HN_FINISH_COUNT = HN_FINISH_DEADLINE + 1 };

typedef struct hn_generate_options {
    hn_sampling sampling;
    int max_tokens;          /* 0 = until the context is full */
    const char *const *stop; /* stop strings; not part of the output */
    int n_stop;
    bool ignore_eos;
    const hn_adapter *adapter; /* or NULL */
    hn_constraint *constraint; /* what the answer may be; started anew. NULL = anything */
    hn_speculator *speculator; /* guesses tokens, which changes the time alone. NULL = none */
    /* Called with each piece of text as soon as it can't become a stop string or half a
     * character; returning false ends generation. May be NULL. */
    bool (*on_text)(void *context, const char *text, size_t n_bytes);
    void *context;
    /* Set by another thread, ends generation before the next pass over the model. May be NULL. */
    const atomic_bool *cancel;
} hn_generate_options;

typedef struct hn_generation {
    char *text;     /* NUL-terminated; owned */
    size_t n_bytes; /* of text, which may itself hold NULs */
    hn_ids ids;     /* generated ids, the ending token not included */
    hn_finish finish;
    int n_prompt, n_reused;    /* prompt tokens, and how many of them the cache already held */
    int n_drafted, n_accepted; /* tokens that were guessed, and those that came true */
    uint64_t first_token_ns, total_ns; /* from the call's start */
} hn_generation;

/* Continues sequence `seq`, whose cache is cut back to its common beginning with `prompt`. */
HN_MUST_CHECK hn_status hn_generate(hn_model *model, hn_kv *kv, int seq, const int32_t *prompt,
                                    int n_prompt, const hn_generate_options *options,
                                    hn_generation *out, hn_error *err);
void hn_generation_done(hn_generation *generation);

/* Sum of log-probabilities of each of n_choices continuations after one prompt, the prompt being
 * computed once. log_probs: (n_choices). */
HN_MUST_CHECK hn_status hn_score_choices(hn_model *model, hn_kv *kv, const hn_adapter *adapter,
                                         const int32_t *prompt, int n_prompt, const hn_ids *choices,
                                         int n_choices, double *log_probs, hn_error *err);

/* Renders messages with the model's chat template and encodes them. */
HN_MUST_CHECK hn_status hn_chat_encode(const hn_model *model, const json_t *messages,
                                       const json_t *tools, bool add_generation_prompt, hn_ids *ids,
                                       hn_error *err);
/* The same over an opened checkpoint, without weights. */
HN_MUST_CHECK hn_status hn_checkpoint_chat_encode(const hn_checkpoint *ckpt, const json_t *messages,
                                                  const json_t *tools, bool add_generation_prompt,
                                                  hn_ids *ids, hn_error *err);
