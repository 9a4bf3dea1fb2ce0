/* Decoding a chunked body (RFC 9112, 7.1), a byte at a time where it isn't data. Sizes are up to
 * eight hexadecimal digits and nothing else; extensions and trailers are read over, within limits.
 */
#include "http/parse.h"

#include "base/text.h"

#include <string.h>

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, LINE, TRAILER, TRAILER_LF, END_LF };
enum { MAX_DIGITS = 8 };

static int wrong(const char **why) {
    *why = "the chunked body is malformed";
    return 400;
}

static bool is_line_byte(char c) {
    return (unsigned char)c >= ' ' && (unsigned char)c != 0x7f;
}

/* Takes one byte outside the data. */
static bool step(hn_http_chunks *s, char c) {
    switch (s->state) {
    case SIZE: {
        int digit = hn_hex_digit(c);
        if (digit >= 0) {
            s->left = s->left << 4 | (uint64_t)digit;
            return ++s->n_digits <= MAX_DIGITS;
        }
        s->state = c == ';' ? EXTENSION : SIZE_LF;
        s->line_bytes = 0;
        return s->n_digits > 0 && (c == ';' || c == '\r');
    }
    case EXTENSION:
        if (c == '\r') {
            s->state = SIZE_LF;
            return true;
        }
        return (is_line_byte(c) || c == '\t') && ++s->line_bytes <= HN_HTTP_MAX_CHUNK_LINE;
    case SIZE_LF:
        s->state = s->left ? DATA : LINE;
        s->n_digits = 0;
        return c == '\n';
    case DATA_CR:
        s->state = DATA_LF;
        return c == '\r';
    case DATA_LF:
        s->state = SIZE;
        return c == '\n';
    case LINE: /* a trailer's first byte, or the empty line that ends everything */
        s->line_bytes = 0;
        s->state = c == '\r' ? END_LF : TRAILER;
        return c == '\r' || hn_http_is_token_char((unsigned char)c);
    case TRAILER:
        if (c == '\r') {
            s->state = TRAILER_LF;
            return true;
        }
        return (is_line_byte(c) || c == '\t') && ++s->line_bytes <= HN_HTTP_MAX_CHUNK_LINE &&
               ++s->trailer_bytes <= HN_HTTP_MAX_TRAILER;
    case TRAILER_LF:
        s->state = LINE;
        return c == '\n' && ++s->trailer_bytes <= HN_HTTP_MAX_TRAILER;
    default: /* END_LF */
        s->done = true;
        return c == '\n';
    }
}

int hn_http_chunks_feed(hn_http_chunks *chunks, const char *data, size_t n, size_t *used,
                        hn_buf *body, size_t max_bytes, const char **why) {
    size_t i = 0;
    while (i < n && !chunks->done) {
        if (chunks->state != DATA) {
            if (!step(chunks, data[i++]))
                return wrong(why);
            continue;
        }
        size_t take = n - i < chunks->left ? n - i : (size_t)chunks->left;
        if (body->size > max_bytes || chunks->left > max_bytes - body->size) {
            *why = "the body is too large";
            return 413;
        }
        if (!hn_buf_append(body, data + i, take)) {
            *why = "the server is short of memory";
            return 503;
        }
        i += take;
        chunks->left -= take;
        if (chunks->left == 0)
            chunks->state = DATA_CR;
    }
    *used = i;
    return 0;
}
