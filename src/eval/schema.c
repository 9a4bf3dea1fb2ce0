/* JSON Schema, the subset that answers are checked with. A keyword outside it is refused when the
 * golden set is read, so that a constraint is never passed over in silence. */
#include "eval/schema.h"

#include "base/text.h"

#include <math.h>
#include <string.h>

enum { MAX_SCHEMA_DEPTH = 32 };

static const char *const KEYWORDS[] = {
    "type",
    "properties",
    "required",
    "items",
    "enum",
    "const",
    "additionalProperties",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "exclusiveMaximum",
    "title",
    "description",
    "$schema",
    "$id",
    "default",
    "examples",
    "$comment",
};
static const char *const TYPES[] = {"object",  "array",   "string", "number",
                                    "integer", "boolean", "null"};
enum { N_KEYWORDS = sizeof KEYWORDS / sizeof *KEYWORDS, N_TYPES = sizeof TYPES / sizeof *TYPES };

static bool listed(const char *word, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(word, list[i]))
            return true;
    return false;
}

static hn_status check_type(const json_t *type, const char *where, hn_error *err) {
    if (json_is_string(type) && listed(json_string_value(type), TYPES, N_TYPES))
        return HN_OK;
    if (json_is_array(type) && json_array_size(type)) {
        size_t i;
        const json_t *one;
        json_array_foreach (type, i, one) {
            if (!json_is_string(one) || !listed(json_string_value(one), TYPES, N_TYPES))
                return hn_fail(err, HN_BAD_INPUT, "%s: schema type %zu is none of JSON's", where,
                               i);
        }
        return HN_OK;
    }
    return hn_fail(err, HN_BAD_INPUT,
                   "%s: schema 'type' must be one of object, array, string, number, integer, "
                   "boolean, null, or a list of them",
                   where);
}

static hn_status check_keyword(const char *key, const json_t *value, const char *where,
                               hn_error *err) {
    if (!strcmp(key, "type"))
        return check_type(value, where, err);
    if (!strcmp(key, "enum") && !json_is_array(value))
        return hn_fail(err, HN_BAD_INPUT, "%s: schema 'enum' must be a list", where);
    if (!strcmp(key, "additionalProperties") && !json_is_boolean(value))
        return hn_fail(err, HN_UNSUPPORTED,
                       "%s: schema 'additionalProperties' may only be true or false", where);
    if ((strstr(key, "inimum") || strstr(key, "aximum")) && !json_is_number(value))
        return hn_fail(err, HN_BAD_INPUT, "%s: schema '%s' must be a number", where, key);
    if ((!strncmp(key, "min", 3) || !strncmp(key, "max", 3)) && !strstr(key, "imum") &&
        (!json_is_integer(value) || json_integer_value(value) < 0))
        return hn_fail(err, HN_BAD_INPUT, "%s: schema '%s' must be a whole number from 0", where,
                       key);
    if (!strcmp(key, "required")) {
        size_t i;
        const json_t *name;
        if (!json_is_array(value))
            return hn_fail(err, HN_BAD_INPUT, "%s: schema 'required' must be a list", where);
        json_array_foreach (value, i, name) {
            if (!json_is_string(name))
                return hn_fail(err, HN_BAD_INPUT, "%s: schema 'required' must list names", where);
        }
    }
    return HN_OK;
}

static hn_status check(const json_t *schema, const char *where, int depth, hn_error *err) {
    if (json_is_boolean(schema))
        return HN_OK;
    if (!json_is_object(schema))
        return hn_fail(err, HN_BAD_INPUT, "%s: a schema must be an object", where);
    if (depth > MAX_SCHEMA_DEPTH)
        return hn_fail(err, HN_BAD_INPUT, "%s: schema nested deeper than %d", where,
                       MAX_SCHEMA_DEPTH);
    const char *key, *name;
    json_t *value, *sub;
    json_object_foreach ((json_t *)(uintptr_t)schema, key, value) {
        if (!listed(key, KEYWORDS, N_KEYWORDS)) {
            const char *near = hn_text_nearest(key, KEYWORDS, N_KEYWORDS);
            return hn_fail(err, HN_UNSUPPORTED, "%s: schema keyword '%s' isn't supported%s%s%s",
                           where, key, near ? " (did you mean '" : "", near ? near : "",
                           near ? "'?)" : "");
        }
        HN_TRY(check_keyword(key, value, where, err));
        if (!strcmp(key, "items"))
            HN_TRY(check(value, where, depth + 1, err));
        if (!strcmp(key, "properties")) {
            if (!json_is_object(value))
                return hn_fail(err, HN_BAD_INPUT, "%s: schema 'properties' must be an object",
                               where);
            json_object_foreach (value, name, sub)
                HN_TRY(check(sub, where, depth + 1, err));
        }
    }
    return HN_OK;
}

