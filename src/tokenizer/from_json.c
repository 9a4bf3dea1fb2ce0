/* A tokenizer from tokenizer.json, the format of the `tokenizers` package, and what
 * tokenizer_config.json adds to it. */
#include "tokenizer/tk.h"

#include "base/json.h"

#include <stdio.h>

/* The file with its two big parts emptied, for the JSON library. */
static hn_status parse_rest(const char *json, size_t size, const hn_tk_json_parts *parts,
                            const char *where, json_t **out, hn_error *err) {
    hn_vocab_text first = parts->vocab, second = parts->merges;
    const char *first_as = "{}", *second_as = "[]";
    if (second.data && (!first.data || second.data < first.data)) {
        first = parts->merges;
        second = parts->vocab;
        first_as = "[]";
        second_as = "{}";
    }
    hn_buf rest = {.max = SIZE_MAX};
    const char *p = json, *end = json + size;
    if (first.data) {
        hn_buf_append(&rest, p, (size_t)(first.data - p));
        hn_buf_puts(&rest, first_as);
        p = first.data + first.size;
    }
    if (second.data) {
        hn_buf_append(&rest, p, (size_t)(second.data - p));
        hn_buf_puts(&rest, second_as);
        p = second.data + second.size;
    }
    hn_buf_append(&rest, p, (size_t)(end - p));
    hn_status status = hn_buf_check(&rest, err);
    if (status == HN_OK)
        status = hn_json_parse(hn_buf_text(&rest), rest.size, where, out, err);
    hn_buf_done(&rest);
    return status;
}

/* --- model --- */

/* Settings of the model that would change the ids and that hone doesn't have. */
static hn_status refuse_settings(const json_t *model, const char *where, hn_error *err) {
    const char *type = "BPE", *text = NULL;
    HN_TRY(hn_json_get_string(model, "type", where, &type, err));
    if (strcmp(type, "BPE") != 0)
        return hn_fail(err, HN_UNSUPPORTED, "%s: model: hone knows BPE, not '%s'", where, type);
    const json_t *dropout = json_object_get(model, "dropout");
    if (json_is_number(dropout) && json_number_value(dropout) > 0)
        return hn_fail(err, HN_UNSUPPORTED, "%s: model: hone can't do 'dropout'", where);
    static const char *const AFFIXES[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; i++) {
        text = json_string_value(json_object_get(model, AFFIXES[i]));
        if (text && *text)
            return hn_fail(err, HN_UNSUPPORTED, "%s: model: hone can't do '%s'", where, AFFIXES[i]);
    }
    return HN_OK;
}

static hn_status read_settings(hn_tokenizer *tk, const json_t *model, const char *where,
                               hn_error *err) {
    int ignore_merges = 0, byte_fallback = 0, fuse_unk = 0;
    HN_TRY(hn_json_get_bool(model, "ignore_merges", where, &ignore_merges, err));
    HN_TRY(hn_json_get_bool(model, "byte_fallback", where, &byte_fallback, err));
    HN_TRY(hn_json_get_bool(model, "fuse_unk", where, &fuse_unk, err));
    tk->ignore_merges = ignore_merges;
    tk->byte_fallback = byte_fallback;
    tk->fuse_unk = fuse_unk;
    const json_t *unk = json_object_get(model, "unk_token");
    if (!json_is_string(unk))
        return HN_OK;
    tk->model_unk = hn_tokenizer_find(tk, json_string_value(unk), json_string_length(unk));
    if (tk->model_unk < 0)
        return hn_fail(err, HN_BAD_INPUT, "%s: model: unk_token '%s' is not in the vocabulary",
                       where, json_string_value(unk));
    tk->unk = tk->model_unk;
    return HN_OK;
}

/* --- added tokens --- */

