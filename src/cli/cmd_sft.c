/* hone sft: supervised fine-tuning of a LoRA adapter beside a frozen model. */
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/training.h"

#include <string.h>

/* Rows of another kind: what is learned of them are their answers, and --system isn't theirs. */
static hn_status replay_documents(const hn_cli *cli, const hn_model *model, const char *path,
                                  hn_documents *docs, hn_error *err) {
    hn_records records;
    HN_TRY(hn_training_records(cli, path, &records, err));
    hn_status status =
        hn_documents_build(docs, &records, &model->ckpt, NULL, HN_SUPERVISE_COMPLETION,
                           hn_cli_int(cli, "max-length"), err);
    hn_records_done(&records);
    if (status == HN_OK)
        hn_rows_note_cut(path, hn_cli_int(cli, "max-length"), &docs->truncated, &docs->dropped,
                         &cli->progress);
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_session session;
    hn_train_options options;
    hn_train_result result;
    hn_golden_probe golden = {0};
    hn_documents docs = {0}, eval_docs = {0}, replay = {0};
    const char *eval_path = hn_cli_text(cli, "eval"), *replay_path = hn_cli_text(cli, "replay");
    hn_status status;
    HN_TRY(hn_training_options(cli, &options, err));
    HN_TRY(hn_training_open(&session, cli, err));
    HN_GO(hn_training_documents(cli, session.model, hn_cli_arg(cli, 1), &docs, err));
    if (eval_path)
        HN_GO(hn_training_documents(cli, session.model, eval_path, &eval_docs, err));
    if (replay_path) {
        HN_GO(replay_documents(cli, session.model, replay_path, &replay, err));
        options.replay = &replay;
        options.replay_share = (float)hn_cli_real(cli, "replay-share");
    }
    HN_GO(hn_training_golden(cli, &golden, &options, err));
    HN_GO(hn_train_sft(session.model, &docs, eval_path ? &eval_docs : NULL, &options,
                       &cli->progress, &result, err));
    HN_GO(hn_training_save(cli, session.model, &options, err));
    status = hn_training_print(cli, &options, &result, eval_path != NULL, err);
done:
    hn_golden_probe_done(&golden);
    hn_documents_done(&docs);
    hn_documents_done(&eval_docs);
    hn_documents_done(&replay);
    hn_session_done(&session);
    return status;
}

static const hn_option OPTIONS[] = {
    HN_OPTION_SUPERVISE,
    {"learning-rate", 0, HN_OPT_REAL, "X", "2e-4", "Highest learning rate", NULL, 0, 10},
    {"epochs", 0, HN_OPT_REAL, "X", "3", "How often each row is seen", NULL, 0, 1e6},
    {"replay", 0, HN_OPT_TEXT, "FILE", NULL, "Rows of another kind to mix in, against forgetting"},
    {"replay-share", 0, HN_OPT_REAL, "X", "0.05", "Their share of all rows", NULL, 1e-4, 0.9},
    {0},
};

const hn_command HN_CMD_SFT = {
    .name = "sft",
    .args = "MODEL ROWS",
    .min_args = 2,
    .max_args = 2,
    .summary = "teach a model with examples (LoRA, or all weights)",
    .details =
        "Trains a LoRA adapter on rows of JSONL: {messages}, {prompt, completion}, {instruction, "
        "context, response} or {instruction, thought, response}. The model stays as it is, "
        "quantised or not. The adapter is written as PEFT writes it. With --full the model's own "
        "weights are trained, in f32, and written as a Hugging Face folder.\n\n"
        "Ctrl-C leaves a checkpoint; the same command goes on from it, with the same result as "
        "without the break.",
    .groups = {OPTIONS, HN_OPTIONS_TRAIN, HN_OPTIONS_COMPUTE},
    .examples = "hone sft model.gguf train.jsonl --eval val.jsonl -o run",
    .run = run,
};
