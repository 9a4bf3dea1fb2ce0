/* Regular expressions of JSON schemas as parts of a grammar. The text that is read is the inside of
 * a JSON string: a quote or backslash of the value stands there with a backslash before it. Where
 * Python, JavaScript and this differ about what a class holds, it holds what all agree on. */
#include "grammar/build.h"

#include "base/mem.h"
#include "base/text.h"

#include <string.h>

enum { MAX_NESTING = 100, MAX_COUNT = 100000, ASCII_LAST = 0x7F };

typedef struct parser {
    hn_grammar *g;
    const char *text, *end, *at;
    const char *where;
    hn_error *err;
} parser;

static hn_status refuse(const parser *p, const char *what) {
    return hn_fail(p->err, HN_UNSUPPORTED, "%s: pattern, byte %zu: %s", p->where,
                   (size_t)(p->at - p->text), what);
}

static bool here(const parser *p, char c) {
    return p->at < p->end && *p->at == c;
}

/* Characters of the value, as they stand in JSON. Control characters have no short form but these
 * and are left out otherwise. */
static void build_json_chars(hn_grammar *g, int32_t from, const hn_chars *chars, int32_t to) {
    static const struct {
        uint8_t value, written;
    } ESCAPED[] = {{'"', '"'},  {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'},
                   {'\t', 't'}, {'\f', 'f'},  {'\b', 'b'}};
    static const hn_char_range PLAIN[] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, HN_CHAR_LAST}};
    int32_t escape = -1;
    for (size_t i = 0; i < sizeof ESCAPED / sizeof *ESCAPED; i++) {
        if (!hn_chars_have(chars, ESCAPED[i].value))
            continue;
        if (escape < 0) {
            escape = hn_build_node(g);
            hn_build_bytes(g, from, '\\', '\\', escape);
        }
        hn_build_bytes(g, escape, ESCAPED[i].written, ESCAPED[i].written, to);
    }
    for (size_t i = 0; i < chars->n; i++)
        for (size_t k = 0; k < sizeof PLAIN / sizeof *PLAIN; k++) {
            uint32_t lo = chars->data[i].lo, hi = chars->data[i].hi;
            lo = lo > PLAIN[k].lo ? lo : PLAIN[k].lo;
            hi = hi < PLAIN[k].hi ? hi : PLAIN[k].hi;
            if (lo <= hi)
                hn_build_char_range(g, from, lo, hi, to);
        }
    if (chars->failed)
        g->failed = HN_NO_MEMORY;
}

/* \d \w \s; the capitals are their complements within ASCII. */
static bool add_named_class(hn_chars *chars, char name) {
    hn_chars set = {0};
    switch (name | 0x20) {
    case 'd':
        hn_chars_add(&set, '0', '9');
        break;
    case 'w':
        hn_chars_add(&set, '0', '9');
        hn_chars_add(&set, 'A', 'Z');
        hn_chars_add(&set, '_', '_');
        hn_chars_add(&set, 'a', 'z');
        break;
    case 's':
        hn_chars_add(&set, '\t', '\r'); /* tab, line ends, vertical tab and form feed */
        hn_chars_add(&set, ' ', ' ');
        break;
    default:
        return false;
    }
    if (name < 'a')
        hn_chars_invert(&set, ASCII_LAST);
    for (size_t i = 0; i < set.n; i++)
        hn_chars_add(chars, set.data[i].lo, set.data[i].hi);
    chars->failed |= set.failed;
    hn_chars_done(&set);
    return true;
}

static hn_status take_hex(parser *p, int digits, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < digits; i++, p->at++) {
        int digit = p->at < p->end ? hn_hex_digit(*p->at) : -1;
        if (digit < 0)
            return refuse(p, "an escape lacks hexadecimal digits");
        *out = *out * 16 + (uint32_t)digit;
    }
    return *out >= 0xD800 && *out <= 0xDFFF ? refuse(p, "half a surrogate pair") : HN_OK;
}

