/* Which types a schema allows, which values it lists, and whether schemas exclude each other. */
#include "grammar/schema.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    unsigned bits;
} TYPES[] = {
    {"null", HN_JSON_NULL},     {"boolean", HN_JSON_BOOLEAN}, {"integer", HN_JSON_INTEGER},
    {"number", HN_JSON_NUMBER}, {"string", HN_JSON_STRING},   {"array", HN_JSON_ARRAY},
    {"object", HN_JSON_OBJECT},
};
/* Keywords that speak of one type: without `type`, a schema with some of them gives values of those
 * types (it would accept all others too). */
static const struct {
    const char *keyword;
    unsigned bits;
} HINTS[] = {
    {"properties", HN_JSON_OBJECT},
    {"required", HN_JSON_OBJECT},
    {"minProperties", HN_JSON_OBJECT},
    {"maxProperties", HN_JSON_OBJECT},
    {"additionalProperties", HN_JSON_OBJECT},
    {"items", HN_JSON_ARRAY},
    {"prefixItems", HN_JSON_ARRAY},
    {"minItems", HN_JSON_ARRAY},
    {"maxItems", HN_JSON_ARRAY},
    {"uniqueItems", HN_JSON_ARRAY},
    {"minLength", HN_JSON_STRING},
    {"maxLength", HN_JSON_STRING},
    {"pattern", HN_JSON_STRING},
    {"format", HN_JSON_STRING},
    {"minimum", HN_JSON_NUMBER},
    {"maximum", HN_JSON_NUMBER},
    {"exclusiveMinimum", HN_JSON_NUMBER},
    {"exclusiveMaximum", HN_JSON_NUMBER},
    {"multipleOf", HN_JSON_NUMBER},
};
enum { N_TYPES = sizeof TYPES / sizeof *TYPES, N_HINTS = sizeof HINTS / sizeof *HINTS };

static hn_status add_type(hn_schema *s, const json_t *name, unsigned *types) {
    for (int i = 0; json_is_string(name) && i < N_TYPES; i++)
        if (strcmp(TYPES[i].name, json_string_value(name)) == 0) {
            *types |= TYPES[i].bits;
            return HN_OK;
        }
    return hn_schema_wrong(s, "type",
                           "null, boolean, integer, number, string, array or object, or a list");
}

/* What the keywords say, enum and const left out; no bit at all: they say nothing. */
static unsigned hinted(const json_t *schema) {
    unsigned types = 0;
    for (int i = 0; i < N_HINTS; i++)
        if (json_object_get(schema, HINTS[i].keyword))
            types |= HINTS[i].bits;
    return types;
}

hn_status hn_schema_types(hn_schema *s, const json_t *schema, unsigned *types) {
    const json_t *type = json_object_get(schema, "type"), *one;
    size_t i;
    *types = 0;
    if (!type) {
        bool listed = json_object_get(schema, "enum") || json_object_get(schema, "const");
        unsigned hints = hinted(schema);
        *types = hints && !listed ? hints : (unsigned)HN_JSON_ANY;
        return HN_OK;
    }
    if (!json_is_array(type))
        return add_type(s, type, types);
    json_array_foreach (type, i, one)
        HN_TRY(add_type(s, one, types));
    return HN_OK;
}

unsigned hn_schema_type_of(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return HN_JSON_OBJECT;
    case JSON_ARRAY:
        return HN_JSON_ARRAY;
    case JSON_STRING:
        return HN_JSON_STRING;
    case JSON_INTEGER:
        return HN_JSON_INTEGER;
    case JSON_REAL:
        return floor(json_real_value(value)) == json_real_value(value) ? HN_JSON_INTEGER
                                                                       : HN_JSON_FRACTION;
    case JSON_NULL:
        return HN_JSON_NULL;
    default:
        return HN_JSON_BOOLEAN;
    }
}

