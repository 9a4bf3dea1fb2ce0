/* The server: its options, its loop, accepting, draining. */
#include "http/internal.h"

#include "base/clock.h"
#include "base/mem.h"

#include <event2/listener.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    DEFAULT_BODY = 16 << 20,
    DEFAULT_PENDING = 4 << 20,
    DEFAULT_CONNECTIONS = 16384,
    OTHER_FILES = 64, /* descriptors for models, logs, listeners */
    LEAST_CONNECTIONS = 8,
};
static const double DEFAULT_HEADER_S = 15, DEFAULT_BODY_S = 60, DEFAULT_IDLE_S = 75,
                    DEFAULT_WRITE_S = 60;
static const struct timeval SWEEP_EVERY = {.tv_usec = 250000};

/* Raises the limit of open files to what the system grants, and stays below it. */
static void fit_connections(hn_http_options *options) {
    struct rlimit limit;
    if (options->max_connections <= 0)
        options->max_connections = DEFAULT_CONNECTIONS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return;
    long long room = (long long)limit.rlim_cur - OTHER_FILES;
    if (room < LEAST_CONNECTIONS)
        room = LEAST_CONNECTIONS;
    if (options->max_connections > room)
        options->max_connections = (int)room;
}

static bool copy(const char **text) {
    if (*text)
        *text = hn_strdup(*text);
    return *text != NULL;
}

static hn_status take_options(hn_http_server *server, const hn_http_options *options,
                              hn_error *err) {
    hn_http_options *o = &server->options;
    const char **texts[] = {&o->host, &o->unix_path, &o->tls_cert,    &o->tls_key,
                            &o->key,  &o->keys_path, &o->cors_origins};
    *o = *options;
    if (!o->host)
        o->host = "127.0.0.1";
    bool ok = true;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const bool given = *texts[i] != NULL;
        ok &= copy(texts[i]) || !given; /* all become ours, or NULL */
    }
    if (!ok)
        return hn_fail(err, HN_NO_MEMORY, "out of memory");
    if (!o->tls_cert != !o->tls_key)
        return hn_fail(err, HN_USAGE, "TLS needs both a certificate and a key");
    if (!o->max_body_bytes)
        o->max_body_bytes = DEFAULT_BODY;
    if (!o->max_pending_bytes)
        o->max_pending_bytes = DEFAULT_PENDING;
    if (o->header_timeout_s <= 0)
        o->header_timeout_s = DEFAULT_HEADER_S;
    if (o->body_timeout_s <= 0)
        o->body_timeout_s = DEFAULT_BODY_S;
    if (o->idle_timeout_s <= 0)
        o->idle_timeout_s = DEFAULT_IDLE_S;
    if (o->write_timeout_s <= 0)
        o->write_timeout_s = DEFAULT_WRITE_S;
    fit_connections(o);
    return HN_OK;
}

/* ---- accepting ---- */

static void set_accepting(hn_http_server *server, bool on) {
    if (server->accepting == on)
        return;
    server->accepting = on;
    for (size_t i = 0; i < server->n_listeners; i++) {
        struct evconnlistener *listener = server->listeners[i].listener;
        if (on)
            evconnlistener_enable(listener);
        else
            evconnlistener_disable(listener);
    }
}

void hn_http_accept_again(hn_http_server *server) {
    if (atomic_load(&server->n_connections) < server->options.max_connections)
        set_accepting(server, true);
}

/* When the last place is taken the idlest connection makes room; where all are at work, or have
 * just come, new ones wait in the system's queue until the sweep finds one. */
static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer,
                      int peer_bytes, void *context) {
    hn_http_listener *l = context;
    hn_http_server *server = l->server;
    (void)listener;
    (void)peer_bytes;
    atomic_fetch_add(&server->n_accepted, 1);
    if (!hn_http_conn_new(server, fd, l->is_unix, peer)) {
        atomic_fetch_add(&server->n_refused, 1);
        return;
    }
    if (atomic_load(&server->n_connections) < server->options.max_connections)
        return;
    if (hn_http_conn_evict(server))
        atomic_fetch_add(&server->n_refused, 1);
    else
        set_accepting(server, false);
}

/* Out of descriptors, most likely: the sweep tries again. */
static void on_accept_error(struct evconnlistener *listener, void *context) {
    hn_http_listener *l = context;
    (void)listener;
    if (!hn_http_conn_evict(l->server))
        set_accepting(l->server, false);
}

static hn_status start_accepting(hn_http_server *server, hn_error *err) {
    for (size_t i = 0; i < server->n_listeners; i++) {
        hn_http_listener *l = &server->listeners[i];
        l->listener = evconnlistener_new(server->base, on_accept, l,
                                         LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, l->fd);
        if (!l->listener)
            return hn_fail(err, HN_NO_MEMORY, "out of memory for a listener");
        evconnlistener_set_error_cb(l->listener, on_accept_error);
    }
    server->accepting = true;
    return HN_OK;
}

