/* A server without a model, for tests: hn_serve_run with routes that answer in every way there is.
 * usage: serve_probe [NAME=VALUE...]; prints "ready ADDRESS" and what happens to calls. */
#include "base/mem.h"
#include "serve/server.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static atomic_int n_threads;

static void say(const char *text, const char *more) {
    printf("%s %s\n", text, more);
    fflush(stdout);
}

static long number(hn_http_call *call, const char *name, long otherwise) {
    const char *at = strstr(hn_http_query(call), name);
    return at && at[strlen(name)] == '=' ? atol(at + strlen(name) + 1) : otherwise;
}

/* What the request was, as it was understood. */
static void echo(hn_http_call *call, void *context) {
    size_t n;
    hn_buf out = {0};
    const char *body = hn_http_body(call, &n), *agent = hn_http_header(call, "user-agent");
    (void)context;
    hn_buf_printf(&out, "%s %s|%s|%s|%d:%s|%s|%zu|", hn_http_method(call), hn_http_path(call),
                  hn_http_tail(call), hn_http_query(call), hn_http_key(call),
                  hn_http_key_name(call), agent ? agent : "-", n);
    hn_buf_append(&out, body, n);
    hn_http_reply(call, 200, "text/plain", out.data, out.size, NULL);
    hn_http_reply(call, 500, "text/plain", "again", 5, NULL);
    hn_buf_done(&out);
}

typedef struct work {
    hn_http_call *call;
    long ms, n, size, every_ms;
} work;

static void sleep_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static void *later_thread(void *arg) {
    work *w = arg;
    sleep_ms(w->ms);
    hn_http_reply(w->call, 200, "text/plain", "later", 5, NULL);
    hn_http_unref(w->call);
    hn_free(w);
    atomic_fetch_sub(&n_threads, 1);
    return NULL;
}

static void *stream_thread(void *arg) {
    work *w = arg;
    char *piece = hn_malloc((size_t)w->size + 1);
    memset(piece, 'x', (size_t)w->size);
    piece[w->size] = '\n';
    hn_http_begin(w->call, 200, "text/event-stream", NULL, 0.3);
    for (long i = 0; i < w->n && !hn_http_is_gone(w->call); i++) {
        hn_http_send(w->call, piece, (size_t)w->size + 1);
        if (w->every_ms)
            sleep_ms(w->every_ms);
    }
    hn_http_end(w->call);
    hn_http_send(w->call, "more", 4);
    hn_http_unref(w->call);
    hn_free(piece);
    hn_free(w);
    atomic_fetch_sub(&n_threads, 1);
    return NULL;
}

static void over(void *context, bool gone) {
    say(gone ? "gone" : "over", context);
    hn_free(context);
}

static void start_thread(hn_http_call *call, void *(*run)(void *)) {
    pthread_t thread;
    work *w = hn_malloc(sizeof *w);
    *w = (work){hn_http_ref(call), number(call, "ms", 100), number(call, "n", 10),
                number(call, "size", 20), number(call, "every", 0)};
    hn_http_watch(call, over, hn_strdup(hn_http_id(call)));
    atomic_fetch_add(&n_threads, 1);
    pthread_create(&thread, NULL, run, w);
    pthread_detach(thread);
}

static void later(hn_http_call *call, void *context) {
    (void)context;
    start_thread(call, later_thread);
}

static void stream(hn_http_call *call, void *context) {
    (void)context;
    start_thread(call, stream_thread);
}

static void drop(hn_http_call *call, void *context) {
    (void)context;
    if (number(call, "begun", 0))
        hn_http_begin(call, 200, "text/plain", NULL, 0);
}

static void slow_loop(hn_http_call *call, void *context) {
    static char big[8 << 20];
    (void)context;
    memset(big, 'b', sizeof big);
    hn_http_reply(call, 200, "text/plain", big, sizeof big, NULL);
}

static void fail(hn_http_call *call, void *context) {
    (void)context;
    hn_http_fail(call, &(hn_http_problem){.status = 429, .code = "busy", .retry_after_s = 7},
                 "too \"many\" of \xff them");
}

