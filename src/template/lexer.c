/* Source to tokens, following jinja2's lexer with trim_blocks and lstrip_blocks on: what a tag
 * strips around itself is decided here. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "template/ast.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

enum { MAX_BALANCE = 400, NAME_BUCKETS = 256, MAX_TOKENS = 1 << 20 };

typedef struct name_entry {
    struct name_entry *next;
    hn_tstr str;
} name_entry;

typedef struct lexer {
    hn_arena *arena;
    const char *src;
    size_t n, pos;
    uint32_t line;
    hn_tokens *out;
    char balance[MAX_BALANCE];
    int n_balance;
    name_entry *names[NAME_BUCKETS];
    hn_error *err;
} lexer;

static hn_status no_memory(lexer *lx) {
    return hn_fail(lx->err, HN_NO_MEMORY, "out of memory: reading a template");
}

static hn_status push(lexer *lx, hn_token token) {
    hn_tokens *t = lx->out;
    if (t->n == t->cap) {
        if (t->n >= MAX_TOKENS)
            return hn_template_fail(lx->err, lx->line, "more than %d tokens", MAX_TOKENS);
        size_t cap = t->cap ? t->cap * 2 : 256;
        hn_token *grown = hn_reallocarray(t->items, cap, sizeof *grown);
        if (!grown)
            return no_memory(lx);
        t->items = grown;
        t->cap = cap;
    }
    t->items[t->n++] = token;
    return HN_OK;
}

static hn_status push_plain(lexer *lx, hn_token_kind kind, int op) {
    return push(lx, (hn_token){.kind = kind, .op = op, .line = lx->line});
}

static hn_tstr text_of(const char *data, size_t n) {
    hn_tstr s = {.data = data, .n_bytes = (uint32_t)n, .n_chars = HN_TSTR_CHARS_UNKNOWN};
    s.n_chars = hn_tstr_chars(&s);
    return s;
}

static hn_status push_text(lexer *lx, hn_token_kind kind, const char *data, size_t n) {
    hn_tstr *s = HN_ARENA_NEW(lx->arena, hn_tstr, 1);
    if (!s)
        return no_memory(lx);
    *s = text_of(data, n);
    return push(lx, (hn_token){.kind = kind, .line = lx->line, .text = s});
}

static hn_status push_name(lexer *lx, const char *data, size_t n) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uint8_t)data[i]) * 16777619u;
    name_entry **bucket = &lx->names[hash % NAME_BUCKETS];
    name_entry *entry = *bucket;
    while (entry && (entry->str.n_bytes != n || memcmp(entry->str.data, data, n)))
        entry = entry->next;
    if (!entry) {
        entry = HN_ARENA_NEW(lx->arena, name_entry, 1);
        char *copy = entry ? hn_arena_strndup(lx->arena, data, n) : NULL;
        if (!copy)
            return no_memory(lx);
        entry->str = text_of(copy, n);
        entry->next = *bucket;
        *bucket = entry;
    }
    return push(lx, (hn_token){.kind = HN_TOK_NAME, .line = lx->line, .text = &entry->str});
}

static bool at(const lexer *lx, size_t pos, const char *text) {
    size_t n = strlen(text);
    return pos + n <= lx->n && !memcmp(lx->src + pos, text, n);
}

static void count_lines(lexer *lx, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        lx->line += lx->src[i] == '\n';
}

static size_t skip_space(const lexer *lx, size_t pos) {
    while (pos < lx->n) {
        size_t next = pos;
        if (!hn_uni_is_space(hn_uni_next(lx->src, lx->n, &next)))
            break;
        pos = next;
    }
    return pos;
}

/* The end of a tag at pos: "-X" strips what follows, "+X" keeps it, a plain one drops a newline
 * when `trim`. Returns the position after it, 0 when there is none. */
static size_t tag_end(const lexer *lx, size_t pos, const char *close, bool plus, bool trim) {
    if (plus && at(lx, pos, "+") && at(lx, pos + 1, close))
        return pos + 3;
    if (at(lx, pos, "-") && at(lx, pos + 1, close))
        return skip_space(lx, pos + 3);
    if (!at(lx, pos, close))
        return 0;
    pos += 2;
    return trim && pos < lx->n && lx->src[pos] == '\n' ? pos + 1 : pos;
}

/* The text before a tag at `end`, as the tag's sign and lstrip_blocks leave it. */
static hn_status push_data(lexer *lx, size_t start, size_t end, char sign, bool variable) {
    size_t keep = end;
    if (sign == '-') {
        while (keep > start) {
            size_t before;
            if (!hn_uni_is_space(hn_uni_before(lx->src, keep, &before)))
                break;
            keep = before;
        }
    } else if (sign != '+' && !variable) {
        size_t line = end;
        while (line > start && lx->src[line - 1] != '\n')
            line--;
        bool starts_line = line > start || start == 0 || lx->src[start - 1] == '\n';
        if (starts_line && line < end && skip_space(lx, line) >= end)
            keep = line;
    }
    if (keep > start)
        HN_TRY(push_text(lx, HN_TOK_DATA, lx->src + start, keep - start));
    count_lines(lx, start, end);
    return HN_OK;
}

