/* The tokenizer.ggml.* keys of a GGUF file as a vocabulary. Defaults of missing keys are
 * llama.cpp's (llama_vocab::impl::load). */
#include "base/mem.h"
#include "model/checkpoint.h"

#include <string.h>

enum { MAX_TOKENS = 1 << 22, MAX_MERGES = 1 << 23 };

/* Everything that the vocabulary borrows for the time of creation. */
typedef struct vocab_reader {
    const hn_gguf *gguf;
    hn_vocab vocab;
    hn_vocab_text *tokens, *merges;
    float *scores;
    int32_t *kinds;
    char model[32], pre[64];
} vocab_reader;

static hn_status find_array(const vocab_reader *r, const char *key, bool wants_text, uint64_t max,
                            const hn_gguf_value **out, hn_error *err) {
    const hn_gguf_value *value = hn_gguf_find(r->gguf, key);
    *out = value;
    if (!value)
        return HN_OK;
    bool is_text = value->item_type == HN_GGUF_STRING;
    if (value->type != HN_GGUF_ARRAY || value->item_type == HN_GGUF_ARRAY || is_text != wants_text)
        return hn_fail(err, HN_BAD_INPUT, "%s: %s must be an array of %s", r->gguf->path, key,
                       wants_text ? "strings" : "numbers");
    if (value->count > max)
        return hn_fail(err, HN_BAD_INPUT, "%s: %s has %llu items, at most %llu are possible",
                       r->gguf->path, key, (unsigned long long)value->count,
                       (unsigned long long)max);
    return HN_OK;
}

static hn_status read_texts(const vocab_reader *r, const char *key, uint64_t max,
                            hn_vocab_text **texts, uint32_t *count, hn_error *err) {
    const hn_gguf_value *value;
    HN_TRY(find_array(r, key, true, max, &value, err));
    if (!value)
        return HN_OK;
    *texts = hn_calloc(value->count, sizeof **texts);
    if (!*texts)
        return hn_fail_no_memory(err, value->count * sizeof **texts);
    const uint8_t *at = NULL;
    for (uint64_t i = 0; i < value->count; i++) {
        const hn_gguf_string string = hn_gguf_item_next(value, &at);
        (*texts)[i] = (hn_vocab_text){string.data, string.size};
    }
    *count = (uint32_t)value->count;
    return HN_OK;
}

static hn_status find_numbers(const vocab_reader *r, const char *key, const hn_gguf_value **out,
                              hn_error *err) {
    HN_TRY(find_array(r, key, false, MAX_TOKENS, out, err));
    if (*out && (*out)->count != r->vocab.n_tokens)
        return hn_fail(err, HN_BAD_INPUT, "%s: %s has %llu items for %u tokens", r->gguf->path, key,
                       (unsigned long long)(*out)->count, r->vocab.n_tokens);
    return HN_OK;
}

static hn_status read_numbers(vocab_reader *r, hn_error *err) {
    const hn_gguf_value *value;
    HN_TRY(find_numbers(r, "tokenizer.ggml.scores", &value, err));
    if (value) {
        r->scores = hn_calloc(value->count, sizeof *r->scores);
        if (!r->scores)
            return hn_fail_no_memory(err, value->count * sizeof *r->scores);
        for (uint64_t i = 0; i < value->count; i++)
            r->scores[i] = (float)hn_gguf_item_f64(value, i);
    }
    HN_TRY(find_numbers(r, "tokenizer.ggml.token_type", &value, err));
    if (value) {
        if (value->item_type == HN_GGUF_F32 || value->item_type == HN_GGUF_F64)
            return hn_fail(err, HN_BAD_INPUT, "%s: tokenizer.ggml.token_type must hold integers",
                           r->gguf->path);
        r->kinds = hn_calloc(value->count, sizeof *r->kinds);
        if (!r->kinds)
            return hn_fail_no_memory(err, value->count * sizeof *r->kinds);
        for (uint64_t i = 0; i < value->count; i++)
            r->kinds[i] = (int32_t)hn_gguf_item_i64(value, i);
    }
    return HN_OK;
}

