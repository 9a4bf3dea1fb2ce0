/* From a YAML tree to a checked recipe, by the table of keys. */
#include "pipeline/recipe.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "grammar/grammar.h"
#include "pipeline/recipe_reader.h"
#include "pipeline/yaml_tree.h"
#include "release/quantise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RECIPE_BYTES = 1 << 20 };
static const char *const SECTIONS[] = {"data", "generate",  "sft",  "kd",   "rkd",
                                       "dpo",  "artefacts", "eval", "gate", "bundle"};
enum {
    N_SECTIONS = sizeof SECTIONS / sizeof *SECTIONS,
    MAX_CANDIDATES = HN_RECIPE_MAX_FIELDS + N_SECTIONS
};

static hn_status fail_unknown(const hn_recipe_reader *reader, const hn_yaml_node *node,
                              const char *section, const char *const *known, size_t n_known,
                              hn_error *err) {
    const char *near = hn_text_nearest(node->key, known, n_known);
    hn_yaml_node at = *node;
    at.line = node->key_line;
    at.column = node->key_column;
    return hn_recipe_fail(reader, &at, err, "unknown key '%.100s'%s%s%s%s%s%s", node->key,
                          section[0] ? " in '" : "", section, section[0] ? "'" : "",
                          near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* One map's members by the rows of the table that belong to `section`. `seen` marks fields. */
static hn_status read_members(const hn_recipe_reader *reader, const hn_yaml_node *map,
                              const char *section, const hn_field *fields, size_t n_fields,
                              void *object, bool *seen, hn_error *err) {
    const char *known[MAX_CANDIDATES];
    size_t n_known = 0;
    if (map->kind != HN_YAML_MAP)
        return hn_recipe_fail(reader, map, err, "'%s' must hold keys and values", section);
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
            HN_TRY(hn_recipe_read_value(reader, &fields[i], node, object, err));
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

/* What a stage needs that the recipe doesn't have is not missed. */
static bool is_left_out(const hn_yaml_node *at, const char *section) {
    static const char *const OPTIONAL[] = {"generate", "kd", "rkd", "dpo"};
    for (size_t i = 0; i < sizeof OPTIONAL / sizeof *OPTIONAL; i++)
        if (!strcmp(section, OPTIONAL[i]))
            return !hn_yaml_member(at, section);
    return false;
}

static hn_status apply_defaults(const hn_recipe_reader *reader, const hn_yaml_node *at,
                                const hn_field *fields, size_t n_fields, void *object,
                                const bool *seen, hn_error *err) {
    for (size_t i = 0; i < n_fields; i++) {
        if (seen[i])
            continue;
        if (fields[i].required && !is_left_out(at, fields[i].section))
            return hn_recipe_fail(reader, at, err, "'%s%s%s' is missing", fields[i].section,
                                  fields[i].section[0] ? "." : "", fields[i].key);
        if (!fields[i].fallback)
            continue;
        hn_yaml_node value = *at;
        value.kind = HN_YAML_SCALAR;
        value.text = fields[i].fallback;
        value.plain = true;
        HN_TRY(hn_recipe_read_value(reader, &fields[i], &value, object, err));
    }
    return HN_OK;
}

static hn_status check_artefact(const hn_recipe_reader *reader, hn_recipe_artefact *artefact,
                                const hn_yaml_node *node, hn_error *err) {
    const hn_recipe *recipe = reader->recipe;
    hn_ftype ftype;
    for (int i = 0; i + 1 < recipe->n_artefacts; i++)
        if (!strcmp(recipe->artefacts[i].name, artefact->name))
            return hn_recipe_fail(reader, node, err, "a second artefact named '%s'",
                                  artefact->name);
    if (artefact->kind == HN_ARTEFACT_ADAPTER) {
        if (artefact->type || artefact->calibration)
            return hn_recipe_fail(
                reader, node, err,
                "an artefact of kind adapter leaves the base as it is: it takes no "
                "'type' and no 'calibration'");
        return HN_OK;
    }
    if (!artefact->type)
        return hn_recipe_fail(reader, node, err,
                              "artefact '%s' needs a 'type', such as q8_0 or q4_k_m",
                              artefact->name);
    if (!hn_ftype_from_name(artefact->type, &ftype)) {
        const char *names[HN_FTYPE_COUNT];
        for (int i = 0; i < HN_FTYPE_COUNT; i++)
            names[i] = hn_ftype_name((hn_ftype)i);
        const char *near = hn_text_nearest(artefact->type, names, HN_FTYPE_COUNT);
        return hn_recipe_fail(reader, node, err, "unknown type '%s'%s%s%s", artefact->type,
                              near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    if (artefact->kind == HN_ARTEFACT_HUGGINGFACE && ftype > HN_FTYPE_BF16)
        return hn_recipe_fail(reader, node, err,
                              "a Hugging Face folder is written in f32, f16 or bf16");
    if (!artefact->calibration || !strcmp(artefact->calibration, "train") ||
        !strcmp(artefact->calibration, "train+self") || !strcmp(artefact->calibration, "self") ||
        !strcmp(artefact->calibration, "none"))
        return HN_OK;
    char *path;
    HN_TRY(hn_recipe_resolve(reader, artefact->calibration, &path, err));
    if (reader->check_files && !hn_path_exists(path))
        return hn_recipe_fail(reader, node, err, "'calibration': %.300s isn't there", path);
    artefact->calibration = path;
    return HN_OK;
}

static hn_status read_artefacts(const hn_recipe_reader *reader, const hn_yaml_node *list,
                                hn_error *err) {
    hn_recipe *recipe = reader->recipe;
    if (list->kind != HN_YAML_LIST)
        return hn_recipe_fail(reader, list, err, "'artefacts' must be a list");
    for (const hn_yaml_node *node = list->first; node; node = node->next) {
        bool seen[MAX_CANDIDATES] = {0};
        if (recipe->n_artefacts == HN_RECIPE_MAX_ARTEFACTS)
            return hn_recipe_fail(reader, node, err, "more than %d artefacts",
                                  HN_RECIPE_MAX_ARTEFACTS);
        hn_recipe_artefact *artefact = &recipe->artefacts[recipe->n_artefacts++];
        HN_TRY(read_members(reader, node, "artefacts", HN_ARTEFACT_FIELDS, HN_ARTEFACT_N_FIELDS,
                            artefact, seen, err));
        HN_TRY(apply_defaults(reader, node, HN_ARTEFACT_FIELDS, HN_ARTEFACT_N_FIELDS, artefact,
                              seen, err));
        HN_TRY(check_artefact(reader, artefact, node, err));
    }
    return HN_OK;
}

static hn_status check_bundle(const hn_recipe_reader *reader, const hn_yaml_node *root,
                              hn_error *err) {
    hn_recipe *recipe = reader->recipe;
    const hn_yaml_node *section = hn_yaml_member(root, "bundle");
    recipe->bundle.wanted = section != NULL;
    if (!section)
        return HN_OK;
    if (!recipe->n_artefacts)
        return hn_recipe_fail(reader, section, err,
                              "a bundle needs an artefact: list one in 'artefacts'");
    if (!recipe->bundle.artefact)
        recipe->bundle.artefact = recipe->artefacts[0].name;
    for (int i = 0; i < recipe->n_artefacts; i++) {
        if (strcmp(recipe->artefacts[i].name, recipe->bundle.artefact))
            continue;
        if (recipe->artefacts[i].kind == HN_ARTEFACT_HUGGINGFACE)
            return hn_recipe_fail(reader, section, err,
                                  "a bundle holds a GGUF, but '%s' is a folder",
                                  recipe->bundle.artefact);
        return HN_OK;
    }
    return hn_recipe_fail(reader, section, err, "no artefact is named '%s'",
                          recipe->bundle.artefact);
}

/* Each of the two says something only beside the other. */
static hn_status check_abstention(const hn_recipe_reader *reader, const hn_yaml_node *root,
                                  hn_error *err) {
    const hn_yaml_node *section = hn_yaml_member(root, "eval");
    const hn_yaml_node *below = section ? hn_yaml_member(section, "abstain_below") : NULL;
    const hn_yaml_node *as = section ? hn_yaml_member(section, "abstain_as") : NULL;
    if (below && !as)
        return hn_recipe_fail(reader, below, err,
                              "'abstain_below' needs 'abstain_as': what an answer less probable "
                              "than that becomes");
    if (as && !below)
        return hn_recipe_fail(reader, as, err,
                              "'abstain_as' needs 'abstain_below': the probability below which an "
                              "answer becomes that");
    return HN_OK;
}

/* Compiled once to see that it can be: hours lie between here and the first answer. */
static hn_status check_constraint(const hn_recipe_reader *reader, const hn_yaml_node *root,
                                  hn_error *err) {
    const char *const path[] = {reader->recipe->eval.grammar, reader->recipe->eval.json_schema};
    const hn_yaml_node *section = hn_yaml_member(root, "eval");
    for (int i = 0; i < 2; i++) {
        char *text;
        size_t size;
        hn_grammar *grammar = NULL;
        if (!path[i])
            continue;
        if (path[1 - i])
            return hn_recipe_fail(reader, hn_yaml_member(section, "json_schema"), err,
                                  "'grammar' and 'json_schema' exclude each other");
        if (!reader->check_files)
            continue;
        HN_TRY(hn_file_read(path[i], HN_GRAMMAR_MAX_BYTES, &text, &size, err));
        hn_status status = i == 0 ? hn_grammar_from_gbnf(&grammar, text, size, path[i], err)
                                  : hn_grammar_from_schema_text(&grammar, text, size, path[i], err);
        hn_grammar_free(grammar);
        hn_free(text);
        HN_TRY(status);
    }
    return HN_OK;
}

static hn_status read_recipe(const hn_recipe_reader *reader, const hn_yaml_node *root,
                             hn_error *err) {
    bool seen[MAX_CANDIDATES] = {0};
    hn_recipe *recipe = reader->recipe;
    if (root->kind != HN_YAML_MAP)
        return hn_recipe_fail(reader, root, err, "a recipe is a map: name, base, data, sft, ...");
    HN_TRY(read_members(reader, root, "", HN_RECIPE_FIELDS, HN_RECIPE_N_FIELDS, recipe, seen, err));
    for (size_t i = 0; i < N_SECTIONS; i++) {
        const hn_yaml_node *section = hn_yaml_member(root, SECTIONS[i]);
        if (!section)
            continue;
        if (!strcmp(SECTIONS[i], "artefacts"))
            HN_TRY(read_artefacts(reader, section, err));
        else
            HN_TRY(read_members(reader, section, SECTIONS[i], HN_RECIPE_FIELDS, HN_RECIPE_N_FIELDS,
                                recipe, seen, err));
    }
    HN_TRY(apply_defaults(reader, root, HN_RECIPE_FIELDS, HN_RECIPE_N_FIELDS, recipe, seen, err));
    HN_TRY(hn_recipe_check_teaching(reader, root, err));
    HN_TRY(check_abstention(reader, root, err));
    HN_TRY(check_constraint(reader, root, err));
    return check_bundle(reader, root, err);
}

hn_status hn_recipe_parse(hn_recipe *recipe, const char *text, size_t n_bytes, const char *where,
                          const char *dir, bool check_files, hn_error *err) {
    hn_recipe out = {0};
    hn_recipe_reader reader = {
        .recipe = &out, .where = where, .dir = dir, .check_files = check_files};
    const hn_yaml_node *root;
    hn_status status;
    HN_GO(hn_sha256_data(text, n_bytes, out.sha256, err));
    HN_GO(hn_recipe_copy(&reader, where, &out.path, err));
    HN_GO(hn_recipe_copy(&reader, dir, &out.dir, err));
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
