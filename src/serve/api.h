/* The API: routes over an HTTP server and models. Requests are prepared (parsed, rendered,
 * tokenised, their grammars compiled) on a few threads of its own, so that neither the server's
 * loop nor an engine waits for them; answers are written on the engine's thread. */
#pragma once

#include "http/server.h"
#include "serve/models.h"

typedef struct hn_api hn_api;

/* How a request went, for metrics. Called on an engine's thread (cheaply, please), or on a worker's
 * where it never came to an engine. */
typedef struct hn_api_outcome {
    const char *model;  /* name of the model */
    const char *finish; /* "stop", "length", "tool_calls", "cancelled", "error" */
    int n_prompt, n_cached, n_generated;
    double queue_s, e2e_s; /* from arrival to the prompt's first step, and to the end */
} hn_api_outcome;
typedef struct hn_api_observer {
    void *context;
    void (*first_token)(void *context, const char *model, double seconds); /* since arrival */
    void (*next_token)(void *context, const char *model, double seconds);  /* since the last one */
    void (*outcome)(void *context, const hn_api_outcome *outcome);
} hn_api_observer;

typedef struct hn_api_options {
    int n_workers;            /* threads that prepare; 0 = 2 */
    double ping_s;            /* comment pings while a stream is silent; 0 = 5 */
    double timeout_s;         /* of a request that doesn't say; 0 = none */
    hn_api_observer observer; /* any of it may be NULL */
} hn_api_options;

/* Adds all routes. `server` and `models` are borrowed. */
HN_MUST_CHECK hn_status hn_api_new(hn_api **out, hn_http_server *server, hn_models *models,
                                   const hn_api_options *options, hn_error *err);
/* After hn_http_run has returned and before hn_http_server_free and hn_models_free: cancels what
 * still runs and waits for it. NULL is nothing. */
void hn_api_free(hn_api *api);