static hn_status read_text(const vocab_reader *r, const char *key, char *out, size_t size,
                           hn_error *err) {
    hn_gguf_string text = {0};
    HN_TRY(hn_gguf_get_string(r->gguf, key, &text, err));
    if (text.size >= size)
        return hn_fail(err, HN_UNSUPPORTED, "%s: %s is a name of %zu bytes that hone doesn't know",
                       r->gguf->path, key, text.size);
    if (text.data)
        memcpy(out, text.data, text.size);
    return HN_OK;
}

/* Ids beyond the vocabulary count as none, as in llama.cpp. */
static hn_status read_id(const vocab_reader *r, const char *key, int32_t *id, hn_error *err) {
    uint64_t value = UINT64_MAX;
    HN_TRY(hn_gguf_get_u64(r->gguf, key, &value, err));
    if (value != UINT64_MAX)
        *id = value < r->vocab.n_tokens ? (int32_t)value : -1;
    else if (*id >= (int32_t)r->vocab.n_tokens)
        *id = -1;
    return HN_OK;
}

static hn_status read_vocab(vocab_reader *r, hn_error *err) {
    hn_vocab *vocab = &r->vocab;
    HN_TRY(read_text(r, "tokenizer.ggml.model", r->model, sizeof r->model, err));
    HN_TRY(read_text(r, "tokenizer.ggml.pre", r->pre, sizeof r->pre, err));
    if (!*r->model)
        return hn_fail(err, HN_BAD_INPUT, "%s: the key tokenizer.ggml.model is missing",
                       r->gguf->path);
    HN_TRY(read_texts(r, "tokenizer.ggml.tokens", MAX_TOKENS, &r->tokens, &vocab->n_tokens, err));
    if (!vocab->n_tokens)
        return hn_fail(err, HN_BAD_INPUT, "%s: tokenizer.ggml.tokens is missing or empty",
                       r->gguf->path);
    HN_TRY(read_texts(r, "tokenizer.ggml.merges", MAX_MERGES, &r->merges, &vocab->n_merges, err));
    HN_TRY(read_numbers(r, err));
    bool sentencepiece = !strcmp(r->model, "llama");
    vocab->model = r->model;
    vocab->pre = *r->pre ? r->pre : NULL;
    vocab->tokens = r->tokens;
    vocab->merges = r->merges;
    vocab->scores = r->scores;
    vocab->kinds = r->kinds;
    vocab->bos = sentencepiece ? 1 : 11;
    vocab->eos = sentencepiece ? 2 : 11;
    vocab->unk = sentencepiece ? 0 : -1;
    vocab->eot = vocab->pad = -1;
    HN_TRY(read_id(r, "tokenizer.ggml.bos_token_id", &vocab->bos, err));
    HN_TRY(read_id(r, "tokenizer.ggml.eos_token_id", &vocab->eos, err));
    HN_TRY(read_id(r, "tokenizer.ggml.eot_token_id", &vocab->eot, err));
    HN_TRY(read_id(r, "tokenizer.ggml.unknown_token_id", &vocab->unk, err));
    HN_TRY(read_id(r, "tokenizer.ggml.padding_token_id", &vocab->pad, err));
    vocab->add_bos = hn_vocab_default_add_bos(r->model, vocab->pre);
    vocab->add_space_prefix = sentencepiece;
    HN_TRY(hn_gguf_get_bool(r->gguf, "tokenizer.ggml.add_bos_token", &vocab->add_bos, err));
    HN_TRY(hn_gguf_get_bool(r->gguf, "tokenizer.ggml.add_eos_token", &vocab->add_eos, err));
    return hn_gguf_get_bool(r->gguf, "tokenizer.ggml.add_space_prefix", &vocab->add_space_prefix,
                            err);
}

hn_status hn_tokenizer_from_gguf(hn_tokenizer **out, const hn_gguf *gguf, hn_error *err) {
    vocab_reader reader = {.gguf = gguf};
    hn_status status = read_vocab(&reader, err);
    if (status == HN_OK) {
        status = hn_tokenizer_from_vocab(out, &reader.vocab, err);
        if (status != HN_OK)
            status = hn_error_prefix(err, "%s", gguf->path);
    }
    hn_free(reader.tokens);
    hn_free(reader.merges);
    hn_free(reader.scores);
    hn_free(reader.kinds);
    return status;
}