static hn_status read_added(hn_tokenizer *tk, const json_t *node, const char *where,
                            hn_tk_added *added, hn_error *err) {
    const json_t *content = json_object_get(node, "content"), *id = json_object_get(node, "id");
    if (!json_is_string(content) || !json_is_integer(id) || json_integer_value(id) < 0 ||
        json_integer_value(id) > INT32_MAX)
        return hn_fail(err, HN_BAD_INPUT, "%s: added_tokens: an entry without 'content' or 'id'",
                       where);
    const struct {
        const char *key;
        bool *out;
    } flags[] = {{"special", &added->special},
                 {"normalized", &added->normalized},
                 {"single_word", &added->single_word},
                 {"lstrip", &added->lstrip},
                 {"rstrip", &added->rstrip}};
    for (int i = 0; i < 5; i++) {
        int value = 0;
        HN_TRY(hn_json_get_bool(node, flags[i].key, where, &value, err));
        *flags[i].out = value;
    }
    added->id = (int32_t)json_integer_value(id);
    return hn_tk_copy(tk, json_string_value(content), json_string_length(content), &added->text,
                      err);
}

static hn_status read_added_tokens(hn_tokenizer *tk, const json_t *root, const char *where,
                                   uint32_t *min_tokens, hn_error *err) {
    const json_t *list = json_object_get(root, "added_tokens"), *node;
    size_t i;
    tk->added = HN_ARENA_NEW(&tk->arena, hn_tk_added, json_array_size(list));
    if (!tk->added)
        return hn_tk_no_memory(err);
    json_array_foreach (list, i, node) {
        hn_tk_added *added = &tk->added[tk->n_added];
        HN_TRY(read_added(tk, node, where, added, err));
        if (added->text.size == 0)
            continue;
        if ((uint32_t)added->id + 1 > *min_tokens)
            *min_tokens = (uint32_t)added->id + 1;
        tk->n_added++;
    }
    return HN_OK;
}

/* Gives ids that nobody has a name that no text can become. */
static hn_status fill_gaps(hn_tokenizer *tk, hn_error *err) {
    for (uint32_t id = 0; id < tk->n_tokens; id++) {
        if (tk->texts[id].data)
            continue;
        char name[24];
        int n = snprintf(name, sizeof name, "[PAD%u]", id);
        HN_TRY(hn_tk_copy(tk, name, (size_t)n, &tk->texts[id], err));
        tk->kinds[id] = HN_TOKEN_UNUSED;
    }
    return HN_OK;
}

/* Puts added tokens beside the model's: by text where the model has it, otherwise at their id. */
static hn_status place_added(hn_tokenizer *tk, const char *where, hn_error *err) {
    for (uint32_t i = 0; i < tk->n_added; i++) {
        hn_tk_added *added = &tk->added[i];
        uint32_t id = hn_tk_table_find(&tk->by_text, added->text.data, added->text.size);
        if (id == HN_TK_NONE) {
            id = (uint32_t)added->id;
            if (tk->texts[id].data)
                return hn_fail(err, HN_BAD_INPUT,
                               "%s: added_tokens: '%.60s' has id %u, which is '%.*s' already",
                               where, added->text.data, id,
                               (int)(tk->texts[id].size < 60 ? tk->texts[id].size : 60),
                               tk->texts[id].data);
            tk->texts[id] = added->text;
            hn_tk_table_add(&tk->by_text, id);
        }
        added->id = (int32_t)id;
        tk->kinds[id] = added->special ? HN_TOKEN_CONTROL : HN_TOKEN_USER_DEFINED;
    }
    return HN_OK;
}

/* A normalized added token is looked for in its normalized form. */
static hn_status normalise_added(hn_tokenizer *tk, hn_error *err) {
    hn_buf scratch[2] = {{0}, {0}};
    hn_status status = HN_OK;
    for (uint32_t i = 0; i < tk->n_added; i++) {
        hn_vocab_text text;
        if (!tk->added[i].normalized)
            continue;
        HN_GO(hn_tk_normalise(tk, tk->added[i].text, scratch, &text, err));
        HN_GO(hn_tk_copy(tk, text.data ? text.data : "", text.size, &tk->added[i].text, err));
    }
done:
    for (int i = 0; i < 2; i++)
        hn_buf_done(&scratch[i]);
    return status;
}

