/* What kind of character a code point is, as the pre-tokenisers' \p{L}, \p{N} and \s see it, and a
 * UTF-8 step for text that is already known to be valid. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum hn_tk_class {
    HN_TK_OTHER = 0,
    HN_TK_LETTER = 1, /* \p{L} */
    HN_TK_NUMBER = 2, /* \p{N} */
    HN_TK_SPACE = 3,  /* \s */
    HN_TK_KIND = 3,   /* mask of the four above */
    HN_TK_NFC = 4,    /* NFC may change it, move it or join it with what stands before */
    HN_TK_DIGIT = 8,  /* what the Digits pre-tokeniser isolates */
} hn_tk_class;

/* Generated: code point << 4 | bits at the start of each run. */
extern const uint32_t HN_TK_CLASS_RUNS[];
extern const size_t HN_TK_N_CLASS_RUNS;

/* Generated: characters of a general category ("Lu") that came after Unicode 14, as ranges for a
 * class of PCRE2, whose tables may be that old; naming a character twice there does no harm. */
typedef struct hn_tk_newer {
    const char *category, *ranges;
} hn_tk_newer;
extern const hn_tk_newer HN_TK_NEWER[];
extern const size_t HN_TK_N_NEWER;

enum {
    HN_TK_CODE_POINTS = 0x110000,
    HN_TK_CLASS_BYTES = HN_TK_CODE_POINTS / 2, /* 4 bits a code point */
};

/* Fills table[HN_TK_CLASS_BYTES] from the runs. */
void hn_tk_classes_fill(uint8_t *table);

static inline unsigned hn_tk_class_of(const uint8_t *table, uint32_t code_point) {
    return table[code_point >> 1] >> (code_point & 1) * 4 & 15u;
}

/* One character of valid UTF-8: its length, and the code point in *code_point. */
static inline size_t hn_tk_char(const uint8_t *p, uint32_t *code_point) {
    if (p[0] < 0x80) {
        *code_point = p[0];
        return 1;
    }
    if (p[0] < 0xe0) {
        *code_point = (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
        return 2;
    }
    if (p[0] < 0xf0) {
        *code_point = (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
        return 3;
    }
    *code_point = (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 |
                  (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
    return 4;
}

/* The length of the character that starts with `lead`. */
static inline size_t hn_tk_char_size(uint8_t lead) {
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* The class of the character at p in valid UTF-8; its length goes to *size. */
static inline unsigned hn_tk_class_at(const uint8_t *table, const uint8_t *p, size_t *size) {
    uint32_t code_point;
    *size = hn_tk_char(p, &code_point);
    return hn_tk_class_of(table, code_point);
}

/* The offset of the first byte that is no UTF-8, or n_bytes. */
size_t hn_tk_utf8_check(const char *text, size_t n_bytes);
