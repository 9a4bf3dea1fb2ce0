/* The known pre-tokeniser patterns by hand: one pass, no backtracking. Each function gives the size
 * of the match at the start of the text, as the regular expression above it would; the text ends
 * where the piece ends, so a look-ahead sees nothing behind it. */
#include "tokenizer/tk.h"

static inline unsigned kind_at(const uint8_t *classes, const uint8_t *p, size_t *size) {
    if (*p < 0x80) {
        uint8_t c = *p;
        *size = 1;
        if ((uint8_t)((c | 0x20) - 'a') < 26)
            return HN_TK_LETTER;
        if ((uint8_t)(c - '0') < 10)
            return HN_TK_NUMBER;
        return c == ' ' || (uint8_t)(c - '\t') < 5 ? HN_TK_SPACE : HN_TK_OTHER;
    }
    return hn_tk_class_at(classes, p, size) & HN_TK_KIND;
}

/* The end of the run of characters of one kind from p on. */
static inline const uint8_t *run_of(const uint8_t *classes, unsigned kind, const uint8_t *p,
                                    const uint8_t *end) {
    size_t n;
    while (p < end && kind_at(classes, p, &n) == kind)
        p += n;
    return p;
}

/* What \s+(?!\S)|\s+ takes of the white space at p: all of it at the end of the text, otherwise all
 * but the last character, which goes with the next word, but at least one. */
static size_t scan_space(const uint8_t *classes, const uint8_t *p, const uint8_t *end) {
    const uint8_t *q = p, *last = p;
    size_t n;
    while (q < end && kind_at(classes, q, &n) == HN_TK_SPACE) {
        last = q;
        q += n;
    }
    return (size_t)((q < end && last > p ? last : q) - p);
}

/* 's|'t|'re|'ve|'m|'ll|'d at p, which holds an apostrophe: its size or 0. */
static size_t scan_contraction(const uint8_t *p, const uint8_t *end, bool any_case) {
    size_t left = (size_t)(end - p);
    if (left < 2)
        return 0;
    uint8_t a = any_case ? (p[1] | 0x20) : p[1];
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    if (any_case && left > 2 && p[1] == 0xc5 && p[2] == 0xbf)
        return 3; /* U+017F, the long s, is an s without case */
    if (left < 3)
        return 0;
    uint8_t b = any_case ? (p[2] | 0x20) : p[2];
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
size_t hn_tk_scan_gpt2(const uint8_t *classes, const char *text, size_t size) {
    const uint8_t *p = (const uint8_t *)text, *end = p + size, *q = p;
    if (*p == '\'') {
        size_t n = scan_contraction(p, end, false);
        if (n)
            return n;
    }
    if (*p == ' ' && size > 1)
        q++;
    size_t n;
    unsigned kind = kind_at(classes, q, &n);
    if (kind == HN_TK_SPACE)
        return scan_space(classes, p, end);
    return (size_t)(run_of(classes, kind, q + n, end) - p);
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ at white space: up to the last line break of the run, if any. */
static size_t scan_lines(const uint8_t *classes, const uint8_t *p, const uint8_t *end) {
    const uint8_t *q = p, *after_break = NULL;
    size_t n;
    while (q < end && kind_at(classes, q, &n) == HN_TK_SPACE) {
        if (*q == '\r' || *q == '\n')
            after_break = q + 1;
        q += n;
    }
    return after_break ? (size_t)(after_break - p) : scan_space(classes, p, end);
}

static size_t scan_digits(const uint8_t *classes, const uint8_t *p, const uint8_t *end, int max) {
    const uint8_t *q = p;
    size_t n;
    for (int i = 0; i < max && q < end && kind_at(classes, q, &n) == HN_TK_NUMBER; i++)
        q += n;
    return (size_t)(q - p);
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,max_digits}|
 *  ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
size_t hn_tk_scan_llama3(const uint8_t *classes, const char *text, size_t size, int max_digits) {
    const uint8_t *p = (const uint8_t *)text, *end = p + size;
    size_t n, next;
    if (*p == '\'') {
        n = scan_contraction(p, end, true);
        if (n)
            return n;
    }
    unsigned kind = kind_at(classes, p, &n);
    if (kind == HN_TK_LETTER)
        return (size_t)(run_of(classes, HN_TK_LETTER, p + n, end) - p);
    if (kind == HN_TK_NUMBER)
        return scan_digits(classes, p, end, max_digits);
    const uint8_t *q = p + n;
    unsigned after = q < end ? kind_at(classes, q, &next) : HN_TK_SPACE;
    if (after == HN_TK_LETTER && *p != '\r' && *p != '\n')
        return (size_t)(run_of(classes, HN_TK_LETTER, q + next, end) - p);
    if (kind == HN_TK_SPACE && !(*p == ' ' && after == HN_TK_OTHER))
        return scan_lines(classes, p, end);
    q = run_of(classes, HN_TK_OTHER, q, end);
    while (q < end && (*q == '\r' || *q == '\n'))
        q++;
    return (size_t)(q - p);
}
