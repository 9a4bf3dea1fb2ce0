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

typedef struct job {
    hn_training training;
    hn_documents docs, eval, replay;
} job;

static hn_status prepare(const hn_cli *cli, void *context, hn_error *err) {
    job *j = context;
    hn_training *t = &j->training;
    const char *eval_path = hn_cli_text(cli, "eval"), *replay_path = hn_cli_text(cli, "replay");
    HN_TRY(hn_training_options(cli, &t->options, err));
    HN_TRY(hn_training_open(&t->session, cli, err));
    HN_TRY(hn_training_documents(cli, t->session.model, hn_cli_arg(cli, 1), &j->docs, err));
    if (eval_path)
        HN_TRY(hn_training_documents(cli, t->session.model, eval_path, &j->eval, err));
    HN_TRY(hn_training_golden(cli, &t->golden, &t->options, err));
    if (!replay_path)
        return HN_OK;
    HN_TRY(replay_documents(cli, t->session.model, replay_path, &j->replay, err));
    t->options.replay = &j->replay;
    t->options.replay_share = (float)hn_cli_real(cli, "replay-share");
    return HN_OK;
}

static hn_status learn(void *context, const hn_progress *progress, hn_train_result *result,
                       hn_error *err) {
    job *j = context;
    return hn_train_sft(j->training.session.model, &j->docs, j->eval.n ? &j->eval : NULL,
                        &j->training.options, progress, result, err);
}

static hn_status run(hn_cli *cli, hn_error *err) {
    static const hn_training_steps STEPS = {prepare, learn};
    job j = {0};
    hn_status status = hn_training_run(cli, &j.training, &STEPS, err);
    hn_documents_done(&j.docs);
    hn_documents_done(&j.eval);
    hn_documents_done(&j.replay);
    return status;
}

static const hn_option OPTIONS[] = {
    HN_OPTION_SUPERVISE,
    {"learning-rate", 0, HN_OPT_REAL, "X", "2e-4", "Highest learning rate", NULL, 0, 10},
    {"epochs", 0, HN_OPT_REAL, "X", "3", "How often each row is seen", NULL, 0, 1e6},
    {"replay", 0, HN_OPT_TEXT, "FILE", NULL, "Rows of another kind to mix in, against forgetting"},
    {"replay-share", 0, HN_OPT_REAL, "X", "0.05", "Their share of all rows", NULL, 1e-4, 0.9,
     .needs = "replay"},
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
        "without the break. Several processes under mpirun train it together, where hone was built "
        "with MPI.",
    .groups = {OPTIONS, HN_OPTIONS_TRAIN, HN_OPTIONS_COMPUTE},
    .examples = "hone sft model.gguf train.jsonl --eval val.jsonl -o run",
    .run = run,
    .on_ranks = true,
};
