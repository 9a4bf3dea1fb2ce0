/* tokenizer.json's decoder and post_processor. */
#include "tokenizer/tk.h"

#include "base/json.h"

#include <jansson.h>

enum { MAX_REPLACE = 8 };

/* What the decoder's parts ask for, gathered before the tokens' bytes are made. */
typedef struct decoder_parts {
    hn_tk_replace replace[MAX_REPLACE];
    int n_replace;
    bool byte_level, byte_fallback, fused, strip, metaspace, metaspace_strips;
} decoder_parts;

static const hn_vocab_text META = {"\xe2\x96\x81", 3}, SPACE = {" ", 1};

static const char *type_of(const json_t *node) {
    const char *type = json_string_value(json_object_get(node, "type"));
    return type ? type : "(no type)";
}

static hn_status unsupported(const char *where, const char *what, hn_error *err) {
    return hn_fail(err, HN_UNSUPPORTED, "%s: decoder: hone can't do '%s'", where, what);
}

static hn_vocab_text string_of(const json_t *value) {
    return json_is_string(value)
               ? (hn_vocab_text){json_string_value(value), json_string_length(value)}
               : (hn_vocab_text){0};
}

static hn_status read_replace(const json_t *node, const char *where, decoder_parts *parts,
                              hn_error *err) {
    hn_vocab_text from = string_of(json_object_get(json_object_get(node, "pattern"), "String"));
    hn_vocab_text to = string_of(json_object_get(node, "content"));
    if (from.size == 0 || !to.data || parts->n_replace == MAX_REPLACE || parts->byte_fallback ||
        parts->fused)
        return unsupported(where, "Replace (of this kind, in this place)", err);
    parts->replace[parts->n_replace++] = (hn_tk_replace){from, to};
    return HN_OK;
}

/* Only what the Llama family does: one space off the beginning of the whole text. */
static hn_status read_strip(const json_t *node, const char *where, decoder_parts *parts,
                            hn_error *err) {
    long long start = 0, stop = 0;
    HN_TRY(hn_json_get_int(node, "start", where, &start, err));
    HN_TRY(hn_json_get_int(node, "stop", where, &stop, err));
    hn_vocab_text content = string_of(json_object_get(node, "content"));
    if (!parts->fused || start != 1 || stop != 0 || !hn_tk_text_is(content, " ", 1))
        return unsupported(where, "Strip (other than one leading space behind Fuse)", err);
    parts->strip = true;
    return HN_OK;
}

static hn_status read_metaspace(const json_t *node, const char *where, decoder_parts *parts,
                                hn_error *err) {
    hn_vocab_text replacement = string_of(json_object_get(node, "replacement"));
    if (!hn_tk_text_is(replacement, META.data, META.size) || parts->n_replace == MAX_REPLACE)
        return unsupported(where, "Metaspace with a replacement other than U+2581", err);
    const char *scheme = json_is_false(json_object_get(node, "add_prefix_space")) ? "never" : "";
    HN_TRY(hn_json_get_string(node, "prepend_scheme", where, &scheme, err));
    parts->metaspace_strips = strcmp(scheme, "never") != 0;
    parts->replace[parts->n_replace++] = (hn_tk_replace){META, SPACE};
    parts->metaspace = true;
    return HN_OK;
}

static hn_status read_part(const json_t *node, const char *where, decoder_parts *parts,
                           hn_error *err) {
    const char *type = type_of(node);
    if (strcmp(type, "ByteLevel") == 0)
        parts->byte_level = true;
    else if (strcmp(type, "ByteFallback") == 0)
        parts->byte_fallback = true;
    else if (strcmp(type, "Fuse") == 0)
        parts->fused = true;
    else if (strcmp(type, "Replace") == 0)
        return read_replace(node, where, parts, err);
    else if (strcmp(type, "Strip") == 0)
        return read_strip(node, where, parts, err);
    else if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(node, where, parts, err);
    else
        return unsupported(where, type, err);
    return HN_OK;
}

