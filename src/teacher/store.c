#include "teacher/store.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_LINE_BYTES = 16 << 20, DIGITS = 15 /* 0.7 stays 0.7 */ };

static hn_status take_row(json_t *rows, const char *path, uint64_t line, const char *text,
                          size_t size, hn_error *err) {
    char where[64];
    json_t *row = NULL;
    snprintf(where, sizeof where, "line %llu", (unsigned long long)line);
    hn_status status = hn_json_parse(text, size, where, &row, err);
    if (status != HN_OK)
        return hn_error_prefix(err, "%s", path);
    const char *key = json_string_value(json_object_get(row, "key"));
    if (!key)
        status = hn_fail(err, HN_BAD_INPUT,
                         "%s:%llu: no \"key\": this is no file that hone data generate wrote", path,
                         (unsigned long long)line);
    else if (json_object_set(rows, key, row))
        status = hn_fail_no_memory(err, size);
    json_decref(row);
    return status;
}

/* Rows of a text of lines; *whole is where the last line that ends in a line break ends, or the
 * last line itself where it is whole JSON. */
static hn_status read_rows(const char *path, const char *text, size_t size, json_t *rows,
                           size_t *whole, hn_error *err) {
    uint64_t line = 0;
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t n = end ? (size_t)(end - text) - at : size - at;
        line++;
        if (n > MAX_LINE_BYTES)
            return hn_fail(err, HN_BAD_INPUT, "%s:%llu: a line of %zu bytes", path,
                           (unsigned long long)line, n);
        if (n) {
            hn_status status = take_row(rows, path, line, text + at, n, err);
            if (status == HN_BAD_INPUT && !end)
                return HN_OK;
            HN_TRY(status);
        }
        at += n + (end != NULL);
        *whole = at;
    }
    return HN_OK;
}

hn_status hn_store_read(const char *path, json_t **rows, hn_error *err) {
    hn_map map;
    size_t whole = 0;
    HN_TRY(hn_map_open(&map, path, err));
    json_t *read = json_object();
    hn_status status = read ? read_rows(path, (const char *)map.data, map.size, read, &whole, err)
                            : hn_fail_no_memory(err, 1);
    hn_map_close(&map);
    if (status == HN_OK)
        *rows = read;
    else
        json_decref(read);
    return status;
}

static hn_status write_all(int fd, const char *data, size_t n) {
    while (n) {
        ssize_t wrote = write(fd, data, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return HN_IO;
        data += wrote;
        n -= (size_t)wrote;
    }
    return HN_OK;
}

/* What follows the last whole line goes; a whole line without its end gets one. */
static hn_status repair(hn_store *store, size_t whole, size_t size, bool ended,
                        const hn_progress *progress, hn_error *err) {
    store->size = (int64_t)whole;
    if (whole < size) {
        if (ftruncate(store->fd, (off_t)whole))
            return hn_fail_errno(err, "%s: its last line is cut off and can't be taken away",
                                 store->path);
        hn_progress_note(progress, "%s: the last line was cut off (%zu bytes); taken away",
                         store->path, size - whole);
    } else if (!ended) {
        if (write_all(store->fd, "\n", 1) != HN_OK)
            return hn_fail_errno(err, "%s", store->path);
        store->size++;
    }
    return HN_OK;
}

static hn_status load(hn_store *store, const hn_progress *progress, hn_error *err) {
    hn_map map;
    size_t whole = 0;
    HN_TRY(hn_map_open(&map, store->path, err));
    const char *text = (const char *)map.data;
    hn_status status = read_rows(store->path, text, map.size, store->rows, &whole, err);
    size_t size = map.size;
    bool ended = !size || text[size - 1] == '\n';
    hn_map_close(&map);
    return status == HN_OK ? repair(store, whole, size, ended, progress, err) : status;
}

hn_status hn_store_open(hn_store *store, const char *path, const hn_progress *progress,
                        hn_error *err) {
    hn_store s = {.fd = -1, .path = hn_strdup(path), .rows = json_object()};
    hn_status status = HN_OK;
    if (!s.path || !s.rows) {
        status = hn_fail_no_memory(err, strlen(path));
        goto done;
    }
    enum { MODE = 0666 };
    s.fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, MODE);
    if (s.fd < 0) {
        status = hn_fail_errno(err, "%s", path);
        goto done;
    }
    if (flock(s.fd, LOCK_EX | LOCK_NB)) {
        status = errno == EWOULDBLOCK
                     ? hn_fail(err, HN_IO, "%s: another process is writing it", path)
                     : hn_fail_errno(err, "%s: can't be locked", path);
        goto done;
    }
    HN_GO(load(&s, progress, err));
    *store = s;
done:
    if (status != HN_OK)
        hn_store_close(&s);
    return status;
}

void hn_store_close(hn_store *store) {
    if (store->path && store->fd >= 0)
        close(store->fd);
    hn_free(store->path);
    json_decref(store->rows);
    *store = (hn_store){.fd = -1};
}

bool hn_store_has(const hn_store *store, const char *key) {
    return json_object_get(store->rows, key) != NULL;
}

hn_status hn_store_add(hn_store *store, json_t *row, hn_error *err) {
    const char *key = json_string_value(json_object_get(row, "key"));
    char *text = key ? json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(DIGITS)) : NULL;
    hn_buf line = {0};
    hn_status status = HN_OK;
    if (text) {
        hn_buf_puts(&line, text);
        hn_buf_putc(&line, '\n');
    }
    free(text); /* jansson's own memory */
    if (!line.size || line.failed || json_object_set(store->rows, key, row)) {
        status = hn_fail_no_memory(err, line.size);
    } else if (write_all(store->fd, line.data, line.size) != HN_OK || fsync(store->fd)) {
        status = hn_fail_errno(err, "%s: not written", store->path);
        json_object_del(store->rows, key);
        if (ftruncate(store->fd, (off_t)store->size))
            hn_error_prefix(err, "its last line is left half written");
    } else {
        store->size += (int64_t)line.size;
    }
    hn_buf_done(&line);
    return status;
}
