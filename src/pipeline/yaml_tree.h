/* A YAML document as a small tree with marks, for recipes: maps, lists and scalars only. Anchors,
 * aliases, tags, a second document and duplicate keys are refused where they stand. */
#pragma once

#include "base/arena.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum hn_yaml_kind { HN_YAML_SCALAR, HN_YAML_LIST, HN_YAML_MAP } hn_yaml_kind;

/* Lives in the arena that it was read into. */
typedef struct hn_yaml_node {
    hn_yaml_kind kind;
    const char *text;            /* scalar: NUL-terminated UTF-8 without NUL inside */
    bool plain;                  /* scalar written without quotes: may be a number or true, false */
    const char *key;             /* of a map's member, otherwise NULL */
    size_t line, column;         /* of the value, from 1 */
    size_t key_line, key_column; /* of the key */
    struct hn_yaml_node *first, *next;
} hn_yaml_node;

/* A map's member of that key, or NULL. */
const hn_yaml_node *hn_yaml_member(const hn_yaml_node *map, const char *key);

/* `where` opens messages: "where:line:column: ...". */
HN_MUST_CHECK hn_status hn_yaml_read(hn_arena *arena, const char *text, size_t n_bytes,
                                     const char *where, const hn_yaml_node **root, hn_error *err);
