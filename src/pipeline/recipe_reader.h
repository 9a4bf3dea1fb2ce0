/* What reading a recipe's tree and reading one of its values share. */
#pragma once

#include "pipeline/recipe.h"
#include "pipeline/recipe_table.h"
#include "pipeline/yaml_tree.h"

#include <stdbool.h>

typedef struct hn_recipe_reader {
    hn_recipe *recipe;
    const char *where, *dir; /* for messages; what paths are relative to */
    bool check_files;        /* files that are named must be there */
} hn_recipe_reader;

/* HN_BAD_INPUT with the node's line and column. */
hn_status hn_recipe_fail(const hn_recipe_reader *reader, const hn_yaml_node *node, hn_error *err,
                         const char *fmt, ...) HN_PRINTF(4, 5);
/* Copies of texts live in the recipe's arena. */
HN_MUST_CHECK hn_status hn_recipe_copy(const hn_recipe_reader *reader, const char *text, char **out,
                                       hn_error *err);
/* A path as seen from the recipe's folder. */
HN_MUST_CHECK hn_status hn_recipe_resolve(const hn_recipe_reader *reader, const char *text,
                                          char **out, hn_error *err);
/* recipe_teaching.c: which stages there are, and that each has rows and settings that make sense.
 */
HN_MUST_CHECK hn_status hn_recipe_check_teaching(const hn_recipe_reader *reader,
                                                 const hn_yaml_node *root, hn_error *err);
/* Checks a node against a field and puts its value into its place in `object`. */
HN_MUST_CHECK hn_status hn_recipe_read_value(const hn_recipe_reader *reader, const hn_field *field,
                                             const hn_yaml_node *node, void *object, hn_error *err);