static hn_status fill_by_text(hn_tokenizer *tk, const char *where, hn_error *err) {
    uint32_t *ids = hn_reallocarray(NULL, tk->n_tokens, sizeof *ids), n = 0;
    if (!ids)
        return hn_tk_no_memory(err);
    for (uint32_t id = 0; id < tk->n_tokens; id++) {
        tk->kinds[id] = HN_TOKEN_NORMAL;
        if (tk->texts[id].data)
            ids[n++] = id;
    }
    hn_status status = hn_tk_table_new(tk, &tk->by_text, tk->texts, tk->n_tokens, err);
    uint32_t twice = status == HN_OK ? hn_tk_table_fill(&tk->by_text, ids, n) : n;
    if (twice < n) {
        const hn_vocab_text text = tk->texts[ids[twice]];
        status = hn_fail(err, HN_BAD_INPUT, "%s: vocab: '%.*s' stands there twice", where,
                         (int)(text.size < 80 ? text.size : 80), text.data);
    }
    hn_free(ids);
    return status;
}

static hn_status read_vocabulary(hn_tokenizer *tk, const json_t *root,
                                 const hn_tk_json_parts *parts, const char *where, hn_error *err) {
    uint32_t min_tokens = 0;
    HN_TRY(read_added_tokens(tk, root, where, &min_tokens, err));
    HN_TRY(hn_tk_json_vocab(tk, parts->vocab, min_tokens, where, err));
    if (tk->n_tokens == 0)
        return hn_fail(err, HN_BAD_INPUT, "%s: vocab is empty", where);
    tk->kinds = HN_ARENA_NEW(&tk->arena, int32_t, tk->n_tokens);
    if (!tk->kinds)
        return hn_tk_no_memory(err);
    HN_TRY(fill_by_text(tk, where, err));
    HN_TRY(place_added(tk, where, err));
    return fill_gaps(tk, err);
}

/* --- tokenizer_config.json --- */

/* A token as a string or as {"content": string}. */
static int32_t named_token(const hn_tokenizer *tk, const json_t *config, const char *key) {
    const json_t *value = json_object_get(config, key);
    if (json_is_object(value))
        value = json_object_get(value, "content");
    return json_is_string(value)
               ? hn_tokenizer_find(tk, json_string_value(value), json_string_length(value))
               : -1;
}

/* add_bos_token and add_eos_token, where the class of the tokenizer obeys them. */
static void apply_add_flag(hn_tokenizer *tk, const json_t *config, const char *key, int32_t id,
                           int32_t *list, int *count) {
    const json_t *value = json_object_get(config, key);
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    bool obeys = class && (strstr(class, "Llama") || strstr(class, "Gemma"));
    bool has = false;
    for (int i = 0; i < *count; i++)
        has = has || list[i] == id;
    if (id < 0 || !json_is_boolean(value))
        return;
    if (json_is_true(value) && *count == 0 && tk->n_before + tk->n_after == 0)
        list[(*count)++] = id;
    else if (json_is_false(value) && obeys && has && *count == 1)
        *count = 0;
}

static hn_status read_config(hn_tokenizer *tk, const char *json, size_t size, const char *where,
                             hn_error *err) {
    json_t *config = NULL;
    if (json && hn_json_parse_wide(json, size, "tokenizer_config.json", &config, err) != HN_OK)
        return hn_error_prefix(err, "%s", where);
    tk->bos = named_token(tk, config, "bos_token");
    tk->eos = named_token(tk, config, "eos_token");
    tk->pad = named_token(tk, config, "pad_token");
    int32_t unk = named_token(tk, config, "unk_token");
    if (unk >= 0)
        tk->unk = unk;
    apply_add_flag(tk, config, "add_bos_token", tk->bos, tk->before, &tk->n_before);
    apply_add_flag(tk, config, "add_eos_token", tk->eos, tk->after, &tk->n_after);
    json_decref(config);
    if (tk->bos < 0 && tk->n_before)
        tk->bos = tk->before[0];
    if (tk->eos < 0 && tk->n_after)
        tk->eos = tk->after[tk->n_after - 1];
    tk->add_bos = hn_tokenizer_adds_bos(tk);
    tk->add_eos = tk->n_after > 0;
    return HN_OK;
}

/* --- together --- */

static bool is_text(hn_vocab_text text, const char *wanted) {
    return hn_tk_text_is(text, wanted, strlen(wanted));
}

/* Spaces have become U+2581 by a normalizer: cut the words there, when no token could span a cut.
 */
