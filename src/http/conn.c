/* A connection: its beginning, its place in the list, its time limits and its end. All of it on the
 * loop thread. A closed connection stays in memory, dead, until the sweep, so that whoever is on
 * the way back through it finds it there. */
#include "http/conn.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static const double LINGER_S = 2;
/* One that has just come may have its request on the way. */
static const uint64_t EVICTABLE_NS = 500000000;

/* ---- the list, idlest first ---- */

static void unlink_conn(hn_http_conn *conn) {
    hn_http_server *server = conn->server;
    *(conn->previous ? &conn->previous->next : &server->first) = conn->next;
    *(conn->next ? &conn->next->previous : &server->last) = conn->previous;
    conn->previous = conn->next = NULL;
}

static void link_last(hn_http_conn *conn) {
    hn_http_server *server = conn->server;
    conn->previous = server->last;
    *(server->last ? &server->last->next : &server->first) = conn;
    server->last = conn;
}

void hn_http_conn_touch(hn_http_conn *conn) {
    conn->touched_ns = hn_clock_ns();
    if (conn->server->last != conn) {
        unlink_conn(conn);
        link_last(conn);
    }
}

/* ---- ends ---- */

/* TLS tells the end apart from a connection that was cut. */
static void say_goodbye(hn_http_conn *conn) {
    SSL *ssl = bufferevent_openssl_get_ssl(conn->bev);
    if (ssl && SSL_is_init_finished(ssl))
        SSL_shutdown(ssl);
    ERR_clear_error();
}

void hn_http_conn_close(hn_http_conn *conn) {
    if (conn->dead)
        return;
    hn_http_server *server = conn->server;
    conn->dead = true;
    say_goodbye(conn);
    bufferevent_free(conn->bev);
    conn->bev = NULL;
    unlink_conn(conn);
    conn->next = server->closed;
    server->closed = conn;
    atomic_fetch_sub(&server->n_connections, 1);
    hn_http_conn_end_call(conn, true);
    hn_http_accept_again(server);
}

void hn_http_conns_collect(hn_http_server *server) {
    while (server->closed) {
        hn_http_conn *conn = server->closed;
        server->closed = conn->next;
        hn_free(conn);
    }
}

hn_http_conn *hn_http_conn_next(const hn_http_conn *conn) {
    return conn->next;
}

bool hn_http_conn_evict(hn_http_server *server) {
    const uint64_t now = hn_clock_ns();
    for (hn_http_conn *conn = server->first; conn; conn = conn->next) {
        if (now - conn->touched_ns < EVICTABLE_NS)
            return false;
        if (conn->state == HN_HTTP_CONN_HEAD || conn->state == HN_HTTP_CONN_LINGER) {
            hn_http_conn_close(conn);
            return true;
        }
    }
    return false;
}

void hn_http_conn_linger(hn_http_conn *conn) {
    conn->state = HN_HTTP_CONN_LINGER;
    conn->deadline_ns = hn_http_in_seconds(LINGER_S);
    conn->discarded = 0;
    say_goodbye(conn);
    shutdown(bufferevent_getfd(conn->bev), SHUT_WR);
    bufferevent_enable(conn->bev, EV_READ);
}

/* ---- events ---- */

static void on_read(struct bufferevent *bev, void *context) {
    (void)bev;
    hn_http_conn_input(context);
}

static void on_written(struct bufferevent *bev, void *context) {
    hn_http_conn *conn = context;
    (void)bev;
    if (hn_http_conn_pending(conn) == 0 && conn->finishing)
        hn_http_conn_finish(conn);
}

static void on_event(struct bufferevent *bev, short what, void *context) {
    hn_http_conn *conn = context;
    (void)bev;
    if (what & BEV_EVENT_CONNECTED) /* TLS is up */
        conn->deadline_ns = hn_http_in_seconds(conn->server->options.idle_timeout_s);
    else
        hn_http_conn_close(conn);
}

void hn_http_conn_sweep(hn_http_conn *conn, uint64_t now_ns) {
    static const char PING[] = "8\r\n: ping\n\n\r\n";
    const hn_http_options *options = &conn->server->options;
    const size_t pending = hn_http_conn_pending(conn);
    if (conn->queued_bytes - pending != conn->taken_bytes) {
        conn->taken_bytes = conn->queued_bytes - pending;
        conn->progress_ns = now_ns;
    }
    if (pending && now_ns > conn->progress_ns + (uint64_t)(options->write_timeout_s * 1e9)) {
        atomic_fetch_add(&conn->server->n_cut_slow, 1);
        hn_http_conn_close(conn);
        return;
    }
    if (conn->state == HN_HTTP_CONN_CALL && !conn->finishing) {
        hn_http_call *call = conn->call;
        pthread_mutex_lock(&call->box->mutex);
        const bool due = call->phase == HN_HTTP_BEGUN && call->ping_s > 0 && !call->head_only &&
                         now_ns > conn->last_sent_ns + (uint64_t)(call->ping_s * 1e9);
        const bool chunked = call->chunked, quiet = call->out.size == 0;
        pthread_mutex_unlock(&call->box->mutex);
        if (due && quiet)
            hn_http_conn_write(conn, chunked ? PING : PING + 3, chunked ? sizeof PING - 1 : 8);
        return;
    }
    if (!conn->deadline_ns || now_ns < conn->deadline_ns)
        return;
    if (conn->state == HN_HTTP_CONN_BODY ||
        (conn->state == HN_HTTP_CONN_HEAD && conn->first_byte_ns))
        hn_http_conn_refuse(conn, 408, "the request took too long to arrive");
    else
        hn_http_conn_close(conn);
}

/* ---- the beginning ---- */

static void name_peer(hn_http_conn *conn, bool is_unix, const struct sockaddr *peer) {
    if (is_unix || !peer)
        snprintf(conn->peer, sizeof conn->peer, "unix");
    else if (peer->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)peer)->sin6_addr, conn->peer,
                  sizeof conn->peer);
    else
        inet_ntop(AF_INET, &((const struct sockaddr_in *)peer)->sin_addr, conn->peer,
                  sizeof conn->peer);
}

/* Owns fd on success alone. */
static struct bufferevent *wrap(hn_http_server *server, int fd, bool is_unix) {
    if (is_unix || !server->tls)
        return bufferevent_socket_new(server->base, fd, BEV_OPT_CLOSE_ON_FREE);
    SSL *ssl = SSL_new(server->tls);
    return ssl ? bufferevent_openssl_socket_new(server->base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                                BEV_OPT_CLOSE_ON_FREE)
               : NULL;
}

bool hn_http_conn_new(hn_http_server *server, int fd, bool is_unix, const struct sockaddr *peer) {
    int on = 1;
    hn_http_conn *conn = hn_calloc(1, sizeof *conn);
    struct bufferevent *bev = conn ? wrap(server, fd, is_unix) : NULL;
    if (!bev) {
        hn_free(conn);
        close(fd);
        return false;
    }
    if (!is_unix) /* tokens leave one by one */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *conn = (hn_http_conn){.server = server, .bev = bev};
    name_peer(conn, is_unix, peer);
    link_last(conn);
    atomic_fetch_add(&server->n_connections, 1);
    bufferevent_setcb(bev, on_read, on_written, on_event, conn);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
    hn_http_conn_await(conn);
    if (!is_unix && server->tls) /* the handshake counts as a head */
        conn->deadline_ns = hn_http_in_seconds(server->options.header_timeout_s);
    return true;
}
