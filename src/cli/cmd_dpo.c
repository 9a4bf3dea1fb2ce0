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
    hn_session session;
    hn_train_options options;
    hn_dpo_options dpo;
    hn_pairs pairs, eval;
    hn_golden_probe golden;
} job;

static hn_status prepare(const hn_cli *cli, job *j, hn_error *err) {
    const char *eval_path = hn_cli_text(cli, "eval");
    j->dpo = dpo_options(cli);
    HN_TRY(hn_training_options(cli, &j->options, err));
    HN_TRY(hn_dpo_check(&j->dpo.loss, err));
    HN_TRY(hn_training_open(&j->session, cli, err));
    HN_TRY(pairs_of(cli, j->session.model, hn_cli_arg(cli, 1), &j->pairs, err));
    if (eval_path)
        HN_TRY(pairs_of(cli, j->session.model, eval_path, &j->eval, err));
    return hn_training_golden(cli, &j->golden, &j->options, err);
}

static hn_status run(hn_cli *cli, hn_error *err) {
    job j = {0};
    hn_train_result result;
    bool with_eval = hn_cli_text(cli, "eval") != NULL;
    hn_status status;
    HN_GO(hn_ranks_agree(cli->ranks, prepare(cli, &j, err), err));
    HN_GO(hn_train_dpo(j.session.model, &j.pairs, with_eval ? &j.eval : NULL, &j.dpo, &j.options,
                       &cli->progress, &result, err));
    HN_GO(hn_training_save(cli, j.session.model, &j.options, err));
    status = hn_training_print(cli, &j.options, &result, with_eval, err);
done:
    hn_golden_probe_done(&j.golden);
    hn_pairs_done(&j.pairs);
    hn_pairs_done(&j.eval);
    hn_session_done(&j.session);
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