/* An escape behind its backslash: a class (added to *chars, *single false) or one character. */
static hn_status take_escape(parser *p, hn_chars *chars, bool *single, uint32_t *c) {
    static const char NAMES[] = "nrtfv", VALUES[] = "\n\r\t\f\v";
    if (p->at == p->end)
        return refuse(p, "it ends in a backslash");
    char name = *p->at;
    *single = true;
    if (add_named_class(chars, name)) {
        *single = false;
        p->at++;
        return HN_OK;
    }
    const char *known = name ? strchr(NAMES, name) : NULL;
    if (known) {
        *c = (uint8_t)VALUES[known - NAMES];
    } else if (name == 'x' || name == 'u') {
        p->at++;
        return take_hex(p, name == 'x' ? 2 : 4, c);
    } else if (name && strchr("^$\\.*+?()[]{}|/-\"'`~!@#%&=:;,<> ", name)) {
        *c = (uint8_t)name;
    } else {
        return refuse(p, "this escape isn't possible here (\\b, \\B, \\p, back references, ...)");
    }
    p->at++;
    return HN_OK;
}

static hn_status take_class_char(parser *p, hn_chars *chars, bool *single, uint32_t *c) {
    *single = true;
    if (here(p, '\\')) {
        p->at++;
        if (here(p, 'b')) { /* a backspace, in a class */
            p->at++;
            *c = '\b';
            return HN_OK;
        }
        return take_escape(p, chars, single, c);
    }
    size_t n = hn_utf8_decode(p->at, (size_t)(p->end - p->at), c);
    if (n == 0)
        return refuse(p, "it is no UTF-8");
    p->at += n;
    return HN_OK;
}

static hn_status take_class_items(parser *p, hn_chars *chars, bool *named) {
    while (p->at < p->end && *p->at != ']') {
        bool single, single_hi = true;
        uint32_t lo = 0, hi = 0;
        if (here(p, '[') && p->end - p->at > 1 && p->at[1] == ':')
            return refuse(p, "there are no [: :] classes");
        HN_TRY(take_class_char(p, chars, &single, &lo));
        hi = lo;
        if (here(p, '-') && p->end - p->at > 1 && p->at[1] != ']') {
            p->at++;
            HN_TRY(take_class_char(p, chars, &single_hi, &hi));
            if (!single || !single_hi || hi < lo)
                return refuse(p, "a range in a class is none");
        }
        *named |= !single;
        if (single)
            hn_chars_add(chars, lo, hi);
    }
    return p->at == p->end ? refuse(p, "a class isn't closed by ]") : HN_OK;
}

static hn_status take_class(parser *p, hn_part part) {
    hn_chars chars = {0};
    bool named = false;
    p->at++;
    bool negated = here(p, '^');
    p->at += negated;
    hn_status status = take_class_items(p, &chars, &named);
    if (status == HN_OK) {
        p->at++;
        if (negated) /* Python's \w, \d and \s reach beyond ASCII: what isn't in them may be */
            hn_chars_invert(&chars, named ? ASCII_LAST : HN_CHAR_LAST);
        else
            hn_chars_tidy(&chars);
        build_json_chars(p->g, part.in, &chars, part.out);
    }
    hn_chars_done(&chars);
    return status;
}

/* Any character but the line ends of Python and JavaScript. */
static void build_dot(parser *p, hn_part part) {
    hn_chars chars = {0};
    hn_chars_add(&chars, '\n', '\n');
    hn_chars_add(&chars, '\r', '\r');
    hn_chars_add(&chars, 0x2028, 0x2029);
    hn_chars_invert(&chars, HN_CHAR_LAST);
    build_json_chars(p->g, part.in, &chars, part.out);
    hn_chars_done(&chars);
}

static hn_status take_alternatives(parser *p, int32_t from, int32_t to, int depth);

static hn_status take_group(parser *p, hn_part part, int depth) {
    if (depth >= MAX_NESTING)
        return refuse(p, "brackets are nested too deeply");
    p->at++;
    if (here(p, '?')) {
        if (!(p->end - p->at > 1 && p->at[1] == ':'))
            return refuse(p, "of the groups that begin with (? only (?:...) is possible");
        p->at += 2;
    }
    HN_TRY(take_alternatives(p, part.in, part.out, depth + 1));
    if (!here(p, ')'))
        return refuse(p, "a bracket isn't closed by )");
    p->at++;
    return HN_OK;
}

