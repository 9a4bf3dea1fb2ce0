/* hone dpo: preference tuning of a LoRA adapter beside a frozen model. */
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/training.h"

#include <string.h>

static hn_status pairs_of(const hn_cli *cli, const hn_model *model, const char *path,
                          hn_pairs *pairs, hn_error *err) {
    hn_records records;
    HN_TRY(hn_training_records(cli, path, &records, err));
    hn_status status = hn_pairs_build(pairs, &records, &model->ckpt, hn_cli_text(cli, "system"),
                                      hn_cli_int(cli, "max-length"), err);
    hn_records_done(&records);
    if (status == HN_OK)
        hn_rows_note_cut(path, hn_cli_int(cli, "max-length"), &pairs->truncated, &pairs->dropped,
                         &cli->progress);
    return status;
}

static hn_dpo_options dpo_options(const hn_cli *cli) {
    static const char *const LOSSES[] = {"sigmoid", "robust", "ipo"};
    hn_dpo_options o = {.loss = {.beta = (float)hn_cli_real(cli, "beta"),
                                 .label_smoothing = (float)hn_cli_real(cli, "label-smoothing")}};
    for (int i = 0; i < 3; i++)
        if (strcmp(hn_cli_text(cli, "loss"), LOSSES[i]) == 0)
            o.loss.kind = (hn_dpo_kind)i;
    o.base_is_reference = strcmp(hn_cli_text(cli, "reference"), "base") == 0;
    return o;
}

typedef struct job {
    hn_training training;
    hn_dpo_options dpo;
    hn_pairs pairs, eval;
} job;

static hn_status prepare(const hn_cli *cli, void *context, hn_error *err) {
    job *j = context;
    hn_training *t = &j->training;
    const char *eval_path = hn_cli_text(cli, "eval");
    j->dpo = dpo_options(cli);
    HN_TRY(hn_training_options(cli, &t->options, err));
    HN_TRY(hn_dpo_check(&j->dpo.loss, err));
    HN_TRY(hn_training_open(&t->session, cli, err));
    HN_TRY(pairs_of(cli, t->session.model, hn_cli_arg(cli, 1), &j->pairs, err));
    if (eval_path)
        HN_TRY(pairs_of(cli, t->session.model, eval_path, &j->eval, err));
    return hn_training_golden(cli, &t->golden, &t->options, err);
}

static hn_status learn(void *context, const hn_progress *progress, hn_train_result *result,
                       hn_error *err) {
    job *j = context;
    return hn_train_dpo(j->training.session.model, &j->pairs, j->eval.n ? &j->eval : NULL, &j->dpo,
                        &j->training.options, progress, result, err);
}

static hn_status run(hn_cli *cli, hn_error *err) {
    static const hn_training_steps STEPS = {prepare, learn};
    job j = {0};
    hn_status status = hn_training_run(cli, &j.training, &STEPS, err);
    hn_pairs_done(&j.pairs);
    hn_pairs_done(&j.eval);
    return status;
}

static const hn_option OPTIONS[] = {
    {"loss", 0, HN_OPT_CHOICE, "NAME", "sigmoid",
     "sigmoid (DPO, with --label-smoothing cDPO), robust, or ipo", "sigmoid|robust|ipo", 0, 0},
    {"beta", 0, HN_OPT_REAL, "X", "0.1", "How strongly the policy is held to the reference", NULL,
     1e-6, 1e3},
    {"label-smoothing", 0, HN_OPT_REAL, "X", "0", "Share of pairs taken to be the wrong way round",
     NULL, 0, 0.5},
    {"reference", 0, HN_OPT_CHOICE, "WHAT", "start",
     "The reference: the adapter as it is at the start, or the base without one", "start|base", 0,
     0},
    {"learning-rate", 0, HN_OPT_REAL, "X", "5e-6", "Highest learning rate", NULL, 0, 10},
    {"epochs", 0, HN_OPT_REAL, "X", "1", "How often each pair is seen", NULL, 0, 1e6},
    {0},
};

const hn_command HN_CMD_DPO = {
    .name = "dpo",
    .args = "MODEL PAIRS",
    .min_args = 2,
    .max_args = 2,
    .summary = "teach a model what is preferred (DPO, LoRA)",
    .details =
        "Trains a LoRA adapter on rows of JSONL {prompt, chosen, rejected}, each a text or a list "
        "of messages, so that the chosen completion becomes likelier than the rejected one against "
        "a reference that stays as it is. Usually it goes on from a fine-tuned adapter "
        "(--init-adapter).\n\n"
        "metrics.jsonl has what TRL logs: rewards/chosen, rewards/rejected, rewards/margins, "
        "rewards/accuracies, logps/chosen, logps/rejected. Ctrl-C leaves a checkpoint; the same "
        "command goes on from it, with the same result as without the break. Several processes "
        "under mpirun train it together, as hone sft says.",
    .groups = {OPTIONS, HN_OPTIONS_TRAIN, HN_OPTIONS_COMPUTE},
    .examples = "hone dpo model.gguf pairs.jsonl --init-adapter run/adapter -o dpo",
    .run = run,
    .on_ranks = true,
};
