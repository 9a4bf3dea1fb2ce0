/* One request under way: from its body to the last byte of its answer. A worker prepares it and
 * submits a job for each choice; the engine's thread writes what comes; the server's loop tells
 * when the client has gone. Each of them holds a reference.
 *
 * What an API's requests and answers look like is a dialect: OpenAI's chat, completions, embeddings
 * and responses, Anthropic's messages. */
#pragma once

#include "serve/api_inside.h"
#include "serve/logprobs.h"
#include "serve/reply.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct hn_exchange hn_exchange;

/* One answer. Written to under the exchange's lock. */
typedef struct hn_choice {
    hn_exchange *x;
    int index;
    size_t prompt; /* which of the request's */
    hn_job *job;   /* NULL = not submitted yet */
    hn_answer_parser parser;
    hn_reply_answer answer;     /* all of it so far */
    hn_logprobs logprobs;       /* not yet sent */
    size_t n_bytes;             /* of the job's text so far */
    bool opened;                /* its first chunk was written */
    bool over;                  /* whole, though the job would go on */
    const char *finish;         /* NULL = not yet */
    int stop;                   /* index of the stop string that ended it, or -1 */
    uint64_t first_ns, last_ns; /* when text came */
    hn_reply_usage usage;
    hn_reply_timings timings;
    float *embedding; /* (n_embd) */
    int n_embd;
} hn_choice;

typedef struct hn_dialect {
    hn_api_kind kind;
    const char *id_prefix; /* "chatcmpl-" */
    /* The body as a request of this kind; takes it. NULL = hn_api_request_read. Worker. */
    hn_status (*read)(hn_exchange *x, json_t *body, hn_problem *problem);
    /* Streams; each appends events. start: once, before all others. */
    void (*start)(hn_exchange *x, hn_buf *out);
    void (*open)(hn_choice *c, hn_buf *out);
    void (*delta)(hn_choice *c, const hn_delta *delta, hn_buf *out);
    void (*close)(hn_choice *c, hn_buf *out);
    void (*end)(hn_exchange *x, hn_buf *out);
    void (*error)(const hn_problem *problem, hn_buf *out);
    /* The whole answer in one. */
    void (*whole)(hn_exchange *x, hn_buf *out);
    /* Refusals as JSON; NULL = OpenAI's form. */
    void (*problem)(const hn_problem *problem, hn_buf *out);
    /* Frees what `state` points to; NULL = nothing does. */
    void (*forget)(void *state);
} hn_dialect;

extern const hn_dialect hn_dialect_chat, hn_dialect_completion, hn_dialect_embedding,
    hn_dialect_responses, hn_dialect_messages;

struct hn_exchange {
    hn_api *api;
    hn_http_call *call; /* held */
    const hn_dialect *dialect;
    atomic_int refs;
    pthread_mutex_t lock; /* from here on */
    bool gone;            /* the client */
    bool begun;           /* a stream's head was sent */
    bool started;         /* and its first event */
    bool failed;          /* a refusal was sent */
    hn_api_request request;
    hn_served *served; /* held; NULL = not yet */
    hn_reply_head head;
    char id[48];
    char *model;        /* as the client calls it */
    hn_choice *choices; /* (n_choices) */
    int n_choices, n_left;
    int n_submitted, n_in_flight; /* given to the engine, in their order; and not yet done */
    bool submitted;               /* the worker has submitted what it could */
    hn_ids *prompts;              /* (n_prompts) */
    size_t n_prompts;
    const hn_adapter *adapter; /* or NULL */
    uint64_t seed;             /* of the first of a prompt's choices */
    char *calls;               /* what tool calls are held to (hn_tool_grammar), or NULL */
    size_t n_calls;
    hn_buf *echoes; /* (n_prompts) texts of prompts, where they are wanted; NULL = no */
    hn_buf out;     /* events that aren't sent yet */
    void *state;    /* the dialect's own; freed with hn_free */
    hn_exchange *next, *previous; /* under the API's lock: all that are under way */
};

/* A handler's whole work: keeps the call, watches it, hands it to a worker. */
void hn_exchange_begin(hn_api *api, hn_http_call *call, const hn_dialect *dialect);
/* prepare.c, on a worker: reads the body; then, which may wait for the model to be opened,
 * everything up to the submitted jobs. */
HN_MUST_CHECK hn_status hn_exchange_read(hn_exchange *x, hn_problem *problem);
HN_MUST_CHECK hn_status hn_exchange_prepare(hn_exchange *x, hn_problem *problem);
/* submit.c: gives the choices to the engine, as many as it takes now; and, when one of them is
 * done, more. Neither with the lock held. */
HN_MUST_CHECK hn_status hn_exchange_submit(hn_exchange *x, hn_problem *problem);
void hn_exchange_submit_more(hn_exchange *x);
/* Sends a refusal, before or inside a stream, and stops what runs. The lock is held. */
void hn_exchange_fail(hn_exchange *x, const hn_problem *problem);
/* The events of a job; context: hn_choice. */
hn_job_events hn_choice_events(hn_choice *choice);
void hn_exchange_ref(hn_exchange *x);
void hn_exchange_unref(hn_exchange *x);
/* Sums over the choices; a prompt counts once. */
hn_reply_usage hn_exchange_usage(const hn_exchange *x);
/* Sends the head of a stream, once; pings follow while it is silent. The lock is held. */
void hn_exchange_open_stream(hn_exchange *x);
/* Streams that have waited in the queue for so long begin to ping; the API's lock is held. */
void hn_exchanges_ping(hn_api *api);