static char sign_at(const lexer *lx, size_t pos) {
    return pos < lx->n && (lx->src[pos] == '-' || lx->src[pos] == '+') ? lx->src[pos] : 0;
}

/* `{% raw %}` at pos: the position after it, or 0. */
static size_t raw_begin(const lexer *lx, size_t pos) {
    size_t p = pos + 2;
    if (sign_at(lx, p))
        p++;
    p = skip_space(lx, p);
    if (!at(lx, p, "raw"))
        return 0;
    p = skip_space(lx, p + 3);
    return tag_end(lx, p, "%}", false, false);
}

static hn_status lex_raw(lexer *lx) {
    size_t start = lx->pos;
    for (size_t p = start; p < lx->n; p++) {
        if (!at(lx, p, "{%"))
            continue;
        char sign = sign_at(lx, p + 2);
        size_t q = skip_space(lx, p + 2 + (sign != 0));
        if (!at(lx, q, "endraw"))
            continue;
        size_t end = tag_end(lx, skip_space(lx, q + 6), "%}", true, true);
        if (!end)
            continue;
        HN_TRY(push_data(lx, start, p, sign, false));
        count_lines(lx, p, end);
        lx->pos = end;
        return HN_OK;
    }
    return hn_template_fail(lx->err, lx->line, "Missing end of raw directive");
}

static hn_status lex_comment(lexer *lx) {
    for (size_t p = lx->pos; p < lx->n; p++) {
        size_t end = tag_end(lx, p, "#}", true, true);
        if (end) {
            count_lines(lx, lx->pos, end);
            lx->pos = end;
            return HN_OK;
        }
    }
    return hn_template_fail(lx->err, lx->line, "Missing end of comment tag");
}