static bool same(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static bool contains(const json_t *list, const json_t *value) {
    const json_t *one;
    size_t i;
    json_array_foreach (list, i, one) {
        if (same(one, value))
            return true;
    }
    return false;
}

static size_t count_chars(const char *text) {
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

/* Does a listed value keep to this keyword, which speaks of its type? Only bounds are looked at. */
static hn_status keeps_to(hn_schema *s, const json_t *value, const char *keyword,
                          const json_t *limit, bool *keeps) {
    bool number = json_is_number(value) && json_is_number(limit);
    bool length = json_is_string(value) && json_is_integer(limit);
    double x = number ? json_number_value(value) : 0, y = json_number_value(limit);
    if (length)
        x = (double)count_chars(json_string_value(value));
    if ((number && strcmp(keyword, "minimum") == 0) ||
        (length && strcmp(keyword, "minLength") == 0))
        *keeps &= x >= y;
    else if ((number && strcmp(keyword, "maximum") == 0) ||
             (length && strcmp(keyword, "maxLength") == 0))
        *keeps &= x <= y;
    else if (number && strcmp(keyword, "exclusiveMinimum") == 0)
        *keeps &= x > y;
    else if (number && strcmp(keyword, "exclusiveMaximum") == 0)
        *keeps &= x < y;
    else
        return hn_schema_refuse(s, keyword, "beside enum or const it can't be honoured");
    return HN_OK;
}

/* Appends the value to the list if it has one of the types and keeps to all keywords beside it. */
static hn_status add_value(hn_schema *s, const json_t *schema, unsigned types, json_t *value,
                           json_t *out) {
    unsigned type = hn_schema_type_of(value);
    bool keeps = type & types;
    for (int i = 0; keeps && i < N_HINTS; i++) {
        const json_t *limit = json_object_get(schema, HINTS[i].keyword);
        if (limit && (type & HINTS[i].bits))
            HN_TRY(keeps_to(s, value, HINTS[i].keyword, limit, &keeps));
    }
    if (keeps && json_array_append(out, value) != 0)
        return hn_fail_no_memory(s->err, 1);
    return HN_OK;
}

/* The values of enum and const of these types, a list that lives as long as `s`; *values stays when
 * there is neither. */
hn_status hn_schema_values(hn_schema *s, const json_t *schema, unsigned types, json_t **values) {
    json_t *list = json_object_get(schema, "enum"), *only = json_object_get(schema, "const");
    json_t *out, *value;
    size_t i;
    if (!list && !only)
        return HN_OK;
    if (list && !json_is_array(list))
        return hn_schema_wrong(s, "enum", "a list");
    out = json_array();
    if (!out || json_array_append_new(s->made, out) != 0)
        return hn_fail_no_memory(s->err, 1);
    if (only && (!list || contains(list, only)))
        HN_TRY(add_value(s, schema, types, only, out));
    if (!only)
        json_array_foreach (list, i, value)
            HN_TRY(add_value(s, schema, types, value, out));
    *values = out;
    return HN_OK;
}

/* The values that a flat schema lists, borrowed from a new list in s->made; NULL = any. */
static hn_status listed_values(hn_schema *s, const json_t *schema, json_t **values) {
    const json_t *only = json_object_get(schema, "const");
    json_t *list = only ? json_pack("[O]", only) : json_incref(json_object_get(schema, "enum"));
    *values = json_is_array(list) ? list : NULL;
    if (list && json_array_append_new(s->made, list) != 0)
        return hn_fail_no_memory(s->err, 1);
    return HN_OK;
}

static bool lists_disjoint(const json_t *a, const json_t *b) {
    const json_t *value;
    size_t i;
    json_array_foreach (a, i, value) {
        if (contains(b, value))
            return false;
    }
    return true;
}

static bool requires(const json_t *schema, const char *name) {
    const json_t *one;
    size_t i;
    json_array_foreach (json_object_get(schema, "required"), i, one) {
        const char *text = json_string_value(one);
        if (text && strcmp(text, name) == 0)
            return true;
    }
    return false;
}

/* Do both need a property whose listed values differ? */
static hn_status told_apart(hn_schema *s, const json_t *a, const json_t *b, bool *disjoint) {
    const json_t *of_b = json_object_get(b, "properties");
    const char *key;
    json_t *value;
    json_object_foreach (json_object_get(a, "properties"), key, value) {
        const json_t *other = json_object_get(of_b, key);
        json_t *flat, *flat_other, *x, *y;
        if (!other || !requires(a, key) || !requires(b, key))
            continue;
        HN_TRY(hn_schema_flatten(s, value, &flat));
        HN_TRY(hn_schema_flatten(s, other, &flat_other));
        HN_TRY(listed_values(s, flat, &x));
        HN_TRY(listed_values(s, flat_other, &y));
        if (x && y && lists_disjoint(x, y)) {
            *disjoint = true;
            return HN_OK;
        }
    }
    return HN_OK;
}

static hn_status types_of_flat(hn_schema *s, const json_t *flat, const json_t *values,
                               unsigned *types) {
    const json_t *value;
    size_t i;
    *types = HN_JSON_ANY; /* keywords without a type let every other type pass */
    if (json_object_get(flat, "type"))
        HN_TRY(hn_schema_types(s, flat, types));
    if (values) {
        unsigned listed = 0;
        json_array_foreach (values, i, value)
            listed |= hn_schema_type_of(value);
        *types &= listed;
    }
    return HN_OK;
}

static hn_status pair_disjoint(hn_schema *s, const json_t *a, const json_t *b, bool *disjoint) {
    json_t *x, *y;
    unsigned types_a, types_b;
    *disjoint = false;
    HN_TRY(listed_values(s, a, &x));
    HN_TRY(listed_values(s, b, &y));
    HN_TRY(types_of_flat(s, a, x, &types_a));
    HN_TRY(types_of_flat(s, b, y, &types_b));
    if (!(types_a & types_b) || (x && y && lists_disjoint(x, y)))
        *disjoint = true;
    else if ((types_a & types_b) == HN_JSON_OBJECT)
        return told_apart(s, a, b, disjoint);
    return HN_OK;
}

hn_status hn_schema_check_one_of(hn_schema *s, const json_t *branches) {
    enum { MOST = 64 };
    json_t *flat[MOST];
    size_t n = json_array_size(branches);
    if (n > MOST)
        return hn_schema_refuse(s, "oneOf", "more than 64 alternatives: use anyOf");
    for (size_t i = 0; i < n; i++) {
        HN_TRY(hn_schema_flatten(s, json_array_get(branches, i), &flat[i]));
        for (size_t k = 0; k < i; k++) {
            bool disjoint;
            HN_TRY(pair_disjoint(s, flat[i], flat[k], &disjoint));
            if (!disjoint)
                return hn_schema_refuse(
                    s, "oneOf",
                    "two alternatives aren't seen to exclude each other (by type, by enum or "
                    "const, "
                    "or by such a property that both require): use anyOf where both may hold");
        }
    }
    return HN_OK;
}
