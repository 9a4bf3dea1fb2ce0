/* hone data rows: training rows from what a teacher said. */
#include "cli/commands.h"

#include "teacher/rows.h"

#include <string.h>

static int choice_of(const char *text, const char *const *names) {
    int i = 0;
    while (strcmp(text, names[i]) != 0)
        i++;
    return i;
}

static hn_status print_result(const hn_cli *cli, const hn_rows_result *r, hn_error *err) {
    if (!cli->json) {
        printf("%zu rows from %zu prompts\n", r->n_rows, r->n_prompts);
        if (r->n_disagree)
            printf("%zu prompts left out: the answers disagree (--min-share)\n", r->n_disagree);
        if (r->n_thoughtless)
            printf("%zu answers left out: no thought\n", r->n_thoughtless);
        return HN_OK;
    }
    json_t *value = json_pack("{s:I, s:I, s:I, s:I}", "rows", (json_int_t)r->n_rows, "prompts",
                              (json_int_t)r->n_prompts, "disagree", (json_int_t)r->n_disagree,
                              "thoughtless", (json_int_t)r->n_thoughtless);
    hn_status status = hn_cli_print_json(value, err);
    json_decref(value);
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    static const char *const KINDS[] = {"sft", "rkd", "pairs", "critiques"};
    static const char *const KEEPS[] = {"best", "majority", "all"};
    hn_rows_options options = {
        .kind = (hn_rows_kind)choice_of(hn_cli_text(cli, "as"), KINDS),
        .keep = (hn_rows_keep)choice_of(hn_cli_text(cli, "keep"), KEEPS),
        .number = strcmp(hn_cli_text(cli, "vote"), "number") == 0,
        .min_share = hn_cli_real(cli, "min-share"),
        .thoughts = hn_cli_flag(cli, "thoughts"),
    };
    hn_rows_result result;
    json_t *rows;
    const char *output = hn_cli_text(cli, "output");
    if (!output)
        return hn_fail(err, HN_USAGE, "-o FILE is missing: where the rows go");
    HN_TRY(hn_store_read(hn_cli_arg(cli, 0), &rows, err));
    hn_status status = hn_rows_write(rows, &options, output, &result, err);
    json_decref(rows);
    return status == HN_OK ? print_result(cli, &result, err) : status;
}

static const hn_option OPTIONS[] = {
    {"output", 'o', HN_OPT_TEXT, "FILE", NULL, "Where the rows go"},
    {"as", 0, HN_OPT_CHOICE, "KIND", "rkd",
     "rkd: instruction, thought, response; sft: instruction, response; pairs: prompt, chosen, "
     "rejected; critiques: judging as the teacher did",
     "sft|rkd|pairs|critiques", 0, 0},
    {"keep", 0, HN_OPT_CHOICE, "WHICH", "best",
     "Of several answers (sft, rkd): the best, all that agree with the majority, or all",
     "best|majority|all", 0, 0},
    {"vote", 0, HN_OPT_CHOICE, "BY", "text", "What answers are compared by: final text or number",
     "text|number", 0, 0},
    {"min-share", 0, HN_OPT_REAL, "X", "0",
     "Leave out prompts of which a smaller share of the answers agree", NULL, 0, 1},
    {"thoughts", 0, HN_OPT_FLAG, NULL, NULL, "Pairs keep the thoughts, in <think> tags"},
    {0},
};

const hn_command HN_CMD_DATA_ROWS = {
    .name = "data rows",
    .args = "FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "training rows from a teacher's answers",
    .details =
        "Turns a file of hone data generate into rows for hone sft and hone dpo. Of several "
        "answers to a prompt the best is kept: the one that the teacher ranked first (--critique), "
        "else the first of those that most agree on (self-consistency; ties go to the earlier "
        "answer). A row then says under \"share\" how many agree. Answers are compared by what "
        "follows \"####\" or \"answer is\", or by their last line.\n\n"
        "Pairs set the best answer against those ranked below it or outvoted, and against its "
        "wrong rewrites (--hard-negatives).",
    .groups = {OPTIONS},
    .examples = "hone data rows teacher.jsonl -o rkd.jsonl\n"
                "hone data rows teacher.jsonl --as pairs -o pairs.jsonl",
    .run = run,
};
