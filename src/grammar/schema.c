/* JSON schema to grammar: keywords that stand for other schemas ($ref, allOf, anyOf, oneOf), values
 * (enum, const), and then one way for each type. */
#include "grammar/schema.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 100, MAX_SCHEMAS = 20000, NAME_SHOWN = 200 };

static const char *const ANNOTATIONS[] = {
    "title",    "description", "default",    "examples", "$schema",         "$id",
    "$defs",    "definitions", "deprecated", "$comment", "contentEncoding", "contentMediaType",
    "readOnly", "writeOnly",
};
static const char *const KEYWORDS[] = {
    "type",
    "enum",
    "const",
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
    "properties",
    "required",
    "additionalProperties",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
};
enum {
    N_ANNOTATIONS = sizeof ANNOTATIONS / sizeof *ANNOTATIONS,
    N_KEYWORDS = sizeof KEYWORDS / sizeof *KEYWORDS,
};

static bool listed(const char *word, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, list[i]) == 0)
            return true;
    return false;
}

bool hn_schema_is_annotation(const char *keyword) {
    return listed(keyword, ANNOTATIONS, N_ANNOTATIONS);
}

hn_status hn_schema_refuse(hn_schema *s, const char *keyword, const char *why) {
    return hn_fail(s->err, HN_UNSUPPORTED, "%s: #%.200s/%.80s: %s", s->where, hn_buf_text(&s->path),
                   keyword, why);
}

hn_status hn_schema_wrong(hn_schema *s, const char *keyword, const char *wanted) {
    return hn_fail(s->err, HN_BAD_INPUT, "%s: #%.200s/%.80s must be %s", s->where,
                   hn_buf_text(&s->path), keyword, wanted);
}

hn_status hn_schema_enter(hn_schema *s) {
    if (s->depth >= MAX_DEPTH)
        return hn_fail(s->err, HN_UNSUPPORTED, "%s: #%.200s: schemas are nested more than %d deep",
                       s->where, hn_buf_text(&s->path), MAX_DEPTH);
    if (++s->n_compiled > MAX_SCHEMAS)
        return hn_fail(s->err, HN_UNSUPPORTED,
                       "%s: #%.200s: more than %d schemas, counting what allOf joins", s->where,
                       hn_buf_text(&s->path), MAX_SCHEMAS);
    HN_TRY(hn_build_check(s->g, s->where, s->err));
    s->depth++;
    return HN_OK;
}

void hn_schema_leave(hn_schema *s) {
    s->depth--;
}

hn_status hn_schema_count(hn_schema *s, const json_t *schema, const char *keyword, uint32_t *out) {
    static const json_int_t MOST = 1000 * 1000 * 1000;
    const json_t *value = json_object_get(schema, keyword);
    if (!value)
        return HN_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return hn_schema_wrong(s, keyword, "a whole number of 0 or more");
    if (json_integer_value(value) > MOST)
        return hn_schema_refuse(s, keyword, "above 1000000000");
    *out = (uint32_t)json_integer_value(value);
    return HN_OK;
}

hn_status hn_schema_word(hn_schema *s, const json_t *value, int32_t from, int32_t to) {
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        return hn_fail_no_memory(s->err, 1);
    hn_build_word(s->g, from, text, strlen(text), to);
    free(text);
    return HN_OK;
}

static hn_status check_keywords(hn_schema *s, const json_t *schema) {
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)schema, key, value) {
        if (hn_schema_is_annotation(key) || listed(key, KEYWORDS, N_KEYWORDS))
            continue;
        const char *near = hn_text_nearest(key, KEYWORDS, N_KEYWORDS);
        char why[128];
        snprintf(why, sizeof why, "this keyword can't be honoured%s%s",
                 near ? "; is it meant to be " : "", near ? near : "");
        return hn_schema_refuse(s, key, why);
    }
    return HN_OK;
}

/* Does it say anything but `keyword` that values must keep to? */
static bool says_more(const json_t *schema, const char *keyword) {
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)schema, key, value) {
        if (strcmp(key, keyword) != 0 && !hn_schema_is_annotation(key))
            return true;
    }
    return false;
}

