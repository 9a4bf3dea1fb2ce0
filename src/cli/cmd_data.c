/* hone data check and hone data stats: are these rows fit for training, and what are they? */
#include "cli/commands.h"

#include "base/mem.h"
#include "data/records.h"

#include <stdlib.h>
#include <string.h>

enum { N_KINDS = HN_RECORD_PREFERENCE + 1 };
static const char *const KIND_NAMES[N_KINDS] = {
    "messages", "prompt, completion", "instruction, context, response",
    "instruction, thought, response", "prompt, chosen, rejected"};

static hn_status run_check(hn_cli *cli, hn_error *err) {
    json_t *list = json_array();
    size_t n_bad = 0;
    hn_status status = HN_JSON_CHECK(list, err);
    for (int i = 0; status == HN_OK && i < cli->opts.n_args; i++) {
        const char *path = hn_cli_arg(cli, i);
        hn_records records;
        status = hn_records_read(&records, path, hn_cli_flag(cli, "skip-bad"), &cli->progress, err);
        if (status != HN_OK)
            break;
        n_bad += records.n_bad;
        if (!cli->json)
            printf("%s: %zu rows are well, %zu are not\n", path, records.n, records.n_bad);
        json_array_append_new(list,
                              json_pack("{s:s, s:I, s:I}", "path", path, "rows",
                                        (json_int_t)records.n, "bad", (json_int_t)records.n_bad));
        hn_records_done(&records);
    }
    if (status == HN_OK && cli->json)
        status = hn_cli_print_json(list, err);
    json_decref(list);
    if (status == HN_OK && n_bad)
        cli->exit_code = HN_EXIT_BAD_INPUT;
    return status;
}

static const hn_option CHECK_OPTIONS[] = {
    {"skip-bad", 0, HN_OPT_FLAG, NULL, NULL, "Count the bad rows instead of stopping at the first"},
    {0},
};

const hn_command HN_CMD_DATA_CHECK = {
    .name = "data check",
    .args = "FILE...",
    .min_args = 1,
    .max_args = 1 << 20,
    .summary = "are these training rows in order?",
    .details = "Reads files of training rows (JSONL) and names the first bad one with its line: "
               "broken JSON, unknown shapes, wrong roles or types, empty completions. Exit code 3 "
               "when there is one.",
    .groups = {CHECK_OPTIONS},
    .examples = "hone data check train.jsonl val.jsonl",
    .run = run_check,
};

typedef struct lengths {
    int32_t *values;
    size_t n;
} lengths;

static int compare_lengths(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static int32_t quantile(const lengths *l, double q) {
    return l->n ? l->values[(size_t)((double)(l->n - 1) * q)] : 0;
}

static hn_status print_stats(const hn_cli *cli, const hn_records *records, const hn_documents *docs,
                             const lengths *l, hn_error *err) {
    size_t kinds[N_KINDS] = {0};
    for (size_t i = 0; i < records->n; i++)
        kinds[records->items[i].kind]++;
    if (cli->json) {
        json_t *by_kind = json_object();
        for (int i = 0; i < N_KINDS; i++)
            if (kinds[i])
                json_object_set_new(by_kind, KIND_NAMES[i], json_integer((json_int_t)kinds[i]));
        json_t *value = json_pack(
            "{s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:{s:i, s:i, s:i}}", "rows",
            (json_int_t)records->n, "bad", (json_int_t)records->n_bad, "kinds", by_kind, "tokens",
            (json_int_t)docs->n_tokens, "supervised_tokens", (json_int_t)docs->n_supervised,
            "truncated", (json_int_t)docs->truncated.n, "dropped", (json_int_t)docs->dropped.n,
            "length", "p50", quantile(l, 0.5), "p95", quantile(l, 0.95), "max", quantile(l, 1));
        hn_status status = hn_cli_print_json(value, err);
        json_decref(value);
        return status;
    }
    printf("rows      %zu, %zu bad ones left out\n", records->n, records->n_bad);
    for (int i = 0; i < N_KINDS; i++)
        if (kinds[i])
            printf("          %zu {%s}\n", kinds[i], KIND_NAMES[i]);
    printf("tokens    %llu, %llu of them supervised\n", (unsigned long long)docs->n_tokens,
           (unsigned long long)docs->n_supervised);
    printf("length    median %d, 95 %% up to %d, longest %d tokens\n", quantile(l, 0.5),
           quantile(l, 0.95), quantile(l, 1));
    printf("too long  %zu cut to %d tokens, %zu dropped\n", docs->truncated.n,
           hn_cli_int(cli, "max-length"), docs->dropped.n);
    return HN_OK;
}

static hn_status run_stats(hn_cli *cli, hn_error *err) {
    hn_checkpoint ckpt;
    hn_records records = {0};
    hn_documents docs = {0};
    lengths l = {0};
    hn_status status;
    HN_TRY(hn_checkpoint_open(&ckpt, hn_cli_arg(cli, 0), err));
    HN_GO(hn_records_read(&records, hn_cli_arg(cli, 1), hn_cli_flag(cli, "skip-bad"),
                          &cli->progress, err));
    HN_GO(hn_documents_build(&docs, &records, &ckpt, hn_cli_text(cli, "system"),
                             HN_SUPERVISE_COMPLETION, hn_cli_int(cli, "max-length"), err));
    l = (lengths){.values = hn_calloc(docs.n ? docs.n : 1, sizeof *l.values), .n = docs.n};
    if (!l.values) {
        status = hn_fail_no_memory(err, docs.n * sizeof *l.values);
        goto done;
    }
    for (size_t i = 0; i < docs.n; i++)
        l.values[i] = docs.items[i].n;
    qsort(l.values, l.n, sizeof *l.values, compare_lengths);
    status = print_stats(cli, &records, &docs, &l, err);
done:
    hn_free(l.values);
    hn_documents_done(&docs);
    hn_records_done(&records);
    hn_checkpoint_close(&ckpt);
    return status;
}

static const hn_option STATS_OPTIONS[] = {
    {"system", 's', HN_OPT_TEXT, "TEXT", NULL, "System text for rows that have none"},
    {"max-length", 0, HN_OPT_INT, "N", "1024", "Longest row in tokens", NULL, 8, 1 << 20},
    {"skip-bad", 0, HN_OPT_FLAG, NULL, NULL, "Leave bad rows out instead of stopping"},
    {0},
};

const hn_command HN_CMD_DATA_STATS = {
    .name = "data stats",
    .args = "MODEL FILE",
    .min_args = 2,
    .max_args = 2,
    .summary = "how many rows and tokens, and how long",
    .details = "Renders training rows with the model's chat template and counts: rows by shape, "
               "tokens, supervised tokens, lengths.",
    .groups = {STATS_OPTIONS},
    .examples = "hone data stats model.gguf train.jsonl",
    .run = run_stats,
};
