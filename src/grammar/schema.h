/* The inside of the JSON schema compiler. Each function adds to the grammar, between two nodes,
 * texts of values that the schema accepts; what it can't keep to it refuses. */
#pragma once

#include "grammar/build.h"

#include "base/buf.h"

typedef struct hn_schema {
    hn_grammar *g;
    const json_t *root;
    const char *where; /* a path; opens messages */
    hn_buf path;       /* JSON pointer to what is being compiled */
    json_t *refs;      /* object: reference -> its rule */
    json_t *pending;   /* array of references that aren't compiled yet */
    json_t *made;      /* array: schemas that merging made, kept until the end */
    int depth, n_compiled;
    int32_t any_rule; /* any JSON value; -1 = not made yet */
    hn_error *err;
} hn_schema;

/* What a schema may be besides an object. */
typedef enum hn_json_type {
    HN_JSON_NULL = 1,
    HN_JSON_BOOLEAN = 2,
    HN_JSON_INTEGER = 4,
    HN_JSON_FRACTION = 8, /* numbers that are no whole ones */
    HN_JSON_STRING = 16,
    HN_JSON_ARRAY = 32,
    HN_JSON_OBJECT = 64,
    HN_JSON_NUMBER = HN_JSON_INTEGER | HN_JSON_FRACTION,
    HN_JSON_ANY = 127,
} hn_json_type;

/* Fails with the pointer to the keyword: unsupported, or no JSON schema at all. */
hn_status hn_schema_refuse(hn_schema *s, const char *keyword, const char *why);
hn_status hn_schema_wrong(hn_schema *s, const char *keyword, const char *wanted);

/* schema.c */
/* Values of a whole schema, its references included, as part of a larger grammar. */
HN_MUST_CHECK hn_status hn_schema_add(hn_grammar *g, const json_t *schema, const char *where,
                                      int32_t from, int32_t to, hn_error *err);
HN_MUST_CHECK hn_status hn_schema_compile(hn_schema *s, const json_t *schema, int32_t from,
                                          int32_t to);
/* The same for the schema at path / keyword / name (NULL = none). */
HN_MUST_CHECK hn_status hn_schema_compile_at(hn_schema *s, const json_t *schema,
                                             const char *keyword, const char *name, int32_t from,
                                             int32_t to);
/* A whole number of 0 or more under `keyword`; `out` stays when it is absent. */
HN_MUST_CHECK hn_status hn_schema_count(hn_schema *s, const json_t *schema, const char *keyword,
                                        uint32_t *out);
bool hn_schema_is_annotation(const char *keyword);

/* schema_merge.c: what both say, as one schema, without $ref and allOf; lives as long as `s`. */
HN_MUST_CHECK hn_status hn_schema_flatten(hn_schema *s, const json_t *schema, json_t **out);
HN_MUST_CHECK hn_status hn_schema_merge(hn_schema *s, const json_t *a, const json_t *b,
                                        json_t **out);
HN_MUST_CHECK hn_status hn_schema_resolve(hn_schema *s, const char *ref, const json_t **out);
/* Counts one more schema; refuses too many, and too deep ones. */
HN_MUST_CHECK hn_status hn_schema_enter(hn_schema *s);
void hn_schema_leave(hn_schema *s);

/* schema_types.c */
HN_MUST_CHECK hn_status hn_schema_types(hn_schema *s, const json_t *schema, unsigned *types);
unsigned hn_schema_type_of(const json_t *value);
HN_MUST_CHECK hn_status hn_schema_values(hn_schema *s, const json_t *schema, unsigned types,
                                         json_t **values);
HN_MUST_CHECK hn_status hn_schema_check_one_of(hn_schema *s, const json_t *branches);

/* schema_object.c, schema_array.c, schema_string.c, schema_number.c */
HN_MUST_CHECK hn_status hn_schema_object(hn_schema *s, const json_t *schema, int32_t from,
                                         int32_t to);
HN_MUST_CHECK hn_status hn_schema_array(hn_schema *s, const json_t *schema, int32_t from,
                                        int32_t to);
HN_MUST_CHECK hn_status hn_schema_string(hn_schema *s, const json_t *schema, int32_t from,
                                         int32_t to);
HN_MUST_CHECK hn_status hn_schema_number(hn_schema *s, const json_t *schema, bool whole,
                                         int32_t from, int32_t to);
/* Any number, or any string, without limits. */
void hn_schema_plain_number(hn_grammar *g, int32_t from, int32_t to);
void hn_schema_plain_string(hn_grammar *g, int32_t from, int32_t to);
/* Any value, nested a few levels. */
int32_t hn_schema_any(hn_schema *s);
/* `sign` and then nothing or one blank. */
void hn_schema_sign(hn_grammar *g, int32_t from, char sign, int32_t to);
/* The value as compact JSON; shares beginnings with others from the same node. */
HN_MUST_CHECK hn_status hn_schema_word(hn_schema *s, const json_t *value, int32_t from, int32_t to);
