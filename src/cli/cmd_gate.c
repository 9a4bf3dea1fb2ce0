/* hone gate: may the candidate replace the baseline? Exit 0 pass, 4 fail, 5 can't tell. */
#include "cli/commands.h"

#include "base/hash.h"
#include "base/json.h"
#include "release/gate.h"

#include <string.h>

/* One sum over what was compared: the sums of both files of samples. */
static hn_status inputs_sum(const hn_cli *cli, char hex[HN_SHA256_HEX], hn_error *err) {
    char both[2 * HN_SHA256_HEX];
    HN_TRY(hn_sha256_file(hn_cli_arg(cli, 0), both, err));
    HN_TRY(hn_sha256_file(hn_cli_arg(cli, 1), both + HN_SHA256_HEX - 1, err));
    return hn_sha256_data(both, strlen(both), hex, err);
}

static void number_cell(hn_table *table, const json_t *value) {
    if (json_is_number(value))
        hn_table_cell(table, "%.4g", json_number_value(value));
    else
        hn_table_cell(table, "-");
}

static hn_status print(const hn_cli *cli, const json_t *report, hn_error *err) {
    static const char *const HEADS[] = {"check", "value", "limit", "from", "to", "rows", "verdict"};
    if (cli->json)
        return hn_cli_print_json(report, err);
    hn_table table;
    size_t i;
    json_t *check;
    hn_table_init(&table, 7, HEADS, "Lrrrrrl");
    json_array_foreach (json_object_get(report, "checks"), i, check) {
        const json_t *ci = json_object_get(check, "ci");
        const char *slice = json_string_value(json_object_get(check, "slice"));
        hn_table_cell(&table, "%s%s%s", json_string_value(json_object_get(check, "metric")),
                      slice ? " " : "", slice ? slice : "");
        number_cell(&table, json_object_get(check, "value"));
        number_cell(&table, json_object_get(check, "threshold"));
        number_cell(&table, json_array_get(ci, 0));
        number_cell(&table, json_array_get(ci, 1));
        hn_table_cell(&table, "%lld", (long long)json_integer_value(json_object_get(check, "n")));
        hn_table_cell(&table, "%s", json_string_value(json_object_get(check, "verdict")));
    }
    hn_status status = hn_table_print(&table, &cli->out, err);
    hn_table_done(&table);
    printf("\nverdict: %s (%lld rows changed sides, McNemar p %.3g)\n",
           json_string_value(json_object_get(report, "verdict")),
           (long long)json_integer_value(json_object_get(report, "flips")),
           json_number_value(json_object_get(report, "mcnemar_p")));
    const json_t *needed = json_object_get(report, "items_needed");
    if (strcmp(json_string_value(json_object_get(report, "verdict")), "inconclusive") == 0 &&
        json_is_integer(needed))
        printf("rows needed to decide at this rate of changes: about %lld\n",
               (long long)json_integer_value(needed));
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_scores baseline = {0}, candidate = {0};
    char sum[HN_SHA256_HEX];
    json_t *report = NULL;
    hn_verdict verdict;
    const char *path = hn_cli_text(cli, "report"), *timing = hn_cli_text(cli, "timing");
    hn_gate_options options = {.max_quality_drop = hn_cli_real(cli, "max-quality-drop"),
                               .max_slice_drop = hn_cli_real(cli, "max-slice-drop"),
                               .min_quality = hn_cli_real(cli, "min-quality"),
                               .max_p95_ms = hn_cli_real(cli, "max-p95-ms"),
                               .latency_is_first_token = hn_cli_flag(cli, "first-token")};
    hn_status status;
    if (options.max_p95_ms > 0 && !timing)
        return hn_fail(err, HN_USAGE, "--max-p95-ms needs --timing, what hone eval --timing wrote");
    HN_GO(inputs_sum(cli, sum, err));
    HN_GO(hn_scores_read(&baseline, hn_cli_arg(cli, 0), NULL, "baseline", err));
    HN_GO(hn_scores_read(&candidate, hn_cli_arg(cli, 1), timing, "candidate", err));
    HN_GO(hn_gate_export(&baseline, &candidate, &options, sum, &verdict, &report, err));
    if (path)
        HN_GO(hn_json_write(path, report, err));
    HN_GO(print(cli, report, err));
    cli->exit_code = verdict == HN_VERDICT_PASS   ? HN_EXIT_OK
                     : verdict == HN_VERDICT_FAIL ? HN_EXIT_GATE_FAILED
                                                  : HN_EXIT_GATE_INCONCLUSIVE;
done:
    json_decref(report);
    hn_scores_done(&baseline);
    hn_scores_done(&candidate);
    return status;
}

static const hn_option OPTIONS[] = {
    {"max-quality-drop", 0, HN_OPT_REAL, "X", "0.02", "Score that may be lost", NULL, 0, 1},
    {"max-slice-drop", 0, HN_OPT_REAL, "X", "0.05",
     "Score that a slice may lose, fails only when a loss is proven; 0 = not checked", NULL, 0, 1},
    {"min-quality", 0, HN_OPT_REAL, "X", "0", "Score that must be reached; 0 = not checked", NULL,
     0, 1},
    {"max-p95-ms", 0, HN_OPT_REAL, "X", "0", "95th percentile of latency; 0 = not checked", NULL, 0,
     1e9},
    {"first-token", 0, HN_OPT_FLAG, NULL, NULL, "Latency to the first token, not of the answer"},
    {"timing", 0, HN_OPT_TEXT, "FILE", NULL, "The candidate's latencies"},
    {"report", 0, HN_OPT_TEXT, "FILE", NULL, "Write the gate's report as JSON"},
    {0},
};

const hn_command HN_CMD_GATE = {
    .name = "gate",
    .args = "BASELINE CANDIDATE",
    .min_args = 2,
    .max_args = 2,
    .summary = "may this artefact replace that one?",
    .details = "Compares two files of samples (hone eval --samples) over the same golden rows. "
               "Each check passes only when its one-sided 95 % bound is on the right side, fails "
               "when it is on the wrong side, and is inconclusive between. A slice fails when it "
               "has lost more than --max-slice-drop and, at 5 % over all slices, provably lost at "
               "all; one that may have lost it is named and holds nothing up.\n\n"
               "Exit codes: 0 pass, 4 fail, 5 inconclusive.",
    .groups = {OPTIONS},
    .examples = "hone gate before.jsonl after.jsonl --max-quality-drop 0.02",
    .run = run,
};
