/* hone eval: a model's answers to a golden set, scored a slice at a time. */
#include "cli/commands.h"
#include "cli/session.h"

#include "base/file.h"
#include "base/json.h"
#include "eval/golden.h"

#include <string.h>

static void scores_row(hn_table *table, const char *name, const json_t *object) {
    const json_t *ci = json_object_get(object, "ci");
    hn_table_cell(table, "%s", name);
    hn_table_cell(table, "%lld", (long long)json_integer_value(json_object_get(object, "n")));
    hn_table_cell(table, "%.3f", json_number_value(json_object_get(object, "mean")));
    hn_table_cell(table, "%.3f to %.3f", json_number_value(json_array_get(ci, 0)),
                  json_number_value(json_array_get(ci, 1)));
}

static hn_status print(const hn_cli *cli, const json_t *results, hn_error *err) {
    static const char *const HEADS[] = {"slice", "rows", "score", "95 % interval"};
    if (cli->json)
        return hn_cli_print_json(results, err);
    hn_table table;
    const char *name;
    json_t *slice;
    hn_table_init(&table, 4, HEADS, "Lrrl");
    scores_row(&table, "all", results);
    const json_t *slices = json_object_get(results, "slices");
    if (json_object_size(slices) > 1)
        json_object_foreach ((json_t *)slices, name, slice)
            scores_row(&table, name, slice);
    hn_status status = hn_table_print(&table, &cli->out, err);
    hn_table_done(&table);
    const json_t *latency = json_object_get(results, "latency_ms");
    const json_t *first = json_object_get(results, "first_token_ms");
    if (latency && first)
        printf("\np50 %.1f ms, p95 %.1f ms; first token p50 %.1f ms, p95 %.1f ms\n",
               json_number_value(json_object_get(latency, "p50")),
               json_number_value(json_object_get(latency, "p95")),
               json_number_value(json_object_get(first, "p50")),
               json_number_value(json_object_get(first, "p95")));
    return status;
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* A place that can't be written to is said before the work, not after it. */
static hn_status check_place(const char *path, hn_error *err) {
    hn_out out;
    HN_TRY(hn_out_open(&out, path, err));
    hn_out_abort(&out);
    return HN_OK;
}

/* One without the other would be forgotten in silence, or found only after the model is loaded. */
static hn_status check_abstention(const hn_cli *cli, hn_error *err) {
    bool below = hn_cli_given(cli, "abstain-below"), as = hn_cli_given(cli, "abstain-as");
    if (as && !below)
        return hn_fail(err, HN_USAGE,
                       "--abstain-as %s does nothing alone: say below which probability too, such "
                       "as --abstain-below 0.5",
                       hn_cli_text(cli, "abstain-as"));
    if (below && !as)
        return hn_fail(err, HN_USAGE,
                       "--abstain-below %s: say too what such an answer becomes, such as "
                       "--abstain-as out_of_scope",
                       hn_cli_text(cli, "abstain-below"));
    return HN_OK;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_session session = {0};
    hn_golden golden = {0};
    hn_scores scores = {0};
    const char *label = hn_cli_text(cli, "label"), *results = hn_cli_text(cli, "results");
    hn_eval_options options = {.system = hn_cli_text(cli, "system"),
                               .path_out = hn_cli_text(cli, "samples"),
                               .path_timing = hn_cli_text(cli, "timing"),
                               .max_tokens = hn_cli_int(cli, "max-tokens"),
                               .abstain_below = hn_cli_real(cli, "abstain-below"),
                               .abstain_as = hn_cli_text(cli, "abstain-as"),
                               .label = label ? label : base_name(hn_cli_arg(cli, 0))};
    hn_generate_options generate = {0};
    bool f32 = strcmp(hn_cli_text(cli, "numerics"), "f32") == 0;
    hn_status status;
    HN_TRY(check_abstention(cli, err));
    if (results)
        HN_TRY(check_place(results, err));
    HN_TRY(hn_golden_read(&golden, hn_cli_arg(cli, 1), err));
    HN_GO(hn_session_open_chat(&session, cli, hn_cli_arg(cli, 0),
                               f32 ? HN_NUMERICS_F32 : HN_NUMERICS_INT8, err));
    HN_GO(hn_session_kv_type(&session, cli, err));
    HN_GO(hn_session_adapter(&session, hn_cli_text(cli, "adapter"), err));
    HN_GO(hn_session_pin(&session, cli, err));
    HN_GO(hn_session_constraint(&session, cli, &generate, err));
    options.constraint = generate.constraint;
    HN_GO(hn_eval_run(session.model, session.adapter, &golden, &options, &cli->progress, &scores,
                      err));
    if (results)
        HN_GO(hn_json_write(results, scores.results, err));
    status = print(cli, scores.results, err);
done:
    hn_scores_done(&scores);
    hn_golden_done(&golden);
    hn_session_done(&session);
    return status;
}

static const hn_option OPTIONS[] = {
    {"system", 's', HN_OPT_TEXT, "TEXT", NULL, "System text for rows that have none"},
    {"max-tokens", 'n', HN_OPT_INT, "N", "64", "Longest answer in tokens", NULL, 1, 1 << 20},
    {"samples", 0, HN_OPT_TEXT, "FILE", NULL, "Write each row's score as JSONL, for hone gate"},
    {"timing", 0, HN_OPT_TEXT, "FILE", NULL, "Write each row's latencies as JSONL"},
    {"results", 0, HN_OPT_TEXT, "FILE", NULL, "Write the results as JSON"},
    {"label", 0, HN_OPT_TEXT, "NAME", NULL, "The artefact's name in the results"},
    {"abstain-below", 0, HN_OPT_REAL, "P", "0",
     "Answers less probable than this count as --abstain-as", NULL, 0, 1},
    {"abstain-as", 0, HN_OPT_TEXT, "TEXT", NULL, "What an answer below --abstain-below becomes"},
    {"grammar", 0, HN_OPT_TEXT, "FILE", NULL, "Generated answers are texts of this GBNF grammar"},
    {"json-schema", 0, HN_OPT_TEXT, "FILE", NULL,
     "Generated answers are JSON that this schema accepts; what can't be honoured is refused"},
    {"numerics", 0, HN_OPT_CHOICE, "NAME", "int8", "How products are computed", "f32|int8", 0, 0},
    {"kv-type", 0, HN_OPT_CHOICE, "NAME", "f32", "How the cache holds keys and values",
     HN_CLI_KV_TYPES, 0, 0},
    {"pin", 0, HN_OPT_FLAG, NULL, NULL, "Bind each thread to a processor, physical cores first"},
    {0},
};

const hn_command HN_CMD_EVAL = {
    .name = "eval",
    .args = "MODEL GOLDEN",
    .min_args = 2,
    .max_args = 2,
    .summary = "score a model on a golden set",
    .details = "Answers each row of a golden set (JSONL: a prompt or messages, and assertions) "
               "greedily and scores it, over all and by slice, with 95 % intervals. Latencies are "
               "those of a server that keeps the common beginning of the prompts.",
    .groups = {OPTIONS, HN_OPTIONS_ADAPTER, HN_OPTIONS_COMPUTE},
    .examples = "hone eval model.gguf golden.jsonl\n"
                "hone eval model.gguf golden.jsonl --samples after.jsonl --timing after.ms.jsonl\n"
                "hone eval model.gguf golden.jsonl --json-schema call.schema.json",
    .run = run,
};
