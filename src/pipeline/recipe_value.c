/* One value of a recipe: checked by its field's type and range, paths resolved. */
#include "base/file.h"
#include "base/mem.h"
#include "pipeline/recipe_reader.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME_BYTES = 100 };

hn_status hn_recipe_fail(const hn_recipe_reader *reader, const hn_yaml_node *node, hn_error *err,
                         const char *fmt, ...) {
    char text[800];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return hn_fail(err, HN_BAD_INPUT, "%s:%zu:%zu: %s", reader->where, node->line, node->column,
                   text);
}

hn_status hn_recipe_copy(const hn_recipe_reader *reader, const char *text, char **out,
                         hn_error *err) {
    *out = hn_arena_strndup(&reader->recipe->arena, text, strlen(text));
    return *out ? HN_OK : hn_fail_no_memory(err, strlen(text));
}

static hn_status read_number(const hn_recipe_reader *reader, const hn_field *field,
                             const hn_yaml_node *node, double *out, hn_error *err) {
    char *end;
    errno = 0;
    double value = strtod(node->text, &end);
    bool digits = node->text[0] && strspn(node->text, "0123456789+-.eE") == strlen(node->text);
    if (!node->plain || !digits || *end || errno == ERANGE)
        return hn_recipe_fail(reader, node, err, "'%s' must be a number, not '%.100s'", field->key,
                              node->text);
    if (field->type == HN_FIELD_INT && value != trunc(value))
        return hn_recipe_fail(reader, node, err, "'%s' must be a whole number, not %.100s",
                              field->key, node->text);
    if (!(value >= field->min && value <= field->max))
        return hn_recipe_fail(reader, node, err,
                              "'%s' must lie between %.10g and %.10g, not %.100s", field->key,
                              field->min, field->max, node->text);
    *out = value;
    return HN_OK;
}

static hn_status read_choice(const hn_recipe_reader *reader, const hn_field *field,
                             const hn_yaml_node *node, int *out, hn_error *err) {
    size_t n = strlen(node->text);
    int index = 0;
    for (const char *at = field->choices; *at; index++) {
        size_t length = strcspn(at, "|");
        if (length == n && !memcmp(at, node->text, n)) {
            *out = index;
            return HN_OK;
        }
        at += length + (at[length] == '|');
    }
    return hn_recipe_fail(reader, node, err, "'%s' must be one of %s, not '%.100s'", field->key,
                          field->choices, node->text);
}

static hn_status check_name(const hn_recipe_reader *reader, const hn_field *field,
                            const hn_yaml_node *node, hn_error *err) {
    bool good = node->text[0] && node->text[0] != '.' && strlen(node->text) <= MAX_NAME_BYTES;
    for (const char *c = node->text; *c; c++)
        good = good && (isalnum((unsigned char)*c) || strchr("._-", *c));
    if (good)
        return HN_OK;
    return hn_recipe_fail(reader, node, err,
                          "'%s' may hold letters, digits, '.', '_' and '-', not '%.100s'",
                          field->key, node->text);
}

hn_status hn_recipe_resolve(const hn_recipe_reader *reader, const char *text, char **out,
                            hn_error *err) {
    char *joined = hn_path_join(reader->dir, text);
    if (!joined)
        return hn_fail_no_memory(err, strlen(text));
    hn_status status = hn_recipe_copy(reader, joined, out, err);
    hn_free(joined);
    return status;
}

static hn_status read_file(const hn_recipe_reader *reader, const hn_field *field,
                           const hn_yaml_node *node, char **out, hn_error *err) {
    char *path;
    if (!node->text[0])
        return hn_recipe_fail(reader, node, err, "'%s' must name a file", field->key);
    HN_TRY(hn_recipe_resolve(reader, node->text, &path, err));
    if (reader->check_files && !hn_path_exists(path))
        return hn_recipe_fail(reader, node, err, "'%s': %.300s isn't there", field->key, path);
    *out = path;
    return HN_OK;
}