/* A call of the rule for what the reference points at, which is compiled later. */
static hn_status compile_ref(hn_schema *s, const json_t *ref, int32_t from, int32_t to) {
    const json_t *target;
    if (!json_is_string(ref))
        return hn_schema_wrong(s, "$ref", "a string");
    const char *text = json_string_value(ref);
    const json_t *known = json_object_get(s->refs, text);
    int32_t rule = known ? (int32_t)json_integer_value(known) : 0;
    if (!known) {
        HN_TRY(hn_schema_resolve(s, text, &target));
        rule = hn_build_rule(s->g);
        HN_TRY(hn_build_check(s->g, s->where, s->err));
        s->g->rules[rule].name = hn_strndup(text, strnlen(text, NAME_SHOWN));
        if (!s->g->rules[rule].name ||
            json_object_set_new(s->refs, text, json_integer(rule)) != 0 ||
            json_array_append_new(s->pending, json_string(text)) != 0)
            return hn_fail_no_memory(s->err, 1);
    }
    hn_build_call(s->g, from, rule, to);
    return HN_OK;
}

static hn_status keep(hn_schema *s, json_t *made) {
    return made && json_array_append_new(s->made, made) == 0 ? HN_OK : hn_fail_no_memory(s->err, 1);
}

static hn_status compile_any_of(hn_schema *s, const json_t *schema, const char *keyword,
                                int32_t from, int32_t to) {
    const json_t *branches = json_object_get(schema, keyword), *branch;
    size_t i;
    json_t *base = NULL;
    if (!json_is_array(branches) || !json_array_size(branches))
        return hn_schema_wrong(s, keyword, "a list of schemas");
    if (strcmp(keyword, "oneOf") == 0)
        HN_TRY(hn_schema_check_one_of(s, branches));
    if (says_more(schema, keyword)) {
        base = json_copy((json_t *)schema);
        HN_TRY(keep(s, base));
        json_object_del(base, keyword);
    }
    json_array_foreach (branches, i, branch) {
        char name[24];
        json_t *flat, *merged = NULL;
        const json_t *one = branch;
        if (base) {
            HN_TRY(hn_schema_flatten(s, branch, &flat));
            HN_TRY(hn_schema_merge(s, base, flat, &merged));
            one = merged;
        }
        snprintf(name, sizeof name, "%zu", i);
        HN_TRY(hn_schema_compile_at(s, one, keyword, name, from, to));
    }
    return HN_OK;
}

static hn_status compile_types(hn_schema *s, const json_t *schema, int32_t from, int32_t to) {
    unsigned types;
    json_t *values = NULL;
    HN_TRY(hn_schema_types(s, schema, &types));
    HN_TRY(hn_schema_values(s, schema, types, &values));
    int32_t words = hn_build_node(s->g);
    hn_build_free(s->g, from, words);
    if (values) {
        size_t i;
        json_t *value;
        json_array_foreach (values, i, value)
            HN_TRY(hn_schema_word(s, value, words, to));
        return HN_OK;
    }
    if (types == HN_JSON_ANY) {
        hn_build_call(s->g, from, hn_schema_any(s), to);
        return HN_OK;
    }
    if (types & HN_JSON_NULL)
        hn_build_word(s->g, words, "null", 4, to);
    if (types & HN_JSON_BOOLEAN) {
        hn_build_word(s->g, words, "true", 4, to);
        hn_build_word(s->g, words, "false", 5, to);
    }
    if (types & HN_JSON_NUMBER)
        HN_TRY(hn_schema_number(s, schema, !(types & HN_JSON_FRACTION), from, to));
    if (types & HN_JSON_STRING)
        HN_TRY(hn_schema_string(s, schema, from, to));
    if (types & HN_JSON_ARRAY)
        HN_TRY(hn_schema_array(s, schema, from, to));
    if (types & HN_JSON_OBJECT)
        HN_TRY(hn_schema_object(s, schema, from, to));
    return HN_OK;
}

static hn_status compile_inside(hn_schema *s, const json_t *schema, int32_t from, int32_t to) {
    json_t *flat;
    if (json_is_false(schema))
        return HN_OK; /* no text at all */
    if (json_is_true(schema)) {
        hn_build_call(s->g, from, hn_schema_any(s), to);
        return HN_OK;
    }
    if (!json_is_object(schema))
        return hn_fail(s->err, HN_BAD_INPUT, "%s: #%.200s: a schema is an object, true or false",
                       s->where, hn_buf_text(&s->path));
    HN_TRY(check_keywords(s, schema));
    const json_t *ref = json_object_get(schema, "$ref");
    if (ref && !says_more(schema, "$ref"))
        return compile_ref(s, ref, from, to);
    if (ref || json_object_get(schema, "allOf")) {
        HN_TRY(hn_schema_flatten(s, schema, &flat));
        HN_TRY(check_keywords(s, flat));
        schema = flat;
    }
    bool any = json_object_get(schema, "anyOf"), one = json_object_get(schema, "oneOf");
    if (any && one)
        return hn_schema_refuse(s, "oneOf", "anyOf beside oneOf can't be honoured");
    if (any || one)
        return compile_any_of(s, schema, any ? "anyOf" : "oneOf", from, to);
    return compile_types(s, schema, from, to);
}

