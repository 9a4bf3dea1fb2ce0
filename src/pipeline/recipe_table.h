/* Every key of a recipe, once: its section, type, range, default and place in hn_recipe. */
#pragma once

#include "pipeline/recipe.h"

#include <stddef.h>

typedef enum hn_field_type {
    HN_FIELD_TEXT,   /* char *, any text */
    HN_FIELD_NAME,   /* char *, letters, digits, '.', '_' and '-': it becomes a file's name */
    HN_FIELD_FILE,   /* char *, a file or folder that must be there */
    HN_FIELD_FILES,  /* hn_recipe_files: one file or a list of them */
    HN_FIELD_BASE,   /* char *, file, folder, or the name of a model in the cache */
    HN_FIELD_INT,    /* int64_t, min..max */
    HN_FIELD_REAL,   /* double, min..max */
    HN_FIELD_BOOL,   /* bool */
    HN_FIELD_CHOICE, /* int: the index in `choices`, separated by '|' */
} hn_field_type;

typedef struct hn_field {
    const char *section; /* "" = top level */
    const char *key;
    hn_field_type type;
    size_t offset;
    const char *fallback; /* as written in YAML; NULL = none (text: NULL) */
    bool required;        /* in a section that is there, or must be */
    double min, max;
    const char *choices;
} hn_field;

enum { HN_RECIPE_MAX_FIELDS = 256 };
extern const hn_field HN_RECIPE_FIELDS[];
extern const size_t HN_RECIPE_N_FIELDS;
extern const hn_field HN_ARTEFACT_FIELDS[]; /* offsets into hn_recipe_artefact */
extern const size_t HN_ARTEFACT_N_FIELDS;