hn_status hn_tk_json_decoder(hn_tokenizer *tk, const json_t *node, const char *where,
                             hn_error *err) {
    decoder_parts parts = {0};
    if (!node || json_is_null(node)) {
        tk->join_with_space = true;
    } else if (strcmp(type_of(node), "Sequence") == 0) {
        size_t i;
        const json_t *item, *items = json_object_get(node, "decoders");
        json_array_foreach (items, i, item) {
            HN_TRY(read_part(item, where, &parts, err));
        }
    } else {
        HN_TRY(read_part(node, where, &parts, err));
    }
    if (parts.byte_level && (parts.n_replace || parts.byte_fallback || parts.strip))
        return unsupported(where, "ByteLevel together with other parts", err);
    if (tk->byte_level != parts.byte_level)
        return unsupported(where,
                           tk->byte_level ? "no ByteLevel where the pre_tokenizer has one"
                                          : "ByteLevel without one in the pre_tokenizer",
                           err);
    tk->byte_runs = parts.byte_fallback;
    tk->strip_first_space = parts.strip;
    tk->strip_first_meta = parts.metaspace_strips;
    return hn_tk_bytes_fill(tk, parts.replace, parts.n_replace, err);
}

/* --- post_processor --- */

static hn_status add_template_token(hn_tokenizer *tk, const json_t *template, const char *name,
                                    bool before, const char *where, hn_error *err) {
    const json_t *ids =
        json_object_get(json_object_get(json_object_get(template, "special_tokens"), name), "ids");
    if (!json_is_array(ids))
        return hn_fail(err, HN_BAD_INPUT, "%s: post_processor: '%s' has no ids", where, name);
    size_t i;
    const json_t *value;
    json_array_foreach (ids, i, value) {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        int *count = before ? &tk->n_before : &tk->n_after;
        if (id < 0 || id >= tk->n_tokens)
            return hn_fail(err, HN_BAD_INPUT,
                           "%s: post_processor: '%s' has an id that no token has", where, name);
        if (*count == HN_TK_MAX_TEMPLATE)
            return hn_fail(err, HN_UNSUPPORTED, "%s: post_processor: more than %d special tokens",
                           where, HN_TK_MAX_TEMPLATE);
        (before ? tk->before : tk->after)[(*count)++] = (int32_t)id;
    }
    return HN_OK;
}

static hn_status read_template(hn_tokenizer *tk, const json_t *template, const char *where,
                               hn_error *err) {
    size_t i;
    const json_t *item;
    bool before = true;
    json_array_foreach (json_object_get(template, "single"), i, item) {
        const json_t *special = json_object_get(item, "SpecialToken");
        const char *name = json_string_value(json_object_get(special, "id"));
        if (json_object_get(item, "Sequence"))
            before = false;
        else if (name)
            HN_TRY(add_template_token(tk, template, name, before, where, err));
    }
    if (before)
        return hn_fail(err, HN_BAD_INPUT, "%s: post_processor: the template holds no sequence",
                       where);
    return HN_OK;
}

static hn_status read_processor(hn_tokenizer *tk, const json_t *node, const char *where,
                                hn_error *err) {
    const char *type = type_of(node);
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template(tk, node, where, err);
    if (strcmp(type, "ByteLevel") == 0) /* only moves offsets, which nobody asks for here */
        return HN_OK;
    return hn_fail(err, HN_UNSUPPORTED, "%s: post_processor: hone can't do '%s'", where, type);
}

hn_status hn_tk_json_post_processor(hn_tokenizer *tk, const json_t *node, const char *where,
                                    hn_error *err) {
    if (!node || json_is_null(node))
        return HN_OK;
    if (strcmp(type_of(node), "Sequence") != 0)
        return read_processor(tk, node, where, err);
    size_t i;
    const json_t *item;
    json_array_foreach (json_object_get(node, "processors"), i, item) {
        HN_TRY(read_processor(tk, item, where, err));
    }
    return HN_OK;
}
