/* tokenizer.json from a GGUF's vocabulary: byte-level BPE with the patterns that the GGUF's
 * pre-tokenizer stands for, as the `tokenizers` package reads it. */
#include "release/merge.h"

#include <string.h>

static json_t *text_json(hn_vocab_text text) {
    return json_stringn(text.data, text.size);
}

static json_t *make_added(const hn_vocab *vocab) {
    json_t *added = json_array();
    for (uint32_t i = 0; added && vocab->kinds && i < vocab->n_tokens; i++) {
        bool control = vocab->kinds[i] == HN_TOKEN_CONTROL || vocab->kinds[i] == HN_TOKEN_UNKNOWN;
        if (!control && vocab->kinds[i] != HN_TOKEN_USER_DEFINED)
            continue;
        json_t *entry = json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (int)i, "content",
                                  text_json(vocab->tokens[i]), "single_word", 0, "lstrip", 0,
                                  "rstrip", 0, "normalized", 0, "special", (int)control);
        if (!entry || json_array_append_new(added, entry)) {
            json_decref(added);
            return NULL;
        }
    }
    return added;
}

static json_t *make_vocab(const hn_vocab *vocab) {
    json_t *object = json_object();
    for (uint32_t i = 0; object && i < vocab->n_tokens; i++) {
        json_t *id = json_integer(i);
        if (json_object_setn_new(object, vocab->tokens[i].data, vocab->tokens[i].size, id)) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

/* "left right" as a pair: a token of byte-level BPE never holds a space. */
static json_t *make_merges(const hn_vocab *vocab) {
    json_t *array = json_array();
    for (uint32_t i = 0; array && i < vocab->n_merges; i++) {
        hn_vocab_text merge = vocab->merges[i];
        const char *space = memchr(merge.data, ' ', merge.size);
        size_t left = space ? (size_t)(space - merge.data) : merge.size;
        json_t *pair = space ? json_pack("[o, o]", json_stringn(merge.data, left),
                                         json_stringn(space + 1, merge.size - left - 1))
                             : NULL;
        if (!pair || json_array_append_new(array, pair)) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/* Single digits are a step of their own in tokenizer.json files, though a pattern would do. */
static json_t *make_split(const char *pattern) {
    if (!strcmp(pattern, "\\p{N}"))
        return json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1);
    return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", pattern,
                     "behavior", "Isolated", "invert", 0);
}

static json_t *make_pre_tokenizer(const hn_pre_tokenizer *pre) {
    json_t *steps = json_array();
    bool ok = steps != NULL;
    for (int i = 0; i < HN_PRE_MAX_PATTERNS && pre->patterns[i]; i++)
        ok = ok && !json_array_append_new(steps, make_split(pre->patterns[i]));
    ok = ok && !json_array_append_new(steps, json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel",
                                                       "add_prefix_space", 0, "trim_offsets", 1,
                                                       "use_regex", 0));
    if (ok)
        return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
    json_decref(steps);
    return NULL;
}

/* BOS before each text (and EOS after it) where the model wants them. */
static json_t *make_post_processor(const hn_vocab *vocab) {
    bool bos = vocab->add_bos && vocab->bos >= 0, eos = vocab->add_eos && vocab->eos >= 0;
    json_t *single = json_array(), *pair = json_array(), *special = json_object();
    bool ok = single && pair && special;
    for (int part = 0; ok && part < 3; part++) { /* [bos A eos], and [bos A eos, bos B eos] */
        json_t *into = part == 0 ? single : pair;
        const char *name = part == 2 ? "B" : "A";
        int type = part == 2;
        if (bos)
            ok = ok && !json_array_append_new(
                           into, json_pack("{s:{s:o, s:i}}", "SpecialToken", "id",
                                           text_json(vocab->tokens[vocab->bos]), "type_id", type));
        ok = ok && !json_array_append_new(
                       into, json_pack("{s:{s:s, s:i}}", "Sequence", "id", name, "type_id", type));
        if (eos)
            ok = ok && !json_array_append_new(
                           into, json_pack("{s:{s:o, s:i}}", "SpecialToken", "id",
                                           text_json(vocab->tokens[vocab->eos]), "type_id", type));
    }
    const int32_t ids[2] = {bos ? vocab->bos : -1, eos ? vocab->eos : -1};
    for (int i = 0; ok && i < 2; i++) {
        if (ids[i] < 0)
            continue;
        hn_vocab_text text = vocab->tokens[ids[i]];
        json_t *entry = json_pack("{s:o, s:[i], s:[o]}", "id", text_json(text), "ids", ids[i],
                                  "tokens", text_json(text));
        ok = !json_object_setn_new(special, text.data, text.size, entry);
    }
    if (ok)
        return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single,
                         "pair", pair, "special_tokens", special);
    json_decref(single);
    json_decref(pair);
    json_decref(special);
    return NULL;
}

