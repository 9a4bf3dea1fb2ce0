/* tokenizer.json's normalizer and pre_tokenizer as steps. What hone can't do exactly is refused by
 * its name. */
#include "tokenizer/tk.h"

#include "base/json.h"

#include <jansson.h>

static const char *type_of(const json_t *node) {
    const char *type = json_string_value(json_object_get(node, "type"));
    return type ? type : "(no type)";
}

static hn_status unsupported(const char *where, const char *part, const char *what, hn_error *err) {
    return hn_fail(err, HN_UNSUPPORTED, "%s: %s: hone can't do '%s'", where, part, what);
}

static hn_status too_many(const char *where, const char *part, hn_error *err) {
    return hn_fail(err, HN_UNSUPPORTED, "%s: %s: more than %d steps", where, part, HN_TK_MAX_STEPS);
}

static hn_status flag(const json_t *node, const char *key, bool otherwise, const char *where,
                      bool *out, hn_error *err) {
    int value = otherwise;
    HN_TRY(hn_json_get_bool(node, key, where, &value, err));
    *out = value;
    return HN_OK;
}

static hn_status copy_string(hn_tokenizer *tk, const json_t *node, const char *key,
                             const char *where, hn_vocab_text *out, hn_error *err) {
    const json_t *value = json_object_get(node, key);
    if (!json_is_string(value))
        return hn_fail(err, HN_BAD_INPUT, "%s: '%s' must be a string", where, key);
    return hn_tk_copy(tk, json_string_value(value), json_string_length(value), out, err);
}

/* {"String": ...} gives *text, {"Regex": ...} gives *pattern (borrowed); the other is empty. */
static hn_status read_pattern(const json_t *node, const char *where, hn_vocab_text *text,
                              hn_vocab_text *pattern, hn_error *err) {
    const json_t *holder = json_object_get(node, "pattern");
    const json_t *string = json_object_get(holder, "String");
    const json_t *regex = json_object_get(holder, "Regex");
    *text = *pattern = (hn_vocab_text){0};
    if (json_is_string(string))
        *text = (hn_vocab_text){json_string_value(string), json_string_length(string)};
    else if (json_is_string(regex))
        *pattern = (hn_vocab_text){json_string_value(regex), json_string_length(regex)};
    else
        return hn_fail(err, HN_BAD_INPUT, "%s: 'pattern' must hold a String or a Regex", where);
    return HN_OK;
}

static hn_status add_replace(hn_tokenizer *tk, const json_t *node, const char *where,
                             hn_tk_norm *norm, hn_error *err) {
    hn_vocab_text text, pattern;
    HN_TRY(read_pattern(node, where, &text, &pattern, err));
    HN_TRY(copy_string(tk, node, "content", where, &norm->content, err));
    if (pattern.data)
        return hn_tk_regex_new(tk, pattern.data, pattern.size, where, &norm->regex, err);
    if (text.size == 0)
        return unsupported(where, "normalizer", "Replace of an empty string", err);
    return hn_tk_copy(tk, text.data, text.size, &norm->text, err);
}

static hn_status add_normalizer(hn_tokenizer *tk, const json_t *node, const char *where,
                                hn_error *err) {
    static const struct {
        const char *type;
        hn_tk_norm_kind kind;
    } KINDS[] = {{"NFC", HN_TK_NORM_NFC},         {"NFD", HN_TK_NORM_NFD},
                 {"NFKC", HN_TK_NORM_NFKC},       {"NFKD", HN_TK_NORM_NFKD},
                 {"Prepend", HN_TK_NORM_PREPEND}, {"Replace", HN_TK_NORM_REPLACE}};
    const char *type = type_of(node);
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        if (strcmp(type, KINDS[i].type) != 0)
            continue;
        if (tk->n_norms == HN_TK_MAX_STEPS)
            return too_many(where, "normalizer", err);
        hn_tk_norm *norm = &tk->norms[tk->n_norms];
        *norm = (hn_tk_norm){.kind = KINDS[i].kind};
        if (norm->kind == HN_TK_NORM_PREPEND)
            HN_TRY(copy_string(tk, node, "prepend", where, &norm->text, err));
        if (norm->kind == HN_TK_NORM_REPLACE)
            HN_TRY(add_replace(tk, node, where, norm, err));
        tk->n_norms++;
        return HN_OK;
    }
    return unsupported(where, "normalizer", type, err);
}

hn_status hn_tk_json_normalizer(hn_tokenizer *tk, const json_t *node, const char *where,
                                hn_error *err) {
    if (!node || json_is_null(node))
        return HN_OK;
    if (strcmp(type_of(node), "Sequence") != 0)
        return add_normalizer(tk, node, where, err);
    size_t i;
    const json_t *item, *items = json_object_get(node, "normalizers");
    json_array_foreach (items, i, item) {
        HN_TRY(add_normalizer(tk, item, where, err));
    }
    return HN_OK;
}

/* --- pre_tokenizer --- */

static hn_status next_step(hn_tokenizer *tk, const char *where, hn_tk_step **step, hn_error *err) {
    if (tk->n_steps == HN_TK_MAX_STEPS)
        return too_many(where, "pre_tokenizer", err);
    *step = &tk->steps[tk->n_steps++];
    **step = (hn_tk_step){0};
    return HN_OK;
}