static int hex_value(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* One escape of a string literal at text[*i] (just after the backslash), as Python's
 * unicode-escape codec reads it. */
static hn_status lex_escape(lexer *lx, const char *text, size_t n, size_t *i, hn_buf *buf) {
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
            int value = *i < n ? hex_value(text[*i]) : -1;
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

static hn_status lex_string(lexer *lx) {
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
    HN_GO(copy ? push_text(lx, HN_TOK_STRING, copy, buf.size) : no_memory(lx));
    count_lines(lx, start, end);
    lx->pos = end + 1;
done:
    hn_buf_done(&buf);
    return status;
}

/* Digits with single underscores between them, from pos: the end. */
static size_t digits_end(const lexer *lx, size_t pos, int base) {
    size_t end = pos;
    for (;;) {
        size_t p = end > pos && at(lx, end, "_") ? end + 1 : end;
        int value = p < lx->n ? hex_value(lx->src[p]) : -1;
        if (value < 0 || value >= base)
            return end;
        end = p + 1;
    }
}

static bool is_digit(const lexer *lx, size_t pos) {
    return pos < lx->n && isdigit((unsigned char)lx->src[pos]);
}

/* The end of a float at pos, 0 when what stands there is none. */
static size_t float_end(const lexer *lx, size_t pos) {
    if (pos > 0 && lx->src[pos - 1] == '.')
        return 0;
    size_t p = digits_end(lx, pos, 10), end = 0;
    if (at(lx, p, ".") && is_digit(lx, p + 1))
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

static size_t integer_end(const lexer *lx, size_t pos, int *base, size_t *digits) {
    char next = pos + 1 < lx->n ? (char)(lx->src[pos + 1] | 32) : 0;
    *base = 10;
    *digits = pos;
    if (lx->src[pos] != '0')
        return digits_end(lx, pos, 10);
    int other = next == 'b' ? 2 : next == 'o' ? 8 : next == 'x' ? 16 : 0;
    if (other) {
        size_t from = pos + 2 + at(lx, pos + 2, "_");
        size_t end = digits_end(lx, from, other);
        if (end > from) {
            *base = other;
            *digits = from;
            return end;
        }
    }
    return digits_end(lx, pos, 1); /* zeros only */
}

static hn_status lex_number(lexer *lx) {
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
    return push(lx, token);
}

static hn_status lex_name(lexer *lx) {
    size_t start = lx->pos, pos = start;
    while (pos < lx->n) {
        size_t next = pos;
        if (!hn_uni_is_name_part(hn_uni_next(lx->src, lx->n, &next)))
            break;
        pos = next;
    }
    lx->pos = pos;
    return push_name(lx, lx->src + start, pos - start);
}

static hn_status lex_operator(lexer *lx) {
    static const char *const TWO[] = {"//", "**", "==", "!=", ">=", "<="};
    char c = lx->src[lx->pos];
    for (size_t i = 0; i < sizeof TWO / sizeof *TWO; i++)
        if (at(lx, lx->pos, TWO[i])) {
            lx->pos += 2;
            return push_plain(lx, HN_TOK_OPERATOR, HN_OP2(TWO[i][0], TWO[i][1]));
        }
    if (!c || !strchr("+-/*%~[](){}><=.:|,;", c))
        return hn_template_fail(lx->err, lx->line, "unexpected character in a tag");
    if (strchr("([{", c)) {
        if (lx->n_balance == MAX_BALANCE)
            return hn_template_fail(lx->err, lx->line, "too many nested brackets");
        lx->balance[lx->n_balance++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (strchr(")]}", c)) {
        if (!lx->n_balance)
            return hn_template_fail(lx->err, lx->line, "unexpected '%c'", c);
        char wanted = lx->balance[--lx->n_balance];
        if (wanted != c)
            return hn_template_fail(lx->err, lx->line, "unexpected '%c', expected '%c'", c, wanted);
    }
    lx->pos++;
    return push_plain(lx, HN_TOK_OPERATOR, c);
}

/* Everything from after `{{` or `{%` to past its end. */
static hn_status lex_tag(lexer *lx, bool variable) {
    lx->n_balance = 0;
    while (lx->pos < lx->n) {
        size_t end = lx->n_balance ? 0
                     : variable    ? tag_end(lx, lx->pos, "}}", false, false)
                                   : tag_end(lx, lx->pos, "%}", true, true);
        if (end) {
            HN_TRY(push_plain(lx, variable ? HN_TOK_VARIABLE_END : HN_TOK_BLOCK_END, 0));
            count_lines(lx, lx->pos, end);
            lx->pos = end;
            return HN_OK;
        }
        size_t next = lx->pos;
        uint32_t c = hn_uni_next(lx->src, lx->n, &next);
        if (hn_uni_is_space(c)) {
            lx->line += c == '\n';
            lx->pos = next;
        } else if (c < 128 && isdigit((int)c)) {
            HN_TRY(lex_number(lx));
        } else if (hn_uni_is_name_start(c)) {
            HN_TRY(lex_name(lx));
        } else if (c == '\'' || c == '"') {
            HN_TRY(lex_string(lx));
        } else {
            HN_TRY(lex_operator(lx));
        }
    }
    return HN_OK;
}

static hn_status lex_root(lexer *lx) {
    size_t start = lx->pos, p = start;
    while (p < lx->n &&
           !(lx->src[p] == '{' && p + 1 < lx->n && strchr("{%#", lx->src[p + 1]) && lx->src[p + 1]))
        p++;
    if (p >= lx->n) {
        HN_TRY(push_data(lx, start, lx->n, '+', false));
        lx->pos = lx->n;
        return HN_OK;
    }
    char kind = lx->src[p + 1], sign = sign_at(lx, p + 2);
    HN_TRY(push_data(lx, start, p, sign, kind == '{'));
    size_t raw = kind == '%' ? raw_begin(lx, p) : 0;
    if (raw) {
        count_lines(lx, p, raw);
        lx->pos = raw;
        return lex_raw(lx);
    }
    lx->pos = p + 2 + (sign != 0);
    if (kind == '#')
        return lex_comment(lx);
    HN_TRY(push_plain(lx, kind == '{' ? HN_TOK_VARIABLE_BEGIN : HN_TOK_BLOCK_BEGIN, 0));
    return lex_tag(lx, kind == '{');
}

/* All line ends as "\n", and one at the very end dropped. */
static size_t normalise(const char *source, size_t n, char *out) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (source[i] == '\r' && i + 1 < n && source[i + 1] == '\n')
            continue;
        out[k++] = source[i] == '\r' ? '\n' : source[i];
    }
    return k && out[k - 1] == '\n' ? k - 1 : k;
}

hn_status hn_template_lex(hn_arena *arena, const char *source, size_t n_bytes, hn_tokens *out,
                          hn_error *err) {
    if (n_bytes > HN_TEMPLATE_MAX_BYTES)
        return hn_fail(err, HN_BAD_INPUT, "the template is larger than %d bytes",
                       HN_TEMPLATE_MAX_BYTES);
    if (!hn_utf8_valid(source, n_bytes))
        return hn_fail(err, HN_BAD_INPUT, "the template isn't valid UTF-8");
    lexer lx = {.arena = arena, .line = 1, .out = out, .err = err};
    char *text = hn_arena_alloc(arena, n_bytes + 1, 1);
    if (!text)
        return no_memory(&lx);
    lx.src = text;
    lx.n = normalise(source, n_bytes, text);
    while (lx.pos < lx.n)
        HN_TRY(lex_root(&lx));
    return push_plain(&lx, HN_TOK_EOF, 0);
}