/* What the sandbox refuses. */
static void forbidden(hn_http_call *call, void *context) {
    hn_buf out = {0};
    (void)context;
    FILE *passwords = fopen("/etc/passwd", "r");
    hn_buf_printf(&out, "passwd=%d ", passwords != NULL);
    if (passwords)
        fclose(passwords);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    hn_buf_printf(&out, "fork=%d exec=%d", child > 0, access("/bin/sh", X_OK) == 0);
    hn_http_reply(call, 200, "text/plain", out.data, out.size, NULL);
    hn_buf_done(&out);
}

static const hn_http_route ROUTES[] = {
    {"POST", "/echo", false, false, echo},         {"GET", "/echo/*", false, false, echo},
    {"DELETE", "/echo/*", true, false, echo},      {"GET", "/open", true, false, echo},
    {"POST", "/open", true, false, echo},          {"GET", "/later", false, false, later},
    {"GET", "/stream", false, false, stream},      {"GET", "/drop", false, false, drop},
    {"GET", "/big", false, false, slow_loop},      {"GET", "/fail", false, false, fail},
    {"GET", "/forbidden", true, false, forbidden},
};

static hn_status start(void *context, hn_http_server *server, hn_metrics *metrics, hn_error *err) {
    hn_model_metrics *model;
    HN_TRY(hn_metrics_model(metrics, "probe \"one\"", &model, err));
    hn_metrics_first_token(model, 0.03);
    hn_metrics_next_token(model, 0.002);
    hn_metrics_dequeued(model, 0.0001);
    hn_metrics_finished(model, &(hn_finished_request){HN_FINISHED_STOP, 10, 4, 20, 0.5});
    hn_metrics_gauges(model, &(hn_model_gauges){1, 2, 0.25, 1});
    return hn_http_routes_add(server, ROUTES, sizeof ROUTES / sizeof *ROUTES, context, err);
}

/* Takes until the file is there whose name is the context; an empty one is a failure. */
static hn_status load(void *context, hn_error *err) {
    struct stat info;
    while (stat(context, &info) != 0)
        sleep_ms(5);
    return info.st_size ? HN_OK : hn_fail(err, HN_FAILED, "%s is empty", (const char *)context);
}

static void stop(void *context) {
    (void)context;
    while (atomic_load(&n_threads) > 0)
        sleep_ms(5);
    say("stopped", "");
}

static void on_ready(void *context, const char *address) {
    (void)context;
    say("ready", address);
}

static void on_note(void *context, const char *text) {
    (void)context;
    say("note", text);
}

static const char *argument(int argc, char **argv, const char *name) {
    size_t n = strlen(name);
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], name, n) == 0 && argv[i][n] == '=')
            return argv[i] + n + 1;
    return NULL;
}

static double real(int argc, char **argv, const char *name) {
    const char *text = argument(argc, argv, name);
    return text ? atof(text) : 0;
}

int main(int argc, char **argv) {
    hn_error err = {0};
    char *loads = (char *)(uintptr_t)argument(argc, argv, "load");
    const hn_serve_app app = {
        .context = loads, .start = start, .load = loads ? load : NULL, .stop = stop};
    const char *drain = argument(argc, argv, "drain");
    const hn_serve_options options = {
        .http = {.host = argument(argc, argv, "host"),
                 .port = (int)real(argc, argv, "port"),
                 .unix_path = argument(argc, argv, "unix"),
                 .activation = true,
                 .tls_cert = argument(argc, argv, "cert"),
                 .tls_key = argument(argc, argv, "key"),
                 .keys_path = argument(argc, argv, "keys"),
                 .cors_origins = argument(argc, argv, "cors"),
                 .max_body_bytes = (size_t)real(argc, argv, "body"),
                 .max_pending_bytes = (size_t)real(argc, argv, "pending"),
                 .max_connections = (int)real(argc, argv, "connections"),
                 .header_timeout_s = real(argc, argv, "header_s"),
                 .body_timeout_s = real(argc, argv, "body_s"),
                 .idle_timeout_s = real(argc, argv, "idle_s"),
                 .write_timeout_s = real(argc, argv, "write_s")},
        .access_log = argument(argc, argv, "log"),
        .drain_s = drain ? atof(drain) : 10,
        .sandbox = argument(argc, argv, "sandbox") != NULL,
        .on_ready = on_ready,
        .note = on_note,
    };
    signal(SIGPIPE, SIG_IGN);
    hn_status status = hn_serve_run(&options, &app, &err);
    if (status != HN_OK)
        say("failed", err.message);
    return status == HN_OK ? 0 : status == HN_CANCELLED ? 130 : 1;
}
