/* The vocabulary's tables: text to id, pairs to merges, and what follows from them. */
#define _GNU_SOURCE /* memmem */
#include "tokenizer/tk.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"

#include <stdint.h>

/* U+2581, which SentencePiece writes for a space. */
static const char META[] = "\xe2\x96\x81";
enum { META_BYTES = 3 };

hn_status hn_tk_no_memory(hn_error *err) {
    return hn_fail(err, HN_NO_MEMORY, "out of memory for the tokenizer");
}

hn_status hn_tk_new(hn_tokenizer **out, hn_error *err) {
    hn_tokenizer *tk = hn_calloc(1, sizeof *tk);
    if (!tk)
        return hn_tk_no_memory(err);
    uint64_t salt[2] = {(uint64_t)(uintptr_t)tk, hn_clock_ns()};
    tk->seed = hn_hash64(salt, sizeof salt, 0);
    tk->bos = tk->eos = tk->eot = tk->unk = tk->pad = tk->model_unk = -1;
    memset(tk->byte_ids, 0xff, sizeof tk->byte_ids);
    memset(tk->ascii_ids, 0xff, sizeof tk->ascii_ids);
    tk->classes = HN_ARENA_NEW(&tk->arena, uint8_t, HN_TK_CLASS_BYTES);
    if (!tk->classes) {
        hn_tokenizer_free(tk);
        return hn_tk_no_memory(err);
    }
    hn_tk_classes_fill(tk->classes);
    *out = tk;
    return HN_OK;
}

void hn_tokenizer_free(hn_tokenizer *tk) {
    if (!tk)
        return;
    hn_tk_regex_free_all(tk);
    hn_arena_done(&tk->arena);
    hn_free(tk);
}

hn_status hn_tk_copy(hn_tokenizer *tk, const char *data, size_t size, hn_vocab_text *out,
                     hn_error *err) {
    char *copy = hn_arena_strndup(&tk->arena, data, size);
    if (!copy)
        return hn_tk_no_memory(err);
    *out = (hn_vocab_text){copy, size};
    return HN_OK;
}

/* log2 of a power of two with room for twice `count`. */
static uint32_t slot_bits(uint32_t count) {
    uint32_t bits = 4;
    while (bits < 31 && ((uint64_t)1 << bits) < (uint64_t)count * 2)
        bits++;
    return bits;
}

hn_status hn_tk_table_new(hn_tokenizer *tk, hn_tk_table *table, const hn_vocab_text *keys,
                          uint32_t count, hn_error *err) {
    uint32_t bits = slot_bits(count);
    table->slots = HN_ARENA_NEW(&tk->arena, hn_tk_slot, (size_t)1 << bits);
    if (!table->slots)
        return hn_tk_no_memory(err);
    table->mask = (uint32_t)(((uint64_t)1 << bits) - 1);
    table->keys = keys;
    table->seed = tk->seed;
    return HN_OK;
}

bool hn_tk_table_add(hn_tk_table *table, uint32_t id) {
    const hn_vocab_text text = table->keys[id];
    hn_tk_key key = hn_tk_key_of(text.data, text.size, table->seed);
    if (hn_tk_table_slot(table, key, text.data, text.size))
        return false;
    uint32_t i = key.hash & table->mask;
    while (hn_tk_slot_id1(&table->slots[i]))
        i = (i + 1) & table->mask;
    table->slots[i].head = key.head;
    table->slots[i].tag = key.tag;
    atomic_store_explicit(&table->slots[i].id1, id + 1, memory_order_relaxed);
    return true;
}

uint32_t hn_tk_table_find(const hn_tk_table *table, const char *data, size_t size) {
    const hn_tk_slot *slot =
        hn_tk_table_slot(table, hn_tk_key_of(data, size, table->seed), data, size);
    return slot ? (hn_tk_slot_id1(slot) & HN_TK_ID1) - 1 : HN_TK_NONE;
}

