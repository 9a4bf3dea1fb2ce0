/* Expands the table of character classes, and checks UTF-8 quickly where text is mostly ASCII. */
#include "tokenizer/unicode.h"

#include "base/text.h"

#include <string.h>

void hn_tk_classes_fill(uint8_t *table) {
    for (size_t i = 0; i < HN_TK_N_CLASS_RUNS; i++) {
        uint32_t from = HN_TK_CLASS_RUNS[i] >> 4, bits = HN_TK_CLASS_RUNS[i] & 15;
        uint32_t to = i + 1 < HN_TK_N_CLASS_RUNS ? HN_TK_CLASS_RUNS[i + 1] >> 4 : HN_TK_CODE_POINTS;
        if (from & 1 && from < to) {
            table[from >> 1] = (uint8_t)((table[from >> 1] & 15) | bits << 4);
            from++;
        }
        memset(table + (from >> 1), (int)(bits << 4 | bits), (to - from) >> 1);
        if (to & 1 && from < to)
            table[to >> 1] = (uint8_t)bits;
    }
}

size_t hn_tk_utf8_check(const char *text, size_t n_bytes) {
    const uint64_t high_bits = 0x8080808080808080u;
    size_t i = 0;
    while (i < n_bytes) {
        uint64_t word;
        if (n_bytes - i >= sizeof word) {
            memcpy(&word, text + i, sizeof word);
            if (!(word & high_bits)) {
                i += sizeof word;
                continue;
            }
        }
        uint32_t ignored;
        size_t length = hn_utf8_decode(text + i, n_bytes - i, &ignored);
        if (length == 0)
            return i;
        i += length;
    }
    return n_bytes;
}
