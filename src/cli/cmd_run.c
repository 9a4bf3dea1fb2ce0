/* hone run: the whole loop from one recipe. */
#include "cli/commands.h"

#include "pipeline/pipeline.h"

static hn_status print(const hn_cli *cli, const hn_pipeline_result *result, hn_error *err) {
    if (cli->json)
        return hn_cli_print_json(result->summary, err);
    hn_buf table = {0};
    hn_status status = hn_pipeline_table(result->summary, cli->out.width, &table, err);
    if (status == HN_OK)
        fwrite(hn_buf_text(&table), 1, table.size, stdout);
    hn_buf_done(&table);
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_recipe recipe;
    hn_pipeline_result result = {0};
    hn_pipeline_options options = {.out_dir = hn_cli_text(cli, "output"),
                                   .n_threads = hn_cli_int(cli, "threads"),
                                   .isa = hn_cli_text(cli, "isa")};
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
    {0},
};

const hn_command HN_CMD_RUN = {
    .name = "run",
    .args = "RECIPE",
    .min_args = 1,
    .max_args = 1,
    .summary = "the whole loop from one YAML file",
    .details =
        "Carries out a recipe: checks the data, teaches the model, merges and quantises it, "
        "scores every artefact on the golden set, gates them and packs a bundle. Each stage is "
        "kept by the hash of what goes into it: a finished one is used again, and a run that was "
        "stopped, by Ctrl-C or kill -9, goes on with the same command to the same bytes.\n\n"
        "The exit code is the gate's: 0 pass, 4 fail, 5 inconclusive.",
    .groups = {OPTIONS, HN_OPTIONS_COMPUTE},
    .examples = "hone run examples/intent-router/recipe.yaml",
    .run = run,
};
