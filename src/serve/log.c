/* The access log. */
#include "serve/log.h"

#include "base/mem.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct hn_access_log {
    char *path; /* NULL = standard error */
    int fd;
};

static hn_status open_file(const char *path, int *fd, hn_error *err) {
    const mode_t mode = 0640;
    int opened = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, mode);
    if (opened < 0)
        return hn_fail_errno(err, "%s: the access log", path);
    *fd = opened;
    return HN_OK;
}

hn_status hn_access_log_open(hn_access_log **log, const char *path, hn_error *err) {
    *log = NULL;
    if (!path)
        return HN_OK;
    hn_access_log *l = hn_calloc(1, sizeof *l);
    if (!l)
        return hn_fail_no_memory(err, sizeof *l);
    hn_status status = HN_OK;
    l->fd = STDERR_FILENO;
    if (strcmp(path, "-") != 0) {
        l->path = hn_strdup(path);
        status = l->path ? open_file(path, &l->fd, err) : hn_fail_no_memory(err, strlen(path));
    }
    if (status == HN_OK) {
        *log = l;
    } else {
        hn_free(l->path);
        hn_free(l);
    }
    return status;
}

hn_status hn_access_log_reopen(hn_access_log *log, hn_error *err) {
    int fd;
    if (!log || !log->path)
        return HN_OK;
    HN_TRY(open_file(log->path, &fd, err));
    close(log->fd);
    log->fd = fd;
    return HN_OK;
}

/* "2026-11-22T12:00:00.123Z" */
static void write_time(hn_buf *out) {
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    if (gmtime_r(&now.tv_sec, &tm))
        hn_buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", tm.tm_year + 1900, tm.tm_mon + 1,
                      tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000);
}

static void field(hn_buf *out, const char *name, const char *text) {
    hn_buf_printf(out, ",\"%s\":", name);
    hn_http_json_text(out, text);
}

void hn_access_log_write(hn_access_log *log, const hn_http_record *record) {
    if (!log)
        return;
    hn_buf line = {0};
    const long long us = (long long)(record->seconds * 1e6);
    hn_buf_puts(&line, "{\"time\":\"");
    write_time(&line);
    hn_buf_putc(&line, '"');
    field(&line, "request_id", record->request_id);
    if (record->trace_id[0])
        field(&line, "trace_id", record->trace_id);
    field(&line, "method", record->method);
    field(&line, "route", record->route);
    hn_buf_printf(&line, ",\"status\":%d,\"bytes_in\":%llu,\"bytes_out\":%llu,\"ms\":%lld.%03lld",
                  record->status, (unsigned long long)record->bytes_in,
                  (unsigned long long)record->bytes_out, us / 1000, us % 1000);
    if (record->key_name[0])
        field(&line, "key", record->key_name);
    if (record->cut)
        hn_buf_puts(&line, ",\"cut\":true");
    hn_buf_puts(&line, "}\n");
    struct pollfd fd = {.fd = log->fd, .events = POLLOUT};
    if (!line.failed && poll(&fd, 1, 0) == 1 && (fd.revents & POLLOUT))
        (void)!write(log->fd, line.data, line.size);
    hn_buf_done(&line);
}

void hn_access_log_close(hn_access_log *log) {
    if (!log)
        return;
    if (log->path)
        close(log->fd);
    hn_free(log->path);
    hn_free(log);
}
