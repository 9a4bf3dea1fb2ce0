/* Inside the tokenizer: the tables, the steps that turn text into words, and the words into ids.
 * Everything of a tokenizer lies in its arena and is written only while it is built, save two bits
 * a token that remember whether its text encodes to itself. */
#pragma once

#include "base/arena.h"
#include "base/mem.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

#include <jansson.h>
#include <stdatomic.h>
#include <string.h>

#define HN_TK_NONE UINT32_MAX

/* Text -> id, open addressing, at most half full. A short text lies in its slot, so that finding a
 * common word touches one cache line. */
typedef struct hn_tk_slot {
    uint64_t head;        /* up to 8 bytes: all of the text, packed; longer: its first 8 */
    uint32_t tag;         /* up to 8 bytes: the size; longer: the hash, and HN_TK_LONG set */
    _Atomic uint32_t id1; /* id + 1, 0 = empty, and in the top bits an hn_tk_whole */
} hn_tk_slot;

enum {
    HN_TK_IN_SLOT = 8, /* bytes */
    HN_TK_LONG = 16,   /* above every size that lies in a slot */
    HN_TK_WHOLE_SHIFT = 30,
    HN_TK_ID1 = (1 << HN_TK_WHOLE_SHIFT) - 1,
};

/* Does the text encode to this token alone? Found out when it is first met; this is the one thing
 * that changes after creation. */
typedef enum hn_tk_whole { HN_TK_UNTRIED, HN_TK_ITSELF, HN_TK_SPLITS } hn_tk_whole;

typedef struct hn_tk_table {
    hn_tk_slot *slots;
    uint32_t n_slots;
    const hn_vocab_text *keys; /* by id */
    uint64_t seed;
} hn_tk_table;

/* (left, right) -> rank, merged token. */
typedef struct hn_tk_pair {
    uint32_t left, right;
    uint32_t rank1; /* rank + 1, lower merges first; 0 = empty slot */
    uint32_t id;
} hn_tk_pair;

typedef struct hn_tk_pairs {
    hn_tk_pair *slots; /* NULL = merges follow scores: a pair merges when its text is a token */
    uint32_t n_slots;
} hn_tk_pairs;

/* Where a hash belongs among n slots, and the slot behind another. Any number of slots will do: a
 * power of two would be up to twice as many as are wanted. */
static inline uint32_t hn_tk_home(uint32_t hash, uint32_t n) {
    return (uint32_t)((uint64_t)hash * n >> 32);
}
static inline uint32_t hn_tk_next(uint32_t slot, uint32_t n) {
    return slot + 1 == n ? 0 : slot + 1;
}

/* A regular expression (regex.c). */
typedef struct hn_tk_regex hn_tk_regex;

typedef enum hn_tk_norm_kind {
    HN_TK_NORM_NFC,
    HN_TK_NORM_NFD,
    HN_TK_NORM_NFKC,
    HN_TK_NORM_NFKD,
    HN_TK_NORM_PREPEND,
    HN_TK_NORM_REPLACE,
} hn_tk_norm_kind;

typedef struct hn_tk_norm {
    hn_tk_norm_kind kind;
    hn_vocab_text text;    /* PREPEND: what; REPLACE: what to look for, unless `regex` */
    hn_vocab_text content; /* REPLACE: what to put there */
    hn_tk_regex *regex;
} hn_tk_norm;

typedef enum hn_tk_step_kind {
    HN_TK_STEP_GPT2, /* the known patterns, scanned by hand (scan.c) */
    HN_TK_STEP_LLAMA3,
    HN_TK_STEP_QWEN2,
    HN_TK_STEP_DIGITS,  /* runs of digits, or single ones (`individual`) */
    HN_TK_STEP_REGEX,   /* any other pattern */
    HN_TK_STEP_LITERAL, /* split at a string */
    HN_TK_STEP_PREFIX,  /* ByteLevel's add_prefix_space */
    HN_TK_STEP_METASPACE,
    HN_TK_STEP_WORD_STARTS, /* our own cut before a U+2581 that follows something else */
} hn_tk_step_kind;

