/* Finds added tokens in text: the leftmost, and of those the longest. Two bytes of look-ahead rule
 * out nearly every position. */
#include "tokenizer/tk.h"

#include <stdlib.h>

static int by_first_byte_longest(const void *a, const void *b) {
    const hn_vocab_text x = (*(hn_tk_added *const *)a)->text, y = (*(hn_tk_added *const *)b)->text;
    if (x.data[0] != y.data[0])
        return (uint8_t)x.data[0] < (uint8_t)y.data[0] ? -1 : 1;
    if (x.size != y.size)
        return x.size > y.size ? -1 : 1;
    return memcmp(x.data, y.data, x.size);
}

static void allow(uint32_t *second, uint8_t a, uint8_t b) {
    uint32_t bit = (uint32_t)a << 8 | b;
    second[bit / 32] |= 1u << bit % 32;
}

hn_status hn_tk_matcher_new(hn_tokenizer *tk, bool normalized, hn_tk_matcher *matcher,
                            hn_error *err) {
    for (uint32_t i = 0; i < tk->n_added; i++)
        matcher->count += tk->added[i].normalized == normalized && tk->added[i].text.size > 0;
    if (matcher->count == 0)
        return HN_OK;
    matcher->tokens = HN_ARENA_NEW(&tk->arena, const hn_tk_added *, matcher->count);
    matcher->second = HN_ARENA_NEW(&tk->arena, uint32_t, 65536 / 32);
    if (!matcher->tokens || !matcher->second)
        return hn_tk_no_memory(err);
    uint32_t n = 0;
    for (uint32_t i = 0; i < tk->n_added; i++) {
        const hn_vocab_text text = tk->added[i].text;
        if (tk->added[i].normalized != normalized || text.size == 0)
            continue;
        matcher->tokens[n++] = &tk->added[i];
        for (int b = 0; b < 256; b++)
            if (text.size == 1 || (uint8_t)text.data[1] == b)
                allow(matcher->second, (uint8_t)text.data[0], (uint8_t)b);
        matcher->first[(uint8_t)text.data[0] + 1]++;
    }
    qsort(matcher->tokens, n, sizeof *matcher->tokens, by_first_byte_longest);
    for (int b = 0; b < 256; b++)
        matcher->first[b + 1] += matcher->first[b];
    return HN_OK;
}

const hn_tk_added *hn_tk_matcher_find(const hn_tk_matcher *matcher, const char *text, size_t size,
                                      size_t from, size_t *begin) {
    if (matcher->count == 0)
        return NULL;
    for (size_t i = from; i < size; i++) {
        uint8_t a = (uint8_t)text[i], b = i + 1 < size ? (uint8_t)text[i + 1] : 0;
        uint32_t bit = (uint32_t)a << 8 | b;
        bool possible = matcher->second[bit / 32] >> bit % 32 & 1;
        if (!possible)
            continue;
        for (uint32_t k = matcher->first[a]; k < matcher->first[a + 1]; k++) {
            const hn_vocab_text token = matcher->tokens[k]->text;
            if (token.size <= size - i && memcmp(token.data, text + i, token.size) == 0) {
                *begin = i;
                return matcher->tokens[k];
            }
        }
    }
    return NULL;
}
