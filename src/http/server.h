/* An HTTP/1.1 server: listeners, TLS, limits, keys, requests, replies and streams. It knows nothing
 * of models. One loop thread (the one in hn_http_run) owns all sockets; handlers run there and must
 * not block. A handler answers at once, or keeps the call (hn_http_ref) and answers later from any
 * thread.
 *
 * Lifetime of a call. hn_http_call is counted. The pointer a handler gets is borrowed: valid until
 * the handler returns, and for as long after as somebody holds a reference. Every function on a
 * call may be called from any thread that holds a reference, also after the client has gone, after
 * the answer was ended, and after the server was freed: it then does nothing. So no answer ever
 * races with a hang-up. When the last reference goes without an answer the client gets 500; with a
 * stream begun and not ended it is cut off.
 *
 * The end of a call is told once, by the `over` callback of hn_http_watch. */
#pragma once

#include "base/buf.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hn_http_server hn_http_server;
typedef struct hn_http_call hn_http_call;

/* ---- routes ---- */

typedef void hn_http_handler(hn_http_call *call, void *context);

typedef struct hn_http_route {
    const char *method;  /* "GET" also serves HEAD */
    const char *path;    /* "/v1/models", or a beginning that ends in '*', which stands for a tail
                            of at least one byte; the longest match wins. In the access log and
                            in metrics this text stands for the path */
    bool is_public;      /* needs no key */
    bool while_draining; /* answered during a drain too (health, metrics); others get 503 */
    hn_http_handler *handler;
} hn_http_route;

/* ---- the server ---- */

/* What the access log and metrics learn of a finished exchange. Borrowed for the callback. */
typedef struct hn_http_record {
    const char *request_id, *trace_id; /* trace_id: 32 hex digits, or "" */
    const char *method, *route;   /* route: the pattern; "" = none matched. Never path or query */
    const char *peer;             /* address without port; "unix" */
    int key;                      /* see hn_http_key */
    const char *key_name;         /* "" = none */
    int status;                   /* 0: the client went before there was one */
    bool cut;                     /* the client went, or was cut off, before the end */
    uint64_t bytes_in, bytes_out; /* bodies */
    double seconds;               /* from the first byte of the request to the end */
} hn_http_record;

typedef struct hn_http_options {
    const char *host;      /* NULL = 127.0.0.1; "" listens nowhere */
    int port;              /* 0 = any free one: hn_http_address tells */
    const char *unix_path; /* a socket file, also; NULL = none. A stale one is replaced */
    bool activation;       /* sockets from systemd (LISTEN_FDS) instead of host, port, unix_path,
                              when this process was given any */
    const char *tls_cert, *tls_key; /* PEM files, for TCP; both or none */
    const char *keys_path; /* one key a line, or a name and a key; '#' comments; NULL = no keys */
    const char *key;       /* one more key, from the command line or the environment, or NULL */
    const char *cors_origins; /* "*", or origins separated by blanks or commas; NULL = none */
    size_t max_body_bytes;    /* 0 = 16 MiB; more: 413 */
    size_t
        max_pending_bytes; /* unread output of one client, beyond which it is cut off; 0 = 4 MiB */
    int max_connections;   /* 0 = 16,384, at most what the file limit allows */
    double header_timeout_s; /* a request's header must be whole by then; 0 = 15 */
    double body_timeout_s;   /* and its body by then, counted from the header; 0 = 60 */
    double idle_timeout_s;   /* between requests; 0 = 75 */
    double write_timeout_s;  /* a client takes nothing for so long: cut off; 0 = 60 */
    void (*log)(void *log_context, const hn_http_record *record); /* loop thread; or NULL */
    void *log_context;
} hn_http_options;

/* Binds and listens; answers nothing before hn_http_run. Texts are copied. */
HN_MUST_CHECK hn_status hn_http_server_new(hn_http_server **server, const hn_http_options *options,
                                           hn_error *err);
/* Before hn_http_run. The table is borrowed, `context` goes to its handlers. */
HN_MUST_CHECK hn_status hn_http_routes_add(hn_http_server *server, const hn_http_route *routes,
                                           size_t n_routes, void *context, hn_error *err);
/* "http://127.0.0.1:8080", several separated by blanks. */
const char *hn_http_address(const hn_http_server *server);
/* Serves until hn_http_stop, or until a drain is done. Every call still open is over (gone) before
 * this returns, and nothing reaches the loop any more; signals are as they were before. */
HN_MUST_CHECK hn_status hn_http_run(hn_http_server *server, hn_error *err);
/* Any thread. From now on routes without while_draining get 503 + Retry-After; when the calls under
 * way are over, or after `seconds`, hn_http_run returns. */
void hn_http_drain(hn_http_server *server, double seconds);
bool hn_http_is_draining(const hn_http_server *server);
/* Any thread; connections are cut. */
void hn_http_stop(hn_http_server *server);
/* Reads keys and TLS files again; on failure the old ones stay. Loop thread. */
HN_MUST_CHECK hn_status hn_http_reload(hn_http_server *server, hn_error *err);
/* Not while hn_http_run runs. Calls that somebody still refers to may be let go later. */
void hn_http_server_free(hn_http_server *server);

