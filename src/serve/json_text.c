#include "serve/json_text.h"

#include "base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void put_escape(hn_buf *out, unsigned char c) {
    static const char SHORT[] = {['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
                                 ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};
    if (c < sizeof SHORT && SHORT[c])
        hn_buf_printf(out, "\\%c", SHORT[c]);
    else
        hn_buf_printf(out, "\\u%04x", c);
}

/* The length of the text at `text` that needs no escape. */
static size_t plain_length(const char *text, size_t n) {
    size_t i = 0;
    while (i < n) {
        unsigned char c = (unsigned char)text[i];
        if (c < ' ' || c == '"' || c == '\\' || c == 0x7f || c >= 0x80)
            break;
        i++;
    }
    return i;
}

void hn_json_put_string(hn_buf *out, const char *text, size_t n_bytes) {
    enum { LINE_SEPARATOR = 0x2028, PARAGRAPH_SEPARATOR = 0x2029 };
    hn_buf_putc(out, '"');
    for (size_t i = 0; i < n_bytes;) {
        size_t plain = plain_length(text + i, n_bytes - i);
        hn_buf_append(out, text + i, plain);
        i += plain;
        if (i == n_bytes)
            break;
        uint32_t code;
        size_t n = hn_utf8_decode(text + i, n_bytes - i, &code);
        if (n == 1)
            put_escape(out, (unsigned char)text[i]);
        else if (n == 0)
            hn_buf_puts(out, "\xef\xbf\xbd");
        else if (code == LINE_SEPARATOR || code == PARAGRAPH_SEPARATOR)
            hn_buf_printf(out, "\\u%04x", code);
        else
            hn_buf_append(out, text + i, n);
        i += n ? n : 1;
    }
    hn_buf_putc(out, '"');
}

void hn_json_put_text(hn_buf *out, const char *text) {
    if (text)
        hn_json_put_string(out, text, strlen(text));
    else
        hn_buf_puts(out, "null");
}

void hn_json_put_comma(hn_buf *out) {
    if (out->size && !strchr("{[:,\n", out->data[out->size - 1]))
        hn_buf_putc(out, ',');
}

void hn_json_put_key(hn_buf *out, const char *name) {
    hn_json_put_comma(out);
    hn_json_put_text(out, name);
    hn_buf_putc(out, ':');
}

void hn_json_put_int(hn_buf *out, int64_t value) {
    hn_buf_printf(out, "%lld", (long long)value);
}

void hn_json_put_real(hn_buf *out, double value) {
    if (isfinite(value))
        hn_buf_printf(out, "%.9g", value);
    else
        hn_buf_puts(out, "null");
}

static int append(const char *data, size_t n_bytes, void *out) {
    return hn_buf_append(out, data, n_bytes) ? 0 : -1;
}

void hn_json_put_value(hn_buf *out, const json_t *value) {
    if (json_dump_callback(value, append, out, JSON_COMPACT | JSON_ENCODE_ANY) != 0)
        out->failed = true;
}
