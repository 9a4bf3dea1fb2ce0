/* hone distill: a student learns a teacher's distributions. */
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/training.h"

#include <string.h>

static hn_status distill_options(const hn_cli *cli, hn_distill_options *o, hn_layer_pair **layers,
                                 hn_error *err) {
    *o = hn_distill_options_default();
    o->alpha = (float)hn_cli_real(cli, "kd-alpha");
    o->temperature = (float)hn_cli_real(cli, "temperature");
    o->beta = (float)hn_cli_real(cli, "beta");
    o->on_policy = (float)hn_cli_real(cli, "on-policy");
    o->sample_temperature = (float)hn_cli_real(cli, "sample-temperature");
    o->sample_tokens = hn_cli_int(cli, "sample-tokens");
    o->minillm = strcmp(hn_cli_text(cli, "on-policy-loss"), "minillm") == 0;
    o->gamma = (float)hn_cli_real(cli, "gamma");
    o->single_step = (float)hn_cli_real(cli, "single-step");
    o->hidden = (float)hn_cli_real(cli, "hidden");
    if (hn_layer_pairs_parse(hn_cli_text(cli, "hidden-layers"), layers, &o->n_layers, err) != HN_OK)
        return hn_error_prefix(err, "--hidden-layers");
    if (o->n_layers && o->hidden == 0)
        return hn_fail(err, HN_USAGE, "--hidden-layers would do nothing: --hidden is 0");
    o->layers = *layers;
    if (!hn_cli_text(cli, "teacher") == !hn_cli_text(cli, "teacher-logits"))
        return hn_fail(err, HN_USAGE, "name a teacher, with either --teacher or --teacher-logits");
    return HN_OK;
}

static hn_numerics teacher_numerics(const hn_cli *cli) {
    return strcmp(hn_cli_text(cli, "teacher-numerics"), "f32") == 0 ? HN_NUMERICS_F32
                                                                    : HN_NUMERICS_INT8;
}

typedef struct job {
    hn_training training;
    hn_session teacher;
    hn_distill_options distill;
    hn_layer_pair *layers;
    hn_documents docs, eval;
    hn_kd_file stored;
} job;

static hn_status prepare(const hn_cli *cli, void *context, hn_error *err) {
    job *j = context;
    hn_training *t = &j->training;
    const char *eval_path = hn_cli_text(cli, "eval");
    const char *stored_path = hn_cli_text(cli, "teacher-logits");
    HN_TRY(hn_training_options(cli, &t->options, err));
    HN_TRY(distill_options(cli, &j->distill, &j->layers, err));
    HN_TRY(hn_training_open(&t->session, cli, err));
    if (stored_path) {
        HN_TRY(hn_kd_file_open(&j->stored, stored_path, err));
        j->distill.stored = &j->stored;
    } else {
        HN_TRY(hn_session_open(&j->teacher, cli, hn_cli_text(cli, "teacher"), teacher_numerics(cli),
                               err));
        j->distill.teacher = j->teacher.model;
    }
    HN_TRY(hn_training_documents(cli, t->session.model, hn_cli_arg(cli, 1), &j->docs, err));
    if (eval_path)
        HN_TRY(hn_training_documents(cli, t->session.model, eval_path, &j->eval, err));
    return hn_training_golden(cli, &t->golden, &t->options, err);
}

static hn_status learn(void *context, const hn_progress *progress, hn_train_result *result,
                       hn_error *err) {
    job *j = context;
    return hn_train_distill(j->training.session.model, &j->docs, j->eval.n ? &j->eval : NULL,
                            &j->distill, &j->training.options, progress, result, err);
}

static hn_status run(hn_cli *cli, hn_error *err) {
    static const hn_training_steps STEPS = {prepare, learn};
    job j = {0};
    hn_status status = hn_training_run(cli, &j.training, &STEPS, err);
    hn_free(j.layers);
    hn_documents_done(&j.docs);
    hn_documents_done(&j.eval);
    hn_kd_file_close(&j.stored);
    hn_session_done(&j.teacher);
    return status;
}

static const hn_option OPTIONS[] = {
    {"teacher", 0, HN_OPT_TEXT, "MODEL", NULL, "Learn from this model, of the same vocabulary"},
    {"teacher-logits", 0, HN_OPT_TEXT, "FILE", NULL,
     "Or from what hone distill store has kept of one"},
    {"teacher-numerics", 0, HN_OPT_CHOICE, "NAME", "int8", "How the teacher is computed",
     "f32|int8", 0, 0, .not_with = "teacher-logits"},
    {"kd-alpha", 0, HN_OPT_REAL, "X", "0.5",
     "The teacher's share of the loss; the rest is the text's", NULL, 0, 1},
    {"temperature", 'T', HN_OPT_REAL, "X", "2", "Temperature of both distributions", NULL, 0.01,
     100},
    {"beta", 0, HN_OPT_REAL, "X", "0",
     "0: KL(teacher || student), 1: KL(student || teacher), between: generalised JSD", NULL, 0, 1},
    {"on-policy", 0, HN_OPT_REAL, "X", "0",
     "Share of the steps whose completions the student samples itself", NULL, 0, 1},
    {"sample-temperature", 0, HN_OPT_REAL, "X", "0.9", "Temperature of that sampling", NULL, 0.01,
     10, .needs = "on-policy"},
    {"sample-tokens", 0, HN_OPT_INT, "N", "128", "Longest sampled completion", NULL, 1, 1 << 16,
     .needs = "on-policy"},
    {"on-policy-loss", 0, HN_OPT_CHOICE, "NAME", "gkd",
     "What is learned of sampled completions: the divergence, or MiniLLM's policy gradient",
     "gkd|minillm", 0, 0},
    {"gamma", 0, HN_OPT_REAL, "X", "1",
     "MiniLLM: how much later tokens' rewards count; 0 = each token its own", NULL, 0, 1,
     .needs = "on-policy-loss"},
    {"single-step", 0, HN_OPT_REAL, "X", "1", "MiniLLM: weight of each position's exact reverse KL",
     NULL, 0, 1e6, .needs = "on-policy-loss"},
    {"hidden", 0, HN_OPT_REAL, "X", "0", "Weight of the hidden states' term; 0 = none", NULL, 0,
     1e6},
    {"hidden-layers", 0, HN_OPT_TEXT, "LIST", NULL,
     "Student layers and the teacher's that they follow, from 1: 2:4,6:12; otherwise evenly",
     .needs = "hidden"},
    HN_OPTION_SUPERVISE,
    {"learning-rate", 0, HN_OPT_REAL, "X", "2e-4", "Highest learning rate", NULL, 0, 10},
    {"epochs", 0, HN_OPT_REAL, "X", "3", "How often each row is seen", NULL, 0, 1e6},
    {0},
};