static void add_word_starts(hn_tokenizer *tk) {
    static const char META[] = "\xe2\x96\x81";
    bool replaces = false;
    for (int i = 0; i < tk->n_norms; i++) {
        const hn_tk_norm *norm = &tk->norms[i];
        if (norm->kind == HN_TK_NORM_PREPEND && is_text(norm->text, META))
            tk->add_space_prefix = true;
        replaces = replaces || (norm->kind == HN_TK_NORM_REPLACE && is_text(norm->content, META));
    }
    for (int i = 0; i < tk->n_steps; i++)
        replaces = replaces || (tk->steps[i].kind == HN_TK_STEP_METASPACE && !tk->steps[i].split);
    if (!tk->byte_level && replaces && !tk->ignore_merges && tk->n_steps < HN_TK_MAX_STEPS &&
        hn_tokenizer_find(tk, META, 3) >= 0 && hn_tk_words_start_at_meta(tk))
        tk->steps[tk->n_steps++] = (hn_tk_step){.kind = HN_TK_STEP_WORD_STARTS, .text = {META, 3}};
}

/* GGUF's names and numbers for what was read. */
static hn_status describe(hn_tokenizer *tk, hn_error *err) {
    tk->model = tk->byte_level ? "gpt2" : "llama";
    tk->pre = tk->byte_level ? hn_tk_pre_name(tk) : "default";
    if (tk->byte_level)
        return HN_OK;
    tk->scores = HN_ARENA_NEW(&tk->arena, float, tk->n_tokens);
    if (!tk->scores)
        return hn_tk_no_memory(err);
    /* a merge that comes earlier scores higher; single characters are never merged into */
    for (size_t i = 0; i < tk->pairs.n_slots; i++) {
        const hn_tk_pair *pair = &tk->pairs.slots[i];
        float score = -(float)pair->rank1;
        if (pair->rank1 && (tk->scores[pair->id] == 0 || score > tk->scores[pair->id]))
            tk->scores[pair->id] = score;
    }
    for (uint32_t id = 0; id < tk->n_tokens; id++)
        if (tk->byte_fallback && hn_tk_byte_token(tk->texts[id]) >= 0)
            tk->kinds[id] = HN_TOKEN_BYTE;
    return HN_OK;
}

static hn_status build(hn_tokenizer *tk, const json_t *root, const hn_tk_json_parts *parts,
                       const char *config, size_t config_size, const char *where, hn_error *err) {
    const json_t *model = json_object_get(root, "model");
    if (!json_is_object(model))
        return hn_fail(err, HN_BAD_INPUT, "%s: 'model' is missing", where);
    HN_TRY(refuse_settings(model, where, err));
    if (!parts->vocab.data || !parts->merges.data)
        return hn_fail(err, HN_BAD_INPUT, "%s: model: 'vocab' or 'merges' is missing", where);
    HN_TRY(read_vocabulary(tk, root, parts, where, err));
    HN_TRY(hn_tk_json_merges(tk, parts->merges, where, err));
    HN_TRY(read_settings(tk, model, where, err));
    HN_TRY(hn_tk_json_normalizer(tk, json_object_get(root, "normalizer"), where, err));
    HN_TRY(normalise_added(tk, err));
    HN_TRY(hn_tk_json_pre_tokenizer(tk, json_object_get(root, "pre_tokenizer"), where, err));
    HN_TRY(hn_tk_json_decoder(tk, json_object_get(root, "decoder"), where, err));
    HN_TRY(hn_tk_json_post_processor(tk, json_object_get(root, "post_processor"), where, err));
    HN_TRY(read_config(tk, config, config_size, where, err));
    add_word_starts(tk);
    HN_TRY(describe(tk, err));
    return hn_tk_finish(tk, err);
}

hn_status hn_tokenizer_from_json(hn_tokenizer **out, const char *json, size_t size,
                                 const char *config_json, size_t config_size, const char *where,
                                 hn_error *err) {
    hn_tk_json_parts parts = hn_tk_json_find(json, size);
    json_t *root;
    hn_tokenizer *tk = NULL;
    HN_TRY(parse_rest(json, size, &parts, where, &root, err));
    hn_status status = hn_tk_new(&tk, err);
    if (status == HN_OK)
        status = build(tk, root, &parts, config_json, config_size, where, err);
    json_decref(root);
    if (status == HN_OK)
        *out = tk;
    else
        hn_tokenizer_free(tk);
    return status;
}
