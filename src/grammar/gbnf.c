/* GBNF, llama.cpp's notation for grammars: `name ::= alternatives`, with literals, classes, groups,
 * repetition and comments; a rule goes on over line ends inside brackets and after `|`. */
#include "grammar/build.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_NESTING = 200, NAME_SHOWN = 60 };

typedef struct name_slot {
    const char *name; /* where it was met first */
    size_t size;
    int32_t rule;
    bool defined;
} name_slot;

typedef struct parser {
    hn_grammar *g;
    const char *text, *end, *at;
    const char *where;
    name_slot *names; /* open addressing by name; name NULL = free */
    size_t n_names, cap_names;
    hn_error *err;
} parser;

static int line_of(const parser *p, const char *at) {
    int line = 1;
    for (const char *c = p->text; c < at; c++)
        line += *c == '\n';
    return line;
}

static hn_status fail_at(const parser *p, const char *at, const char *what) {
    return hn_fail(p->err, HN_BAD_INPUT, "%s:%d: %s", p->where, line_of(p, at), what);
}

static void skip_blanks(parser *p, bool over_lines) {
    for (; p->at < p->end; p->at++) {
        if (*p->at == '#')
            while (p->at < p->end && *p->at != '\n' && *p->at != '\r')
                p->at++;
        if (p->at == p->end || !(*p->at == ' ' || *p->at == '\t' ||
                                 (over_lines && (*p->at == '\n' || *p->at == '\r'))))
            return;
    }
}

static bool name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static size_t name_size(const parser *p) {
    size_t n = 0;
    while (p->at + n < p->end && name_char(p->at[n]))
        n++;
    return n;
}

static name_slot *find_slot(name_slot *names, size_t capacity, const char *name, size_t size) {
    size_t at = (size_t)hn_hash64(name, size, 0) & (capacity - 1);
    while (names[at].name && !(names[at].size == size && memcmp(names[at].name, name, size) == 0))
        at = (at + 1) & (capacity - 1);
    return &names[at];
}

static hn_status grow_names(parser *p) {
    size_t wanted = p->cap_names ? p->cap_names * 2 : 64;
    name_slot *names = hn_calloc(wanted, sizeof *names);
    if (!names)
        return hn_fail_no_memory(p->err, wanted * sizeof *names);
    for (size_t i = 0; i < p->cap_names; i++)
        if (p->names[i].name)
            *find_slot(names, wanted, p->names[i].name, p->names[i].size) = p->names[i];
    hn_free(p->names);
    p->names = names;
    p->cap_names = wanted;
    return HN_OK;
}

/* The slot of the name at the cursor, which is passed; its rule is made when the name is new. */
static hn_status take_name(parser *p, name_slot **out) {
    size_t size = name_size(p);
    if (p->n_names * 2 >= p->cap_names)
        HN_TRY(grow_names(p));
    name_slot *slot = find_slot(p->names, p->cap_names, p->at, size);
    if (!slot->name) {
        *slot = (name_slot){.name = p->at, .size = size};
        slot->rule = hn_build_rule(p->g);
        HN_TRY(hn_build_check(p->g, p->where, p->err));
        char *copy = hn_strndup(p->at, size < NAME_SHOWN ? size : NAME_SHOWN);
        if (!copy)
            return hn_fail_no_memory(p->err, size);
        p->g->rules[slot->rule].name = copy;
        p->n_names++;
    }
    p->at += size;
    *out = slot;
    return HN_OK;
}

static hn_status take_hex(parser *p, int digits, uint32_t *out) {
    uint32_t value = 0;
    const char *from = p->at;
    for (int i = 0; i < digits; i++, p->at++) {
        int digit = p->at < p->end ? hn_hex_digit(*p->at) : -1;
        if (digit < 0)
            return fail_at(p, from, "an escape lacks hexadecimal digits");
        value = value * 16 + (uint32_t)digit;
    }
    if (value > HN_CHAR_LAST || (value >= 0xD800 && value <= 0xDFFF))
        return fail_at(p, from, "an escape is no character");
    *out = value;
    return HN_OK;
}

/* One character of a literal or class, escapes read. */
static hn_status take_char(parser *p, uint32_t *out) {
    const char *from = p->at;
    if (*p->at != '\\') {
        size_t n = hn_utf8_decode(p->at, (size_t)(p->end - p->at), out);
        if (n == 0)
            return fail_at(p, p->at, "the bytes are no UTF-8");
        p->at += n;
        return HN_OK;
    }
    if (++p->at == p->end)
        return fail_at(p, from, "the text ends in an escape");
    static const char NAMES[] = "nrt\\\"[]-^", VALUES[] = "\n\r\t\\\"[]-^";
    char c = *p->at++;
    if (c == 'x')
        return take_hex(p, 2, out);
    if (c == 'u')
        return take_hex(p, 4, out);
    if (c == 'U')
        return take_hex(p, 8, out);
    const char *known = c ? strchr(NAMES, c) : NULL;
    if (!known)
        return fail_at(p, from,
                       "unknown escape; there are \\n \\r \\t \\\\ \\\" \\[ \\] \\xHH "
                       "\\uHHHH \\UHHHHHHHH");
    *out = (uint8_t)VALUES[known - NAMES];
    return HN_OK;
}

