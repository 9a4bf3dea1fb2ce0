/* Byte-level BPE and SentencePiece BPE, from GGUF metadata or tokenizer.json. Text in, ids out,
 * exactly as the model's own tokenizer does it. Immutable after creation and safe to share. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hn_tokenizer hn_tokenizer;

/* Kinds as GGUF numbers them (tokenizer.ggml.token_type). */
typedef enum hn_token_kind {
    HN_TOKEN_NORMAL = 1,
    HN_TOKEN_UNKNOWN,
    HN_TOKEN_CONTROL,
    HN_TOKEN_USER_DEFINED,
    HN_TOKEN_UNUSED,
    HN_TOKEN_BYTE,
} hn_token_kind;

typedef struct hn_vocab_text {
    const char *data;
    size_t size;
} hn_vocab_text;

/* What GGUF's tokenizer.ggml.* keys hold; model/ fills it in. Borrowed during creation only. */
typedef struct hn_vocab {
    const char *model; /* "gpt2" (byte-level BPE) or "llama" (SentencePiece BPE) */
    const char *pre; /* "gpt-2", "llama-bpe", "qwen2", "smollm", ...; NULL = the model's default */
    uint32_t n_tokens;
    const hn_vocab_text *tokens;
    const float *scores;         /* SentencePiece; NULL otherwise */
    const int32_t *kinds;        /* hn_token_kind; NULL = all normal */
    const hn_vocab_text *merges; /* "left right", best first; byte-level BPE */
    uint32_t n_merges;
    int32_t bos, eos, eot, unk, pad; /* -1 = none */
    bool add_bos, add_eos, add_space_prefix;
} hn_vocab;

/* What add_bos is where the file doesn't say: true for SentencePiece and the Llama 3 family. */
bool hn_vocab_default_add_bos(const char *model, const char *pre);

/* How text is cut into words before byte-level BPE under the pre-tokenizer `pre`: regular
 * expressions applied one after the other, each match a word; and the model's two switches. False
 * for a name that hone doesn't know. Borrowed for ever. */
enum { HN_PRE_MAX_PATTERNS = 3 };
typedef struct hn_pre_tokenizer {
    const char *patterns[HN_PRE_MAX_PATTERNS]; /* NULL after the last */
    bool nfc, ignore_merges;
} hn_pre_tokenizer;
bool hn_pre_tokenizer_find(const char *pre, hn_pre_tokenizer *out);

HN_MUST_CHECK hn_status hn_tokenizer_from_vocab(hn_tokenizer **out, const hn_vocab *vocab,
                                                hn_error *err);
/* From the text of tokenizer.json and (may be NULL) tokenizer_config.json. */
HN_MUST_CHECK hn_status hn_tokenizer_from_json(hn_tokenizer **out, const char *json, size_t size,
                                               const char *config_json, size_t config_size,
                                               const char *where, hn_error *err);
void hn_tokenizer_free(hn_tokenizer *tokenizer);

/* The vocabulary back out, for writing a GGUF from a Hugging Face folder: borrowed from the
 * tokenizer, as in hn_vocab, but for the merges, which are left out. */
void hn_tokenizer_vocab(const hn_tokenizer *tokenizer, hn_vocab *vocab);
/* Adds the merges, best first, written anew into the arena: the tokenizer has no use for their
 * texts and doesn't keep them. A pair that was given twice comes once. */
HN_MUST_CHECK hn_status hn_tokenizer_merges(const hn_tokenizer *tokenizer, hn_arena *arena,
                                            hn_vocab *vocab, hn_error *err);

enum {
    HN_ENCODE_ADD_SPECIAL = 1,   /* BOS / EOS as the tokenizer's own settings say */
    HN_ENCODE_PARSE_SPECIAL = 2, /* control tokens in the text become their ids (templates only:
                                    user text is never encoded with this flag) */
};

/* A growing array of ids; zero-initialised is empty. */
typedef struct hn_ids {
    int32_t *data;
    size_t size, capacity;
} hn_ids;
void hn_ids_done(hn_ids *ids);
HN_MUST_CHECK hn_status hn_ids_push(hn_ids *ids, int32_t id, hn_error *err);

/* Appends to *ids. Bytes that are no UTF-8 are HN_BAD_INPUT with their offset. */
HN_MUST_CHECK hn_status hn_encode(const hn_tokenizer *tokenizer, const char *text, size_t n_bytes,
                                  int flags, hn_ids *ids, hn_error *err);

/* The bytes of one token as they stand in decoded text: may be part of a character. Control tokens
 * give nothing unless `special`. Borrowed from the tokenizer. */
void hn_token_bytes(const hn_tokenizer *tokenizer, int32_t id, bool special, const char **data,
                    size_t *n_bytes);
/* All of them, as the `tokenizers` package decodes (a SentencePiece text loses its first space;
 * incomplete characters become U+FFFD), save that a control token is hidden by its kind alone: the
 * package shows those whose normalizer changes their text. */
HN_MUST_CHECK hn_status hn_decode(const hn_tokenizer *tokenizer, const int32_t *ids, size_t n,
                                  bool special, hn_buf *out, hn_error *err);

/* Streaming: bytes that may still become a character are held back. */
typedef struct hn_decoder {
    const hn_tokenizer *tokenizer;
    bool special;
    bool started;
    char held[8];
    size_t n_held;
} hn_decoder;
void hn_decoder_init(hn_decoder *decoder, const hn_tokenizer *tokenizer, bool special);
HN_MUST_CHECK hn_status hn_decoder_push(hn_decoder *decoder, int32_t id, hn_buf *out,
                                        hn_error *err);
/* What is still held back becomes U+FFFD. */
HN_MUST_CHECK hn_status hn_decoder_finish(hn_decoder *decoder, hn_buf *out, hn_error *err);

uint32_t hn_tokenizer_size(const hn_tokenizer *tokenizer);
int32_t hn_tokenizer_bos(const hn_tokenizer *tokenizer);
int32_t hn_tokenizer_eos(const hn_tokenizer *tokenizer);
/* True for every id that ends an assistant's turn (eos, eot, <|im_end|>, <|eot_id|>, ...). */
bool hn_tokenizer_is_end(const hn_tokenizer *tokenizer, int32_t id);
bool hn_tokenizer_is_control(const hn_tokenizer *tokenizer, int32_t id);
bool hn_tokenizer_adds_bos(const hn_tokenizer *tokenizer);
/* The id of exactly this token, or -1. */
int32_t hn_tokenizer_find(const hn_tokenizer *tokenizer, const char *text, size_t n_bytes);