hn_status hn_tk_pairs_new(hn_tokenizer *tk, uint32_t n_merges, hn_error *err) {
    uint32_t bits = slot_bits(n_merges);
    tk->pairs.slots = HN_ARENA_NEW(&tk->arena, hn_tk_pair, (size_t)1 << bits);
    if (!tk->pairs.slots)
        return hn_tk_no_memory(err);
    tk->pairs.mask = (uint32_t)(((uint64_t)1 << bits) - 1);
    tk->pairs.shift = 64 - bits;
    return HN_OK;
}

void hn_tk_pairs_add(hn_tokenizer *tk, uint32_t left, uint32_t right, uint32_t rank, uint32_t id) {
    const hn_tk_pairs *pairs = &tk->pairs;
    uint32_t i = hn_tk_pair_home(pairs, left, right);
    while (pairs->slots[i].rank1 &&
           (pairs->slots[i].left != left || pairs->slots[i].right != right))
        i = (i + 1) & pairs->mask;
    pairs->slots[i] = (hn_tk_pair){left, right, rank + 1, id};
}

hn_status hn_tk_merge_add(hn_tokenizer *tk, uint32_t rank, hn_vocab_text left, hn_vocab_text right,
                          hn_vocab_text merged, const char *where, hn_error *err) {
    const hn_vocab_text parts[3] = {left, right, merged};
    hn_tk_key keys[3];
    uint32_t ids[3];
    for (int i = 0; i < 3; i++) { /* the three misses at once */
        keys[i] = hn_tk_key_of(parts[i].data, parts[i].size, tk->by_text.seed);
        __builtin_prefetch(&tk->by_text.slots[keys[i].hash & tk->by_text.mask]);
    }
    for (int i = 0; i < 3; i++) {
        const hn_tk_slot *slot =
            hn_tk_table_slot(&tk->by_text, keys[i], parts[i].data, parts[i].size);
        if (!slot)
            return hn_fail(err, HN_BAD_INPUT,
                           "%s: merge %u: '%.*s' is not in the vocabulary; the merges belong to "
                           "another vocabulary or the file is damaged",
                           where, rank, (int)(parts[i].size < 80 ? parts[i].size : 80),
                           parts[i].data);
        ids[i] = (hn_tk_slot_id1(slot) & HN_TK_ID1) - 1;
    }
    hn_tk_pairs_add(tk, ids[0], ids[1], rank, ids[2]);
    return HN_OK;
}

bool hn_tk_words_start_at_meta(const hn_tokenizer *tk) {
    for (uint32_t id = 0; id < tk->n_tokens; id++) {
        const char *p = tk->texts[id].data, *end = p + tk->texts[id].size;
        while (end - p >= META_BYTES && memcmp(p, META, META_BYTES) == 0)
            p += META_BYTES;
        if (end - p > META_BYTES && memmem(p, (size_t)(end - p), META, META_BYTES))
            return false;
    }
    return true;
}

/* Tokens that end an assistant's turn in the families that hone knows. */
static bool ends_turn(hn_vocab_text text) {
    static const char *const ENDS[] = {"<|im_end|>",
                                       "<|eot_id|>",
                                       "<|eom_id|>",
                                       "<|end_of_text|>",
                                       "<|endoftext|>",
                                       "<|end|>",
                                       "</s>",
                                       "<end_of_turn>",
                                       "<eos>",
                                       "<|eot|>",
                                       "<|endofturn|>",
                                       "[|endofturn|]",
                                       "<|end_of_turn|>",
                                       "<EOT>",
                                       "<|END_OF_TURN_TOKEN|>",
                                       "<|end▁of▁sentence|>",
                                       "<｜end▁of▁sentence｜>",
                                       "<|return|>"};
    for (size_t i = 0; i < sizeof ENDS / sizeof *ENDS; i++)
        if (hn_tk_text_is(text, ENDS[i], strlen(ENDS[i])))
            return true;
    return false;
}

