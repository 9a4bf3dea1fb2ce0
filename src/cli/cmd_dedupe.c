/* hone data dedupe: rows that say what an earlier row already said are left out. */
#include "cli/commands.h"

#include "base/file.h"
#include "base/mem.h"
#include "data/records.h"
#include "pipeline/overlap.h"

#include <stdlib.h>
#include <string.h>

/* What is compared: all that is said but the system text; or only up to the answer. */
static hn_status row_text(const hn_record *record, bool prompt_only, char **out, hn_error *err) {
    hn_buf buf = {0};
    json_t *messages = hn_record_messages(record, NULL, true);
    HN_TRY(HN_JSON_CHECK(messages, err));
    size_t n = json_array_size(messages);
    for (size_t i = 0; i < n; i++) {
        const json_t *message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        const char *content = json_string_value(json_object_get(message, "content"));
        bool answer = i == n - 1 && role && strcmp(role, "assistant") == 0;
        if (content && role && strcmp(role, "system") != 0 && !(prompt_only && answer))
            hn_buf_printf(&buf, "%s\n", content);
    }
    json_decref(messages);
    hn_status status = hn_buf_check(&buf, err);
    *out = buf.size ? hn_buf_take(&buf) : hn_strdup("");
    hn_buf_done(&buf);
    return status == HN_OK && !*out ? hn_fail_no_memory(err, 1) : status;
}

static hn_status write_kept(const hn_records *records, const size_t *copy_of, const char *path,
                            hn_error *err) {
    hn_out out;
    HN_TRY(hn_out_open(&out, path, err));
    for (size_t i = 0; i < records->n; i++) {
        if (copy_of[i] != HN_OVERLAP_KEPT)
            continue;
        char *line = json_dumps(records->items[i].row, 0);
        if (!line) {
            hn_out_abort(&out);
            return hn_fail(err, HN_NO_MEMORY, "out of memory");
        }
        hn_out_printf(&out, "%s\n", line);
        free(line); /* jansson's own memory */
    }
    return hn_out_commit(&out, err);
}

static hn_status print(const hn_cli *cli, const hn_records *records, const size_t *copy_of,
                       hn_error *err) {
    size_t n_copies = 0;
    json_t *list = json_array();
    bool verbose = hn_cli_flag(cli, "list");
    for (size_t i = 0; i < records->n; i++) {
        if (copy_of[i] == HN_OVERLAP_KEPT)
            continue;
        n_copies++;
        unsigned long long line = records->items[i].line;
        unsigned long long first = records->items[copy_of[i]].line;
        if (verbose && !cli->json)
            printf("%s:%llu is like line %llu\n", records->path, line, first);
        if (verbose && cli->json)
            json_array_append_new(
                list, json_pack("{s:I, s:I}", "line", (json_int_t)line, "like", (json_int_t)first));
    }
    if (!cli->json) {
        json_decref(list);
        printf("%zu rows kept, %zu copies left out\n", records->n - n_copies, n_copies);
        return HN_OK;
    }
    json_t *value = json_pack("{s:I, s:I}", "kept", (json_int_t)(records->n - n_copies), "copies",
                              (json_int_t)n_copies);
    if (verbose)
        json_object_set(value, "rows", list);
    json_decref(list);
    hn_status status = hn_cli_print_json(value, err);
    json_decref(value);
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_records records = {0};
    char **texts = NULL;
    size_t *copy_of = NULL;
    const char *output = hn_cli_text(cli, "output");
    bool prompt_only = strcmp(hn_cli_text(cli, "by"), "prompt") == 0;
    hn_status status;
    HN_TRY(hn_records_read(&records, hn_cli_arg(cli, 0), hn_cli_flag(cli, "skip-bad"),
                           &cli->progress, err));
    texts = hn_calloc(records.n + 1, sizeof *texts);
    copy_of = hn_calloc(records.n + 1, sizeof *copy_of);
    if (!texts || !copy_of) {
        status = hn_fail_no_memory(err, records.n * sizeof *texts);
        goto done;
    }
    for (size_t i = 0; i < records.n; i++)
        HN_GO(row_text(&records.items[i], prompt_only, &texts[i], err));
    HN_GO(hn_overlap_duplicates((const char *const *)texts, records.n, hn_cli_real(cli, "alike"),
                                copy_of, err));
    if (output)
        HN_GO(write_kept(&records, copy_of, output, err));
    status = print(cli, &records, copy_of, err);
done:
    for (size_t i = 0; texts && i < records.n; i++)
        hn_free(texts[i]);
    hn_free(texts);
    hn_free(copy_of);
    hn_records_done(&records);
    return status;
}

static const hn_option OPTIONS[] = {
    {"output", 'o', HN_OPT_TEXT, "FILE", NULL, "Write the rows that are kept"},
    {"alike", 0, HN_OPT_REAL, "X", "0.9",
     "Rows at least this alike are copies: 1 = the same words, 0.5 = about half", NULL, 0.05, 1},
    {"by", 0, HN_OPT_CHOICE, "WHAT", "row", "Compare whole rows or only their prompts",
     "row|prompt", 0, 0},
    {"list", 0, HN_OPT_FLAG, NULL, NULL, "Name each copy and the row that it repeats"},
    {"skip-bad", 0, HN_OPT_FLAG, NULL, NULL, "Leave bad rows out instead of stopping"},
    {0},
};

const hn_command HN_CMD_DATA_DEDUPE = {
    .name = "data dedupe",
    .args = "FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "leave out rows that repeat others",
    .details = "Finds rows that are copies or near copies of an earlier row: texts are compared "
               "without case, punctuation and spacing, by the share of four-letter pieces that "
               "they have in common (Jaccard). The earlier row is kept.",
    .groups = {OPTIONS},
    .examples = "hone data dedupe rows.jsonl -o clean.jsonl --list",
    .run = run,
};
