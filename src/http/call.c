/* A call: its request as handlers see it, its references, and answers from any thread, which are
 * put as text into `out` under the box's mutex and moved to the socket by the loop. */
#include "http/internal.h"

#include "base/mem.h"

#include <string.h>

hn_http_call *hn_http_call_new(hn_http_box *box, uint64_t arrival_ns) {
    hn_http_call *call = hn_calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->box = box;
    call->key = -1;
    call->arrival_ns = arrival_ns;
    call->held = true;
    call->tail = "";
    call->head = (hn_http_head){.method = "", .path = "", .query = "", .minor = 1};
    pthread_mutex_lock(&box->mutex);
    box->refs++;
    pthread_mutex_unlock(&box->mutex);
    return call;
}

static void free_call(hn_http_call *call) {
    atomic_fetch_sub(&call->box->body_bytes, call->counted_bytes);
    hn_http_head_done(&call->head);
    hn_buf_done(&call->body);
    hn_buf_done(&call->out);
    hn_http_box_unref(call->box);
    hn_free(call);
}

/* Puts the call where the loop looks; the mutex is held. */
static void make_ready(hn_http_call *call) {
    hn_http_box *box = call->box;
    if (call->queued || !call->held || box->closed)
        return;
    call->queued = true;
    call->next_ready = NULL;
    *box->ready_end = call;
    box->ready_end = &call->next_ready;
    hn_http_box_wake(box);
}

static bool is_unreferenced(const hn_http_call *call) {
    return call->users == 0 && !call->held && !call->queued;
}

void hn_http_call_release(hn_http_call *call) {
    pthread_mutex_lock(&call->box->mutex);
    call->held = false;
    bool last = is_unreferenced(call);
    if (!last) { /* nobody reads it any more */
        hn_buf_done(&call->out);
        call->in_socket = 0;
    }
    pthread_mutex_unlock(&call->box->mutex);
    if (last)
        free_call(call);
}

hn_http_call *hn_http_ref(hn_http_call *call) {
    pthread_mutex_lock(&call->box->mutex);
    call->users++;
    pthread_mutex_unlock(&call->box->mutex);
    return call;
}

void hn_http_unref(hn_http_call *call) {
    if (!call)
        return;
    pthread_mutex_lock(&call->box->mutex);
    call->users--;
    bool last = is_unreferenced(call);
    bool forgotten = call->users == 0 && call->held && call->phase != HN_HTTP_ENDED;
    bool begun = call->phase == HN_HTTP_BEGUN;
    if (forgotten && begun) {
        call->cut = true;
        make_ready(call);
    }
    if (forgotten && !begun)
        call->users++; /* for the answer below */
    pthread_mutex_unlock(&call->box->mutex);
    if (last)
        free_call(call);
    if (forgotten && !begun) {
        hn_http_fail(call, &(hn_http_problem){.status = 500}, "the request was dropped");
        hn_http_unref(call);
    }
}

hn_http_call *hn_http_call_take_ready(hn_http_box *box) {
    pthread_mutex_lock(&box->mutex);
    hn_http_call *call = box->ready;
    if (call) {
        box->ready = call->next_ready;
        if (!box->ready)
            box->ready_end = &box->ready;
        call->queued = false;
        call->users++;
    }
    pthread_mutex_unlock(&box->mutex);
    return call;
}

/* ---- answers ---- */

/* The bytes as they go over the wire; the mutex is held. */
static void append(hn_http_call *call, const void *data, size_t n_bytes) {
    if (n_bytes == 0 || call->head_only)
        return;
    if (call->chunked)
        hn_buf_printf(&call->out, "%zx\r\n", n_bytes);
    hn_buf_append(&call->out, data, n_bytes);
    if (call->chunked)
        hn_buf_append(&call->out, "\r\n", 2);
    call->bytes_out += n_bytes;
}

/* The answer goes on its way; the mutex is held. */
static void commit(hn_http_call *call, hn_http_phase phase) {
    call->phase = phase;
    if (call->out.failed)
        call->cut = true; /* half an answer must not look like a whole one */
    make_ready(call);
}

void hn_http_reply(hn_http_call *call, int status, const char *content_type, const void *body,
                   size_t n_bytes, const hn_http_field *fields) {
    pthread_mutex_lock(&call->box->mutex);
    if (call->held && call->phase == HN_HTTP_OPEN) {
        hn_http_head_write(call, status, content_type, (int64_t)n_bytes, fields);
        append(call, body, n_bytes);
        commit(call, HN_HTTP_ENDED);
    }
    pthread_mutex_unlock(&call->box->mutex);
}

void hn_http_begin(hn_http_call *call, int status, const char *content_type,
                   const hn_http_field *fields, double ping_s) {
    pthread_mutex_lock(&call->box->mutex);
    if (call->held && call->phase == HN_HTTP_OPEN) {
        hn_http_head_write(call, status, content_type, -1, fields);
        call->ping_s = ping_s;
        commit(call, HN_HTTP_BEGUN);
    }
    pthread_mutex_unlock(&call->box->mutex);
}

void hn_http_send(hn_http_call *call, const void *data, size_t n_bytes) {
    pthread_mutex_lock(&call->box->mutex);
    if (call->held && call->phase == HN_HTTP_BEGUN) {
        append(call, data, n_bytes);
        commit(call, HN_HTTP_BEGUN);
    }
    pthread_mutex_unlock(&call->box->mutex);
}

void hn_http_end(hn_http_call *call) {
    pthread_mutex_lock(&call->box->mutex);
    if (call->held && call->phase == HN_HTTP_BEGUN) {
        if (call->chunked && !call->head_only)
            hn_buf_puts(&call->out, "0\r\n\r\n");
        commit(call, HN_HTTP_ENDED);
    }
    pthread_mutex_unlock(&call->box->mutex);
}

size_t hn_http_pending(const hn_http_call *call) {
    pthread_mutex_lock(&call->box->mutex);
    size_t pending = call->out.size + call->in_socket;
    pthread_mutex_unlock(&call->box->mutex);
    return pending;
}

/* ---- what a handler may ask ---- */

void hn_http_watch(hn_http_call *call, void (*over)(void *context, bool gone), void *context) {
    call->over = over;
    call->over_context = context;
}

bool hn_http_is_gone(const hn_http_call *call) {
    return atomic_load(&call->gone);
}

const char *hn_http_method(const hn_http_call *call) {
    return call->head_only ? "GET" : call->head.method;
}

const char *hn_http_path(const hn_http_call *call) {
    return call->head.path;
}

const char *hn_http_tail(const hn_http_call *call) {
    return call->tail;
}

const char *hn_http_query(const hn_http_call *call) {
    return call->head.query;
}

const char *hn_http_header(const hn_http_call *call, const char *name) {
    return hn_http_head_get(&call->head, name);
}

const char *hn_http_body(const hn_http_call *call, size_t *n_bytes) {
    *n_bytes = call->body.size;
    return hn_buf_text(&call->body);
}

const char *hn_http_id(const hn_http_call *call) {
    return call->id;
}

const char *hn_http_trace_id(const hn_http_call *call) {
    return call->trace_id;
}

const char *hn_http_peer(const hn_http_call *call) {
    return call->peer;
}

int hn_http_key(const hn_http_call *call) {
    return call->key;
}

const char *hn_http_key_name(const hn_http_call *call) {
    return call->key_name;
}

uint64_t hn_http_arrival_ns(const hn_http_call *call) {
    return call->arrival_ns;
}
