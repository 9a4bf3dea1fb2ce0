/* The process: what happens from the start to the end of `hone serve`, in order. */
#include "serve/server.h"

#include "base/mem.h"
#include "serve/log.h"
#include "serve/notify.h"
#include "serve/page.h"
#include "serve/sandbox.h"

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

static bool is_ready(const process *p) {
    return !hn_http_is_draining(p->server) &&
           (!p->app->is_ready || p->app->is_ready(p->app->context));
}

static void get_health(hn_http_call *call, void *context) {
    static const char OK[] = "{\"status\":\"ok\"}\n";
    (void)context;
    hn_http_reply(call, 200, "application/json", OK, sizeof OK - 1, NULL);
}

static void get_ready(hn_http_call *call, void *context) {
    static const char READY[] = "{\"status\":\"ready\"}\n";
    const process *p = context;
    if (is_ready(p))
        hn_http_reply(call, 200, "application/json", READY, sizeof READY - 1, NULL);
    else
        hn_http_fail(call,
                     &(hn_http_problem){.status = 503, .code = "not_ready", .retry_after_s = 1},
                     hn_http_is_draining(p->server) ? "the server is shutting down"
                                                    : "the server is starting");
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

static hn_status serve(process *p, hn_error *err) {
    char kept[HN_SANDBOX_TEXT_BYTES];
    if (p->options->cancel && atomic_load(p->options->cancel))
        return hn_fail(err, HN_CANCELLED, "cancelled");
    HN_TRY(catch_signals(p, err));
    if (p->options->sandbox) {
        HN_TRY(hn_sandbox_calls(kept, err));
        note(p, "%s", kept);
    }
    if (p->options->on_ready)
        p->options->on_ready(p->options->context, hn_http_address(p->server));
    hn_notify("READY=1");
    return hn_http_run(p->server, err);
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