typedef enum hn_tk_behaviour {
    HN_TK_ISOLATED,
    HN_TK_REMOVED,
    HN_TK_CONTIGUOUS,
    HN_TK_MERGED_WITH_PREVIOUS,
    HN_TK_MERGED_WITH_NEXT,
} hn_tk_behaviour;

typedef enum hn_tk_prepend { HN_TK_ALWAYS, HN_TK_FIRST, HN_TK_NEVER } hn_tk_prepend;

typedef struct hn_tk_step {
    hn_tk_step_kind kind;
    hn_tk_behaviour behaviour; /* REGEX, LITERAL */
    bool invert;               /* REGEX, LITERAL: the matches are the words */
    bool individual;           /* DIGITS */
    bool split;                /* METASPACE */
    hn_tk_prepend prepend;     /* METASPACE */
    hn_vocab_text text;        /* LITERAL: the string; METASPACE: what stands for a space */
    hn_tk_regex *regex;
} hn_tk_step;

/* A token that is found in the text before anything else happens to it. */
typedef struct hn_tk_added {
    hn_vocab_text text;
    int32_t id;
    bool special, normalized, single_word, lstrip, rstrip;
} hn_tk_added;

/* Added tokens by first byte, longest first. */
typedef struct hn_tk_matcher {
    const hn_tk_added **tokens;
    uint32_t first[257]; /* tokens[first[b] .. first[b + 1]) start with byte b */
    uint32_t *second;    /* 65,536 bits: may these two bytes begin a token? */
    uint32_t count;
} hn_tk_matcher;

enum { HN_TK_MAX_STEPS = 16, HN_TK_MAX_TEMPLATE = 16 };

struct hn_tokenizer {
    hn_arena arena;
    hn_arena pairs_arena; /* of pairs, which another thread may fill meanwhile */
    uint64_t seed;        /* of the hash tables, so that a file can't be made to collide */
    bool byte_level;

    /* the vocabulary, by id */
    uint32_t n_tokens;
    hn_vocab_text *texts; /* as written in the file */
    hn_vocab_text *bytes; /* what they stand for in decoded text */
    int32_t *kinds;
    float *scores;     /* NULL = none */
    uint32_t n_merges; /* as they were given: ranks are below */
    const char *model, *pre;
    int32_t bos, eos, eot, unk, pad;
    bool add_bos, add_eos, add_space_prefix;

    /* words -> ids */
    hn_tk_table by_text; /* `texts` */
    hn_tk_table by_word; /* byte-level: `bytes` of ordinary tokens; otherwise the same as by_text */
    hn_tk_pairs pairs;
    int32_t byte_ids[256];  /* byte-level: the token of a byte; otherwise its <0xXX> */
    int32_t ascii_ids[128]; /* otherwise: the token of a character */
    int32_t model_unk;      /* the model's own unknown token, -1 = drop what is unknown */
    bool ignore_merges, byte_fallback, fuse_unk;

    /* text -> words */
    hn_tk_regex *regexes; /* all of them, to free */
    uint8_t *classes;
    hn_tk_norm norms[HN_TK_MAX_STEPS];
    int n_norms;
    hn_tk_step steps[HN_TK_MAX_STEPS];
    int n_steps;
    hn_tk_added *added;
    uint32_t n_added;
    hn_tk_matcher raw, normalized;
    int32_t before[HN_TK_MAX_TEMPLATE], after[HN_TK_MAX_TEMPLATE];
    int n_before, n_after;

    /* ids -> text */
    bool strip_first_space; /* of the whole text */
    bool strip_first_meta;  /* Metaspace: of the first token, all of them */
    bool join_with_space;   /* no decoder at all */
    bool byte_runs;         /* ByteFallback: a run of <0xXX> is one text or all U+FFFD */
    bool *is_end;
};

/* A text as the table compares it. */
typedef struct hn_tk_key {
    uint64_t head;
    uint32_t hash, tag;
} hn_tk_key;

