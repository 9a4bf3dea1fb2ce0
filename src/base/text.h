/* UTF-8 and small text helpers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes one code point at text[0..n_bytes); returns its length (1 to 4), or 0 when the bytes are
 * no valid UTF-8 (overlong, surrogate, above U+10FFFF, cut off). */
size_t hn_utf8_decode(const char *text, size_t n_bytes, uint32_t *code_point);
/* Writes 1 to 4 bytes, returns how many. */
size_t hn_utf8_encode(uint32_t code_point, char out[4]);
bool hn_utf8_valid(const char *text, size_t n_bytes);
/* How many leading bytes of text form whole characters; the rest may be completed by later bytes.
 * Bytes that can never become valid count as whole. */
size_t hn_utf8_complete_prefix(const char *text, size_t n_bytes);

/* The value of a hexadecimal digit of either case, or -1. */
static inline int hn_hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The candidate nearest to `word` by edit distance, or NULL when none is near enough to suggest. */
const char *hn_text_nearest(const char *word, const char *const *candidates, size_t n_candidates);