/* ---- the loop ---- */

static void run_posts(hn_http_box *box) {
    pthread_mutex_lock(&box->mutex);
    hn_http_post_item *item = box->posts;
    box->posts = NULL;
    box->posts_end = &box->posts;
    pthread_mutex_unlock(&box->mutex);
    while (item) {
        hn_http_post_item *next = item->next;
        item->fn(item->context);
        hn_free(item);
        item = next;
    }
}

static void on_wake(evutil_socket_t fd, short what, void *context) {
    hn_http_server *server = context;
    hn_http_box *box = server->box;
    char bytes[16];
    (void)what;
    pthread_mutex_lock(&box->mutex);
    (void)!read(fd, bytes, sizeof bytes);
    box->woken = false;
    pthread_mutex_unlock(&box->mutex);
    run_posts(box);
    for (hn_http_call *call; (call = hn_http_call_take_ready(box));) {
        if (call->conn)
            hn_http_conn_flush(call->conn);
        hn_http_unref(call);
    }
}

static void on_sweep(evutil_socket_t fd, short what, void *context) {
    hn_http_server *server = context;
    const uint64_t now = hn_clock_ns();
    (void)fd;
    (void)what;
    for (hn_http_conn *conn = server->first, *next; conn; conn = next) {
        next = hn_http_conn_next(conn);
        hn_http_conn_sweep(conn, now);
    }
    hn_http_conns_collect(server);
    if (!server->accepting && hn_http_conn_evict(server))
        atomic_fetch_add(&server->n_refused, 1);
    hn_http_accept_again(server);
    if (server->drain_until_ns && now > server->drain_until_ns)
        event_base_loopbreak(server->base);
}

void hn_http_call_ended(hn_http_server *server) {
    if (server->drain_until_ns && atomic_load(&server->n_calls) == 0)
        event_base_loopbreak(server->base);
}

static void begin_drain(void *context) {
    hn_http_server *server = context;
    server->drain_until_ns = hn_clock_ns() + server->drain_ns;
    hn_http_call_ended(server);
}

void hn_http_drain(hn_http_server *server, double seconds) {
    if (atomic_exchange(&server->box->draining, true))
        return;
    server->drain_ns = (uint64_t)(seconds * 1e9) + 1;
    if (!hn_http_post(server, begin_drain, server))
        hn_http_stop(server);
}

bool hn_http_is_draining(const hn_http_server *server) {
    return atomic_load(&server->box->draining);
}

static void begin_stop(void *context) {
    hn_http_server *server = context;
    event_base_loopbreak(server->base);
}

void hn_http_stop(hn_http_server *server) {
    atomic_store(&server->box->draining, true);
    (void)!hn_http_post(server, begin_stop, server);
}

static void on_signal(evutil_socket_t number, short what, void *context) {
    hn_http_signal *signal = context;
    (void)what;
    signal->fn(signal->context, (int)number);
}

hn_status hn_http_on_signal(hn_http_server *server, int number,
                            void (*fn)(void *context, int number), void *context, hn_error *err) {
    if (server->n_signals == HN_HTTP_MAX_SIGNALS)
        return hn_fail(err, HN_FAILED, "more than %d signals", HN_HTTP_MAX_SIGNALS);
    hn_http_signal *signal = &server->signals[server->n_signals];
    *signal = (hn_http_signal){.number = number, .fn = fn, .context = context};
    signal->event = evsignal_new(server->base, number, on_signal, signal);
    if (!signal->event || event_add(signal->event, NULL) != 0) {
        if (signal->event)
            event_free(signal->event);
        return hn_fail(err, HN_FAILED, "signal %d can't be caught", number);
    }
    server->n_signals++;
    return HN_OK;
}

/* Nothing gets through the box any more. */
static void close_box(hn_http_box *box) {
    pthread_mutex_lock(&box->mutex);
    box->closed = true;
    pthread_mutex_unlock(&box->mutex);
    for (hn_http_call *call; (call = hn_http_call_take_ready(box));)
        hn_http_unref(call);
    while (box->posts) {
        hn_http_post_item *next = box->posts->next;
        hn_free(box->posts);
        box->posts = next;
    }
}