/* Two multiplications and no loop up to 16 bytes. */
static inline hn_tk_key hn_tk_key_of(const char *p, size_t n, uint64_t seed) {
    const uint64_t k = 0x9E3779B97F4A7C15u, k2 = 0xC4CEB9FE1A85EC53u;
    uint64_t a = 0, b = 0, h = seed ^ n;
    const size_t size = n;
    hn_tk_key key;
    if (n >= 8) {
        memcpy(&a, p, 8);
        key.head = a;
        for (; n > 16; p += 8, n -= 8) {
            h = (h ^ a) * k;
            h ^= h >> 29;
            memcpy(&a, p + 8, 8);
        }
        memcpy(&b, p + n - 8, 8);
    } else {
        if (n >= 4) {
            uint32_t low, high;
            memcpy(&low, p, 4);
            memcpy(&high, p + n - 4, 4);
            a = (uint64_t)high << 32 | low;
        } else if (n > 0) {
            a = (uint64_t)(uint8_t)p[0] | (uint64_t)(uint8_t)p[n / 2] << 8 |
                (uint64_t)(uint8_t)p[n - 1] << 16;
        }
        key.head = a;
    }
    h = (h ^ a) * k;
    h = (h ^ h >> 32 ^ b) * k2;
    key.hash = (uint32_t)(h >> 32) ^ (uint32_t)h;
    key.tag = size <= HN_TK_IN_SLOT ? (uint32_t)size : key.hash | HN_TK_LONG;
    return key;
}

static inline uint32_t hn_tk_pair_home(const hn_tk_pairs *pairs, uint32_t left, uint32_t right) {
    uint64_t key = (uint64_t)left << 32 | right;
    key ^= key >> 29; /* so that `left` reaches the bits that the product keeps */
    return hn_tk_home((uint32_t)(key * 0x9E3779B97F4A7C15u >> 32), pairs->n_slots);
}

static inline const hn_tk_pair *hn_tk_pair_find(const hn_tk_pairs *pairs, uint32_t left,
                                                uint32_t right) {
    for (uint32_t i = hn_tk_pair_home(pairs, left, right);; i = hn_tk_next(i, pairs->n_slots)) {
        const hn_tk_pair *pair = &pairs->slots[i];
        if (!pair->rank1 || (pair->left == left && pair->right == right))
            return pair;
    }
}

static inline bool hn_tk_text_is(hn_vocab_text text, const char *data, size_t size) {
    return text.size == size && memcmp(text.data, data, size) == 0;
}

static inline uint32_t hn_tk_slot_id1(const hn_tk_slot *slot) {
    return atomic_load_explicit(&slot->id1, memory_order_relaxed);
}

/* The slot of a text, or NULL. */
static inline hn_tk_slot *hn_tk_table_slot(const hn_tk_table *table, hn_tk_key key,
                                           const char *data, size_t size) {
    for (uint32_t i = hn_tk_home(key.hash, table->n_slots);; i = hn_tk_next(i, table->n_slots)) {
        hn_tk_slot *slot = &table->slots[i];
        uint32_t id1 = hn_tk_slot_id1(slot);
        if (!id1)
            return NULL;
        if (slot->head != key.head || slot->tag != key.tag)
            continue;
        if (size <= HN_TK_IN_SLOT || hn_tk_text_is(table->keys[(id1 & HN_TK_ID1) - 1], data, size))
            return slot;
    }
}

/* --- vocab.c: building blocks of both ways in --- */

/* An empty tokenizer with its class table; freed with hn_tokenizer_free. */
HN_MUST_CHECK hn_status hn_tk_new(hn_tokenizer **out, hn_error *err);
HN_MUST_CHECK hn_status hn_tk_no_memory(hn_error *err);
/* A copy in the arena, NUL-terminated. */
HN_MUST_CHECK hn_status hn_tk_copy(hn_tokenizer *tk, const char *data, size_t size,
                                   hn_vocab_text *out, hn_error *err);
