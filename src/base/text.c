#include "base/text.h"

#include <string.h>

size_t hn_utf8_decode(const char *text, size_t n_bytes, uint32_t *code_point) {
    static const uint32_t SMALLEST[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (n_bytes == 0)
        return 0;
    const uint8_t *p = (const uint8_t *)text;
    size_t length = p[0] < 0x80   ? 1
                    : p[0] < 0xc2 ? 0
                    : p[0] < 0xe0 ? 2
                    : p[0] < 0xf0 ? 3
                    : p[0] < 0xf5 ? 4
                                  : 0;
    if (length == 0 || length > n_bytes)
        return 0;
    uint32_t value = length == 1 ? p[0] : p[0] & (0x7f >> length);
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (p[i] & 0x3f);
    }
    if (value < SMALLEST[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        return 0;
    *code_point = value;
    return length;
}

size_t hn_utf8_encode(uint32_t c, char out[4]) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

bool hn_utf8_valid(const char *text, size_t n_bytes) {
    uint32_t ignored;
    for (size_t i = 0; i < n_bytes;) {
        size_t length = hn_utf8_decode(text + i, n_bytes - i, &ignored);
        if (length == 0)
            return false;
        i += length;
    }
    return true;
}

size_t hn_utf8_complete_prefix(const char *text, size_t n_bytes) {
    size_t look = n_bytes < 3 ? n_bytes : 3; /* a cut character leaves at most 3 bytes */
    for (size_t back = 1; back <= look; back++) {
        uint8_t byte = (uint8_t)text[n_bytes - back];
        if ((byte & 0xc0) == 0x80)
            continue;
        size_t wanted = byte >= 0xc2 && byte < 0xe0   ? 2
                        : byte >= 0xe0 && byte < 0xf0 ? 3
                        : byte >= 0xf0 && byte < 0xf5 ? 4
                                                      : 1;
        return wanted > back ? n_bytes - back : n_bytes;
    }
    return n_bytes;
}

enum { MAX_WORD = 64 };

static size_t edit_distance(const char *a, size_t n_a, const char *b, size_t n_b) {
    size_t row[MAX_WORD + 1];
    for (size_t j = 0; j <= n_b; j++)
        row[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            size_t substitute = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t insert_or_delete = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = substitute < insert_or_delete ? substitute : insert_or_delete;
        }
    }
    return row[n_b];
}

/* "quant" for "quantize", "evaluate" for "eval": far in letters, near in meaning. */
static bool begins_alike(const char *a, size_t n_a, const char *b, size_t n_b) {
    enum { MIN_PREFIX = 3 };
    size_t n = n_a < n_b ? n_a : n_b;
    return n >= MIN_PREFIX && !memcmp(a, b, n);
}

const char *hn_text_nearest(const char *word, const char *const *candidates, size_t n_candidates) {
    size_t n_word = strlen(word), best = SIZE_MAX;
    const char *nearest = NULL, *alike = NULL;
    if (n_word > MAX_WORD)
        return NULL;
    for (size_t i = 0; i < n_candidates; i++) {
        size_t n = strlen(candidates[i]);
        if (n > MAX_WORD)
            continue;
        if (!alike && begins_alike(word, n_word, candidates[i], n))
            alike = candidates[i];
        size_t distance = edit_distance(word, n_word, candidates[i], n);
        if (distance < best) {
            best = distance;
            nearest = candidates[i];
        }
    }
    return best <= n_word / 3 + 1 ? nearest : alike;
}