/* Calls `fn` on the loop thread, in order; any thread. False: the server has ended, or no memory.
 */
bool hn_http_post(hn_http_server *server, void (*fn)(void *context), void *context);
/* Calls `fn` on the loop thread for each such signal; before hn_http_run. */
HN_MUST_CHECK hn_status hn_http_on_signal(hn_http_server *server, int number,
                                          void (*fn)(void *context, int number), void *context,
                                          hn_error *err);
typedef struct hn_http_counts {
    int connections, calls;                              /* open now; calls: being answered */
    uint64_t accepted, refused, rejected_keys, cut_slow; /* since the start */
} hn_http_counts;
hn_http_counts hn_http_count(const hn_http_server *server); /* any thread */

/* ---- requests: all of it unchanged for as long as the call lives, from any thread ---- */

const char *hn_http_method(const hn_http_call *call); /* "GET"; HEAD reads as GET */
const char *hn_http_path(const hn_http_call *call);   /* percent-decoded, without query */
const char *hn_http_tail(const hn_http_call *call);   /* what '*' in the route's path stands for */
const char *hn_http_query(const hn_http_call *call);  /* as sent; "" = none */
const char *hn_http_header(const hn_http_call *call, const char *name); /* NULL = none */
const char *hn_http_body(const hn_http_call *call, size_t *n_bytes); /* NUL after it; never NULL */
const char *
hn_http_id(const hn_http_call *call); /* X-Request-Id: the client's if sane, else ours */
const char *hn_http_trace_id(const hn_http_call *call); /* traceparent's trace id, or "" */
const char *hn_http_peer(const hn_http_call *call);
/* Which key opened it: 0, 1, ... in the order of the file; -1 = none was needed. */
int hn_http_key(const hn_http_call *call);
const char *hn_http_key_name(const hn_http_call *call); /* its name, else "key-N"; "" = none */
uint64_t hn_http_arrival_ns(const hn_http_call *call);  /* hn_clock_ns at its first byte */

/* ---- references ---- */

hn_http_call *hn_http_ref(hn_http_call *call); /* returns call */
void hn_http_unref(hn_http_call *call);        /* NULL is harmless */

/* `over` is called once, on the loop thread, when the exchange has ended: gone = false when the
 * answer was handed to the system whole, true when the client hung up or was cut off before,
 * during the stream or while nothing was sent yet. Nobody calls it or looks at `context` after
 * that, so a context may be freed there. To be set in the handler, before it returns, once; it is
 * never called from inside another function of this header on a call. */
void hn_http_watch(hn_http_call *call, void (*over)(void *context, bool gone), void *context);
/* True once the client has gone. Any thread; a hint to stop working. */
bool hn_http_is_gone(const hn_http_call *call);

/* ---- answers: any thread, bytes are copied ---- */

typedef struct hn_http_field {
    const char *name, *value; /* a list ends with {0} */
} hn_http_field;

/* A whole answer. `fields` may be NULL. A second answer to the same call is ignored. */
void hn_http_reply(hn_http_call *call, int status, const char *content_type, const void *body,
                   size_t n_bytes, const hn_http_field *fields);
/* A stream: head, then bytes as they come, then the end. With ping_s > 0 the comment ": ping\n\n"
 * is sent whenever nothing else was for so long (content type text/event-stream). */
void hn_http_begin(hn_http_call *call, int status, const char *content_type,
                   const hn_http_field *fields, double ping_s);
/* What is sent before hn_http_begin or after the end is ignored. */
void hn_http_send(hn_http_call *call, const void *data, size_t n_bytes);
void hn_http_end(hn_http_call *call);
/* Bytes handed over and not yet taken by the system; a producer may slow down by it. */
size_t hn_http_pending(const hn_http_call *call);

/* ---- errors in OpenAI's form ---- */

typedef struct hn_http_problem {
    int status;
    const char *type;  /* NULL = by the status: invalid_request_error, server_error, ... */
    const char *code;  /* "model_not_found"; NULL = null */
    const char *param; /* "messages[0].content"; NULL = null */
    int retry_after_s; /* > 0 adds Retry-After */
} hn_http_problem;

/* Replies {"error": {message, type, code, param}}. */
void hn_http_fail(hn_http_call *call, const hn_http_problem *problem, const char *fmt, ...)
    HN_PRINTF(3, 4);
/* Appends that JSON alone, for an error inside a stream. Bad UTF-8 in the message is replaced. */
void hn_http_problem_json(hn_buf *out, const hn_http_problem *problem, const char *message);
/* Appends a JSON string with its quotes, or null; bad UTF-8 is replaced. */
void hn_http_json_text(hn_buf *out, const char *text);
/* The status that fits a failure: 400 for HN_BAD_INPUT and HN_USAGE, 501 for HN_UNSUPPORTED, 503
 * for HN_NO_MEMORY, else 500. */
int hn_http_status_of(hn_status status);