static hn_status take_literal(parser *p, hn_part part) {
    const char *from = p->at++;
    int32_t node = part.in;
    while (p->at < p->end && *p->at != '"') {
        uint32_t c;
        char bytes[4];
        if (*p->at == '\n')
            break;
        HN_TRY(take_char(p, &c));
        node = hn_build_text(p->g, node, bytes, hn_utf8_encode(c, bytes));
    }
    if (p->at == p->end || *p->at != '"')
        return fail_at(p, from, "a literal isn't closed by \"");
    p->at++;
    hn_build_free(p->g, node, part.out);
    return HN_OK;
}

static hn_status take_ranges(parser *p, const char *from, hn_chars *chars) {
    while (p->at < p->end && *p->at != ']') {
        uint32_t lo, hi;
        HN_TRY(take_char(p, &lo));
        hi = lo;
        if (p->at + 1 < p->end && p->at[0] == '-' && p->at[1] != ']') {
            p->at++;
            HN_TRY(take_char(p, &hi));
        }
        if (hi < lo)
            return fail_at(p, p->at, "a range in a class goes backwards");
        hn_chars_add(chars, lo, hi);
    }
    if (p->at == p->end)
        return fail_at(p, from, "a class isn't closed by ]");
    p->at++;
    return HN_OK;
}

static hn_status take_class(parser *p, hn_part part) {
    const char *from = p->at++;
    hn_chars chars = {0};
    bool negated = p->at < p->end && *p->at == '^';
    p->at += negated;
    hn_status status = take_ranges(p, from, &chars);
    if (status == HN_OK) {
        if (negated)
            hn_chars_invert(&chars, HN_CHAR_LAST);
        else
            hn_chars_tidy(&chars);
        hn_build_chars(p->g, part.in, &chars, part.out);
    }
    hn_chars_done(&chars);
    return status;
}

static hn_status take_alternatives(parser *p, hn_part part, int depth);

static hn_status take_atom(parser *p, hn_part part, int depth) {
    char c = *p->at;
    const char *from = p->at;
    if (c == '"')
        return take_literal(p, part);
    if (c == '[')
        return take_class(p, part);
    if (c == '.') {
        p->at++;
        hn_build_char_range(p->g, part.in, 0, HN_CHAR_LAST, part.out);
        return HN_OK;
    }
    if (c == '(') {
        if (depth >= MAX_NESTING)
            return fail_at(p, p->at, "brackets are nested too deeply");
        p->at++;
        HN_TRY(take_alternatives(p, part, depth + 1));
        if (p->at == p->end || *p->at != ')')
            return fail_at(p, from, "a bracket isn't closed by )");
        p->at++;
        return HN_OK;
    }
    name_slot *slot;
    HN_TRY(take_name(p, &slot));
    hn_build_call(p->g, part.in, slot->rule, part.out);
    return HN_OK;
}

static hn_status take_count(parser *p, uint32_t *out) {
    static const uint32_t MAX_COUNT = 1000 * 1000;
    const char *from = p->at;
    uint32_t value = 0;
    for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++) {
        value = value * 10 + (uint32_t)(*p->at - '0');
        if (value > MAX_COUNT)
            return hn_fail(p->err, HN_UNSUPPORTED, "%s:%d: a repetition counts to %u at most",
                           p->where, line_of(p, from), MAX_COUNT);
    }
    if (p->at == from)
        return fail_at(p, from, "a repetition is {m}, {m,} or {m,n}");
    *out = value;
    return HN_OK;
}

/* What follows an atom: ? * + {m} {m,} {m,n}, or nothing. */
static hn_status take_repetition(parser *p, uint32_t *min, uint32_t *max) {
    char c = p->at < p->end ? *p->at : 0;
    *min = *max = 1;
    if (c == '?' || c == '*' || c == '+') {
        *min = c == '+';
        *max = c == '?' ? 1 : HN_REPEAT_MAX;
        p->at++;
    } else if (c == '{') {
        const char *from = p->at++;
        skip_blanks(p, false);
        HN_TRY(take_count(p, min));
        skip_blanks(p, false);
        *max = *min;
        if (p->at < p->end && *p->at == ',') {
            p->at++;
            skip_blanks(p, false);
            *max = HN_REPEAT_MAX;
            if (p->at < p->end && *p->at != '}')
                HN_TRY(take_count(p, max));
            skip_blanks(p, false);
        }
        if (p->at == p->end || *p->at != '}' || *max < *min)
            return fail_at(p, from, "a repetition is {m}, {m,} or {m,n}");
        p->at++;
    }
    return HN_OK;
}

