/* String and number literals, as Python and jinja2 read them. */
#include "base/buf.h"
#include "base/text.h"
#include "template/lexer.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One escape of a string literal at text[*i] (just after the backslash), as Python's
 * unicode-escape codec reads it. */
static hn_status lex_escape(hn_lexer *lx, const char *text, size_t n, size_t *i, hn_buf *buf) {
    static const char PLAIN[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
    char c = text[*i];
    for (size_t k = 0; k + 1 < sizeof PLAIN; k += 2)
        if (PLAIN[k] == c) {
            hn_buf_putc(buf, PLAIN[k + 1]);
            (*i)++;
            return HN_OK;
        }
    uint32_t code = 0;
    if (c == '\n') {
        (*i)++;
        return HN_OK;
    } else if (c >= '0' && c <= '7') {
        for (int digits = 0; digits < 3 && *i < n && text[*i] >= '0' && text[*i] <= '7'; digits++)
            code = code * 8 + (uint32_t)(text[(*i)++] - '0');
    } else if (c == 'x' || c == 'u' || c == 'U') {
        int wanted = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        (*i)++;
        for (int digits = 0; digits < wanted; digits++) {
            int value = *i < n ? hn_hex_digit(text[*i]) : -1;
            if (value < 0)
                return hn_template_fail(lx->err, lx->line, "truncated \\%c escape in a string", c);
            code = code << 4 | (uint32_t)value;
            (*i)++;
        }
    } else if (c == 'N') {
        return hn_template_fail(lx->err, lx->line, "\\N{...} escapes aren't supported");
    } else if ((uint8_t)c < 0x80) {
        hn_buf_putc(buf, '\\');
        return HN_OK;
    } else { /* Python escapes the character first, so the backslash escapes that escape */
        code = hn_uni_next(text, n, i);
        hn_buf_printf(buf, code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", code);
        return HN_OK;
    }
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return hn_template_fail(lx->err, lx->line, "\\u%04x is no character", code);
    char utf8[4];
    hn_buf_append(buf, utf8, hn_utf8_encode(code, utf8));
    return HN_OK;
}

hn_status hn_lex_string(hn_lexer *lx) {
    char quote = lx->src[lx->pos];
    size_t start = lx->pos + 1, end = start;
    while (end < lx->n && lx->src[end] != quote)
        end += lx->src[end] == '\\' ? 2 : 1;
    if (end >= lx->n)
        return hn_template_fail(lx->err, lx->line, "unexpected char '%c': the string isn't closed",
                                quote);
    hn_buf buf = {0};
    hn_status status = HN_OK;
    for (size_t i = start; i < end;) {
        if (lx->src[i] != '\\') {
            hn_buf_putc(&buf, lx->src[i++]);
            continue;
        }
        i++;
        HN_GO(lex_escape(lx, lx->src, end, &i, &buf));
    }
    char *copy = buf.failed ? NULL : hn_arena_strndup(lx->arena, hn_buf_text(&buf), buf.size);
    HN_GO(copy ? hn_lex_push_text(lx, HN_TOK_STRING, copy, buf.size) : hn_lex_no_memory(lx));
    hn_lex_count_lines(lx, start, end);
    lx->pos = end + 1;
done:
    hn_buf_done(&buf);
    return status;
}

/* Digits with single underscores between them, from pos: the end. */
static size_t digits_end(const hn_lexer *lx, size_t pos, int base) {
    size_t end = pos;
    for (;;) {
        size_t p = end > pos && hn_lex_at(lx, end, "_") ? end + 1 : end;
        int value = p < lx->n ? hn_hex_digit(lx->src[p]) : -1;
        if (value < 0 || value >= base)
            return end;
        end = p + 1;
    }
}

static bool is_digit(const hn_lexer *lx, size_t pos) {
    return pos < lx->n && isdigit((unsigned char)lx->src[pos]);
}

/* The end of a float at pos, 0 when what stands there is none. */
static size_t float_end(const hn_lexer *lx, size_t pos) {
    if (pos > 0 && lx->src[pos - 1] == '.')
        return 0;
    size_t p = digits_end(lx, pos, 10), end = 0;
    if (hn_lex_at(lx, p, ".") && is_digit(lx, p + 1))
        end = p = digits_end(lx, p + 1, 10);
    if (p < lx->n && (lx->src[p] | 32) == 'e') {
        size_t q = p + 1;
        if (q < lx->n && (lx->src[q] == '+' || lx->src[q] == '-'))
            q++;
        if (is_digit(lx, q))
            end = digits_end(lx, q, 10);
    }
    return end;
}

static size_t integer_end(const hn_lexer *lx, size_t pos, int *base, size_t *digits) {
    char next = pos + 1 < lx->n ? (char)(lx->src[pos + 1] | 32) : 0;
    *base = 10;
    *digits = pos;
    if (lx->src[pos] != '0')
        return digits_end(lx, pos, 10);
    int other = next == 'b' ? 2 : next == 'o' ? 8 : next == 'x' ? 16 : 0;
    if (other) {
        size_t from = pos + 2 + hn_lex_at(lx, pos + 2, "_");
        size_t end = digits_end(lx, from, other);
        if (end > from) {
            *base = other;
            *digits = from;
            return end;
        }
    }
    return digits_end(lx, pos, 1); /* zeros only */
}

hn_status hn_lex_number(hn_lexer *lx) {
    char text[400];
    int base = 10;
    size_t from = lx->pos, end = float_end(lx, from), n = 0;
    bool real = end != 0;
    if (!real)
        end = integer_end(lx, lx->pos, &base, &from);
    for (size_t i = from; i < end; i++) {
        if (lx->src[i] == '_')
            continue;
        if (n + 1 >= sizeof text)
            return hn_template_fail(lx->err, lx->line, "a number of too many digits");
        text[n++] = lx->src[i];
    }
    text[n] = 0;
    hn_token token = {.kind = real ? HN_TOK_FLOAT : HN_TOK_INTEGER, .line = lx->line};
    if (real) {
        token.f = strtod(text, NULL);
    } else {
        errno = 0;
        token.i = strtoll(text, NULL, base);
        if (errno)
            return hn_template_fail(lx->err, lx->line, "the integer %s is too large", text);
    }
    lx->pos = end;
    return hn_lex_push(lx, token);
}
