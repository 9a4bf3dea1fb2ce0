/* The process round the API: start-up, readiness, drain, signals, metrics, log, sandbox. Whatever
 * answers the API's routes is an `app`, so that this file needs no model. */
#pragma once

#include "base/status.h"
#include "http/server.h"
#include "serve/metrics.h"

#include <stdbool.h>

/* All functions are called on the thread of hn_serve_run. */
typedef struct hn_serve_app {
    void *context;
    /* Opens models, starts threads, adds its routes (hn_http_routes_add). Sockets are bound by
     * then, and nothing is answered before it returns. */
    hn_status (*start)(void *context, hn_http_server *server, hn_metrics *metrics, hn_error *err);
    /* Can take requests: /ready. May be asked from the loop thread only. */
    bool (*is_ready)(void *context);
    /* Ends whatever runs and joins all threads; after it nobody but holders of old references
     * touches a call. Called once, when `start` succeeded. */
    void (*stop)(void *context);
} hn_serve_app;

typedef struct hn_serve_options {
    hn_http_options http;   /* log and log_context are set by hn_serve_run */
    const char *access_log; /* a file, "-" for stderr, NULL = none. Written line by line */
    double drain_s;         /* how long a drain may take */
    bool sandbox;
    /* Called when requests are answered, with the addresses. */
    void (*on_ready)(void *context, const char *address);
    void (*note)(void *context, const char *text); /* one line for the person; may be NULL */
    void *context;
} hn_serve_options;

/* Serves until SIGTERM or SIGINT. The first starts a drain, the second ends at once: HN_CANCELLED.
 */
HN_MUST_CHECK hn_status hn_serve_run(const hn_serve_options *options, const hn_serve_app *app,
                                     hn_error *err);