hn_status hn_schema_compile(hn_schema *s, const json_t *schema, int32_t from, int32_t to) {
    HN_TRY(hn_schema_enter(s));
    hn_status status = compile_inside(s, schema, from, to);
    hn_schema_leave(s);
    return status;
}

/* A step of a JSON pointer (RFC 6901): ~ and / are written ~0 and ~1. */
static void path_push(hn_buf *path, const char *step) {
    hn_buf_putc(path, '/');
    for (; *step; step++) {
        if (*step == '~' || *step == '/')
            hn_buf_puts(path, *step == '~' ? "~0" : "~1");
        else
            hn_buf_putc(path, *step);
    }
}

hn_status hn_schema_compile_at(hn_schema *s, const json_t *schema, const char *keyword,
                               const char *name, int32_t from, int32_t to) {
    size_t size = s->path.size;
    path_push(&s->path, keyword);
    if (name)
        path_push(&s->path, name);
    HN_TRY(hn_buf_check(&s->path, s->err));
    hn_status status = hn_schema_compile(s, schema, from, to);
    s->path.size = size;
    s->path.data[size] = '\0';
    return status;
}

static hn_status compile_all(hn_schema *s, int32_t from, int32_t to) {
    HN_TRY(hn_schema_compile(s, s->root, from, to));
    for (size_t i = 0; i < json_array_size(s->pending); i++) {
        const char *ref = json_string_value(json_array_get(s->pending, i));
        const json_t *target;
        HN_TRY(hn_schema_resolve(s, ref, &target));
        const hn_rule rule = s->g->rules[json_integer_value(json_object_get(s->refs, ref))];
        hn_buf_reset(&s->path);
        hn_buf_puts(&s->path, ref + 1);
        HN_TRY(hn_buf_check(&s->path, s->err));
        HN_TRY(hn_schema_compile(s, target, rule.start, rule.end));
    }
    return hn_build_check(s->g, s->where, s->err);
}

hn_status hn_schema_add(hn_grammar *g, const json_t *schema, const char *where, int32_t from,
                        int32_t to, hn_error *err) {
    hn_schema s = {.g = g, .root = schema, .where = where, .any_rule = -1, .err = err};
    s.refs = json_object();
    s.pending = json_array();
    s.made = json_array();
    hn_status status = s.refs && s.pending && s.made ? compile_all(&s, from, to)
                                                     : hn_fail_no_memory(err, sizeof s);
    json_decref(s.refs);
    json_decref(s.pending);
    json_decref(s.made);
    hn_buf_done(&s.path);
    return status;
}

static hn_status compile_whole(hn_grammar *g, const json_t *schema, const char *where,
                               hn_error *err) {
    const int32_t whole = hn_build_rule(g);
    HN_TRY(hn_build_check(g, where, err));
    const hn_rule rule = g->rules[whole];
    HN_TRY(hn_schema_add(g, schema, where, rule.start, rule.end, err));
    g->rules[whole].name = hn_strdup("#");
    if (!g->rules[whole].name)
        return hn_fail_no_memory(err, 1);
    return hn_grammar_check(g, where, err);
}

hn_status hn_grammar_from_schema(hn_grammar **out, const json_t *schema, const char *where,
                                 hn_error *err) {
    hn_grammar *g = hn_calloc(1, sizeof *g);
    if (!g)
        return hn_fail_no_memory(err, sizeof *g);
    const hn_status status = compile_whole(g, schema, where, err);
    if (status == HN_OK)
        *out = g;
    else
        hn_grammar_free(g);
    return status;
}

hn_status hn_grammar_from_schema_text(hn_grammar **out, const char *text, size_t n_bytes,
                                      const char *where, hn_error *err) {
    json_t *schema;
    if (n_bytes > HN_GRAMMAR_MAX_BYTES)
        return hn_fail(err, HN_UNSUPPORTED, "%s: a schema has %d bytes at most, this has %zu",
                       where, HN_GRAMMAR_MAX_BYTES, n_bytes);
    HN_TRY(hn_json_parse(text, n_bytes, where, &schema, err));
    hn_status status = hn_grammar_from_schema(out, schema, where, err);
    json_decref(schema);
    return status;
}
