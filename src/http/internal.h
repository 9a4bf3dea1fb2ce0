/* What the files of this folder share. Three owners: the loop thread owns the server and its
 * connections; the box's mutex guards what other threads touch; a call's request never changes once
 * its handler was called. */
#pragma once

#include "http/parse.h"
#include "http/server.h"

#include <event2/event.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

struct bufferevent;
struct evconnlistener;
struct ssl_ctx_st;
typedef struct hn_http_conn hn_http_conn;

enum {
    HN_HTTP_MAX_ROUTE_TABLES = 8,
    HN_HTTP_MAX_LISTENERS = 16,
    HN_HTTP_MAX_SIGNALS = 8,
    HN_HTTP_PEER_BYTES = INET6_ADDRSTRLEN,
    HN_HTTP_ID_BYTES = 129, /* a request id and its NUL */
};

/* ---- box.c: how other threads reach the loop ---- */

typedef struct hn_http_post_item {
    void (*fn)(void *context);
    void *context;
    struct hn_http_post_item *next;
} hn_http_post_item;

/* Outlives the server for as long as a call refers to it. */
typedef struct hn_http_box {
    pthread_mutex_t mutex;
    int refs;                         /* the server, and each call */
    bool closed;                      /* the server is gone */
    bool woken;                       /* a byte lies in the pipe */
    int pipe_fds[2];                  /* [0] is the loop's */
    hn_http_call *ready, **ready_end; /* calls with something for their connection */
    hn_http_post_item *posts, **posts_end;
    atomic_bool draining;
    _Atomic uint64_t body_bytes; /* of all requests now in memory */
} hn_http_box;

HN_MUST_CHECK hn_status hn_http_box_new(hn_http_box **box, hn_error *err);
/* Wakes the loop; the mutex is held. */
void hn_http_box_wake(hn_http_box *box);
void hn_http_box_unref(hn_http_box *box);

/* ---- call.c ---- */

typedef enum hn_http_phase { HN_HTTP_OPEN, HN_HTTP_BEGUN, HN_HTTP_ENDED } hn_http_phase;

struct hn_http_call {
    hn_http_box *box;
    /* The request. */
    hn_http_head head;
    bool head_only; /* HEAD: the answer's body isn't sent */
    hn_buf body;
    uint64_t counted_bytes; /* of body, in box->body_bytes */
    const hn_http_route *route;
    void *route_context;
    const char *tail, *cors_origin; /* cors_origin: what the answer allows, or NULL */
    char id[HN_HTTP_ID_BYTES], trace_id[33], peer[HN_HTTP_PEER_BYTES];
    int key;
    char key_name[64];
    uint64_t arrival_ns;
    /* Under the box's mutex. */
    int users;   /* references that others hold */
    bool held;   /* its connection refers to it */
    bool queued; /* in box->ready */
    hn_http_phase phase;
    int status;
    bool chunked;     /* the answer is sent in chunks */
    bool close_after; /* the connection isn't used again */
    bool cut;         /* end it at once */
    hn_buf out;       /* for the connection */
    size_t in_socket; /* beyond that, not yet taken by the system */
    uint64_t bytes_out;
    double ping_s;
    hn_http_call *next_ready;
    atomic_bool gone;
    /* Loop thread. */
    hn_http_conn *conn; /* NULL once it is over */
    void (*over)(void *context, bool gone);
    void *over_context;
};

/* A call held by its connection; NULL without memory. */
hn_http_call *hn_http_call_new(hn_http_box *box, uint64_t arrival_ns);
/* The connection lets go. */
void hn_http_call_release(hn_http_call *call);
/* Loop thread: the next call with something for its connection, with a reference; NULL = none. */
hn_http_call *hn_http_call_take_ready(hn_http_box *box);

/* ---- answer.c: the text of an answer's head; the mutex is held ---- */

/* length < 0: a stream. */
void hn_http_head_write(hn_http_call *call, int status, const char *content_type, int64_t length,
                        const hn_http_field *fields);