hn_status hn_schema_check(const json_t *schema, const char *where, hn_error *err) {
    return check(schema, where, 0, err);
}

static bool is_type(const char *type, const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return !strcmp(type, "object");
    case JSON_ARRAY:
        return !strcmp(type, "array");
    case JSON_STRING:
        return !strcmp(type, "string");
    case JSON_INTEGER:
        return !strcmp(type, "integer") || !strcmp(type, "number");
    case JSON_REAL: /* 1.0 is an integer to JSON Schema */
        return !strcmp(type, "number") ||
               (!strcmp(type, "integer") && fmod(json_real_value(value), 1) == 0);
    case JSON_TRUE:
    case JSON_FALSE:
        return !strcmp(type, "boolean");
    case JSON_NULL:
        return !strcmp(type, "null");
    }
    return false;
}

static bool type_fits(const json_t *type, const json_t *value) {
    if (json_is_string(type))
        return is_type(json_string_value(type), value);
    size_t i;
    const json_t *one;
    json_array_foreach (type, i, one) {
        if (is_type(json_string_value(one), value))
            return true;
    }
    return false;
}

/* Equality as JSON Schema has it: 1 and 1.0 are the same number. */
static bool same(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static size_t n_characters(const char *text) {
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static bool bound_holds(const char *key, double bound, const json_t *value) {
    bool is_min = !strncmp(key, "min", 3) || !strcmp(key, "exclusiveMinimum");
    bool exclusive = !strncmp(key, "exclusive", 9);
    double x;
    if (strstr(key, "imum")) {
        if (!json_is_number(value))
            return true;
        x = json_number_value(value);
    } else if (strstr(key, "Length")) {
        if (!json_is_string(value))
            return true;
        x = (double)n_characters(json_string_value(value));
    } else {
        if (!json_is_array(value))
            return true;
        x = (double)json_array_size(value);
    }
    return exclusive ? (is_min ? x > bound : x < bound) : (is_min ? x >= bound : x <= bound);
}

static bool object_fits(const json_t *schema, const json_t *value) {
    const json_t *properties = json_object_get(schema, "properties"), *one;
    size_t i;
    json_array_foreach (json_object_get(schema, "required"), i, one) {
        if (!json_object_get(value, json_string_value(one)))
            return false;
    }
    const char *key;
    json_t *member;
    json_object_foreach ((json_t *)(uintptr_t)value, key, member) {
        const json_t *sub = json_object_get(properties, key);
        if (!sub ? json_is_false(json_object_get(schema, "additionalProperties"))
                 : !hn_schema_accepts(sub, member))
            return false;
    }
    return true;
}

bool hn_schema_accepts(const json_t *schema, const json_t *value) {
    if (json_is_boolean(schema))
        return json_is_true(schema);
    const char *key;
    json_t *rule;
    size_t i;
    const json_t *one;
    json_object_foreach ((json_t *)(uintptr_t)schema, key, rule) {
        if (!strcmp(key, "type") && !type_fits(rule, value))
            return false;
        if (!strcmp(key, "const") && !same(rule, value))
            return false;
        if (!strcmp(key, "enum")) {
            bool found = false;
            json_array_foreach (rule, i, one)
                found = found || same(one, value);
            if (!found)
                return false;
        }
        if (!strcmp(key, "items") && json_is_array(value)) {
            json_array_foreach (value, i, one) {
                if (!hn_schema_accepts(rule, one))
                    return false;
            }
        }
        if ((!strncmp(key, "min", 3) || !strncmp(key, "max", 3) || !strncmp(key, "exclusive", 9)) &&
            !bound_holds(key, json_number_value(rule), value))
            return false;
    }
    return !json_is_object(value) || object_fits(schema, value);
}
