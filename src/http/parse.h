/* Bytes of a request into its parts, strictly: what two programs could read in two ways (a bare
 * line feed, a folded line, two lengths, a length beside chunks) is refused. Pure functions, no
 * sockets; tests/fuzz/fuzz_http.c feeds them. */
#pragma once

#include "http/server.h"

enum {
    HN_HTTP_MAX_HEAD = 32 << 10,   /* bytes of request line and fields: 431 */
    HN_HTTP_MAX_TARGET = 8 << 10,  /* bytes of the request line: 414 */
    HN_HTTP_MAX_FIELDS = 100,      /* 431 */
    HN_HTTP_MAX_CHUNK_LINE = 1024, /* size and extensions; also a trailer's line */
    HN_HTTP_MAX_TRAILER = 8 << 10,
};

typedef struct hn_http_head {
    char *text; /* owned; the other texts lie in it */
    const char *method;
    const char *path;  /* percent-decoded */
    const char *query; /* "" = none */
    int minor;         /* of HTTP/1.x */
    hn_http_field *fields;
    size_t n_fields;
    bool keep_alive, chunked, expects_continue;
    bool has_length;
    uint64_t length; /* Content-Length */
} hn_http_head;

/* Looks for the end of a head in text[0..n). *from is where the last call stopped, 0 at first.
 * Returns the head's bytes with its empty line, 0 when more is needed, -1 for a line that ends in a
 * bare line feed, or a NUL. */
long hn_http_head_scan(const char *text, size_t n, size_t *from);
/* Parses a whole head. Returns 0, or the status to refuse it with and *why for its message; the
 * head is valid and must be freed either way, with empty texts for what wasn't reached. */
int hn_http_head_parse(hn_http_head *head, const char *text, size_t n, const char **why);
void hn_http_head_done(hn_http_head *head);
/* First field of that name (any case), or NULL. */
const char *hn_http_head_get(const hn_http_head *head, const char *name);

typedef struct hn_http_chunks {
    int state; /* zero-initialised is the beginning */
    int n_digits;
    uint64_t left;
    size_t line_bytes, trailer_bytes;
    bool done;
} hn_http_chunks;

/* Decodes data[0..n) into `body` (at most max_bytes there); *used says how much belonged to it.
 * Returns 0, or the status to refuse it with and *why. */
int hn_http_chunks_feed(hn_http_chunks *chunks, const char *data, size_t n, size_t *used,
                        hn_buf *body, size_t max_bytes, const char **why);

/* True for a byte of a token (RFC 9110, 5.6.2). */
bool hn_http_is_token_char(unsigned char c);
/* True when `text` is a token of 1 to max bytes, or one of those and ". : / + =" with `more`. */
bool hn_http_is_plain(const char *text, size_t max, const char *more);
