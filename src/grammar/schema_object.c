/* Objects: the properties in the schema's order, then further ones where the schema asks for them
 * by additionalProperties (or says nothing of properties at all). */
#include "grammar/schema.h"

#include "base/mem.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_KEY_CHARS = 64 /* of a further property */, MAX_NAME_BYTES = 200 };

void hn_schema_sign(hn_grammar *g, int32_t from, char sign, int32_t to) {
    int32_t next = hn_build_node(g);
    hn_build_bytes(g, from, sign, sign, next);
    hn_build_bytes(g, next, ' ', ' ', to);
    hn_build_free(g, next, to);
}

typedef struct members {
    const json_t *properties, *required;
    const json_t *extra; /* schema of further ones; NULL = there are none */
} members;

static bool is_required(const members *m, const char *name) {
    const json_t *one;
    size_t i;
    json_array_foreach (m->required, i, one) {
        if (strcmp(json_string_value(one), name) == 0)
            return true;
    }
    return false;
}

static hn_status check_counts(hn_schema *s, const json_t *schema, const members *m) {
    uint32_t min = 0, max = UINT32_MAX;
    HN_TRY(hn_schema_count(s, schema, "minProperties", &min));
    HN_TRY(hn_schema_count(s, schema, "maxProperties", &max));
    if (min > json_array_size(m->required))
        return hn_schema_refuse(s, "minProperties", "more than `required` has names");
    if (max != UINT32_MAX && (m->extra || max < json_object_size(m->properties)))
        return hn_schema_refuse(s, "maxProperties",
                                "fewer than `properties`, or beside further properties");
    return HN_OK;
}

/* Takes the keywords apart; required names that aren't among the properties are put there (into a
 * copy that s->made keeps). */