static bool starts_atom(const parser *p) {
    return p->at < p->end && (strchr("\"[.(", *p->at) ? *p->at != 0 : name_char(*p->at));
}

/* Atoms up to `|`, `)` or the line's end, which is no end inside brackets. */
static hn_status take_sequence(parser *p, int32_t from, int32_t to, int depth) {
    for (skip_blanks(p, depth > 0); starts_atom(p); skip_blanks(p, depth > 0)) {
        uint32_t min, max;
        hn_part part = hn_build_part(p->g);
        int32_t next = hn_build_node(p->g);
        HN_TRY(take_atom(p, part, depth));
        skip_blanks(p, false);
        HN_TRY(take_repetition(p, &min, &max));
        hn_build_repeat(p->g, from, part, min, max, next);
        HN_TRY(hn_build_check(p->g, p->where, p->err));
        from = next;
        skip_blanks(p, depth > 0);
        if (p->at < p->end && *p->at && strchr("?*+{", *p->at))
            return fail_at(p, p->at, "one repetition after another: put brackets round the first");
    }
    hn_build_free(p->g, from, to);
    return HN_OK;
}

static hn_status take_alternatives(parser *p, hn_part part, int depth) {
    for (;;) {
        HN_TRY(take_sequence(p, part.in, part.out, depth));
        if (p->at == p->end || *p->at != '|')
            return HN_OK;
        p->at++;
        skip_blanks(p, true);
    }
}

static hn_status take_rule(parser *p) {
    const char *from = p->at;
    name_slot *slot;
    if (name_size(p) == 0)
        return fail_at(p, from, "wanted a rule: name ::= ...");
    HN_TRY(take_name(p, &slot));
    if (slot->defined)
        return hn_fail(p->err, HN_BAD_INPUT, "%s:%d: '%s' is defined twice", p->where,
                       line_of(p, from), p->g->rules[slot->rule].name);
    slot->defined = true;
    skip_blanks(p, false);
    if (p->end - p->at < 3 || memcmp(p->at, "::=", 3) != 0)
        return fail_at(p, from, "wanted ::= after the rule's name");
    p->at += 3;
    skip_blanks(p, true);
    hn_rule rule = p->g->rules[slot->rule];
    HN_TRY(take_alternatives(p, (hn_part){.in = rule.start, .out = rule.end}, 0));
    if (p->at < p->end && *p->at != '\n' && *p->at != '\r')
        return fail_at(p, p->at,
                       *p->at == '<' ? "tokens (<...>) are not possible in a grammar here"
                                     : "a character that begins no part of a rule");
    return HN_OK;
}

static hn_status take_grammar(parser *p) {
    /* The first rule is the whole text: it calls root, wherever that stands. */
    int32_t whole = hn_build_rule(p->g);
    HN_TRY(hn_build_check(p->g, p->where, p->err));
    for (skip_blanks(p, true); p->at < p->end; skip_blanks(p, true))
        HN_TRY(take_rule(p));
    for (size_t i = 0; i < p->cap_names; i++)
        if (p->names[i].name && !p->names[i].defined)
            return hn_fail(p->err, HN_BAD_INPUT, "%s:%d: there is no rule '%s'", p->where,
                           line_of(p, p->names[i].name), p->g->rules[p->names[i].rule].name);
    const name_slot *root = p->n_names ? find_slot(p->names, p->cap_names, "root", 4) : NULL;
    if (!root || !root->name)
        return hn_fail(p->err, HN_BAD_INPUT, "%s: there is no rule 'root', the whole answer",
                       p->where);
    hn_build_call(p->g, p->g->rules[whole].start, root->rule, p->g->rules[whole].end);
    p->g->rules[whole].name = hn_strdup("root");
    if (!p->g->rules[whole].name)
        return hn_fail_no_memory(p->err, 1);
    return hn_grammar_check(p->g, p->where, p->err);
}

hn_status hn_grammar_from_gbnf(hn_grammar **out, const char *text, size_t n_bytes,
                               const char *where, hn_error *err) {
    if (n_bytes > HN_GRAMMAR_MAX_BYTES)
        return hn_fail(err, HN_UNSUPPORTED, "%s: a grammar has %d bytes at most, this has %zu",
                       where, HN_GRAMMAR_MAX_BYTES, n_bytes);
    hn_grammar *g = hn_calloc(1, sizeof *g);
    if (!g)
        return hn_fail_no_memory(err, sizeof *g);
    parser p = {
        .g = g, .text = text, .at = text, .end = text + n_bytes, .where = where, .err = err};
    hn_status status = take_grammar(&p);
    hn_free(p.names);
    if (status == HN_OK)
        *out = g;
    else
        hn_grammar_free(g);
    return status;
}
