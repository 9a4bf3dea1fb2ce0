/* Sockets to listen on: addresses of a host name, a unix socket, or those that systemd has opened
 * (LISTEN_FDS, sd_listen_fds(3)). */
#include "http/internal.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096, FIRST_ACTIVATED_FD = 3 };

static hn_status add(hn_http_server *server, int fd, bool is_unix, hn_error *err) {
    if (server->n_listeners == HN_HTTP_MAX_LISTENERS) {
        close(fd);
        return hn_fail(err, HN_USAGE, "more than %d sockets to listen on", HN_HTTP_MAX_LISTENERS);
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    server->listeners[server->n_listeners++] =
        (hn_http_listener){.fd = fd, .is_unix = is_unix, .server = server};
    return HN_OK;
}

static int port_of(int fd) {
    struct sockaddr_storage address;
    socklen_t n = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &n) != 0)
        return 0;
    if (address.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

/* One address; *port becomes the one taken when it was 0. */
static hn_status listen_at(hn_http_server *server, const struct addrinfo *info, int *port,
                           hn_error *err) {
    const char *host = server->options.host;
    struct sockaddr_storage address;
    int on = 1;
    int fd = socket(info->ai_family, SOCK_STREAM, 0);
    if (fd < 0 && info->ai_family == AF_INET6)
        return HN_OK; /* a machine without IPv6 */
    if (fd < 0)
        return hn_fail_errno(err, "a socket for %s", host);
    memcpy(&address, info->ai_addr, info->ai_addrlen);
    if (info->ai_family == AF_INET6)
        ((struct sockaddr_in6 *)&address)->sin6_port = htons((uint16_t)*port);
    else
        ((struct sockaddr_in *)&address)->sin_port = htons((uint16_t)*port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const int v6_only = strcmp(host, "::") != 0; /* "::" is all of both kinds */
    if (info->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only);
    if (bind(fd, (struct sockaddr *)&address, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        bool absent = info->ai_family == AF_INET6 && errno == EADDRNOTAVAIL;
        hn_status status =
            hn_fail_errno(err, "%s:%d can't be listened on (--host, --port)", host, *port);
        close(fd);
        return absent ? HN_OK : status; /* "localhost" names ::1 where there is none */
    }
    *port = port_of(fd);
    return add(server, fd, false, err);
}

static hn_status listen_tcp(hn_http_server *server, hn_error *err) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int port = server->options.port;
    int code = getaddrinfo(server->options.host, NULL, &hints, &found);
    if (code != 0)
        return hn_fail(err, HN_IO, "%s: %s (--host)", server->options.host, gai_strerror(code));
    hn_status status = HN_OK;
    size_t before = server->n_listeners;
    for (const struct addrinfo *info = found; info; info = info->ai_next) {
        if (info->ai_family != AF_INET && info->ai_family != AF_INET6)
            continue;
        status = listen_at(server, info, &port, err);
        if (status != HN_OK)
            break;
    }
    freeaddrinfo(found);
    if (status == HN_OK && server->n_listeners == before)
        status = hn_fail(err, HN_IO, "%s has no address to listen on", server->options.host);
    return status;
}

static hn_status listen_unix(hn_http_server *server, hn_error *err) {
    const char *path = server->options.unix_path;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat info;
    if (strlen(path) >= sizeof address.sun_path)
        return hn_fail(err, HN_USAGE, "%s: a socket's path has at most %zu bytes", path,
                       sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return hn_fail_errno(err, "a socket for %s", path);
    hn_status status = HN_OK;
    if (lstat(path, &info) == 0) {
        if (!S_ISSOCK(info.st_mode))
            status = hn_fail(err, HN_USAGE, "%s is there and is no socket: name another", path);
        else if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
            status = hn_fail(err, HN_IO, "%s: another server listens there", path);
        else
            unlink(path); /* left by one that was killed */
        close(fd);
        fd = status == HN_OK ? socket(AF_UNIX, SOCK_STREAM, 0) : -1;
    }
    if (status != HN_OK)
        return status;
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, BACKLOG) != 0) {
        status = hn_fail_errno(err, "%s can't be listened on", path);
        if (fd >= 0)
            close(fd);
        return status;
    }
    server->unix_bound = true;
    return add(server, fd, true, err);
}

/* Takes the sockets that were handed over at the start; 0 = there were none. */
static hn_status listen_activated(hn_http_server *server, hn_error *err) {
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (!pid || !count || atol(pid) != (long)getpid())
        return HN_OK;
    long n = atol(count);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    for (int fd = FIRST_ACTIVATED_FD; fd < FIRST_ACTIVATED_FD + n; fd++) {
        int listens = 0;
        socklen_t size = sizeof listens;
        struct sockaddr_storage address;
        socklen_t address_size = sizeof address;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || !listens ||
            getsockname(fd, (struct sockaddr *)&address, &address_size) != 0)
            return hn_fail(err, HN_USAGE, "LISTEN_FDS: descriptor %d is no listening socket", fd);
        HN_TRY(add(server, fd, address.ss_family == AF_UNIX, err));
    }
    return HN_OK;
}

/* "http://127.0.0.1:8080" */
static void describe(const hn_http_server *server, const hn_http_listener *listener, hn_buf *out) {
    struct sockaddr_storage address;
    socklen_t n = sizeof address;
    char host[INET6_ADDRSTRLEN] = "?";
    if (out->size)
        hn_buf_putc(out, ' ');
    if (getsockname(listener->fd, (struct sockaddr *)&address, &n) != 0)
        return;
    if (listener->is_unix) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)&address;
        hn_buf_printf(out, "unix:%.*s", (int)sizeof un->sun_path, un->sun_path);
        return;
    }
    const char *scheme = server->options.tls_cert ? "https" : "http";
    if (address.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&address)->sin6_addr, host, sizeof host);
        hn_buf_printf(out, "%s://[%s]:%d", scheme, host, port_of(listener->fd));
    } else {
        inet_ntop(AF_INET, &((struct sockaddr_in *)&address)->sin_addr, host, sizeof host);
        hn_buf_printf(out, "%s://%s:%d", scheme, host, port_of(listener->fd));
    }
}

hn_status hn_http_listen(hn_http_server *server, hn_error *err) {
    hn_buf text = {0};
    if (server->options.activation)
        HN_TRY(listen_activated(server, err));
    if (server->n_listeners == 0) {
        if (server->options.host[0])
            HN_TRY(listen_tcp(server, err));
        if (server->options.unix_path)
            HN_TRY(listen_unix(server, err));
    }
    if (server->n_listeners == 0)
        return hn_fail(err, HN_USAGE, "nowhere to listen: give --host, --unix-socket, or sockets");
    for (size_t i = 0; i < server->n_listeners; i++)
        describe(server, &server->listeners[i], &text);
    server->address = hn_buf_take(&text);
    return server->address ? HN_OK : hn_fail_no_memory(err, 1);
}
