/* A growing byte buffer with a declared maximum. Always followed by a NUL that isn't counted. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Zero-initialised is valid, empty and limited to HN_BUF_DEFAULT_MAX. */
typedef struct hn_buf {
    char *data; /* NULL while empty */
    size_t size;
    size_t capacity;
    size_t max;  /* 0 = HN_BUF_DEFAULT_MAX */
    bool failed; /* an append didn't fit or memory ran out; stays set until reset */
} hn_buf;

#define HN_BUF_DEFAULT_MAX ((size_t)1 << 30)

/* Appends return false on failure and set `failed`, so a caller may append many times and ask
 * once at the end with hn_buf_check. A failed buffer takes nothing more. */
bool hn_buf_reserve(hn_buf *buf, size_t extra_bytes);
bool hn_buf_append(hn_buf *buf, const void *data, size_t n_bytes);
bool hn_buf_puts(hn_buf *buf, const char *text);
bool hn_buf_putc(hn_buf *buf, char c);
bool hn_buf_printf(hn_buf *buf, const char *fmt, ...) HN_PRINTF(2, 3);
HN_MUST_CHECK hn_status hn_buf_check(const hn_buf *buf, hn_error *err);
/* The text so far, never NULL. Valid until the next append. */
const char *hn_buf_text(const hn_buf *buf);
/* Hands the bytes over (freed with hn_free; NULL only on failure) and empties the buffer. */
char *hn_buf_take(hn_buf *buf);
void hn_buf_reset(hn_buf *buf);
void hn_buf_done(hn_buf *buf);