static json_t *make_tokenizer(const hn_vocab *vocab, const hn_pre_tokenizer *pre) {
    bool processed = (vocab->add_bos && vocab->bos >= 0) || (vocab->add_eos && vocab->eos >= 0);
    json_t *post = processed ? make_post_processor(vocab)
                             : json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel",
                                         "add_prefix_space", 0, "trim_offsets", 0, "use_regex", 0);
    json_t *model =
        json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                  "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                  "byte_fallback", 0, "ignore_merges", (int)pre->ignore_merges, "vocab",
                  make_vocab(vocab), "merges", make_merges(vocab));
    json_t *normalizer = pre->nfc ? json_pack("{s:s}", "type", "NFC") : json_null();
    json_t *decoder = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 1,
                                "trim_offsets", 1, "use_regex", 1);
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0",
                     "truncation", "padding", "added_tokens", make_added(vocab), "normalizer",
                     normalizer, "pre_tokenizer", make_pre_tokenizer(pre), "post_processor", post,
                     "decoder", decoder, "model", model);
}

static bool set_token(json_t *config, const char *key, const hn_vocab *vocab, int32_t id) {
    return id < 0 || !json_object_set_new(config, key, text_json(vocab->tokens[id]));
}

static json_t *make_tokenizer_config(const hn_checkpoint *ckpt, const hn_vocab *vocab) {
    json_t *config =
        json_pack("{s:s, s:b, s:b, s:b, s:i}", "tokenizer_class", "PreTrainedTokenizerFast",
                  "add_bos_token", (int)vocab->add_bos, "add_eos_token", (int)vocab->add_eos,
                  "clean_up_tokenization_spaces", 0, "model_max_length", ckpt->arch.n_ctx_train);
    bool ok = config && set_token(config, "bos_token", vocab, vocab->bos) &&
              set_token(config, "eos_token", vocab, vocab->eos) &&
              set_token(config, "unk_token", vocab, vocab->unk) &&
              set_token(config, "pad_token", vocab, vocab->pad);
    if (ok && ckpt->chat_template_source)
        ok = !json_object_set_new(config, "chat_template", json_string(ckpt->chat_template_source));
    if (ok)
        return config;
    json_decref(config);
    return NULL;
}

hn_status hn_merge_write_tokenizer(const hn_checkpoint *ckpt, const char *dir, hn_error *err) {
    static const char *const FILES[] = {"tokenizer.json",          "tokenizer_config.json",
                                        "special_tokens_map.json", "added_tokens.json",
                                        "chat_template.jinja",     "chat_template.json",
                                        "tokenizer.model"};
    hn_vocab vocab;
    hn_pre_tokenizer pre;
    if (!ckpt->is_gguf) {
        for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++)
            HN_TRY(hn_merge_copy(ckpt, dir, FILES[i], err));
        return HN_OK;
    }
    hn_tokenizer_vocab(ckpt->tokenizer, &vocab);
    if (strcmp(vocab.model, "gpt2") ||
        !hn_pre_tokenizer_find(vocab.pre ? vocab.pre : "default", &pre))
        return hn_fail(err, HN_UNSUPPORTED,
                       "%s: a tokenizer of model '%s', pre-tokenizer '%s' can't be written as "
                       "tokenizer.json; merge from the Hugging Face folder, or into a .gguf",
                       ckpt->path, vocab.model, vocab.pre ? vocab.pre : "default");
    hn_arena arena = {0};
    hn_status status = hn_tokenizer_merges(ckpt->tokenizer, &arena, &vocab, err);
    if (status == HN_OK)
        status = hn_merge_write_json(dir, "tokenizer.json", make_tokenizer(&vocab, &pre), err);
    hn_arena_done(&arena);
    HN_TRY(status);
    return hn_merge_write_json(dir, "tokenizer_config.json", make_tokenizer_config(ckpt, &vocab),
                               err);
}
