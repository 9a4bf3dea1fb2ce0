/* Source to tokens, following jinja2's lexer with trim_blocks and lstrip_blocks on: what a tag
 * strips around itself is decided here. */
#include "template/lexer.h"

#include "base/mem.h"
#include "base/text.h"

#include <ctype.h>
#include <string.h>

enum { MAX_TOKENS = 1 << 20 };

hn_status hn_lex_no_memory(hn_lexer *lx) {
    return hn_fail(lx->err, HN_NO_MEMORY, "out of memory: reading a template");
}

hn_status hn_lex_push(hn_lexer *lx, hn_token token) {
    hn_tokens *t = lx->out;
    if (t->n == t->cap) {
        if (t->n >= MAX_TOKENS)
            return hn_template_fail(lx->err, lx->line, "more than %d tokens", MAX_TOKENS);
        size_t cap = t->cap ? t->cap * 2 : 256;
        hn_token *grown = hn_reallocarray(t->items, cap, sizeof *grown);
        if (!grown)
            return hn_lex_no_memory(lx);
        t->items = grown;
        t->cap = cap;
    }
    t->items[t->n++] = token;
    return HN_OK;
}

static hn_status push_plain(hn_lexer *lx, hn_token_kind kind, int op) {
    return hn_lex_push(lx, (hn_token){.kind = kind, .op = op, .line = lx->line});
}

static hn_tstr text_of(const char *data, size_t n) {
    hn_tstr s = {.data = data, .n_bytes = (uint32_t)n, .n_chars = HN_TSTR_CHARS_UNKNOWN};
    s.n_chars = hn_tstr_chars(&s);
    return s;
}

hn_status hn_lex_push_text(hn_lexer *lx, hn_token_kind kind, const char *data, size_t n) {
    hn_tstr *s = HN_ARENA_NEW(lx->arena, hn_tstr, 1);
    if (!s)
        return hn_lex_no_memory(lx);
    *s = text_of(data, n);
    return hn_lex_push(lx, (hn_token){.kind = kind, .line = lx->line, .text = s});
}

static hn_status push_name(hn_lexer *lx, const char *data, size_t n) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uint8_t)data[i]) * 16777619u;
    hn_lex_name **bucket = &lx->names[hash % HN_LEX_NAME_BUCKETS];
    hn_lex_name *entry = *bucket;
    while (entry && (entry->str.n_bytes != n || memcmp(entry->str.data, data, n)))
        entry = entry->next;
    if (!entry) {
        entry = HN_ARENA_NEW(lx->arena, hn_lex_name, 1);
        char *copy = entry ? hn_arena_strndup(lx->arena, data, n) : NULL;
        if (!copy)
            return hn_lex_no_memory(lx);
        entry->str = text_of(copy, n);
        entry->next = *bucket;
        *bucket = entry;
    }
    return hn_lex_push(lx, (hn_token){.kind = HN_TOK_NAME, .line = lx->line, .text = &entry->str});
}

bool hn_lex_at(const hn_lexer *lx, size_t pos, const char *text) {
    size_t n = strlen(text);
    return pos + n <= lx->n && !memcmp(lx->src + pos, text, n);
}

void hn_lex_count_lines(hn_lexer *lx, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        lx->line += lx->src[i] == '\n';
}