/* $HONE_CACHE, else $XDG_CACHE_HOME/hone, else ~/.cache/hone; then models/NAME. */
static void cache_path(char *out, size_t size, const char *name) {
    const char *own = getenv("HONE_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (own && own[0])
        snprintf(out, size, "%s/models/%s", own, name);
    else if (xdg && xdg[0])
        snprintf(out, size, "%s/hone/models/%s", xdg, name);
    else
        snprintf(out, size, "%s/.cache/hone/models/%s", home ? home : "", name);
}

static hn_status read_base(const hn_recipe_reader *reader, const hn_field *field,
                           const hn_yaml_node *node, char **out, hn_error *err) {
    char *path, cached[4096];
    if (!node->text[0])
        return hn_recipe_fail(reader, node, err, "'%s' must name a model", field->key);
    HN_TRY(hn_recipe_resolve(reader, node->text, &path, err));
    if (reader->check_files && !hn_path_exists(path)) {
        cache_path(cached, sizeof cached, node->text);
        if (!hn_path_exists(cached))
            return hn_recipe_fail(reader, node, err,
                                  "the base model is neither at %.200s nor at %.200s: get it with "
                                  "'hone pull', or name a GGUF file or model folder",
                                  path, cached);
        return hn_recipe_copy(reader, cached, out, err);
    }
    *out = path;
    return HN_OK;
}

static hn_status read_files(const hn_recipe_reader *reader, const hn_field *field,
                            const hn_yaml_node *node, hn_recipe_files *out, hn_error *err) {
    if (node->kind == HN_YAML_SCALAR) {
        out->n = 1;
        return read_file(reader, field, node, &out->path[0], err);
    }
    for (const hn_yaml_node *one = node->first; one; one = one->next) {
        if (one->kind != HN_YAML_SCALAR)
            return hn_recipe_fail(reader, one, err, "'%s' must be a file or a list of files",
                                  field->key);
        if (out->n == HN_RECIPE_MAX_TRAIN_FILES)
            return hn_recipe_fail(reader, one, err, "more than %d files",
                                  HN_RECIPE_MAX_TRAIN_FILES);
        HN_TRY(read_file(reader, field, one, &out->path[out->n++], err));
    }
    if (!out->n)
        return hn_recipe_fail(reader, node, err, "'%s' lists no file", field->key);
    return HN_OK;
}

hn_status hn_recipe_read_value(const hn_recipe_reader *reader, const hn_field *field,
                               const hn_yaml_node *node, void *object, hn_error *err) {
    void *at = (char *)object + field->offset;
    double number;
    if (field->type == HN_FIELD_FILES && node->kind != HN_YAML_MAP)
        return read_files(reader, field, node, at, err);
    if (node->kind != HN_YAML_SCALAR)
        return hn_recipe_fail(reader, node, err, "'%s' must be a single value", field->key);
    switch (field->type) {
    case HN_FIELD_NAME:
        HN_TRY(check_name(reader, field, node, err));
        return hn_recipe_copy(reader, node->text, at, err);
    case HN_FIELD_TEXT:
        return hn_recipe_copy(reader, node->text, at, err);
    case HN_FIELD_FILE:
        return read_file(reader, field, node, at, err);
    case HN_FIELD_BASE:
        return read_base(reader, field, node, at, err);
    case HN_FIELD_INT:
        HN_TRY(read_number(reader, field, node, &number, err));
        *(int64_t *)at = (int64_t)number;
        return HN_OK;
    case HN_FIELD_REAL:
        return read_number(reader, field, node, at, err);
    case HN_FIELD_BOOL:
        if (!node->plain || (strcmp(node->text, "true") && strcmp(node->text, "false")))
            return hn_recipe_fail(reader, node, err, "'%s' must be true or false, not '%.100s'",
                                  field->key, node->text);
        *(bool *)at = node->text[0] == 't';
        return HN_OK;
    case HN_FIELD_CHOICE:
        return read_choice(reader, field, node, at, err);
    case HN_FIELD_FILES:
        break;
    }
    return HN_OK;
}