/* No connection, no signal, no way in from other threads. */
static void close_all(hn_http_server *server) {
    server->drain_until_ns = 0;
    for (size_t i = 0; i < server->n_listeners; i++) {
        hn_http_listener *l = &server->listeners[i];
        if (l->listener)
            evconnlistener_free(l->listener);
        else
            close(l->fd);
    }
    server->n_listeners = 0;
    while (server->first)
        hn_http_conn_close(server->first);
    hn_http_conns_collect(server);
    if (server->box)
        close_box(server->box);
    for (size_t i = 0; i < server->n_signals; i++)
        event_free(server->signals[i].event);
    server->n_signals = 0;
    if (server->options.unix_path && server->unix_bound)
        unlink(server->options.unix_path);
    server->unix_bound = false;
}

hn_status hn_http_run(hn_http_server *server, hn_error *err) {
    hn_status status = start_accepting(server, err);
    if (status == HN_OK && event_base_dispatch(server->base) < 0)
        status = hn_fail(err, HN_FAILED, "the server's loop failed");
    close_all(server);
    return status;
}

/* ---- making and ending ---- */

static hn_status make_loop(hn_http_server *server, hn_error *err) {
    static const char FAILED[] = "out of memory for the server's loop";
    struct event_config *config = event_config_new();
    if (!config)
        return hn_fail(err, HN_NO_MEMORY, FAILED);
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK); /* other threads come through the box */
    server->base = event_base_new_with_config(config);
    event_config_free(config);
    if (!server->base)
        return hn_fail(err, HN_NO_MEMORY, FAILED);
    HN_TRY(hn_http_box_new(&server->box, err));
    server->wake =
        event_new(server->base, server->box->pipe_fds[0], EV_READ | EV_PERSIST, on_wake, server);
    server->sweep = event_new(server->base, -1, EV_PERSIST, on_sweep, server);
    if (!server->wake || !server->sweep || event_add(server->wake, NULL) != 0 ||
        event_add(server->sweep, &SWEEP_EVERY) != 0)
        return hn_fail(err, HN_NO_MEMORY, FAILED);
    return HN_OK;
}

hn_status hn_http_server_new(hn_http_server **out, const hn_http_options *options, hn_error *err) {
    hn_status status;
    hn_http_server *server = hn_calloc(1, sizeof *server);
    if (!server)
        return hn_fail_no_memory(err, sizeof *server);
    HN_GO(take_options(server, options, err));
    HN_GO(hn_http_reload(server, err));
    HN_GO(make_loop(server, err));
    HN_GO(hn_http_listen(server, err));
    *out = server;
    server = NULL;
done:
    if (server)
        hn_http_server_free(server);
    return status;
}

hn_status hn_http_reload(hn_http_server *server, hn_error *err) {
    const hn_http_options *o = &server->options;
    hn_http_keys *keys = NULL;
    struct ssl_ctx_st *tls = NULL;
    HN_TRY(hn_http_keys_read(&keys, o->keys_path, o->key, err));
    hn_status status = o->tls_cert ? hn_http_tls_open(&tls, o->tls_cert, o->tls_key, err) : HN_OK;
    if (status != HN_OK) {
        hn_http_keys_free(keys);
        return status;
    }
    hn_http_keys_free(server->keys);
    hn_http_tls_close(server->tls);
    server->keys = keys;
    server->tls = tls;
    return HN_OK;
}

hn_status hn_http_routes_add(hn_http_server *server, const hn_http_route *routes, size_t n_routes,
                             void *context, hn_error *err) {
    if (server->n_tables == HN_HTTP_MAX_ROUTE_TABLES)
        return hn_fail(err, HN_FAILED, "more than %d tables of routes", HN_HTTP_MAX_ROUTE_TABLES);
    server->tables[server->n_tables++] = (hn_http_table){routes, n_routes, context};
    return HN_OK;
}

const char *hn_http_address(const hn_http_server *server) {
    return server->address;
}

hn_http_counts hn_http_count(const hn_http_server *server) {
    return (hn_http_counts){.connections = atomic_load(&server->n_connections),
                            .calls = atomic_load(&server->n_calls),
                            .accepted = atomic_load(&server->n_accepted),
                            .refused = atomic_load(&server->n_refused),
                            .rejected_keys = atomic_load(&server->n_rejected_keys),
                            .cut_slow = atomic_load(&server->n_cut_slow)};
}

void hn_http_server_free(hn_http_server *server) {
    if (!server)
        return;
    close_all(server);
    hn_http_box_unref(server->box);
    if (server->wake)
        event_free(server->wake);
    if (server->sweep)
        event_free(server->sweep);
    if (server->base)
        event_base_free(server->base);
    hn_http_keys_free(server->keys);
    hn_http_tls_close(server->tls);
    hn_free(server->address);
    const hn_http_options *o = &server->options;
    const char *texts[] = {o->host, o->unix_path, o->tls_cert,    o->tls_key,
                           o->key,  o->keys_path, o->cors_origins};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        hn_free((char *)texts[i]);
    hn_free(server);
}
