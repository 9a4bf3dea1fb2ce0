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
    hn_arena_done(&tk->pairs_arena);
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

/* Ordinary tokens whose text is bytes in disguise. */
static hn_status fill_by_word(hn_tokenizer *tk, hn_error *err) {
    uint32_t *ids = hn_reallocarray(NULL, tk->n_tokens, sizeof *ids), n = 0;
    if (!ids)
        return hn_tk_no_memory(err);
    for (uint32_t id = 0; id < tk->n_tokens; id++)
        if (tk->kinds[id] == HN_TOKEN_NORMAL && tk->bytes[id].data != tk->texts[id].data)
            ids[n++] = id;
    hn_status status = hn_tk_table_new(tk, &tk->by_word, tk->bytes, tk->n_tokens, err);
    if (status == HN_OK)
        hn_tk_table_fill(&tk->by_word, ids, n);
    hn_free(ids);
    return status;
}

hn_status hn_tk_finish(hn_tokenizer *tk, hn_error *err) {
    tk->by_word = tk->by_text;
    if (tk->byte_level)
        HN_TRY(fill_by_word(tk, err));
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

/* "left right" of one pair; texts are by rank. */
static bool write_merge(const hn_tokenizer *tk, const hn_tk_pair *pair, hn_arena *arena,
                        hn_vocab_text *out) {
    const hn_vocab_text left = tk->texts[pair->left], right = tk->texts[pair->right];
    char *text = HN_ARENA_NEW(arena, char, left.size + right.size + 1);
    if (!text)
        return false;
    memcpy(text, left.data, left.size);
    text[left.size] = ' ';
    memcpy(text + left.size + 1, right.data, right.size);
    *out = (hn_vocab_text){text, left.size + right.size + 1};
    return true;
}

hn_status hn_tokenizer_merges(const hn_tokenizer *tk, hn_arena *arena, hn_vocab *vocab,
                              hn_error *err) {
    hn_vocab_text *merges = HN_ARENA_NEW(arena, hn_vocab_text, (size_t)tk->n_merges + 1);
    if (!merges)
        return hn_tk_no_memory(err);
    for (uint32_t i = 0; i < tk->pairs.n_slots; i++) {
        const hn_tk_pair *pair = &tk->pairs.slots[i];
        if (pair->rank1 && !write_merge(tk, pair, arena, &merges[pair->rank1 - 1]))
            return hn_tk_no_memory(err);
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < tk->n_merges; i++)
        if (merges[i].data)
            merges[n++] = merges[i];
    vocab->merges = merges;
    vocab->n_merges = n;
    return HN_OK;
}