/* From texts, kinds and flags: by_word, byte_ids, is_end, the added tokens' matchers. */
HN_MUST_CHECK hn_status hn_tk_finish(hn_tokenizer *tk, hn_error *err);
/* True when no token holds U+2581 behind anything else: words may be cut there. */
bool hn_tk_words_start_at_meta(const hn_tokenizer *tk);
/* The code point that byte-level vocabularies write for a byte, and back (-1 = none). */
uint32_t hn_tk_byte_to_char(uint8_t byte);
int hn_tk_char_to_byte(uint32_t code_point);

/* --- tables.c --- */

HN_MUST_CHECK hn_status hn_tk_table_new(hn_tokenizer *tk, hn_tk_table *table,
                                        const hn_vocab_text *keys, uint32_t count, hn_error *err);
/* False when the text is there already; the first one stays. */
bool hn_tk_table_add(hn_tk_table *table, uint32_t id);
/* Many at once; returns the index in ids of the first text that was there already, or count. */
uint32_t hn_tk_table_fill(hn_tk_table *table, const uint32_t *ids, uint32_t count);
uint32_t hn_tk_table_find(const hn_tk_table *table, const char *data, size_t size);
/* tk->pairs from tk->n_merges merges "left right", whose left tokens have n_left[i] bytes before
 * the space; by_text must stand. HN_BAD_INPUT names what is no token. */
HN_MUST_CHECK hn_status hn_tk_merges_fill(hn_tokenizer *tk, const hn_vocab_text *merges,
                                          const uint32_t *n_left, const char *where, hn_error *err);

/* --- bytes.c: what tokens stand for --- */

typedef struct hn_tk_replace {
    hn_vocab_text from, to;
} hn_tk_replace;

/* Fills tk->bytes: byte-level texts mapped back, others after the replacements, <0xXX> as its byte
 * when tk->byte_runs. */
HN_MUST_CHECK hn_status hn_tk_bytes_fill(hn_tokenizer *tk, const hn_tk_replace *replace,
                                         int n_replace, hn_error *err);
/* The byte of "<0xXX>", or -1. */
int hn_tk_byte_token(hn_vocab_text text);

/* --- regex.c --- */

/* Compiles the pattern as the `tokenizers` package's engine reads it; lives as long as tk. */
HN_MUST_CHECK hn_status hn_tk_regex_new(hn_tokenizer *tk, const char *pattern, size_t size,
                                        const char *where, hn_tk_regex **out, hn_error *err);
/* Frees every pattern of tk. */
void hn_tk_regex_free_all(hn_tokenizer *tk);
/* Room for one match, a thread and a pattern each. */
typedef struct hn_tk_regex_match {
    void *data; /* pcre2_match_data */
} hn_tk_regex_match;
HN_MUST_CHECK hn_status hn_tk_regex_match_new(const hn_tk_regex *regex, hn_tk_regex_match *match,
                                              hn_error *err);
void hn_tk_regex_match_done(hn_tk_regex_match *match);
/* The first match at or after `from`; *begin = SIZE_MAX when there is none. */
HN_MUST_CHECK hn_status hn_tk_regex_find(const hn_tk_regex *regex, hn_tk_regex_match *match,
                                         const char *text, size_t size, size_t from, size_t *begin,
                                         size_t *end, hn_error *err);

/* --- patterns.c: what the known pre-tokenisers are called and do --- */

/* The step for a pattern: scanned by hand when it is a known one, otherwise compiled. */
HN_MUST_CHECK hn_status hn_tk_step_pattern(hn_tokenizer *tk, const char *pattern, size_t size,
                                           const char *where, hn_tk_step *step, hn_error *err);
/* The steps (and NFC, ignore_merges) of tokenizer.ggml.pre. */
HN_MUST_CHECK hn_status hn_tk_pre_steps(hn_tokenizer *tk, const char *pre, hn_error *err);
/* The name in tokenizer.ggml.pre whose steps are those of tk, or "default". */
const char *hn_tk_pre_name(const hn_tokenizer *tk);