static size_t skip_space(const hn_lexer *lx, size_t pos) {
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
static size_t tag_end(const hn_lexer *lx, size_t pos, const char *close, bool plus, bool trim) {
    if (plus && hn_lex_at(lx, pos, "+") && hn_lex_at(lx, pos + 1, close))
        return pos + 3;
    if (hn_lex_at(lx, pos, "-") && hn_lex_at(lx, pos + 1, close))
        return skip_space(lx, pos + 3);
    if (!hn_lex_at(lx, pos, close))
        return 0;
    pos += 2;
    return trim && pos < lx->n && lx->src[pos] == '\n' ? pos + 1 : pos;
}

/* The text before a tag at `end`, as the tag's sign and lstrip_blocks leave it. */
static hn_status push_data(hn_lexer *lx, size_t start, size_t end, char sign, bool variable) {
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
        HN_TRY(hn_lex_push_text(lx, HN_TOK_DATA, lx->src + start, keep - start));
    hn_lex_count_lines(lx, start, end);
    return HN_OK;
}

static char sign_at(const hn_lexer *lx, size_t pos) {
    return pos < lx->n && (lx->src[pos] == '-' || lx->src[pos] == '+') ? lx->src[pos] : 0;
}

/* `{% raw %}` at pos: the position after it, or 0. */
static size_t raw_begin(const hn_lexer *lx, size_t pos) {
    size_t p = pos + 2;
    if (sign_at(lx, p))
        p++;
    p = skip_space(lx, p);
    if (!hn_lex_at(lx, p, "raw"))
        return 0;
    p = skip_space(lx, p + 3);
    return tag_end(lx, p, "%}", false, false);
}

static hn_status lex_raw(hn_lexer *lx) {
    size_t start = lx->pos;
    for (size_t p = start; p < lx->n; p++) {
        if (!hn_lex_at(lx, p, "{%"))
            continue;
        char sign = sign_at(lx, p + 2);
        size_t q = skip_space(lx, p + 2 + (sign != 0));
        if (!hn_lex_at(lx, q, "endraw"))
            continue;
        size_t end = tag_end(lx, skip_space(lx, q + 6), "%}", true, true);
        if (!end)
            continue;
        HN_TRY(push_data(lx, start, p, sign, false));
        hn_lex_count_lines(lx, p, end);
        lx->pos = end;
        return HN_OK;
    }
    return hn_template_fail(lx->err, lx->line, "Missing end of raw directive");
}

static hn_status lex_comment(hn_lexer *lx) {
    for (size_t p = lx->pos; p < lx->n; p++) {
        size_t end = tag_end(lx, p, "#}", true, true);
        if (end) {
            hn_lex_count_lines(lx, lx->pos, end);
            lx->pos = end;
            return HN_OK;
        }
    }
    return hn_template_fail(lx->err, lx->line, "Missing end of comment tag");
}

static hn_status lex_name(hn_lexer *lx) {
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

static hn_status lex_operator(hn_lexer *lx) {
    static const char *const TWO[] = {"//", "**", "==", "!=", ">=", "<="};
    char c = lx->src[lx->pos];
    for (size_t i = 0; i < sizeof TWO / sizeof *TWO; i++)
        if (hn_lex_at(lx, lx->pos, TWO[i])) {
            lx->pos += 2;
            return push_plain(lx, HN_TOK_OPERATOR, HN_OP2(TWO[i][0], TWO[i][1]));
        }
    if (!c || !strchr("+-/*%~[](){}><=.:|,;", c))
        return hn_template_fail(lx->err, lx->line, "unexpected character in a tag");
    if (strchr("([{", c)) {
        if (lx->n_balance == HN_LEX_MAX_BALANCE)
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
static hn_status lex_tag(hn_lexer *lx, bool variable) {
    lx->n_balance = 0;
    while (lx->pos < lx->n) {
        size_t end = lx->n_balance ? 0
                     : variable    ? tag_end(lx, lx->pos, "}}", false, false)
                                   : tag_end(lx, lx->pos, "%}", true, true);
        if (end) {
            HN_TRY(push_plain(lx, variable ? HN_TOK_VARIABLE_END : HN_TOK_BLOCK_END, 0));
            hn_lex_count_lines(lx, lx->pos, end);
            lx->pos = end;
            return HN_OK;
        }
        size_t next = lx->pos;
        uint32_t c = hn_uni_next(lx->src, lx->n, &next);
        if (hn_uni_is_space(c)) {
            lx->line += c == '\n';
            lx->pos = next;
        } else if (c < 128 && isdigit((int)c)) {
            HN_TRY(hn_lex_number(lx));
        } else if (hn_uni_is_name_start(c)) {
            HN_TRY(lex_name(lx));
        } else if (c == '\'' || c == '"') {
            HN_TRY(hn_lex_string(lx));
        } else {
            HN_TRY(lex_operator(lx));
        }
    }
    return HN_OK;
}

static hn_status lex_root(hn_lexer *lx) {
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
        hn_lex_count_lines(lx, p, raw);
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
    hn_lexer lx = {.arena = arena, .line = 1, .out = out, .err = err};
    char *text = hn_arena_alloc(arena, n_bytes + 1, 1);
    if (!text)
        return hn_lex_no_memory(&lx);
    lx.src = text;
    lx.n = normalise(source, n_bytes, text);
    while (lx.pos < lx.n)
        HN_TRY(lex_root(&lx));
    return push_plain(&lx, HN_TOK_EOF, 0);
}
