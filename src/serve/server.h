/* The process round the API: start-up, readiness, drain, signals, metrics, log, sandbox. Whatever
 * answers the API's routes is an `app`, so that this file needs no model. */
#pragma once

#include "base/status.h"
#include "http/server.h"
#include "serve/metrics.h"

#include <stdatomic.h>
#include <stdbool.h>

/* All functions but `load` are called on the thread of hn_serve_run, which runs the server's loop.
 */
typedef struct hn_serve_app {
    void *context;
    /* Starts threads, adds its routes (hn_http_routes_add). Sockets are bound by then, and nothing
     * is answered before it returns. It cleans up after a failure of its own. */
    hn_status (*start)(void *context, hn_http_server *server, hn_metrics *metrics, hn_error *err);
    /* Opens what takes long, on a thread of its own: /health answers meanwhile, /ready not yet, and
     * requests that come already have to wait for what they need. NULL = nothing does. */
    hn_status (*load)(void *context, hn_error *err);
    /* A drain began: loop thread. NULL = nothing to do. */
    void (*drain)(void *context);
    /* Ends whatever runs and joins all threads, once hn_http_run has returned; every call is over
     * by then. Called once when `start` succeeded. */
    void (*stop)(void *context);
} hn_serve_app;

typedef struct hn_serve_options {
    hn_http_options http;   /* log and log_context are set by hn_serve_run */
    const char *access_log; /* a file, "-" for standard error, NULL = none */
    double drain_s;         /* how long a drain may take */
    bool sandbox;
    /* What stays readable or writable within the sandbox, files or folders, beside what the
     * options above name; end with NULL. */
    const char *const *readable, *const *writable;
    const atomic_bool *cancel; /* set by signals until hn_serve_run handles them; may be NULL */
    /* Everything is loaded. */
    void (*on_ready)(void *context, const char *address);
    void (*note)(void *context, const char *text); /* one line for the person */
    void *context;
} hn_serve_options;

/* Serves until SIGTERM or SIGINT: the first starts a drain, the second ends at once
 * (HN_CANCELLED). SIGHUP reads keys and TLS files again and opens the log again. */
HN_MUST_CHECK hn_status hn_serve_run(const hn_serve_options *options, const hn_serve_app *app,
                                     hn_error *err);