/* --- json_vocab.c --- */

/* Where the big parts of a tokenizer.json lie; empty when not found. */
typedef struct hn_tk_json_parts {
    hn_vocab_text vocab;  /* {...} */
    hn_vocab_text merges; /* [...] */
} hn_tk_json_parts;
hn_tk_json_parts hn_tk_json_find(const char *json, size_t size);
/* Fills texts of tk (n_tokens = largest id + 1, at least min_tokens; ids without text are empty).
 */
HN_MUST_CHECK hn_status hn_tk_json_vocab(hn_tokenizer *tk, hn_vocab_text part, uint32_t min_tokens,
                                         const char *where, hn_error *err);
/* Fills tk->pairs; by_text must stand. */
HN_MUST_CHECK hn_status hn_tk_json_merges(hn_tokenizer *tk, hn_vocab_text part, const char *where,
                                          hn_error *err);

/* --- json_steps.c: from the parsed file --- */

/* The objects of tokenizer.json that are small. */
HN_MUST_CHECK hn_status hn_tk_json_normalizer(hn_tokenizer *tk, const json_t *node,
                                              const char *where, hn_error *err);
/* Sets tk->byte_level. */
HN_MUST_CHECK hn_status hn_tk_json_pre_tokenizer(hn_tokenizer *tk, const json_t *node,
                                                 const char *where, hn_error *err);

/* --- json_decoder.c --- */

/* Fills tk->bytes and the decoding flags. */
HN_MUST_CHECK hn_status hn_tk_json_decoder(hn_tokenizer *tk, const json_t *node, const char *where,
                                           hn_error *err);
HN_MUST_CHECK hn_status hn_tk_json_post_processor(hn_tokenizer *tk, const json_t *node,
                                                  const char *where, hn_error *err);

/* --- added.c --- */

HN_MUST_CHECK hn_status hn_tk_matcher_new(hn_tokenizer *tk, bool normalized, hn_tk_matcher *matcher,
                                          hn_error *err);
/* The leftmost longest token at or after `from`, or NULL; *begin is where it starts. */
const hn_tk_added *hn_tk_matcher_find(const hn_tk_matcher *matcher, const char *text, size_t size,
                                      size_t from, size_t *begin);

/* --- encoding --- */

typedef struct hn_tk_encoder {
    const hn_tokenizer *tk;
    hn_ids *out;
    int flags;
    hn_error *err;
    size_t text_size;
    struct hn_tk_memo *memo;                    /* merge.c: words merged before */
    struct hn_tk_word_memory *memory;           /* merge.c: symbols of long words */
    hn_tk_regex_match matches[HN_TK_MAX_STEPS]; /* split.c: made when first needed */
    hn_buf texts[HN_TK_MAX_STEPS];              /* split.c: what steps rewrite */
} hn_tk_encoder;

/* normal.c: all normalisers; *out is `text` itself when nothing changed, or lies in `scratch`. */
HN_MUST_CHECK hn_status hn_tk_normalise(const hn_tokenizer *tk, hn_vocab_text text,
                                        hn_buf scratch[2], hn_vocab_text *out, hn_error *err);
/* split.c: runs steps[step..] over text, words go to hn_tk_word. `first`: the text stands at the
 * beginning of the input. */
HN_MUST_CHECK hn_status hn_tk_split(hn_tk_encoder *encoder, int step, const char *text, size_t size,
                                    bool first);
/* scan.c: the size of the word of a known pattern at text[0..size), size > 0. */
size_t hn_tk_scan_gpt2(const uint8_t *classes, const char *text, size_t size);
size_t hn_tk_scan_llama3(const uint8_t *classes, const char *text, size_t size, int max_digits);
/* merge.c */
HN_MUST_CHECK hn_status hn_tk_word(hn_tk_encoder *encoder, const char *text, size_t size);
void hn_tk_encoder_done(hn_tk_encoder *encoder);
