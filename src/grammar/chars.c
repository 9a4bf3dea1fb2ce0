/* Sets of code points, and their UTF-8 as edges. */
#include "grammar/build.h"

#include "base/mem.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { SURROGATE_FIRST = 0xD800, SURROGATE_LAST = 0xDFFF };

void hn_chars_done(hn_chars *chars) {
    hn_free(chars->data);
    *chars = (hn_chars){0};
}

void hn_chars_add(hn_chars *chars, uint32_t lo, uint32_t hi) {
    if (chars->failed)
        return;
    if (chars->n == chars->capacity) {
        size_t wanted = chars->capacity ? chars->capacity * 2 : 16;
        hn_char_range *data = hn_reallocarray(chars->data, wanted, sizeof *data);
        if (!data) {
            chars->failed = true;
            return;
        }
        chars->data = data;
        chars->capacity = wanted;
    }
    chars->data[chars->n++] = (hn_char_range){lo, hi};
}

static int by_start(const void *a, const void *b) {
    const hn_char_range *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

void hn_chars_tidy(hn_chars *chars) {
    if (chars->failed || !chars->n)
        return;
    qsort(chars->data, chars->n, sizeof *chars->data, by_start);
    size_t n = 0;
    for (size_t i = 1; i < chars->n; i++) {
        if (chars->data[i].lo <= chars->data[n].hi + 1) {
            if (chars->data[i].hi > chars->data[n].hi)
                chars->data[n].hi = chars->data[i].hi;
        } else {
            chars->data[++n] = chars->data[i];
        }
    }
    chars->n = n + 1;
}

void hn_chars_invert(hn_chars *chars, uint32_t last) {
    hn_chars_tidy(chars);
    hn_chars rest = {.failed = chars->failed};
    uint32_t next = 0;
    for (size_t i = 0; i < chars->n; i++) {
        if (chars->data[i].lo > next)
            hn_chars_add(&rest, next, chars->data[i].lo - 1);
        next = chars->data[i].hi + 1;
    }
    if (next <= last)
        hn_chars_add(&rest, next, last);
    hn_chars_done(chars);
    *chars = rest;
}

bool hn_chars_have(const hn_chars *chars, uint32_t c) {
    for (size_t i = 0; i < chars->n; i++)
        if (c >= chars->data[i].lo && c <= chars->data[i].hi)
            return true;
    return false;
}

static bool all(const char *bytes, size_t n, char value) {
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != value)
            return false;
    return true;
}

static int32_t step(hn_grammar *g, int32_t from, int first, int last) {
    int32_t next = hn_build_node(g);
    hn_build_bytes(g, from, first, last, next);
    return next;
}

void hn_build_between(hn_grammar *g, int32_t from, const char *lo, const char *hi, size_t n,
                      char low, char high, int32_t to) {
    char lowest[HN_BETWEEN_MAX], highest[HN_BETWEEN_MAX];
    int first = (uint8_t)lo[0], last = (uint8_t)hi[0];
    if (n == 1) {
        hn_build_bytes(g, from, first, last, to);
        return;
    }
    if (first == last) {
        hn_build_between(g, step(g, from, first, first), lo + 1, hi + 1, n - 1, low, high, to);
        return;
    }
    memset(lowest, low, sizeof lowest);
    memset(highest, high, sizeof highest);
    if (!all(lo + 1, n - 1, low)) {
        hn_build_between(g, step(g, from, first, first), lo + 1, highest, n - 1, low, high, to);
        first++;
    }
    if (!all(hi + 1, n - 1, high)) {
        hn_build_between(g, step(g, from, last, last), lowest, hi + 1, n - 1, low, high, to);
        last--;
    }
    if (first <= last) {
        int32_t next = step(g, from, first, last);
        for (size_t i = 2; i < n; i++)
            next = step(g, next, (uint8_t)low, (uint8_t)high);
        hn_build_bytes(g, next, (uint8_t)low, (uint8_t)high, to);
    }
}

void hn_build_char_range(hn_grammar *g, int32_t from, uint32_t lo, uint32_t hi, int32_t to) {
    /* Where UTF-8 gets a byte longer, and round the surrogates. */
    static const uint32_t LAST[] = {0x7F,           0x7FF,  SURROGATE_FIRST - 1,
                                    SURROGATE_LAST, 0xFFFF, HN_CHAR_LAST};
    uint32_t first = 0;
    for (size_t i = 0; i < sizeof LAST / sizeof *LAST; first = LAST[i++] + 1) {
        uint32_t a = lo > first ? lo : first, b = hi < LAST[i] ? hi : LAST[i];
        if (a > b || first == SURROGATE_FIRST)
            continue;
        char low[4], high[4];
        size_t n = hn_utf8_encode(a, low);
        hn_utf8_encode(b, high);
        hn_build_between(g, from, low, high, n, (char)0x80, (char)0xBF, to);
    }
}

void hn_build_chars(hn_grammar *g, int32_t from, const hn_chars *chars, int32_t to) {
    if (chars->failed)
        g->failed = HN_NO_MEMORY;
    for (size_t i = 0; i < chars->n; i++)
        hn_build_char_range(g, from, chars->data[i].lo, chars->data[i].hi, to);
}
