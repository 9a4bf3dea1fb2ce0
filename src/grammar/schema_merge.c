/* Joining schemas: what $ref points at, allOf, and a schema that says more beside anyOf. */
#include "grammar/schema.h"

#include "base/mem.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* One step of a JSON pointer, its escapes (~0 ~1 and %HH) read in place. */
static void unescape(char *step) {
    char *to = step;
    for (const char *from = step; *from; from++) {
        unsigned byte;
        if (*from == '~' && (from[1] == '0' || from[1] == '1')) {
            *to++ = *++from == '0' ? '~' : '/';
        } else if (*from == '%' && sscanf(from + 1, "%2x", &byte) == 1 && byte && from[2]) {
            *to++ = (char)byte;
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

static const json_t *step_into(const json_t *value, const char *step) {
    if (json_is_object(value))
        return json_object_get(value, step);
    char *end;
    unsigned long index = strtoul(step, &end, 10);
    return json_is_array(value) && *step && !*end ? json_array_get(value, index) : NULL;
}

hn_status hn_schema_resolve(hn_schema *s, const char *ref, const json_t **out) {
    const json_t *at = s->root;
    if (ref[0] != '#' || (ref[1] && ref[1] != '/'))
        return hn_schema_refuse(s, "$ref",
                                "only references within the schema (#/...) are possible");
    char *copy = hn_strdup(ref + 1);
    if (!copy)
        return hn_fail_no_memory(s->err, strlen(ref));
    for (char *step = copy; at && *step;) {
        char *next = strchr(step + 1, '/');
        if (next)
            *next = '\0';
        unescape(step + 1);
        at = step_into(at, step + 1);
        step = next ? next : step + strlen(step);
        if (next)
            *next = '/';
    }
    hn_free(copy);
    if (!at)
        return hn_schema_refuse(s, "$ref", "it points at nothing");
    *out = at;
    return HN_OK;
}

static hn_status keep(hn_schema *s, json_t *made, json_t **out) {
    if (!made || json_array_append_new(s->made, made) != 0)
        return hn_fail_no_memory(s->err, 1);
    *out = made;
    return HN_OK;
}

static json_t *both(const json_t *a, const json_t *b) {
    return json_pack("{s:[O,O]}", "allOf", a, b);
}

/* Values of both lists; integers are numbers. */
static json_t *common_types(const json_t *a, const json_t *b) {
    json_t *out = json_array();
    const json_t *lists[2] = {a, b};
    for (int side = 0; out && side < 2; side++) {
        size_t n = json_is_array(lists[side]) ? json_array_size(lists[side]) : 1;
        size_t m = json_is_array(lists[!side]) ? json_array_size(lists[!side]) : 1;
        for (size_t i = 0; i < n; i++) {
            json_t *x =
                json_is_array(lists[side]) ? json_array_get(lists[side], i) : (json_t *)lists[side];
            for (size_t k = 0; k < m; k++) {
                const json_t *y =
                    json_is_array(lists[!side]) ? json_array_get(lists[!side], k) : lists[!side];
                const char *t = json_string_value(x), *u = json_string_value(y);
                if (t && u &&
                    ((side == 0 && strcmp(t, u) == 0) ||
                     (strcmp(t, "integer") == 0 && strcmp(u, "number") == 0)))
                    json_array_append(out, x);
            }
        }
    }
    return out;
}

static json_t *common_values(const json_t *a, const json_t *b) {
    json_t *out = json_array(), *x, *y;
    size_t i, k;
    json_array_foreach (a, i, x) {
        bool found = false;
        json_array_foreach (b, k, y)
            found |= json_equal(x, y) || (json_is_number(x) && json_is_number(y) &&
                                          json_number_value(x) == json_number_value(y));
        if (found)
            json_array_append(out, x);
    }
    return out;
}

static json_t *joined_lists(const json_t *a, const json_t *b) {
    json_t *out = json_copy((json_t *)a), *x;
    size_t i;
    json_array_foreach (b, i, x)
        json_array_append(out, x);
    return out;
}

static json_t *joined_properties(const json_t *a, const json_t *b) {
    json_t *out = json_copy((json_t *)a), *value;
    const char *key;
    json_object_foreach ((json_t *)b, key, value) {
        const json_t *old = json_object_get(a, key);
        json_object_set_new(out, key, old ? both(old, value) : json_incref(value));
    }
    return out;
}

static json_t *joined_extras(const json_t *a, const json_t *b) {
    if (json_is_false(a) || json_is_false(b))
        return json_false();
    return both(a, b);
}

static json_t *bound(const json_t *a, const json_t *b, bool greater) {
    if (json_is_integer(a) && json_is_integer(b))
        return json_incref(
            (json_integer_value(a) > json_integer_value(b)) == greater ? (json_t *)a : (json_t *)b);
    return json_incref((json_number_value(a) > json_number_value(b)) == greater ? (json_t *)a
                                                                                : (json_t *)b);
}

/* The value of a keyword that both have; NULL = can't be joined. */
static json_t *join(const char *key, const json_t *a, const json_t *b) {
    if (json_equal(a, b))
        return json_incref((json_t *)a);
    if (strcmp(key, "type") == 0)
        return common_types(a, b);
    if (strcmp(key, "enum") == 0 && json_is_array(a) && json_is_array(b))
        return common_values(a, b);
    if (strcmp(key, "required") == 0 && json_is_array(a) && json_is_array(b))
        return joined_lists(a, b);
    if (strcmp(key, "properties") == 0 && json_is_object(a) && json_is_object(b))
        return joined_properties(a, b);
    if (strcmp(key, "additionalProperties") == 0)
        return joined_extras(a, b);
    if (strcmp(key, "items") == 0)
        return both(a, b);
    bool least = strncmp(key, "min", 3) == 0 || strcmp(key, "exclusiveMinimum") == 0;
    bool most = strncmp(key, "max", 3) == 0 || strcmp(key, "exclusiveMaximum") == 0;
    if ((least || most) && json_is_number(a) && json_is_number(b))
        return bound(a, b, least);
    if (strcmp(key, "uniqueItems") == 0)
        return json_true();
    return NULL;
}

/* What a says of properties that it doesn't name holds for those which only b names. */
static hn_status apply_extras(hn_schema *s, const json_t *a, const json_t *b, json_t *out) {
    const json_t *extra = json_object_get(a, "additionalProperties");
    const json_t *mine = json_object_get(a, "properties");
    json_t *properties = json_object_get(out, "properties"), *value;
    const char *key;
    if (!extra || json_is_true(extra) || !json_object_get(b, "properties"))
        return HN_OK;
    properties = json_copy(properties);
    if (!properties || json_object_set_new(out, "properties", properties) != 0)
        return hn_fail_no_memory(s->err, 1);
    json_object_foreach (json_object_get(b, "properties"), key, value) {
        if (json_object_get(mine, key))
            continue;
        json_object_set_new(properties, key,
                            json_is_false(extra) ? json_false() : both(value, extra));
    }
    return HN_OK;
}

hn_status hn_schema_merge(hn_schema *s, const json_t *a, const json_t *b, json_t **out) {
    json_t *merged, *value;
    const char *key;
    HN_TRY(keep(s, json_copy((json_t *)a), &merged));
    json_object_foreach ((json_t *)b, key, value) {
        const json_t *old = json_object_get(a, key);
        json_t *joined = old && !hn_schema_is_annotation(key)
                             ? join(key, old, value)
                             : json_incref(old ? (json_t *)old : value);
        if (!joined)
            return hn_schema_refuse(s, key, "two of them for one value can't be joined");
        if (json_object_set_new(merged, key, joined) != 0)
            return hn_fail_no_memory(s->err, 1);
    }
    bool prefix_a = json_object_get(a, "prefixItems"), prefix_b = json_object_get(b, "prefixItems");
    if (prefix_a != prefix_b && (json_object_get(a, "items") || json_object_get(b, "items")))
        return hn_schema_refuse(s, "prefixItems",
                                "it can't be joined with items of another schema");
    HN_TRY(apply_extras(s, a, b, merged));
    HN_TRY(apply_extras(s, b, a, merged));
    *out = merged;
    return HN_OK;
}

static hn_status flatten_inside(hn_schema *s, const json_t *schema, json_t **out) {
    json_t *rest, *branch;
    size_t i;
    if (json_is_boolean(schema)) /* anything; nothing */
        return keep(s, json_is_true(schema) ? json_object() : json_pack("{s:[]}", "enum"), out);
    if (!json_is_object(schema))
        return hn_fail(s->err, HN_BAD_INPUT, "%s: #%.200s: a schema is an object, true or false",
                       s->where, hn_buf_text(&s->path));
    const json_t *ref = json_object_get(schema, "$ref"), *all = json_object_get(schema, "allOf");
    if (all && !json_is_array(all))
        return hn_schema_wrong(s, "allOf", "a list of schemas");
    if (ref && !json_is_string(ref))
        return hn_schema_wrong(s, "$ref", "a string");
    HN_TRY(keep(s, json_copy((json_t *)schema), &rest));
    json_object_del(rest, "$ref");
    json_object_del(rest, "allOf");
    if (ref) {
        const json_t *target;
        json_t *flat;
        HN_TRY(hn_schema_resolve(s, json_string_value(ref), &target));
        HN_TRY(hn_schema_flatten(s, target, &flat));
        HN_TRY(hn_schema_merge(s, rest, flat, &rest));
    }
    json_array_foreach (all, i, branch) {
        json_t *flat;
        HN_TRY(hn_schema_flatten(s, branch, &flat));
        HN_TRY(hn_schema_merge(s, rest, flat, &rest));
    }
    *out = rest;
    return HN_OK;
}

hn_status hn_schema_flatten(hn_schema *s, const json_t *schema, json_t **out) {
    HN_TRY(hn_schema_enter(s));
    hn_status status = flatten_inside(s, schema, out);
    hn_schema_leave(s);
    return status;
}
