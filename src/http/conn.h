/* A connection's fields, and what conn.c and exchange.c need of each other. */
#pragma once

#include "http/internal.h"

#include "base/clock.h"

typedef enum hn_http_conn_state {
    HN_HTTP_CONN_HEAD,   /* waits for a request, or its head */
    HN_HTTP_CONN_BODY,   /* reads a body */
    HN_HTTP_CONN_CALL,   /* waits for the answer, or sends it */
    HN_HTTP_CONN_LINGER, /* reads over what still comes after the last answer */
} hn_http_conn_state;

struct hn_http_conn {
    hn_http_server *server;
    struct bufferevent *bev; /* NULL once dead */
    hn_http_conn *previous, *next;
    hn_http_conn_state state;
    bool dead, finishing; /* finishing: the answer is whole in the output */
    bool body_unread;     /* the request wasn't read to its end: the connection can't go on */
    size_t scanned, discarded;
    uint64_t touched_ns;    /* when it last did something */
    uint64_t deadline_ns;   /* 0 = none */
    uint64_t first_byte_ns; /* of the request now arriving; 0 = none yet */
    uint64_t queued_bytes, taken_bytes, progress_ns, last_sent_ns; /* output, since the beginning */
    uint64_t body_left;
    hn_http_chunks chunks;
    hn_http_call *call;
    char peer[HN_HTTP_PEER_BYTES];
};

static inline uint64_t hn_http_in_seconds(double seconds) {
    return hn_clock_ns() + (uint64_t)(seconds * 1e9);
}

/* ---- conn.c ---- */

/* It did something: the last to be evicted. */
void hn_http_conn_touch(hn_http_conn *conn);
/* Closes so that an answer sent before the request was read whole still arrives: what the client
 * goes on sending is read over for a moment, for else the system would reset the connection. */
void hn_http_conn_linger(hn_http_conn *conn);

/* ---- exchange.c ---- */

/* Waits for the next request. */
void hn_http_conn_await(hn_http_conn *conn);
/* Looks at what lies in the input. */
void hn_http_conn_input(hn_http_conn *conn);
/* Answers a request that can't be taken, and ends the connection after it. */
void hn_http_conn_refuse(hn_http_conn *conn, int status, const char *why);
/* The exchange has ended; the call may be gone afterwards. */
void hn_http_conn_end_call(hn_http_conn *conn, bool gone);
/* The answer is with the system, whole. */
void hn_http_conn_finish(hn_http_conn *conn);
/* How much of the output the system hasn't taken; tells hn_http_pending. */
size_t hn_http_conn_pending(hn_http_conn *conn);
/* Closes the connection of a slow reader instead. */
void hn_http_conn_write(hn_http_conn *conn, const char *data, size_t n);
