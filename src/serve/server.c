/* The process: what happens from the start to the end of `hone serve`, in order. */
#include "serve/server.h"

#include "base/mem.h"
#include "serve/log.h"
#include "serve/notify.h"
#include "serve/page.h"
#include "serve/sandbox.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct process {
    const hn_serve_options *options;
    const hn_serve_app *app;
    hn_http_server *server;
    hn_metrics *metrics;
    hn_access_log *log;
    bool ended_at_once;
    bool is_loaded; /* of the loop's thread */
    pthread_t loader;
    hn_status load_status; /* of the loader, until it has ended */
    hn_error load_error;
} process;

static void note(const process *p, const char *fmt, ...) HN_PRINTF(2, 3);
static void note(const process *p, const char *fmt, ...) {
    char text[HN_ERROR_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (p->options->note)
        p->options->note(p->options->context, text);
}

static void on_record(void *context, const hn_http_record *record) {
    process *p = context;
    hn_metrics_answered(p->metrics, record->route, record->status, record->seconds);
    hn_access_log_write(p->log, record);
}

/* ---- routes ---- */

static void get_health(hn_http_call *call, void *context) {
    static const char OK[] = "{\"status\":\"ok\"}\n";
    (void)context;
    hn_http_reply(call, 200, "application/json", OK, sizeof OK - 1, NULL);
}

static void get_ready(hn_http_call *call, void *context) {
    static const char READY[] = "{\"status\":\"ready\"}\n";
    const process *p = context;
    if (p->is_loaded && !hn_http_is_draining(p->server))
        hn_http_reply(call, 200, "application/json", READY, sizeof READY - 1, NULL);
    else
        hn_http_fail(call,
                     &(hn_http_problem){.status = 503, .code = "not_ready", .retry_after_s = 1},
                     hn_http_is_draining(p->server) ? "the server is shutting down"
                                                    : "the models are being opened");
}

static void get_metrics(hn_http_call *call, void *context) {
    const process *p = context;
    hn_error err = {0};
    hn_buf text = {0};
    const hn_http_counts counts = hn_http_count(p->server);
    hn_metrics_server(p->metrics, &(hn_server_gauges){.connections = counts.connections,
                                                      .calls = counts.calls,
                                                      .accepted = (double)counts.accepted,
                                                      .refused = (double)counts.refused,
                                                      .rejected_keys = (double)counts.rejected_keys,
                                                      .cut_slow = (double)counts.cut_slow});
    if (hn_metrics_text(p->metrics, &text, &err) == HN_OK)
        hn_http_reply(call, 200, "text/plain; version=0.0.4; charset=utf-8", text.data, text.size,
                      NULL);
    else
        hn_http_fail(call, &(hn_http_problem){.status = 500}, "%s", err.message);
    hn_buf_done(&text);
}

static const hn_http_route ROUTES[] = {
    {"GET", "/health", true, true, get_health},
    {"GET", "/ready", true, true, get_ready},
    {"GET", "/metrics", false, true, get_metrics},
};

/* ---- signals ---- */

static void on_end(void *context, int number) {
    process *p = context;
    (void)number;
    if (hn_http_is_draining(p->server)) {
        p->ended_at_once = true;
        hn_http_stop(p->server);
        return;
    }
    const int running = hn_http_count(p->server).calls;
    note(p, "shutting down: %d %s under way", running, running == 1 ? "request" : "requests");
    hn_notify("STOPPING=1");
    if (p->app->drain)
        p->app->drain(p->app->context);
    hn_http_drain(p->server, p->options->drain_s);
}

static void on_reload(void *context, int number) {
    process *p = context;
    hn_error err = {0};
    (void)number;
    hn_status status = hn_http_reload(p->server, &err);
    if (status == HN_OK)
        status = hn_access_log_reopen(p->log, &err);
    if (status == HN_OK)
        note(p, "reloaded");
    else
        note(p, "not reloaded, the old settings stay: %s", err.message);
}

static hn_status catch_signals(process *p, hn_error *err) {
    signal(SIGHUP, SIG_IGN); /* what it is again at the very end */
    HN_TRY(hn_http_on_signal(p->server, SIGTERM, on_end, p, err));
    HN_TRY(hn_http_on_signal(p->server, SIGINT, on_end, p, err));
    return hn_http_on_signal(p->server, SIGHUP, on_reload, p, err);
}

/* ---- the order of things ---- */

static hn_status start(process *p, hn_error *err) {
    hn_http_options http = p->options->http;
    hn_notify("");
    HN_TRY(hn_access_log_open(&p->log, p->options->access_log, err));
    HN_TRY(hn_metrics_new(&p->metrics, err));
    http.log = on_record;
    http.log_context = p;
    HN_TRY(hn_http_server_new(&p->server, &http, err));
    HN_TRY(hn_http_routes_add(p->server, ROUTES, sizeof ROUTES / sizeof *ROUTES, p, err));
    HN_TRY(hn_page_routes(p->server, err));
    /* Threads inherit it, so that it comes before there are any. */
    if (p->options->sandbox)
        HN_TRY(hn_sandbox_files(p->options, err));
    return HN_OK;
}

static void on_loaded(void *context) {
    process *p = context;
    if (p->load_status != HN_OK) {
        hn_http_stop(p->server);
        return;
    }
    p->is_loaded = true;
    if (hn_http_is_draining(p->server))
        return;
    if (p->options->on_ready)
        p->options->on_ready(p->options->context, hn_http_address(p->server));
    hn_notify("READY=1");
}

static void *load(void *context) {
    process *p = context;
    p->load_status = p->app->load(p->app->context, &p->load_error);
    (void)hn_http_post(p->server, on_loaded, p); /* false: the loop has ended */
    return NULL;
}

/* Signals are for the loop. */
static hn_status start_loader(process *p, hn_error *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int problem = pthread_create(&p->loader, NULL, load, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return problem ? hn_fail(err, HN_FAILED, "a thread for opening models can't be started")
                   : HN_OK;
}

/* Models are opened while the loop runs. */
static hn_status run(process *p, hn_error *err) {
    if (!p->app->load) {
        on_loaded(p);
        return hn_http_run(p->server, err);
    }
    HN_TRY(start_loader(p, err));
    const hn_status status = hn_http_run(p->server, err);
    pthread_join(p->loader, NULL);
    if (status != HN_OK || p->load_status == HN_OK)
        return status;
    *err = p->load_error;
    return p->load_status;
}

static hn_status serve(process *p, hn_error *err) {
    char kept[HN_SANDBOX_TEXT_BYTES];
    if (p->options->cancel && atomic_load(p->options->cancel))
        return hn_fail(err, HN_CANCELLED, "cancelled");
    HN_TRY(catch_signals(p, err));
    if (p->options->sandbox) {
        HN_TRY(hn_sandbox_calls(kept, err));
        note(p, "%s", kept);
    }
    return run(p, err);
}

hn_status hn_serve_run(const hn_serve_options *options, const hn_serve_app *app, hn_error *err) {
    process p = {.options = options, .app = app};
    hn_status status;
    HN_GO(start(&p, err));
    HN_GO(app->start(app->context, p.server, p.metrics, err));
    status = serve(&p, err);
    app->stop(app->context);
    if (status == HN_OK && p.ended_at_once)
        status = hn_fail(err, HN_CANCELLED, "ended at once, as asked");
done:
    hn_http_server_free(p.server);
    hn_metrics_free(p.metrics);
    hn_access_log_close(p.log);
    return status;
}