const hn_command HN_CMD_DISTILL = {
    .name = "distill",
    .args = "STUDENT ROWS",
    .min_args = 2,
    .max_args = 2,
    .summary = "teach a model with a larger one's distributions",
    .details =
        "Trains a LoRA adapter (or, with --full, all weights) on rows as hone sft does, but every "
        "learned token is a whole "
        "distribution: loss = alpha T^2 KL(teacher || student) + (1 - alpha) cross-entropy, and "
        "with --hidden the squared distance of hidden states, through a projection that is learned "
        "too where the widths differ. The teacher must have the student's vocabulary.\n\n"
        "metrics.jsonl has the terms of the loss (ce, kd, hidden, reverse_kl); evaluation is by "
        "the "
        "cross-entropy, as hone sft's. Ctrl-C leaves a checkpoint; the same command goes on from "
        "it, with the same result as without the break. Several processes under mpirun train it "
        "together, as hone sft says.",
    .groups = {OPTIONS, HN_OPTIONS_TRAIN, HN_OPTIONS_COMPUTE},
    .examples = "hone distill model.gguf train.jsonl --teacher larger.gguf -o run",
    .run = run,
    .on_ranks = true,
};

static hn_status run_store(hn_cli *cli, hn_error *err) {
    hn_session teacher;
    hn_documents docs = {0};
    hn_kd_store_options options = {hn_cli_int(cli, "top"), (float)hn_cli_real(cli, "temperature")};
    const char *path = hn_cli_text(cli, "output");
    char size[32];
    hn_status status;
    HN_TRY(hn_cli_check_output(path, hn_cli_arg(cli, 1), err));
    HN_TRY(hn_cli_check_output(path, hn_cli_arg(cli, 0), err));
    HN_TRY(hn_session_open(&teacher, cli, hn_cli_arg(cli, 0), teacher_numerics(cli), err));
    HN_GO(hn_training_documents(cli, teacher.model, hn_cli_arg(cli, 1), &docs, err));
    HN_GO(hn_kd_store(teacher.model, &docs, &options, path, &cli->progress, err));
    double bytes = (double)hn_kd_record_bytes(options.k) * (double)docs.n_supervised;
    if (cli->json) {
        json_t *value = json_pack("{s:s, s:I, s:I}", "file", path, "rows", (json_int_t)docs.n,
                                  "tokens", (json_int_t)docs.n_supervised);
        status = hn_cli_print_json(value, err);
        json_decref(value);
    } else {
        printf("stored   %s: %zu rows, %llu tokens, %s\n", path, docs.n,
               (unsigned long long)docs.n_supervised, hn_cli_bytes(size, bytes));
    }
done:
    hn_documents_done(&docs);
    hn_session_done(&teacher);
    return status;
}

static const hn_option STORE_OPTIONS[] = {
    {"output", 'o', HN_OPT_TEXT, "FILE", "teacher.kd", "Where the distributions go"},
    {"top", 0, HN_OPT_INT, "N", "32", "Likeliest tokens to keep of each distribution", NULL, 1,
     HN_KD_TOP_MAX},
    {"temperature", 'T', HN_OPT_REAL, "X", "2", "The temperature that will be trained at", NULL,
     0.01, 100},
    {"teacher-numerics", 0, HN_OPT_CHOICE, "NAME", "int8", "How the teacher is computed",
     "f32|int8", 0, 0},
    HN_OPTION_SUPERVISE,
    {"system", 's', HN_OPT_TEXT, "TEXT", NULL, "System text for rows that have none"},
    {"skip-bad", 0, HN_OPT_FLAG, NULL, NULL, "Leave bad rows out instead of stopping"},
    {"max-length", 0, HN_OPT_INT, "N", "1024", "Longest row in tokens", NULL, 8, 1 << 20},
    {0},
};

const hn_command HN_CMD_DISTILL_STORE = {
    .name = "distill store",
    .args = "TEACHER ROWS",
    .min_args = 2,
    .max_args = 2,
    .summary = "keep a teacher's distributions of rows in a file",
    .details =
        "Runs the teacher over the rows that a student will learn from and keeps, of every learned "
        "token, the likeliest tokens with their log-probabilities and what the others share: 196 "
        "bytes a token with --top 32. hone distill --teacher-logits trains from the file, without "
        "the teacher in memory; --system, --supervise and --max-length must be the same there.",
    .groups = {STORE_OPTIONS, HN_OPTIONS_COMPUTE},
    .examples = "hone distill store larger.gguf train.jsonl -o teacher.kd",
    .run = run_store,
};
