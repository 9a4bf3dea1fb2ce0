#include "base/buf.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

bool hn_buf_reserve(hn_buf *buf, size_t extra_bytes) {
    size_t max = buf->max ? buf->max : HN_BUF_DEFAULT_MAX;
    if (buf->failed || extra_bytes > max || buf->size > max - extra_bytes) {
        buf->failed = true;
        return false;
    }
    size_t needed = buf->size + extra_bytes + 1;
    if (needed <= buf->capacity)
        return true;
    size_t capacity = buf->capacity < 64 ? 64 : buf->capacity * 2;
    while (capacity < needed)
        capacity *= 2;
    char *grown = hn_realloc(buf->data, capacity);
    if (!grown) {
        buf->failed = true;
        return false;
    }
    buf->data = grown;
    buf->capacity = capacity;
    return true;
}

bool hn_buf_append(hn_buf *buf, const void *data, size_t n_bytes) {
    if (!hn_buf_reserve(buf, n_bytes))
        return false;
    if (n_bytes)
        memcpy(buf->data + buf->size, data, n_bytes);
    buf->size += n_bytes;
    buf->data[buf->size] = 0;
    return true;
}

bool hn_buf_puts(hn_buf *buf, const char *text) {
    return hn_buf_append(buf, text, strlen(text));
}

bool hn_buf_putc(hn_buf *buf, char c) {
    return hn_buf_append(buf, &c, 1);
}

bool hn_buf_printf(hn_buf *buf, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0 || !hn_buf_reserve(buf, (size_t)n)) {
        buf->failed = true;
        return false;
    }
    va_start(args, fmt);
    vsnprintf(buf->data + buf->size, (size_t)n + 1, fmt, args);
    va_end(args);
    buf->size += (size_t)n;
    return true;
}

hn_status hn_buf_check(const hn_buf *buf, hn_error *err) {
    if (!buf->failed)
        return HN_OK;
    size_t max = buf->max ? buf->max : HN_BUF_DEFAULT_MAX;
    return hn_fail(err, HN_NO_MEMORY, "out of memory, or more than the %zu bytes allowed here",
                   max);
}

const char *hn_buf_text(const hn_buf *buf) {
    return buf->data ? buf->data : "";
}

char *hn_buf_take(hn_buf *buf) {
    char *data = buf->failed ? NULL : buf->data ? buf->data : hn_strdup("");
    if (buf->failed)
        hn_free(buf->data);
    *buf = (hn_buf){.max = buf->max};
    return data;
}

void hn_buf_reset(hn_buf *buf) {
    buf->size = 0;
    buf->failed = false;
    if (buf->data)
        buf->data[0] = 0;
}

void hn_buf_done(hn_buf *buf) {
    hn_free(buf->data);
    *buf = (hn_buf){.max = buf->max};
}