static hn_status read_behaviour(const json_t *node, const char *where, hn_tk_behaviour *out,
                                hn_error *err) {
    static const char *const NAMES[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious",
                                        "MergedWithNext"};
    const char *name = json_string_value(json_object_get(node, "behavior"));
    for (int i = 0; name && i < 5; i++)
        if (strcmp(name, NAMES[i]) == 0) {
            *out = (hn_tk_behaviour)i;
            return HN_OK;
        }
    return unsupported(where, "pre_tokenizer: Split: behavior", name ? name : "(none)", err);
}

static hn_status add_split(hn_tokenizer *tk, const json_t *node, const char *where, hn_error *err) {
    hn_vocab_text text, pattern;
    hn_tk_step *step;
    HN_TRY(next_step(tk, where, &step, err));
    HN_TRY(read_pattern(node, where, &text, &pattern, err));
    HN_TRY(read_behaviour(node, where, &step->behaviour, err));
    HN_TRY(flag(node, "invert", false, where, &step->invert, err));
    if (!pattern.data) {
        step->kind = HN_TK_STEP_LITERAL;
        return hn_tk_copy(tk, text.data, text.size, &step->text, err);
    }
    /* the known patterns match everything: with Isolated, or with what doesn't match Removed, the
     * matches are the words */
    bool words = (!step->invert && step->behaviour == HN_TK_ISOLATED) ||
                 (step->invert && step->behaviour == HN_TK_REMOVED) ||
                 (step->invert && step->behaviour == HN_TK_ISOLATED);
    if (words)
        return hn_tk_step_pattern(tk, pattern.data, pattern.size, where, step, err);
    step->kind = HN_TK_STEP_REGEX;
    return hn_tk_regex_new(tk, pattern.data, pattern.size, where, &step->regex, err);
}

static hn_status add_byte_level(hn_tokenizer *tk, const json_t *node, const char *where,
                                hn_error *err) {
    bool prefix, regex;
    hn_tk_step *step;
    HN_TRY(flag(node, "add_prefix_space", true, where, &prefix, err));
    HN_TRY(flag(node, "use_regex", true, where, &regex, err));
    if (prefix) {
        HN_TRY(next_step(tk, where, &step, err));
        step->kind = HN_TK_STEP_PREFIX;
        tk->add_space_prefix = true;
    }
    if (regex) {
        HN_TRY(next_step(tk, where, &step, err));
        step->kind = HN_TK_STEP_GPT2;
    }
    tk->byte_level = true;
    return HN_OK;
}

static hn_status add_metaspace(hn_tokenizer *tk, const json_t *node, const char *where,
                               hn_error *err) {
    hn_tk_step *step;
    bool prefix;
    HN_TRY(next_step(tk, where, &step, err));
    step->kind = HN_TK_STEP_METASPACE;
    HN_TRY(copy_string(tk, node, "replacement", where, &step->text, err));
    if (step->text.size == 0)
        return hn_fail(err, HN_BAD_INPUT, "%s: Metaspace: 'replacement' is empty", where);
    HN_TRY(flag(node, "split", true, where, &step->split, err));
    HN_TRY(flag(node, "add_prefix_space", true, where, &prefix, err));
    const char *scheme = prefix ? "always" : "never"; /* before there was prepend_scheme */
    HN_TRY(hn_json_get_string(node, "prepend_scheme", where, &scheme, err));
    if (strcmp(scheme, "always") == 0)
        step->prepend = HN_TK_ALWAYS;
    else if (strcmp(scheme, "first") == 0)
        step->prepend = HN_TK_FIRST;
    else if (strcmp(scheme, "never") == 0)
        step->prepend = HN_TK_NEVER;
    else
        return unsupported(where, "pre_tokenizer: Metaspace: prepend_scheme", scheme, err);
    tk->add_space_prefix = step->prepend != HN_TK_NEVER;
    return HN_OK;
}

static hn_status add_pre_tokenizer(hn_tokenizer *tk, const json_t *node, const char *where,
                                   hn_error *err) {
    const char *type = type_of(node);
    if (tk->byte_level)
        return unsupported(where, "pre_tokenizer: a step behind ByteLevel", type, err);
    if (strcmp(type, "ByteLevel") == 0)
        return add_byte_level(tk, node, where, err);
    if (strcmp(type, "Split") == 0)
        return add_split(tk, node, where, err);
    if (strcmp(type, "Metaspace") == 0)
        return add_metaspace(tk, node, where, err);
    if (strcmp(type, "Digits") == 0) {
        hn_tk_step *step;
        HN_TRY(next_step(tk, where, &step, err));
        step->kind = HN_TK_STEP_DIGITS;
        return flag(node, "individual_digits", false, where, &step->individual, err);
    }
    return unsupported(where, "pre_tokenizer", type, err);
}

hn_status hn_tk_json_pre_tokenizer(hn_tokenizer *tk, const json_t *node, const char *where,
                                   hn_error *err) {
    if (!node || json_is_null(node))
        return HN_OK;
    if (strcmp(type_of(node), "Sequence") != 0)
        return add_pre_tokenizer(tk, node, where, err);
    size_t i;
    const json_t *item, *items = json_object_get(node, "pretokenizers");
    json_array_foreach (items, i, item) {
        HN_TRY(add_pre_tokenizer(tk, item, where, err));
    }
    return HN_OK;
}
