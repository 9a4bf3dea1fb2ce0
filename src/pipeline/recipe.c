/* From a YAML tree to a checked recipe, by the table of keys. */
#include "pipeline/recipe.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "pipeline/recipe_table.h"
#include "pipeline/yaml_tree.h"
#include "release/quantise.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RECIPE_BYTES = 1 << 20, MAX_NAME_BYTES = 100, MAX_CANDIDATES = 64 };
static const char *const SECTIONS[] = {"data", "sft", "artefacts", "eval", "gate", "bundle"};
enum { N_SECTIONS = sizeof SECTIONS / sizeof *SECTIONS };

typedef struct recipe_reader {
    hn_recipe *recipe;
    const char *where, *dir;
    bool check_files;
} recipe_reader;

static HN_PRINTF(4, 5) hn_status fail_at(const recipe_reader *reader, const hn_yaml_node *node,
                                         hn_error *err, const char *fmt, ...) {
    char text[800];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return hn_fail(err, HN_BAD_INPUT, "%s:%zu:%zu: %s", reader->where, node->line, node->column,
                   text);
}

static hn_status fail_unknown(const recipe_reader *reader, const hn_yaml_node *node,
                              const char *section, const char *const *known, size_t n_known,
                              hn_error *err) {
    const char *near = hn_text_nearest(node->key, known, n_known);
    hn_yaml_node at = *node;
    at.line = node->key_line;
    at.column = node->key_column;
    return fail_at(reader, &at, err, "unknown key '%.100s'%s%s%s%s%s%s", node->key,
                   section[0] ? " in '" : "", section, section[0] ? "'" : "",
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static hn_status copy_text(const recipe_reader *reader, const char *text, char **out,
                           hn_error *err) {
    *out = hn_arena_strndup(&reader->recipe->arena, text, strlen(text));
    return *out ? HN_OK : hn_fail_no_memory(err, strlen(text));
}

static hn_status read_number(const recipe_reader *reader, const hn_field *field,
                             const hn_yaml_node *node, double *out, hn_error *err) {
    char *end;
    errno = 0;
    double value = strtod(node->text, &end);
    bool digits = node->text[0] && strspn(node->text, "0123456789+-.eE") == strlen(node->text);
    if (!node->plain || !digits || *end || errno == ERANGE)
        return fail_at(reader, node, err, "'%s' must be a number, not '%.100s'", field->key,
                       node->text);
    if (field->type == HN_FIELD_INT && value != (double)(int64_t)value)
        return fail_at(reader, node, err, "'%s' must be a whole number, not %.100s", field->key,
                       node->text);
    if (!(value >= field->min && value <= field->max))
        return fail_at(reader, node, err, "'%s' must lie between %g and %g, not %.100s", field->key,
                       field->min, field->max, node->text);
    *out = value;
    return HN_OK;
}

static hn_status read_choice(const recipe_reader *reader, const hn_field *field,
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
    return fail_at(reader, node, err, "'%s' must be one of %s, not '%.100s'", field->key,
                   field->choices, node->text);
}

static hn_status check_name(const recipe_reader *reader, const hn_field *field,
                            const hn_yaml_node *node, hn_error *err) {
    bool good = node->text[0] && node->text[0] != '.' && strlen(node->text) <= MAX_NAME_BYTES;
    for (const char *c = node->text; *c; c++)
        good = good && (isalnum((unsigned char)*c) || strchr("._-", *c));
    if (good)
        return HN_OK;
    return fail_at(reader, node, err,
                   "'%s' may hold letters, digits, '.', '_' and '-', not '%.100s'", field->key,
                   node->text);
}

static hn_status resolve(const recipe_reader *reader, const char *text, char **out, hn_error *err) {
    char *joined = hn_path_join(reader->dir, text);
    if (!joined)
        return hn_fail_no_memory(err, strlen(text));
    hn_status status = copy_text(reader, joined, out, err);
    hn_free(joined);
    return status;
}

static hn_status read_file(const recipe_reader *reader, const hn_field *field,
                           const hn_yaml_node *node, char **out, hn_error *err) {
    char *path;
    if (!node->text[0])
        return fail_at(reader, node, err, "'%s' must name a file", field->key);
    HN_TRY(resolve(reader, node->text, &path, err));
    if (reader->check_files && !hn_path_exists(path))
        return fail_at(reader, node, err, "'%s': %.300s isn't there", field->key, path);
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

static hn_status read_base(const recipe_reader *reader, const hn_field *field,
                           const hn_yaml_node *node, char **out, hn_error *err) {
    char *path, cached[4096];
    if (!node->text[0])
        return fail_at(reader, node, err, "'%s' must name a model", field->key);
    HN_TRY(resolve(reader, node->text, &path, err));
    if (reader->check_files && !hn_path_exists(path)) {
        cache_path(cached, sizeof cached, node->text);
        if (!hn_path_exists(cached))
            return fail_at(reader, node, err,
                           "the base model is neither at %.200s nor at %.200s: get it with "
                           "'hone pull', or name a GGUF file or model folder",
                           path, cached);
        return copy_text(reader, cached, out, err);
    }
    *out = path;
    return HN_OK;
}

static hn_status read_files(const recipe_reader *reader, const hn_field *field,
                            const hn_yaml_node *node, hn_error *err) {
    hn_recipe *recipe = reader->recipe;
    if (node->kind == HN_YAML_SCALAR) {
        recipe->data.n_train = 1;
        return read_file(reader, field, node, &recipe->data.train[0], err);
    }
    for (const hn_yaml_node *one = node->first; one; one = one->next) {
        if (one->kind != HN_YAML_SCALAR)
            return fail_at(reader, one, err, "'%s' must be a file or a list of files", field->key);
        if (recipe->data.n_train == HN_RECIPE_MAX_TRAIN_FILES)
            return fail_at(reader, one, err, "more than %d files", HN_RECIPE_MAX_TRAIN_FILES);
        HN_TRY(read_file(reader, field, one, &recipe->data.train[recipe->data.n_train++], err));
    }
    if (!recipe->data.n_train)
        return fail_at(reader, node, err, "'%s' lists no file", field->key);
    return HN_OK;
}

static hn_status read_value(const recipe_reader *reader, const hn_field *field,
                            const hn_yaml_node *node, void *object, hn_error *err) {
    void *at = (char *)object + field->offset;
    double number;
    if (field->type == HN_FIELD_FILES && node->kind != HN_YAML_MAP)
        return read_files(reader, field, node, err);
    if (node->kind != HN_YAML_SCALAR)
        return fail_at(reader, node, err, "'%s' must be a single value", field->key);
    switch (field->type) {
    case HN_FIELD_NAME:
        HN_TRY(check_name(reader, field, node, err));
        return copy_text(reader, node->text, at, err);
    case HN_FIELD_TEXT:
        return copy_text(reader, node->text, at, err);
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
            return fail_at(reader, node, err, "'%s' must be true or false, not '%.100s'",
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

/* One map's members by the rows of the table that belong to `section`. `seen` marks fields. */
static hn_status read_members(const recipe_reader *reader, const hn_yaml_node *map,
                              const char *section, const hn_field *fields, size_t n_fields,
                              void *object, bool *seen, hn_error *err) {
    const char *known[MAX_CANDIDATES];
    size_t n_known = 0;
    if (map->kind != HN_YAML_MAP)
        return fail_at(reader, map, err, "'%s' must hold keys and values", section);
    for (size_t i = 0; i < n_fields; i++)
        if (!strcmp(fields[i].section, section))
            known[n_known++] = fields[i].key;
    for (size_t i = 0; !section[0] && i < N_SECTIONS; i++)
        known[n_known++] = SECTIONS[i];
    for (const hn_yaml_node *node = map->first; node; node = node->next) {
        size_t i = 0;
        while (i < n_fields &&
               (strcmp(fields[i].section, section) || strcmp(fields[i].key, node->key)))
            i++;
        if (i < n_fields) {
            HN_TRY(read_value(reader, &fields[i], node, object, err));
            seen[i] = true;
            continue;
        }
        bool is_section = false;
        for (size_t k = 0; !section[0] && k < N_SECTIONS; k++)
            is_section = is_section || !strcmp(SECTIONS[k], node->key);
        if (!is_section)
            return fail_unknown(reader, node, section, known, n_known, err);
    }
    return HN_OK;
}

static hn_status apply_defaults(const recipe_reader *reader, const hn_yaml_node *at,
                                const hn_field *fields, size_t n_fields, void *object,
                                const bool *seen, hn_error *err) {
    for (size_t i = 0; i < n_fields; i++) {
        if (seen[i])
            continue;
        if (fields[i].required)
            return fail_at(reader, at, err, "'%s%s%s' is missing", fields[i].section,
                           fields[i].section[0] ? "." : "", fields[i].key);
        if (!fields[i].fallback)
            continue;
        hn_yaml_node value = *at;
        value.kind = HN_YAML_SCALAR;
        value.text = fields[i].fallback;
        value.plain = true;
        HN_TRY(read_value(reader, &fields[i], &value, object, err));
    }
    return HN_OK;
}

static hn_status check_artefact(const recipe_reader *reader, hn_recipe_artefact *artefact,
                                const hn_yaml_node *node, hn_error *err) {
    const hn_recipe *recipe = reader->recipe;
    hn_ftype ftype;
    for (int i = 0; i + 1 < recipe->n_artefacts; i++)
        if (!strcmp(recipe->artefacts[i].name, artefact->name))
            return fail_at(reader, node, err, "a second artefact named '%s'", artefact->name);
    if (artefact->kind == HN_ARTEFACT_ADAPTER) {
        if (artefact->type || artefact->calibration)
            return fail_at(reader, node, err,
                           "an artefact of kind adapter leaves the base as it is: it takes no "
                           "'type' and no 'calibration'");
        return HN_OK;
    }
    if (!artefact->type)
        return fail_at(reader, node, err, "artefact '%s' needs a 'type', such as q8_0 or q4_k_m",
                       artefact->name);
    if (!hn_ftype_from_name(artefact->type, &ftype)) {
        const char *names[HN_FTYPE_COUNT];
        for (int i = 0; i < HN_FTYPE_COUNT; i++)
            names[i] = hn_ftype_name((hn_ftype)i);
        const char *near = hn_text_nearest(artefact->type, names, HN_FTYPE_COUNT);
        return fail_at(reader, node, err, "unknown type '%s'%s%s%s", artefact->type,
                       near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    if (artefact->kind == HN_ARTEFACT_HUGGINGFACE && ftype > HN_FTYPE_BF16)
        return fail_at(reader, node, err, "a Hugging Face folder is written in f32, f16 or bf16");
    if (!artefact->calibration || !strcmp(artefact->calibration, "train"))
        return HN_OK;
    char *path;
    HN_TRY(resolve(reader, artefact->calibration, &path, err));
    if (reader->check_files && !hn_path_exists(path))
        return fail_at(reader, node, err, "'calibration': %.300s isn't there", path);
    artefact->calibration = path;
    return HN_OK;
}

static hn_status read_artefacts(const recipe_reader *reader, const hn_yaml_node *list,
                                hn_error *err) {
    hn_recipe *recipe = reader->recipe;
    if (list->kind != HN_YAML_LIST)
        return fail_at(reader, list, err, "'artefacts' must be a list");
    for (const hn_yaml_node *node = list->first; node; node = node->next) {
        bool seen[MAX_CANDIDATES] = {0};
        if (recipe->n_artefacts == HN_RECIPE_MAX_ARTEFACTS)
            return fail_at(reader, node, err, "more than %d artefacts", HN_RECIPE_MAX_ARTEFACTS);
        hn_recipe_artefact *artefact = &recipe->artefacts[recipe->n_artefacts++];
        HN_TRY(read_members(reader, node, "artefacts", HN_ARTEFACT_FIELDS, HN_ARTEFACT_N_FIELDS,
                            artefact, seen, err));
        HN_TRY(apply_defaults(reader, node, HN_ARTEFACT_FIELDS, HN_ARTEFACT_N_FIELDS, artefact,
                              seen, err));
        HN_TRY(check_artefact(reader, artefact, node, err));
    }
    return HN_OK;
}

static const hn_yaml_node *member(const hn_yaml_node *map, const char *key) {
    for (const hn_yaml_node *node = map->first; node; node = node->next)
        if (!strcmp(node->key, key))
            return node;
    return NULL;
}

static hn_status check_bundle(const recipe_reader *reader, const hn_yaml_node *root,
                              hn_error *err) {
    hn_recipe *recipe = reader->recipe;
    const hn_yaml_node *section = member(root, "bundle");
    recipe->bundle.wanted = section != NULL;
    if (!section)
        return HN_OK;
    if (!recipe->n_artefacts)
        return fail_at(reader, section, err, "a bundle needs an artefact: list one in 'artefacts'");
    if (!recipe->bundle.artefact)
        recipe->bundle.artefact = recipe->artefacts[0].name;
    for (int i = 0; i < recipe->n_artefacts; i++) {
        if (strcmp(recipe->artefacts[i].name, recipe->bundle.artefact))
            continue;
        if (recipe->artefacts[i].kind == HN_ARTEFACT_HUGGINGFACE)
            return fail_at(reader, section, err, "a bundle holds a GGUF, but '%s' is a folder",
                           recipe->bundle.artefact);
        return HN_OK;
    }
    return fail_at(reader, section, err, "no artefact is named '%s'", recipe->bundle.artefact);
}

static hn_status read_recipe(const recipe_reader *reader, const hn_yaml_node *root, hn_error *err) {
    bool seen[MAX_CANDIDATES] = {0};
    hn_recipe *recipe = reader->recipe;
    if (root->kind != HN_YAML_MAP)
        return fail_at(reader, root, err, "a recipe is a map: name, base, data, sft, ...");
    HN_TRY(read_members(reader, root, "", HN_RECIPE_FIELDS, HN_RECIPE_N_FIELDS, recipe, seen, err));
    for (size_t i = 0; i < N_SECTIONS; i++) {
        const hn_yaml_node *section = member(root, SECTIONS[i]);
        if (!section)
            continue;
        if (!strcmp(SECTIONS[i], "artefacts"))
            HN_TRY(read_artefacts(reader, section, err));
        else
            HN_TRY(read_members(reader, section, SECTIONS[i], HN_RECIPE_FIELDS, HN_RECIPE_N_FIELDS,
                                recipe, seen, err));
    }
    HN_TRY(apply_defaults(reader, root, HN_RECIPE_FIELDS, HN_RECIPE_N_FIELDS, recipe, seen, err));
    return check_bundle(reader, root, err);
}

hn_status hn_recipe_parse(hn_recipe *recipe, const char *text, size_t n_bytes, const char *where,
                          const char *dir, bool check_files, hn_error *err) {
    hn_recipe out = {0};
    recipe_reader reader = {.recipe = &out, .where = where, .dir = dir, .check_files = check_files};
    const hn_yaml_node *root;
    hn_status status;
    HN_GO(hn_sha256_data(text, n_bytes, out.sha256, err));
    HN_GO(copy_text(&reader, where, &out.path, err));
    HN_GO(copy_text(&reader, dir, &out.dir, err));
    HN_GO(hn_yaml_read(&out.arena, text, n_bytes, where, &root, err));
    HN_GO(read_recipe(&reader, root, err));
    *recipe = out;
    out = (hn_recipe){0};
done:
    hn_recipe_done(&out);
    return status;
}

hn_status hn_recipe_read(hn_recipe *recipe, const char *path, hn_error *err) {
    char *text = NULL, *dir = NULL;
    size_t size;
    HN_TRY(hn_file_read(path, MAX_RECIPE_BYTES, &text, &size, err));
    hn_status status = HN_OK;
    dir = hn_path_dir(path);
    if (!dir)
        status = hn_fail_no_memory(err, strlen(path));
    else
        status = hn_recipe_parse(recipe, text, size, path, dir, true, err);
    hn_free(dir);
    hn_free(text);
    return status;
}

void hn_recipe_done(hn_recipe *recipe) {
    hn_arena_done(&recipe->arena);
    *recipe = (hn_recipe){0};
}
