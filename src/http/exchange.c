/* What a connection carries, one exchange after the other: bytes into requests, calls into answers.
 * Loop thread. */
#include "http/conn.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum {
    MAX_PIPELINED = 16 << 10, /* bytes read ahead while a call is under way */
    MAX_DISCARDED = 1 << 20,  /* bytes of a refused body that are read over */
    BODIES_IN_FLIGHT = 16,    /* bodies of the largest size that may lie in memory together */
};

/* ---- the end of a call ---- */

static void tell_log(hn_http_call *call, bool gone) {
    const hn_http_options *options = &call->conn->server->options;
    pthread_mutex_lock(&call->box->mutex);
    hn_http_record record = {.status = call->status, .bytes_out = call->bytes_out};
    pthread_mutex_unlock(&call->box->mutex);
    if (!options->log)
        return;
    record.request_id = call->id;
    record.trace_id = call->trace_id;
    record.method = call->head_only ? "HEAD" : call->head.method;
    record.route = call->route ? call->route->path : "";
    record.peer = call->peer;
    record.key = call->key;
    record.key_name = call->key_name;
    record.cut = gone;
    record.bytes_in = call->counted_bytes;
    record.seconds = (double)(hn_clock_ns() - call->arrival_ns) * 1e-9;
    options->log(options->log_context, &record);
}

void hn_http_conn_end_call(hn_http_conn *conn, bool gone) {
    hn_http_call *call = conn->call;
    if (!call)
        return;
    conn->call = NULL;
    if (gone)
        atomic_store(&call->gone, true);
    tell_log(call, gone);
    call->conn = NULL;
    void (*over)(void *, bool) = call->over;
    call->over = NULL;
    if (over)
        over(call->over_context, gone);
    hn_http_call_release(call);
    atomic_fetch_sub(&conn->server->n_calls, 1);
    hn_http_call_ended(conn->server);
}

/* ---- requests ---- */

void hn_http_conn_await(hn_http_conn *conn) {
    conn->state = HN_HTTP_CONN_HEAD;
    conn->scanned = 0;
    conn->first_byte_ns = 0;
    conn->body_unread = false;
    conn->chunks = (hn_http_chunks){0};
    conn->deadline_ns = hn_http_in_seconds(conn->server->options.idle_timeout_s);
    bufferevent_enable(conn->bev, EV_READ);
    hn_http_conn_touch(conn);
}

static bool make_call(hn_http_conn *conn) {
    hn_http_call *call = hn_http_call_new(
        conn->server->box, conn->first_byte_ns ? conn->first_byte_ns : hn_clock_ns());
    if (!call)
        return false;
    snprintf(call->peer, sizeof call->peer, "%s", conn->peer);
    call->conn = conn;
    conn->call = call;
    atomic_fetch_add(&conn->server->n_calls, 1);
    return true;
}

/* From now on the connection waits for the answer. */
static void await_answer(hn_http_conn *conn) {
    conn->state = HN_HTTP_CONN_CALL;
    conn->deadline_ns = 0;
    hn_http_conn_touch(conn);
}

void hn_http_conn_refuse(hn_http_conn *conn, int status, const char *why) {
    const hn_http_problem problem = {.status = status, .retry_after_s = status == 503 ? 1 : 0};
    if (!conn->call) {
        if (!make_call(conn)) {
            hn_http_conn_close(conn);
            return;
        }
        hn_http_identify(conn->call);
    }
    conn->call->head.keep_alive = false;
    conn->body_unread = true;
    await_answer(conn);
    hn_http_fail(conn->call, &problem, "%s", why);
}

static void dispatch(hn_http_conn *conn) {
    hn_http_call *call = hn_http_ref(conn->call);
    await_answer(conn);
    call->route->handler(call, call->route_context);
    hn_http_unref(call);
}