/* Byte-level: symbols are bytes. Otherwise they are characters, with <0xXX> for the unknown. */
static void find_symbols(hn_tokenizer *tk) {
    for (int b = 0; b < 256; b++) {
        char text[8] = {(char)b};
        if (tk->byte_level) {
            size_t size = hn_utf8_encode(hn_tk_byte_to_char((uint8_t)b), text);
            tk->byte_ids[b] = (int32_t)hn_tk_table_find(&tk->by_text, text, size);
            continue;
        }
        if (b < 128)
            tk->ascii_ids[b] = (int32_t)hn_tk_table_find(&tk->by_text, text, 1);
        static const char HEX[] = "0123456789ABCDEF";
        char name[7] = {'<', '0', 'x', HEX[b >> 4], HEX[b & 15], '>'};
        tk->byte_ids[b] = (int32_t)hn_tk_table_find(&tk->by_text, name, 6);
    }
}

hn_status hn_tk_finish(hn_tokenizer *tk, hn_error *err) {
    tk->by_word = tk->by_text;
    if (tk->byte_level) {
        HN_TRY(hn_tk_table_new(tk, &tk->by_word, tk->bytes, tk->n_tokens, err));
        for (uint32_t id = 0; id < tk->n_tokens; id++)
            if (tk->kinds[id] == HN_TOKEN_NORMAL && tk->bytes[id].data != tk->texts[id].data)
                hn_tk_table_add(&tk->by_word, id);
    }
    find_symbols(tk);
    tk->is_end = HN_ARENA_NEW(&tk->arena, bool, tk->n_tokens);
    if (!tk->is_end)
        return hn_tk_no_memory(err);
    for (uint32_t id = 0; id < tk->n_tokens; id++)
        tk->is_end[id] = tk->kinds[id] != HN_TOKEN_NORMAL && ends_turn(tk->texts[id]);
    if (tk->eos >= 0)
        tk->is_end[tk->eos] = true;
    if (tk->eot >= 0)
        tk->is_end[tk->eot] = true;
    HN_TRY(hn_tk_matcher_new(tk, false, &tk->raw, err));
    return hn_tk_matcher_new(tk, true, &tk->normalized, err);
}

uint32_t hn_tokenizer_size(const hn_tokenizer *tk) {
    return tk->n_tokens;
}

int32_t hn_tokenizer_bos(const hn_tokenizer *tk) {
    return tk->bos;
}

int32_t hn_tokenizer_eos(const hn_tokenizer *tk) {
    return tk->eos;
}

bool hn_tokenizer_is_end(const hn_tokenizer *tk, int32_t id) {
    return id >= 0 && (uint32_t)id < tk->n_tokens && tk->is_end[id];
}

bool hn_tokenizer_is_control(const hn_tokenizer *tk, int32_t id) {
    return id >= 0 && (uint32_t)id < tk->n_tokens &&
           (tk->kinds[id] == HN_TOKEN_CONTROL || tk->kinds[id] == HN_TOKEN_UNKNOWN);
}

bool hn_tokenizer_adds_bos(const hn_tokenizer *tk) {
    for (int i = 0; i < tk->n_before; i++)
        if (tk->before[i] == tk->bos)
            return true;
    return false;
}

int32_t hn_tokenizer_find(const hn_tokenizer *tk, const char *text, size_t n_bytes) {
    return (int32_t)hn_tk_table_find(&tk->by_text, text, n_bytes);
}

void hn_tokenizer_vocab(const hn_tokenizer *tk, hn_vocab *vocab) {
    *vocab = (hn_vocab){
        .model = tk->model,
        .pre = tk->pre,
        .n_tokens = tk->n_tokens,
        .tokens = tk->texts,
        .scores = tk->scores,
        .kinds = tk->kinds,
        .merges = tk->merges,
        .n_merges = tk->n_merges,
        .bos = tk->bos,
        .eos = tk->eos,
        .eot = tk->eot,
        .unk = tk->unk,
        .pad = tk->pad,
        .add_bos = tk->add_bos,
        .add_eos = tk->add_eos,
        .add_space_prefix = tk->add_space_prefix,
    };
}