static hn_status read_members(hn_schema *s, const json_t *schema, members *m) {
    const json_t *extra = json_object_get(schema, "additionalProperties"), *one;
    size_t i;
    *m = (members){.properties = json_object_get(schema, "properties"),
                   .required = json_object_get(schema, "required")};
    if (m->properties && !json_is_object(m->properties))
        return hn_schema_wrong(s, "properties", "an object of schemas");
    if (m->required && !json_is_array(m->required))
        return hn_schema_wrong(s, "required", "a list of names");
    if (extra && !json_is_boolean(extra) && !json_is_object(extra))
        return hn_schema_wrong(s, "additionalProperties", "a schema");
    json_t *all = m->properties ? json_copy((json_t *)m->properties) : json_object();
    if (!all || json_array_append_new(s->made, all) != 0)
        return hn_fail_no_memory(s->err, 1);
    json_array_foreach (m->required, i, one) {
        if (!json_is_string(one))
            return hn_schema_wrong(s, "required", "a list of names");
        if (json_object_get(all, json_string_value(one)))
            continue;
        if (json_is_false(extra))
            return hn_schema_refuse(s, "required",
                                    "it asks for a property that "
                                    "additionalProperties forbids");
        json_object_set_new(all, json_string_value(one),
                            extra ? json_incref((json_t *)extra) : json_true());
    }
    bool open = !m->properties && !m->required; /* it says only that it is an object */
    m->properties = all;
    if (json_is_false(extra))
        extra = NULL;
    else if (!extra && open)
        extra = json_true();
    m->extra = extra;
    return check_counts(s, schema, m);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A character of a name that needs no escape. */
static bool plain(uint32_t c) {
    return c >= 0x20 && c != '"' && c != '\\';
}

static void plain_chars_but(hn_chars *chars) {
    hn_chars_add(chars, 0, 0x1F);
    hn_chars_add(chars, '"', '"');
    hn_chars_add(chars, '\\', '\\');
    hn_chars_invert(chars, HN_CHAR_LAST);
}

/* Names that differ from all of sorted names[0..n), which agree in their first `at` bytes; `rest`
 * is where a name stands that can't become one of them any more. */
static void other_names(hn_grammar *g, int32_t from, const char **names, size_t n, size_t at,
                        int32_t rest, int32_t end) {
    hn_chars others = {0};
    bool taken = at == 0; /* no empty name */
    for (size_t i = 0, next; i < n; i = next) {
        uint32_t c, d;
        next = i + 1;
        if (!names[i][at]) {
            taken = true;
            continue;
        }
        size_t size = hn_utf8_decode(names[i] + at, strlen(names[i] + at), &c);
        while (next < n && strncmp(names[next] + at, names[i] + at, size) == 0)
            next++;
        hn_chars_add(&others, c, c);
        if (!plain(c))
            continue;
        d = (uint32_t)hn_build_node(g);
        hn_build_char_range(g, from, c, c, (int32_t)d);
        other_names(g, (int32_t)d, names + i, next - i, at + size, rest, end);
    }
    if (!taken)
        hn_build_bytes(g, from, '"', '"', end);
    plain_chars_but(&others);
    hn_build_chars(g, from, &others, rest);
    hn_chars_done(&others);
}

static hn_status extra_name(hn_schema *s, const members *m, int32_t from, int32_t to) {
    size_t n = 0;
    const char **names = hn_calloc(json_object_size(m->properties) + 1, sizeof *names), *key;
    json_t *value;
    if (!names)
        return hn_fail_no_memory(s->err, sizeof *names);
    json_object_foreach ((json_t *)m->properties, key, value)
        names[n++] = key;
    for (size_t i = 0; i < n; i++)
        if (strlen(names[i]) > MAX_NAME_BYTES) {
            hn_free(names);
            return hn_schema_refuse(s, "additionalProperties",
                                    "beside a property with a name of more than 200 bytes");
        }
    qsort(names, n, sizeof *names, by_text);
    int32_t open = hn_build_node(s->g), rest = hn_build_node(s->g), close = hn_build_node(s->g);
    hn_chars chars = {0};
    hn_part letter = hn_build_part(s->g);
    plain_chars_but(&chars);
    hn_build_chars(s->g, letter.in, &chars, letter.out);
    hn_chars_done(&chars);
    hn_build_bytes(s->g, from, '"', '"', open);
    hn_build_repeat(s->g, rest, letter, 0, MAX_KEY_CHARS, close);
    hn_build_bytes(s->g, close, '"', '"', to);
    other_names(s->g, open, names, n, 0, rest, to);
    hn_free(names);
    return HN_OK;
}

/* "name": value, from `from` to `to`. */
static hn_status member(hn_schema *s, const char *name, const json_t *schema, int32_t from,
                        int32_t to) {
    hn_grammar *g = s->g;
    int32_t colon = hn_build_node(g), value = hn_build_node(g), own = hn_build_node(g);
    json_t *key = json_string(name);
    hn_build_free(g, from, own);
    hn_status status = key ? hn_schema_word(s, key, own, colon) : hn_fail_no_memory(s->err, 1);
    json_decref(key);
    HN_TRY(status);
    hn_schema_sign(g, colon, ':', value);
    return hn_schema_compile_at(s, schema, "properties", name, value, to);
}

static hn_status extra_members(hn_schema *s, const members *m, int32_t none, int32_t some) {
    hn_grammar *g = s->g;
    int32_t key = hn_build_node(g), colon = hn_build_node(g), value = hn_build_node(g);
    hn_build_free(g, none, key);
    hn_schema_sign(g, some, ',', key);
    HN_TRY(extra_name(s, m, key, colon));
    hn_schema_sign(g, colon, ':', value);
    return hn_schema_compile_at(s, m->extra, "additionalProperties", NULL, value, some);
}

hn_status hn_schema_object(hn_schema *s, const json_t *schema, int32_t from, int32_t to) {
    members m;
    const char *name;
    json_t *value;
    hn_grammar *g = s->g;
    HN_TRY(read_members(s, schema, &m));
    /* Two rows of nodes, before each property: none has come yet; some have. */
    int32_t none = hn_build_node(g), some = hn_build_node(g);
    hn_build_bytes(g, from, '{', '{', none);
    json_object_foreach ((json_t *)m.properties, name, value) {
        int32_t key = hn_build_node(g), next_none = hn_build_node(g), next = hn_build_node(g);
        hn_build_free(g, none, key);
        hn_schema_sign(g, some, ',', key);
        HN_TRY(member(s, name, value, key, next));
        if (!is_required(&m, name)) {
            hn_build_free(g, none, next_none);
            hn_build_free(g, some, next);
        }
        none = next_none;
        some = next;
    }
    if (m.extra)
        HN_TRY(extra_members(s, &m, none, some));
    hn_build_bytes(g, none, '}', '}', to);
    hn_build_bytes(g, some, '}', '}', to);
    return HN_OK;
}