/* The head is whole. False: nothing more to be done with this input now. */
static bool begin_request(hn_http_conn *conn, const char *text, size_t n) {
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    const char *why = NULL;
    if (!make_call(conn)) {
        hn_http_conn_close(conn);
        return false;
    }
    hn_http_call *call = conn->call;
    int status = hn_http_head_parse(&call->head, text, n, &why);
    evbuffer_drain(input, n);
    hn_http_identify(call);
    if (status) {
        hn_http_conn_refuse(conn, status, why);
        return false;
    }
    call->head_only = strcmp(call->head.method, "HEAD") == 0;
    const bool has_body = call->head.chunked || call->head.length > 0;
    if (has_body) /* an answer before the body is read ends the connection */
        conn->body_unread = true;
    const bool keep_alive = call->head.keep_alive;
    call->head.keep_alive = keep_alive && !has_body;
    if (!hn_http_admit(conn->server, call)) {
        await_answer(conn);
        return false;
    }
    call->head.keep_alive = keep_alive;
    if (!has_body) {
        dispatch(conn);
        return false;
    }
    if (call->head.expects_continue)
        bufferevent_write(conn->bev, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    conn->state = HN_HTTP_CONN_BODY;
    conn->body_left = call->head.length;
    conn->deadline_ns = hn_http_in_seconds(conn->server->options.body_timeout_s);
    return true;
}

/* Looks for a whole head. */
static bool take_head(hn_http_conn *conn) {
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    size_t n = evbuffer_get_length(input);
    if (n == 0)
        return false;
    if (!conn->first_byte_ns) {
        conn->first_byte_ns = hn_clock_ns();
        conn->deadline_ns = hn_http_in_seconds(conn->server->options.header_timeout_s);
        hn_http_conn_touch(conn);
    }
    if (n > HN_HTTP_MAX_HEAD)
        n = HN_HTTP_MAX_HEAD;
    const char *text = (const char *)evbuffer_pullup(input, (ev_ssize_t)n);
    if (!text) {
        hn_http_conn_refuse(conn, 503, "the server is short of memory");
        return false;
    }
    long end = hn_http_head_scan(text, n, &conn->scanned);
    if (end > 0)
        return begin_request(conn, text, (size_t)end);
    if (end < 0)
        hn_http_conn_refuse(conn, 400, "a line of the request's head doesn't end in CR LF");
    else if (n == HN_HTTP_MAX_HEAD)
        hn_http_conn_refuse(conn, 431, "the request's head is too large");
    return false;
}

/* Bodies that lie in memory, those of unfinished requests too, have a common limit. */
static bool count_body(hn_http_conn *conn) {
    hn_http_call *call = conn->call;
    uint64_t more = call->body.size - call->counted_bytes;
    call->counted_bytes = call->body.size;
    return atomic_fetch_add(&call->box->body_bytes, more) + more <=
           (uint64_t)BODIES_IN_FLIGHT * conn->server->options.max_body_bytes;
}

/* One piece of the input; 0, or the status to refuse it with. */
static int take_piece(hn_http_conn *conn, const char *data, size_t n, size_t *used,
                      const char **why) {
    hn_http_call *call = conn->call;
    if (call->head.chunked)
        return hn_http_chunks_feed(&conn->chunks, data, n, used, &call->body,
                                   conn->server->options.max_body_bytes, why);
    *used = n < conn->body_left ? n : (size_t)conn->body_left;
    conn->body_left -= *used;
    *why = "the server is short of memory";
    return hn_buf_append(&call->body, data, *used) ? 0 : 503;
}

static bool take_body(hn_http_conn *conn) {
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    for (size_t n; (n = evbuffer_get_contiguous_space(input)) > 0;) {
        const char *data = (const char *)evbuffer_pullup(input, (ev_ssize_t)n), *why = NULL;
        size_t used = 0;
        int status = take_piece(conn, data, n, &used, &why);
        evbuffer_drain(input, used);
        if (status == 0 && !count_body(conn)) {
            status = 503;
            why = "too many large requests at once";
        }
        if (status) {
            hn_http_conn_refuse(conn, status, why);
            return false;
        }
        if (conn->call->head.chunked ? conn->chunks.done : conn->body_left == 0) {
            conn->body_unread = false;
            dispatch(conn);
            return false;
        }
    }
    return false;
}

void hn_http_conn_input(hn_http_conn *conn) {
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    if (conn->state == HN_HTTP_CONN_HEAD && !take_head(conn))
        return;
    if (conn->state == HN_HTTP_CONN_BODY) {
        take_body(conn);
    } else if (conn->state == HN_HTTP_CONN_LINGER) {
        conn->discarded += evbuffer_get_length(input);
        evbuffer_drain(input, evbuffer_get_length(input));
        if (conn->discarded > MAX_DISCARDED)
            hn_http_conn_close(conn);
    } else if (conn->state == HN_HTTP_CONN_CALL) {
        /* Reading goes on while a call is under way, for that shows a hang-up. */
        if (conn->body_unread)
            evbuffer_drain(input, evbuffer_get_length(input));
        else if (evbuffer_get_length(input) > MAX_PIPELINED)
            bufferevent_disable(conn->bev, EV_READ);
    }
}

/* ---- answers ---- */

void hn_http_conn_finish(hn_http_conn *conn) {
    hn_http_call *call = conn->call;
    pthread_mutex_lock(&call->box->mutex);
    const bool close_after = call->close_after;
    pthread_mutex_unlock(&call->box->mutex);
    conn->finishing = false;
    hn_http_conn_end_call(conn, false);
    if (conn->dead)
        return;
    if (close_after && conn->body_unread) {
        hn_http_conn_linger(conn);
    } else if (close_after) {
        hn_http_conn_close(conn);
    } else {
        hn_http_conn_await(conn);
        hn_http_conn_input(conn);
    }
}

size_t hn_http_conn_pending(hn_http_conn *conn) {
    size_t pending = evbuffer_get_length(bufferevent_get_output(conn->bev));
    if (conn->call) {
        pthread_mutex_lock(&conn->call->box->mutex);
        conn->call->in_socket = pending;
        pthread_mutex_unlock(&conn->call->box->mutex);
    }
    return pending;
}

/* What the system takes at once, without a round through the loop; TLS has its own ways. */
static size_t send_now(const hn_http_conn *conn, const char *data, size_t n) {
    if (bufferevent_openssl_get_ssl(conn->bev))
        return 0;
    ssize_t sent = send(bufferevent_getfd(conn->bev), data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent > 0 ? (size_t)sent : 0; /* an error comes back as an event */
}

void hn_http_conn_write(hn_http_conn *conn, const char *data, size_t n) {
    const size_t before = evbuffer_get_length(bufferevent_get_output(conn->bev));
    const size_t sent = before == 0 ? send_now(conn, data, n) : 0;
    if (before > conn->server->options.max_pending_bytes ||
        (sent < n && bufferevent_write(conn->bev, data + sent, n - sent) != 0)) {
        atomic_fetch_add(&conn->server->n_cut_slow, 1);
        hn_http_conn_close(conn);
        return;
    }
    if (before == 0)
        conn->progress_ns = hn_clock_ns();
    conn->queued_bytes += n;
    conn->last_sent_ns = hn_clock_ns();
    hn_http_conn_pending(conn);
}

void hn_http_conn_flush(hn_http_conn *conn) {
    hn_http_call *call = conn->call;
    pthread_mutex_lock(&call->box->mutex);
    hn_buf out = call->out;
    call->out = (hn_buf){0};
    const bool ended = call->phase == HN_HTTP_ENDED, cut = call->cut;
    pthread_mutex_unlock(&call->box->mutex);
    if (cut)
        hn_http_conn_close(conn);
    else if (out.size)
        hn_http_conn_write(conn, out.data, out.size);
    hn_buf_done(&out);
    if (!conn->dead && ended)
        conn->finishing = true;
    if (!conn->dead && ended && evbuffer_get_length(bufferevent_get_output(conn->bev)) == 0)
        hn_http_conn_finish(conn);
}
