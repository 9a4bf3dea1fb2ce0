/* hone bench: prefill and decode speed, with llama-bench's keys. */
#include "cli/commands.h"
#include "cli/session.h"

#include "eval/benchmark.h"

#include <string.h>

static hn_status print(const hn_cli *cli, const json_t *tests, hn_error *err) {
    static const char *const HEADS[] = {"test", "threads", "isa", "tokens/s", "+/-"};
    if (cli->json)
        return hn_cli_print_json(tests, err);
    hn_table table;
    size_t i;
    json_t *test;
    hn_table_init(&table, 5, HEADS, "lrlrr");
    json_array_foreach (tests, i, test) {
        int n_prompt = (int)json_integer_value(json_object_get(test, "n_prompt"));
        int n_gen = (int)json_integer_value(json_object_get(test, "n_gen"));
        hn_table_cell(&table, "%s %d", n_prompt ? "prefill" : "decode", n_prompt + n_gen);
        hn_table_cell(&table, "%d", (int)json_integer_value(json_object_get(test, "n_threads")));
        hn_table_cell(&table, "%s", json_string_value(json_object_get(test, "isa")));
        hn_table_cell(&table, "%.2f", json_number_value(json_object_get(test, "avg_ts")));
        hn_table_cell(&table, "%.2f", json_number_value(json_object_get(test, "stddev_ts")));
    }
    hn_status status = hn_table_print(&table, &cli->out, err);
    hn_table_done(&table);
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_session session;
    hn_bench_result result = {0};
    hn_bench_options options = {.n_prompt = hn_cli_int(cli, "n-prompt"),
                                .n_gen = hn_cli_int(cli, "n-gen"),
                                .n_depth = hn_cli_int(cli, "n-depth"),
                                .repetitions = hn_cli_int(cli, "repetitions")};
    bool f32 = strcmp(hn_cli_text(cli, "numerics"), "f32") == 0;
    HN_TRY(hn_session_open(&session, cli, hn_cli_arg(cli, 0),
                           f32 ? HN_NUMERICS_F32 : HN_NUMERICS_INT8, err));
    hn_status status;
    HN_GO(hn_session_kv_type(&session, cli, err));
    HN_GO(hn_session_adapter(&session, hn_cli_text(cli, "adapter"), err));
    HN_GO(hn_session_pin(&session, cli, err));
    HN_GO(hn_bench_run(session.model, session.adapter, &options, &cli->progress, &result, err));
    status = print(cli, result.tests, err);
done:
    json_decref(result.tests);
    hn_session_done(&session);
    return status;
}

static const hn_option OPTIONS[] = {
    {"n-prompt", 'p', HN_OPT_INT, "N", "512", "Tokens to prefill; 0 = not measured", NULL, 0,
     1 << 20},
    {"n-gen", 'n', HN_OPT_INT, "N", "128", "Tokens to decode; 0 = not measured", NULL, 0, 1 << 20},
    {"n-depth", 'd', HN_OPT_INT, "N", "0", "Tokens in the cache before either", NULL, 0, 1 << 20},
    {"repetitions", 'r', HN_OPT_INT, "N", "5", "Runs of each, after one that isn't counted", NULL,
     1, 1000},
    {"numerics", 0, HN_OPT_CHOICE, "NAME", "int8", "How products are computed", "f32|int8", 0, 0},
    {"kv-type", 0, HN_OPT_CHOICE, "NAME", "f16", "How the cache holds keys and values",
     HN_CLI_KV_TYPES, 0, 0},
    {"pin", 0, HN_OPT_FLAG, NULL, NULL, "Bind each thread to a processor, physical cores first"},
    {0},
};

const hn_command HN_CMD_BENCH = {
    .name = "bench",
    .args = "MODEL",
    .min_args = 1,
    .max_args = 1,
    .summary = "how fast a model runs here",
    .details = "Measures prefill (a prompt at once) and decode (token by token) as llama-bench "
               "does; --json prints its keys.",
    .groups = {OPTIONS, HN_OPTIONS_ADAPTER, HN_OPTIONS_COMPUTE},
    .examples = "hone bench model.gguf\nhone bench model.gguf -p 0 -n 64 --threads 1 --json",
    .run = run,
};
