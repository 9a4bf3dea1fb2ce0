/* hone run: the whole loop from one recipe. */
#include "cli/commands.h"

#include "pipeline/pipeline.h"
#include "pipeline/recipe_table.h"
#include "train/ranks_launch.h"

static const char *type_name(const hn_field *field) {
    static const char *const NAMES[] = {"text",  "name",   "file",    "file or list", "model",
                                        "whole", "number", "boolean", "choice"};
    return field->type == HN_FIELD_CHOICE ? field->choices : NAMES[field->type];
}

static void key_row(hn_table *table, const hn_field *field) {
    hn_table_cell(table, "%s%s%s", field->section, field->section[0] ? "." : "", field->key);
    hn_table_cell(table, "%s", type_name(field));
    if (field->min != 0 || field->max != 0)
        hn_table_cell(table, "%.10g to %.10g", field->min, field->max);
    else
        hn_table_cell(table, "-");
    hn_table_cell(table, "%s",
                  field->required ? "(needed)" : (field->fallback ? field->fallback : "-"));
}

/* Every key of a recipe, from the table that recipes are read by. */
static hn_status print_keys(const hn_cli *cli, hn_error *err) {
    static const char *const HEADS[] = {"key", "value", "range", "default"};
    hn_table table;
    hn_table_init(&table, 4, HEADS, "lLll");
    for (size_t i = 0; i < HN_RECIPE_N_FIELDS; i++)
        key_row(&table, &HN_RECIPE_FIELDS[i]);
    for (size_t i = 0; i < HN_ARTEFACT_N_FIELDS; i++)
        key_row(&table, &HN_ARTEFACT_FIELDS[i]);
    hn_status status = hn_table_print(&table, &cli->out, err);
    hn_table_done(&table);
    return status;
}

static void print_place(const char *what, const json_t *object, const char *key) {
    const char *path = json_string_value(json_object_get(object, key));
    if (path)
        printf("%-9s %s\n", what, path);
}

static hn_status print(const hn_cli *cli, const hn_pipeline_result *result, hn_error *err) {
    enum { FILE_WIDTH = 200 }; /* a file or a pipe has room for the wide table */
    const json_t *rows = json_object_get(result->summary, "rows"), *row;
    size_t i;
    if (cli->json)
        return hn_cli_print_json(result->summary, err);
    hn_buf table = {0};
    hn_status status = hn_pipeline_table(
        result->summary, cli->out.is_terminal ? cli->out.width : FILE_WIDTH, &table, err);
    if (status == HN_OK) {
        fwrite(hn_buf_text(&table), 1, table.size, stdout);
        putchar('\n');
        json_array_foreach (rows, i, row)
            print_place(json_string_value(json_object_get(row, "name")), row, "path");
        print_place("stopped", result->summary, "stopped");
        print_place("report", result->summary, "report");
        print_place("bundle", result->summary, "bundle");
        if (result->has_verdict)
            printf("%-9s %s\n", "verdict", hn_verdict_name(result->verdict));
    }
    hn_buf_done(&table);
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_recipe recipe;
    hn_pipeline_result result = {0};
    hn_pipeline_options options = {.out_dir = hn_cli_text(cli, "output"),
                                   .n_threads = hn_cli_int(cli, "threads"),
                                   .isa = hn_cli_text(cli, "isa"),
                                   .prune = hn_cli_flag(cli, "prune")};
    if (hn_cli_flag(cli, "keys"))
        return print_keys(cli, err);
    if (!hn_cli_arg(cli, 0))
        return hn_fail(err, HN_USAGE, "which recipe? usage: hone run RECIPE [options]");
    if (hn_ranks_launched() > 1)
        return hn_fail(
            err, HN_USAGE,
            "started as one of %d processes, but a recipe is carried out by one: start it "
            "without mpirun, or train in several with hone sft, dpo or distill, which "
            "take a stage's rows and settings as options",
            hn_ranks_launched());
    HN_TRY(hn_recipe_read(&recipe, hn_cli_arg(cli, 0), err));
    hn_status status;
    HN_GO(hn_pipeline_run(&recipe, &options, &cli->progress, &result, err));
    HN_GO(print(cli, &result, err));
    if (result.has_verdict)
        cli->exit_code = result.verdict == HN_VERDICT_PASS   ? HN_EXIT_OK
                         : result.verdict == HN_VERDICT_FAIL ? HN_EXIT_GATE_FAILED
                                                             : HN_EXIT_GATE_INCONCLUSIVE;
done:
    hn_pipeline_result_done(&result);
    hn_recipe_done(&recipe);
    return status;
}

static const hn_option OPTIONS[] = {
    {"output", 'o', HN_OPT_TEXT, "DIR", NULL,
     "Run folder, instead of runs/NAME below the working folder"},
    {"prune", 0, HN_OPT_FLAG, NULL, NULL,
     "Remove what earlier runs of this folder left and this one didn't use"},
    {"keys", 0, HN_OPT_FLAG, NULL, NULL, "List every key of a recipe with its default"},
    {0},
};

const hn_command HN_CMD_RUN = {
    .name = "run",
    .args = "RECIPE",
    .max_args = 1,
    .summary = "the whole loop from one YAML file",
    .details =
        "Carries out a recipe: asks a teacher for rows where it says so (the network is used when "
        "it names an endpoint), checks the data, teaches the model (sft, then kd, rkd and dpo "
        "where "
        "the recipe has them, with a gate after each), merges and quantises it, "
        "scores every artefact on the golden set, gates them and packs a bundle. Each stage is "
        "kept by the hash of what goes into it: a finished one is used again, and a run that was "
        "stopped, by Ctrl-C or kill -9, goes on with the same command to the same bytes.\n\n"
        "The exit code is the gate's: 0 pass, 4 fail, 5 inconclusive.",
    .groups = {OPTIONS, HN_OPTIONS_COMPUTE},
    .examples = "hone run examples/intent-router/recipe.yaml\nhone run --keys",
    .run = run,
};