/* As hn_http_fail, with one more header; field may be NULL. */
void hn_http_fail_with(hn_http_call *call, const hn_http_problem *problem,
                       const hn_http_field *field, const char *message);

/* ---- keys.c ---- */

typedef struct hn_http_keys hn_http_keys;
/* NULL path and key: *keys = NULL, everything is open. */
HN_MUST_CHECK hn_status hn_http_keys_read(hn_http_keys **keys, const char *path, const char *key,
                                          hn_error *err);
void hn_http_keys_free(hn_http_keys *keys);
/* The number of the key presented, -1 = none of them. Looks at all, in the same time. */
int hn_http_keys_find(const hn_http_keys *keys, const char *presented);
const char *hn_http_keys_name(const hn_http_keys *keys, int key);

/* ---- listen.c, tls.c ---- */

typedef struct hn_http_listener {
    int fd;
    bool is_unix;
    struct evconnlistener *listener; /* owns fd once it is there */
    hn_http_server *server;
} hn_http_listener;

/* Fills server->listeners and address. */
HN_MUST_CHECK hn_status hn_http_listen(hn_http_server *server, hn_error *err);
HN_MUST_CHECK hn_status hn_http_tls_open(struct ssl_ctx_st **out, const char *cert, const char *key,
                                         hn_error *err);
void hn_http_tls_close(struct ssl_ctx_st *context);

/* ---- server.c ---- */

typedef struct hn_http_table {
    const hn_http_route *routes;
    size_t n;
    void *context;
} hn_http_table;

typedef struct hn_http_signal {
    struct event *event;
    int number;
    void (*fn)(void *context, int number);
    void *context;
} hn_http_signal;

struct hn_http_server {
    hn_http_options options; /* its texts are copies */
    struct event_base *base;
    struct event *wake, *sweep;
    hn_http_box *box;
    hn_http_listener listeners[HN_HTTP_MAX_LISTENERS];
    size_t n_listeners;
    bool accepting;
    char *address;
    hn_http_table tables[HN_HTTP_MAX_ROUTE_TABLES];
    size_t n_tables;
    hn_http_signal signals[HN_HTTP_MAX_SIGNALS];
    size_t n_signals;
    hn_http_keys *keys;
    struct ssl_ctx_st *tls;
    /* In the order of their last activity, the idlest first; the closed ones wait for the sweep. */
    hn_http_conn *first, *last, *closed;
    uint64_t drain_ns, drain_until_ns; /* drain_until_ns: 0 = no drain yet */
    bool unix_bound;                   /* the socket's file is ours to remove */
    atomic_int n_connections, n_calls;
    _Atomic uint64_t n_accepted, n_refused, n_rejected_keys, n_cut_slow;
};

/* Lets in again what waits, when there is room. */
void hn_http_accept_again(hn_http_server *server);
/* A call has ended: ends a drain. */
void hn_http_call_ended(hn_http_server *server);

/* ---- route.c ---- */

/* Sets the ids, from the head if it has sane ones. */
void hn_http_identify(hn_http_call *call);
/* Decides about a request whose head is read: finds its route, or answers it at once. True: read
 * its body and call the handler. */
bool hn_http_admit(hn_http_server *server, hn_http_call *call);

/* ---- conn.c ---- */

/* Takes over a socket. False: nothing was made, and fd is closed. */
bool hn_http_conn_new(hn_http_server *server, int fd, bool is_unix, const struct sockaddr *peer);
/* Something lies ready in the call's `out`. */
void hn_http_conn_flush(hn_http_conn *conn);
/* Deadlines, pings, slow readers. */
void hn_http_conn_sweep(hn_http_conn *conn, uint64_t now_ns);
void hn_http_conn_close(hn_http_conn *conn);
/* Closes the idlest connection that waits for a request and has for a while; false = none has. */
bool hn_http_conn_evict(hn_http_server *server);
/* Frees those that were closed. */
void hn_http_conns_collect(hn_http_server *server);
hn_http_conn *hn_http_conn_next(const hn_http_conn *conn);
