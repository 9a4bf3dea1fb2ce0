/* Two small vocabularies for tests and fuzzing: bytes with some merges, and SentencePiece pieces
 * with byte tokens. */
#pragma once

#include "base/text.h"
#include "tokenizer/tk.h"

#include <stdio.h>
#include <string.h>

typedef struct tiny_vocab {
    hn_vocab vocab;
    char text[320][16];
    hn_vocab_text tokens[320], merges[16];
    float scores[320];
    int32_t kinds[320];
} tiny_vocab;

static inline int32_t tiny_add(tiny_vocab *t, const char *text, size_t size, float score,
                               int32_t kind) {
    uint32_t id = t->vocab.n_tokens++;
    memcpy(t->text[id], text, size);
    t->tokens[id] = (hn_vocab_text){t->text[id], size};
    t->scores[id] = score;
    t->kinds[id] = kind;
    return (int32_t)id;
}

static inline void tiny_start(tiny_vocab *t, const char *model, const char *pre) {
    memset(t, 0, sizeof *t);
    t->vocab = (hn_vocab){.model = model,
                          .pre = pre,
                          .tokens = t->tokens,
                          .scores = t->scores,
                          .kinds = t->kinds,
                          .bos = -1,
                          .eos = -1,
                          .eot = -1,
                          .unk = -1,
                          .pad = -1};
}

/* Ids 0 to 255 are the bytes; then the merges' results; then <|end|> (control) and <u> (user). */
static inline void tiny_byte_level(tiny_vocab *t, const char *pre) {
    static const char *const MERGES[] = {"h e",          "l l", "he ll",         "hell o",
                                         "\u0120 w",     "o r", "\u0120w or",    "l d",
                                         "\u0120wor ld", "1 2", "\u010a \u010a", "\u0120 \u0120"};
    tiny_start(t, "gpt2", pre);
    for (int b = 0; b < 256; b++) {
        char text[4];
        tiny_add(t, text, hn_utf8_encode(hn_tk_byte_to_char((uint8_t)b), text), 0, HN_TOKEN_NORMAL);
    }
    for (size_t i = 0; i < sizeof MERGES / sizeof *MERGES; i++) {
        const char *space = strchr(MERGES[i], ' ');
        char joined[16];
        int n = snprintf(joined, sizeof joined, "%.*s%s", (int)(space - MERGES[i]), MERGES[i],
                         space + 1);
        tiny_add(t, joined, (size_t)n, 0, HN_TOKEN_NORMAL);
        t->merges[i] = (hn_vocab_text){MERGES[i], strlen(MERGES[i])};
        t->vocab.n_merges++;
    }
    t->vocab.merges = t->merges;
    t->vocab.eos = tiny_add(t, "<|end|>", 7, 0, HN_TOKEN_CONTROL);
    tiny_add(t, "<u>", 3, 0, HN_TOKEN_USER_DEFINED);
}

/* <unk> 0, <s> 1, </s> 2, the bytes from 3 on, then pieces. */
static inline void tiny_sentencepiece(tiny_vocab *t) {
    static const char *const PIECES[] = {
        "\u2581", "h",      "e",         "l",           "o",           "w",           "r",
        "d",      "\u00e9", "\u2581w",   "or",          "ld",          "he",          "ll",
        "hell",   "hello",  "\u2581wor", "\u2581world", "\u2581hello", "\u2581\u2581"};
    tiny_start(t, "llama", NULL);
    t->vocab.unk = tiny_add(t, "<unk>", 5, 0, HN_TOKEN_UNKNOWN);
    t->vocab.bos = tiny_add(t, "<s>", 3, 0, HN_TOKEN_CONTROL);
    t->vocab.eos = tiny_add(t, "</s>", 4, 0, HN_TOKEN_CONTROL);
    for (int b = 0; b < 256; b++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", b);
        tiny_add(t, text, 6, 0, HN_TOKEN_BYTE);
    }
    for (size_t i = 0; i < sizeof PIECES / sizeof *PIECES; i++)
        tiny_add(t, PIECES[i], strlen(PIECES[i]), -(float)i, HN_TOKEN_NORMAL);
    t->vocab.add_bos = t->vocab.add_space_prefix = true;
}
