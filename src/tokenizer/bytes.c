/* What tokens stand for in decoded text. Byte-level vocabularies write each byte as a printable
 * character (GPT-2's table: printable Latin-1 as itself, the rest from U+0100 on in order);
 * SentencePiece ones write a space as U+2581 and a lone byte as <0xXX>. */
#define _GNU_SOURCE /* memmem, mempcpy */
#include "tokenizer/tk.h"

#include "base/text.h"

enum { FIRST_SUBSTITUTE = 0x100, N_SUBSTITUTES = 68 };

static bool stands_for_itself(int byte) {
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

uint32_t hn_tk_byte_to_char(uint8_t byte) {
    if (stands_for_itself(byte))
        return byte;
    uint32_t code_point = FIRST_SUBSTITUTE;
    for (int b = 0; b < byte; b++)
        code_point += !stands_for_itself(b);
    return code_point;
}

int hn_tk_char_to_byte(uint32_t code_point) {
    if (code_point < FIRST_SUBSTITUTE)
        return stands_for_itself((int)code_point) ? (int)code_point : -1;
    if (code_point >= FIRST_SUBSTITUTE + N_SUBSTITUTES)
        return -1;
    /* the substitutes stand for 0-32, 127-160 and 173, in this order */
    uint32_t i = code_point - FIRST_SUBSTITUTE;
    return (int)(i < 33 ? i : i < 67 ? i - 33 + 127 : 173);
}

int hn_tk_byte_token(hn_vocab_text text) {
    if (text.size != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>')
        return -1;
    int value = 0;
    for (int i = 3; i < 5; i++) {
        char c = text.data[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* The bytes behind a byte-level text, or the text itself when it is no such. */
static hn_vocab_text map_back(hn_vocab_text text, const int16_t *to_byte, char **blob) {
    char *out = *blob;
    for (size_t i = 0; i < text.size;) {
        uint32_t c;
        size_t n = hn_utf8_decode(text.data + i, text.size - i, &c);
        int byte = n && c < FIRST_SUBSTITUTE + N_SUBSTITUTES ? to_byte[c] : -1;
        if (byte < 0)
            return text;
        *out++ = (char)byte;
        i += n;
    }
    hn_vocab_text result = {*blob, (size_t)(out - *blob)};
    *blob = out;
    return result;
}

static hn_status fill_byte_level(hn_tokenizer *tk, hn_error *err) {
    int16_t to_byte[FIRST_SUBSTITUTE + N_SUBSTITUTES];
    size_t total = 1;
    for (uint32_t c = 0; c < FIRST_SUBSTITUTE + N_SUBSTITUTES; c++)
        to_byte[c] = (int16_t)hn_tk_char_to_byte(c);
    for (uint32_t id = 0; id < tk->n_tokens; id++)
        total += tk->texts[id].size;
    char *blob = HN_ARENA_NEW(&tk->arena, char, total);
    if (!blob)
        return hn_tk_no_memory(err);
    for (uint32_t id = 0; id < tk->n_tokens; id++)
        tk->bytes[id] =
            tk->texts[id].size ? map_back(tk->texts[id], to_byte, &blob) : tk->texts[id];
    return HN_OK;
}

/* text with every `from` replaced, in the arena; `text` itself when there is none. */
static hn_status replace_all(hn_tokenizer *tk, hn_vocab_text *text, const hn_tk_replace *replace,
                             hn_error *err) {
    const char *p = text->data, *end = p + text->size;
    const char *hit = memmem(p, text->size, replace->from.data, replace->from.size);
    if (!hit)
        return HN_OK;
    size_t n_hits = 0;
    for (const char *q = hit; q; n_hits++) {
        q += replace->from.size;
        q = memmem(q, (size_t)(end - q), replace->from.data, replace->from.size);
    }
    size_t added, size;
    if (hn_mul_overflows(n_hits, replace->to.size, &added) ||
        hn_add_overflows(text->size - n_hits * replace->from.size, added, &size))
        return hn_tk_no_memory(err);
    char *blob = hn_arena_alloc(&tk->arena, size + 1, 1), *out = blob;
    if (!blob)
        return hn_tk_no_memory(err);
    for (; hit; hit = memmem(p, (size_t)(end - p), replace->from.data, replace->from.size)) {
        out = mempcpy(out, p, (size_t)(hit - p));
        out = mempcpy(out, replace->to.data, replace->to.size);
        p = hit + replace->from.size;
    }
    memcpy(out, p, (size_t)(end - p));
    *text = (hn_vocab_text){blob, size};
    return HN_OK;
}

hn_status hn_tk_bytes_fill(hn_tokenizer *tk, const hn_tk_replace *replace, int n_replace,
                           hn_error *err) {
    tk->bytes = HN_ARENA_NEW(&tk->arena, hn_vocab_text, tk->n_tokens);
    char *single = HN_ARENA_NEW(&tk->arena, char, 256);
    if (!tk->bytes || !single)
        return hn_tk_no_memory(err);
    if (tk->byte_level)
        return fill_byte_level(tk, err);
    for (int b = 0; b < 256; b++)
        single[b] = (char)b;
    for (uint32_t id = 0; id < tk->n_tokens; id++) {
        hn_vocab_text text = tk->texts[id];
        for (int i = 0; i < n_replace && text.size; i++)
            HN_TRY(replace_all(tk, &text, &replace[i], err));
        int byte = tk->byte_runs ? hn_tk_byte_token(text) : -1;
        tk->bytes[id] = byte >= 0 ? (hn_vocab_text){single + byte, 1} : text;
    }
    return HN_OK;
}