static hn_status take_atom(parser *p, hn_part part, int depth) {
    hn_chars chars = {0};
    bool single = true;
    uint32_t c = 0;
    switch (*p->at) {
    case '(':
        return take_group(p, part, depth);
    case '[':
        return take_class(p, part);
    case '.':
        p->at++;
        build_dot(p, part);
        return HN_OK;
    case '^':
    case '$':
        return refuse(p, "^ and $ are possible only at the ends of the whole pattern and of its "
                         "outermost alternatives");
    case '*':
    case '+':
    case '?':
    case '{':
        return refuse(p, "there is nothing to repeat");
    }
    hn_status status;
    if (*p->at == '\\') {
        p->at++;
        status = take_escape(p, &chars, &single, &c);
    } else {
        status = take_class_char(p, &chars, &single, &c);
    }
    if (status == HN_OK) {
        if (single)
            hn_chars_add(&chars, c, c);
        hn_chars_tidy(&chars);
        build_json_chars(p->g, part.in, &chars, part.out);
    }
    hn_chars_done(&chars);
    return status;
}

static hn_status take_count(parser *p, uint32_t *out) {
    const char *from = p->at;
    *out = 0;
    for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++) {
        *out = *out * 10 + (uint32_t)(*p->at - '0');
        if (*out > MAX_COUNT)
            return refuse(p, "a repetition counts to 100000 at most");
    }
    return p->at == from ? refuse(p, "a repetition is {m}, {m,} or {m,n}") : HN_OK;
}

static hn_status take_repetition(parser *p, uint32_t *min, uint32_t *max) {
    *min = *max = 1;
    if (here(p, '?') || here(p, '*') || here(p, '+')) {
        *min = *p->at == '+';
        *max = *p->at == '?' ? 1 : HN_REPEAT_MAX;
        p->at++;
    } else if (here(p, '{')) {
        p->at++;
        HN_TRY(take_count(p, min));
        *max = *min;
        if (here(p, ',')) {
            p->at++;
            *max = HN_REPEAT_MAX;
            if (!here(p, '}'))
                HN_TRY(take_count(p, max));
        }
        if (!here(p, '}') || *max < *min)
            return refuse(p, "a repetition is {m}, {m,} or {m,n}");
        p->at++;
    } else {
        return HN_OK;
    }
    if (here(p, '?'))
        p->at++; /* lazy: the same texts */
    if (here(p, '*') || here(p, '+') || here(p, '?') || here(p, '{'))
        return refuse(p, "one repetition after another");
    return HN_OK;
}

/* One alternative. The outermost may begin with ^ and end with $; without them anything may stand
 * before and after. */
static hn_status take_sequence(parser *p, int32_t from, int32_t to, int depth) {
    bool open = depth == 0;
    if (depth == 0 && here(p, '^')) {
        p->at++;
        open = false;
    }
    if (open) {
        hn_part any = hn_build_part(p->g);
        int32_t next = hn_build_node(p->g);
        build_dot(p, any);
        hn_build_repeat(p->g, from, any, 0, HN_REPEAT_MAX, next);
        from = next;
    }
    open = depth == 0;
    while (p->at < p->end && *p->at != '|' && *p->at != ')') {
        uint32_t min, max;
        if (depth == 0 && here(p, '$') && (p->at + 1 == p->end || p->at[1] == '|')) {
            p->at++;
            open = false;
            break;
        }
        hn_part part = hn_build_part(p->g);
        int32_t next = hn_build_node(p->g);
        HN_TRY(take_atom(p, part, depth));
        HN_TRY(take_repetition(p, &min, &max));
        hn_build_repeat(p->g, from, part, min, max, next);
        HN_TRY(hn_build_check(p->g, p->where, p->err));
        from = next;
    }
    if (open) {
        hn_part any = hn_build_part(p->g);
        build_dot(p, any);
        hn_build_repeat(p->g, from, any, 0, HN_REPEAT_MAX, to);
    } else {
        hn_build_free(p->g, from, to);
    }
    return HN_OK;
}

static hn_status take_alternatives(parser *p, int32_t from, int32_t to, int depth) {
    for (;;) {
        HN_TRY(take_sequence(p, from, to, depth));
        if (!here(p, '|'))
            return HN_OK;
        p->at++;
    }
}

hn_status hn_build_pattern(hn_grammar *g, int32_t from, const char *pattern, size_t n_bytes,
                           int32_t to, const char *where, hn_error *err) {
    parser p = {.g = g,
                .text = pattern,
                .at = pattern,
                .end = pattern + n_bytes,
                .where = where,
                .err = err};
    HN_TRY(take_alternatives(&p, from, to, 0));
    if (p.at < p.end)
        return refuse(&p, "a ) without its (");
    return hn_build_check(g, where, err);
}
