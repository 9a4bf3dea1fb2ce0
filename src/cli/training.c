#include "cli/training.h"

#include "base/file.h"
#include "base/mem.h"
#include "model/thaw.h"
#include "release/numerics.h"

#include <string.h>

const hn_option HN_OPTIONS_TRAIN[] = {
    {"output", 'o', HN_OPT_TEXT, "DIR", "run", "Where adapter/, checkpoint/ and metrics.jsonl go",
     NULL, 0, 0},
    {"eval", 'e', HN_OPT_TEXT, "FILE", NULL, "Rows to evaluate on; the best adapter is kept"},
    {"system", 's', HN_OPT_TEXT, "TEXT", NULL, "System text for rows that have none"},
    {"skip-bad", 0, HN_OPT_FLAG, NULL, NULL, "Leave bad rows out instead of stopping"},
    {"max-length", 0, HN_OPT_INT, "N", "1024", "Longest row in tokens", NULL, 8, 1 << 20},
    {"rank", 'r', HN_OPT_INT, "N", "16", "Rank of the adapter", NULL, 1, 1024,
     .not_with = "full|init-adapter"},
    {"alpha", 0, HN_OPT_REAL, "X", "32", "Scale of the adapter, times 1/rank", NULL, 1e-3, 1e6,
     .not_with = "full|init-adapter"},
    {"dropout", 0, HN_OPT_REAL, "X", "0", "Dropout before the adapter", NULL, 0, 0.99},
    {"modules", 0, HN_OPT_TEXT, "LIST", "all",
     "Matrices to adapt: all, or q_proj,v_proj and the like", .not_with = "full|init-adapter"},
    {"layers", 0, HN_OPT_TEXT, "LIST", NULL, "Layers to adapt, as in 0-3,7; default all",
     .not_with = "full|init-adapter"},
    {"rank-pattern", 0, HN_OPT_TEXT, "LIST", NULL,
     "Ranks of some: KEY=N,KEY=N, keys as PEFT's rank_pattern", .not_with = "full|init-adapter"},
    {"alpha-pattern", 0, HN_OPT_TEXT, "LIST", NULL, "The same for alpha",
     .not_with = "full|init-adapter"},
    {"rslora", 0, HN_OPT_FLAG, NULL, NULL, "Scale by 1/sqrt(rank) (rsLoRA)",
     .not_with = "full|init-adapter"},
    {"dora", 0, HN_OPT_FLAG, NULL, NULL, "Learn the length of each weight row too (DoRA)",
     .not_with = "full|init-adapter"},
    {"lora-plus-ratio", 0, HN_OPT_REAL, "X", "1", "Learning rate of B, times A's (LoRA+)", NULL,
     1e-3, 1e6, .not_with = "full"},
    {"neftune-alpha", 0, HN_OPT_REAL, "X", "0", "Noise on embeddings while it learns (NEFTune)",
     NULL, 0, 1e6},
    {"optimizer", 0, HN_OPT_CHOICE, "NAME", "adamw",
     "adamw8bit: a quarter of its memory; lion: half, wants a tenth of the rate",
     "adamw|adamw8bit|lion", 0, 0},
    {"schedule", 0, HN_OPT_CHOICE, "NAME", "cosine", "How it falls", "linear|cosine|constant", 0,
     0},
    {"warmup-ratio", 0, HN_OPT_REAL, "X", "0.03", "Share of the steps in which it rises", NULL, 0,
     1},
    {"max-steps", 0, HN_OPT_INT, "N", "0", "Steps, whatever the epochs; 0 = from the epochs", NULL,
     0, 1e9},
    {"batch", 'b', HN_OPT_INT, "N", "8", "Rows a step", NULL, 1, 1e6},
    {"weight-decay", 0, HN_OPT_REAL, "X", "0", "Weight decay", NULL, 0, 10},
    {"max-grad-norm", 0, HN_OPT_REAL, "X", "1", "Gradients are cut to this norm; 0 = not", NULL, 0,
     1e9},
    {"eval-every", 0, HN_OPT_INT, "N", "0", "Steps between evaluations; 0 = each epoch", NULL, 0,
     1e9, .needs = "eval"},
    {"save-every", 0, HN_OPT_INT, "N", "0", "Steps between checkpoints; 0 = each epoch", NULL, 0,
     1e9},
    {"best-metric", 0, HN_OPT_TEXT, "NAME", "loss",
     "What the best evaluation is known by: loss, accuracy, golden and so on, as metrics.jsonl has "
     "them",
     .needs = "eval"},
    {"general", 0, HN_OPT_TEXT, "FILE", NULL,
     "Text: evaluations have its perplexity and the KL to the base", .needs = "eval"},
    {"golden", 0, HN_OPT_TEXT, "FILE", NULL,
     "Golden set: evaluations have its score, as eval_golden", .needs = "eval"},
    {"golden-rows", 0, HN_OPT_INT, "N", "0", "At most so many of its rows, spread evenly; 0 = all",
     NULL, 0, 1e7, .needs = "golden"},
    {"max-tokens", 'n', HN_OPT_INT, "N", "64", "Longest answer to a golden row", NULL, 1, 65536,
     .needs = "golden"},
    {"early-stop", 0, HN_OPT_INT, "N", "0",
     "Stop after this many evaluations without getting better; 0 = never", NULL, 0, 1e6,
     .needs = "eval"},
    {"full", 0, HN_OPT_FLAG, NULL, NULL,
     "Train all weights instead of an adapter; DIR/model is a Hugging Face folder in f32"},
    {"share-layers", 0, HN_OPT_INT, "N", "1",
     "With --full: N layers in a row hold one set of weights", NULL, 1, 512, .needs = "full"},
    {"init-adapter", 0, HN_OPT_TEXT, "PATH", NULL, "Start from this adapter", .not_with = "full"},
    {"restart", 0, HN_OPT_FLAG, NULL, NULL, "Start anew although there is a checkpoint"},
    {"no-shuffle", 0, HN_OPT_FLAG, NULL, NULL, "Take the rows in the file's order"},
    {"seed", 0, HN_OPT_INT, "N", "0", "Seed of shuffling, dropout and the adapter", NULL, 0, 9e15},
    {"numerics", 0, HN_OPT_CHOICE, "NAME", "f32",
     "How the forward pass is computed: f32; int8, as the model is run; or a type, as a file of "
     "that type is run",
     HN_TRAIN_NUMERICS_CHOICES, 0, 0},
    {0},
};

hn_status hn_training_options(const hn_cli *cli, hn_train_options *o, hn_error *err) {
    static const char *const SCHEDULES[] = {"linear", "cosine", "constant"};
    static const char *const OPTIMISERS[] = {"adamw", "adamw8bit", "lion"};
    *o = hn_train_options_default();
    o->r = hn_cli_int(cli, "rank");
    o->alpha = (float)hn_cli_real(cli, "alpha");
    o->dropout = (float)hn_cli_real(cli, "dropout");
    o->layers = hn_cli_text(cli, "layers");
    o->rank_pattern = hn_cli_text(cli, "rank-pattern");
    o->alpha_pattern = hn_cli_text(cli, "alpha-pattern");
    o->rslora = hn_cli_flag(cli, "rslora");
    o->dora = hn_cli_flag(cli, "dora");
    o->lora_plus_ratio = (float)hn_cli_real(cli, "lora-plus-ratio");
    o->neftune_alpha = (float)hn_cli_real(cli, "neftune-alpha");
    o->learning_rate = (float)hn_cli_real(cli, "learning-rate");
    o->weight_decay = (float)hn_cli_real(cli, "weight-decay");
    o->max_grad_norm = (float)hn_cli_real(cli, "max-grad-norm");
    o->warmup_ratio = (float)hn_cli_real(cli, "warmup-ratio");
    o->epochs = (float)hn_cli_real(cli, "epochs");
    o->max_steps = hn_cli_int(cli, "max-steps");
    o->batch_rows = hn_cli_int(cli, "batch");
    o->max_length = hn_cli_int(cli, "max-length");
    o->seed = (uint64_t)hn_parsed_get(&cli->opts, "seed")->integer;
    o->eval_every = hn_cli_int(cli, "eval-every");
    o->save_every = hn_cli_int(cli, "save-every");
    o->early_stop_evals = hn_cli_int(cli, "early-stop");
    o->full = hn_cli_flag(cli, "full");
    o->shared = hn_cli_int(cli, "share-layers");
    o->best_metric = hn_cli_text(cli, "best-metric");
    o->general = hn_cli_text(cli, "general");
    o->init_adapter = hn_cli_text(cli, "init-adapter");
    o->out_dir = hn_cli_text(cli, "output");
    o->resume = !hn_cli_flag(cli, "restart");
    o->shuffle = !hn_cli_flag(cli, "no-shuffle");
    o->ranks = cli->ranks;
    for (int i = 0; i < 3; i++) {
        if (strcmp(hn_cli_text(cli, "schedule"), SCHEDULES[i]) == 0)
            o->schedule = (hn_schedule)i;
        if (strcmp(hn_cli_text(cli, "optimizer"), OPTIMISERS[i]) == 0)
            o->optimiser = (hn_optimiser_kind)i;
    }
    return hn_modules_parse(hn_cli_text(cli, "modules"), &o->module_mask, err);
}

/* DIR/model takes what was learned; a base there would be lost, and with it the way to go on. */
static hn_status check_place(const hn_cli *cli, hn_error *err) {
    if (!hn_cli_flag(cli, "full"))
        return HN_OK;
    char *model = hn_path_join(hn_cli_text(cli, "output"), "model");
    if (!model)
        return hn_fail_no_memory(err, 256);
    hn_status status = hn_cli_check_output(model, hn_cli_arg(cli, 0), err);
    hn_free(model);
    return status;
}

hn_status hn_training_open(hn_session *session, const hn_cli *cli, hn_error *err) {
    const char *name = hn_cli_text(cli, "numerics");
    const hn_model_options options = {.n_threads = hn_session_threads(cli),
                                      .isa = hn_cli_text(cli, "isa"),
                                      .chats = hn_cli_text(cli, "golden") != NULL};
    hn_train_numerics numerics;
    *session = (hn_session){0};
    HN_TRY(check_place(cli, err));
    if (!hn_train_numerics_from_name(name, &numerics))
        return hn_fail(err, HN_UNSUPPORTED, "--numerics %s isn't in this build", name);
    if (numerics.is_rounded && hn_cli_flag(cli, "full"))
        return hn_fail(err, HN_USAGE,
                       "--numerics %s rounds the weights that --full trains: take an adapter, or "
                       "train in f32 and quantize what came out",
                       name);
    return hn_train_model_open(&session->model, hn_cli_arg(cli, 0), &numerics, &options, err);
}

hn_status hn_training_records(const hn_cli *cli, const char *path, hn_records *records,
                              hn_error *err) {
    HN_TRY(hn_records_read(records, path, hn_cli_flag(cli, "skip-bad"), &cli->progress, err));
    if (records->n_bad)
        hn_progress_note(&cli->progress, "%s: %zu bad rows left out", path, records->n_bad);
    return HN_OK;
}

hn_status hn_training_documents(const hn_cli *cli, const hn_model *model, const char *path,
                                hn_documents *docs, hn_error *err) {
    static const char *const NAMES[] = {"completion", "assistant", "all"};
    hn_records records;
    int supervise = 0;
    for (int i = 0; i < 3; i++)
        if (strcmp(hn_cli_text(cli, "supervise"), NAMES[i]) == 0)
            supervise = i;
    HN_TRY(hn_training_records(cli, path, &records, err));
    hn_status status =
        hn_documents_build(docs, &records, &model->ckpt, hn_cli_text(cli, "system"),
                           (hn_supervise)supervise, hn_cli_int(cli, "max-length"), err);
    hn_records_done(&records);
    if (status == HN_OK)
        hn_rows_note_cut(path, hn_cli_int(cli, "max-length"), &docs->truncated, &docs->dropped,
                         &cli->progress);
    return status;
}

hn_status hn_training_golden(const hn_cli *cli, hn_golden_probe *probe, hn_train_options *options,
                             hn_error *err) {
    const char *path = hn_cli_text(cli, "golden");
    hn_eval_options asked = {.system = hn_cli_text(cli, "system"),
                             .max_tokens = hn_cli_int(cli, "max-tokens")};
    if (!path)
        return HN_OK;
    HN_TRY(
        hn_golden_probe_open(probe, path, (size_t)hn_cli_int(cli, "golden-rows"), &asked, 0, err));
    options->golden = &probe->call;
    return HN_OK;
}

/* What evaluations took beside the steps. */
static void print_evaluations(const hn_train_result *r) {
    char all[32], golden[32];
    double total = r->seconds + r->eval_seconds;
    if (total <= 0)
        return;
    printf("evals    %s, %.0f %% of the time", hn_cli_duration(all, r->eval_seconds),
           100 * r->eval_seconds / total);
    if (r->golden_seconds > 0)
        printf("; the golden set %s, %.0f %%", hn_cli_duration(golden, r->golden_seconds),
               100 * r->golden_seconds / total);
    putchar('\n');
}

static hn_status print(const hn_cli *cli, const hn_train_options *o, const hn_train_result *r,
                       hn_error *err) {
    const bool with_eval = hn_cli_text(cli, "eval") != NULL;
    const char *learned = o->full ? "model" : "adapter";
    double rate = r->seconds > 0 ? (double)r->tokens / r->seconds : 0;
    if (!hn_ranks_is_first(o->ranks))
        return HN_OK;
    if (cli->json) {
        json_t *value = json_pack(
            "{s:o, s:i, s:i, s:f, s:o, s:o, s:I, s:I, s:f, s:f, s:f, s:f, s:I}", learned,
            json_sprintf("%s/%s", o->out_dir, learned), "steps", r->steps, "best_step",
            r->best_step, "final_loss", r->final_loss, "best_eval_loss",
            with_eval ? json_real(r->best_eval_loss) : json_null(), "best_value",
            with_eval ? json_real(r->best_value) : json_null(), "tokens", (json_int_t)r->tokens,
            "supervised_tokens", (json_int_t)r->supervised, "seconds", r->seconds, "eval_seconds",
            r->eval_seconds, "golden_seconds", r->golden_seconds, "tokens_per_second", rate,
            "peak_resident_bytes", (json_int_t)r->peak_resident_bytes);
        hn_status status = hn_cli_print_json(value, err);
        json_decref(value);
        return status;
    }
    char time[32], memory[32];
    printf("%-8s %s/%s\nsteps    %d in %s, %.0f tokens/s, %s resident at most\n", learned,
           o->out_dir, learned, r->steps, hn_cli_duration(time, r->seconds), rate,
           hn_cli_bytes(memory, (double)r->peak_resident_bytes));
    printf("loss     %.4f at the end", r->final_loss);
    if (with_eval)
        printf("; on the evaluation rows %.4f at best (step %d", r->best_eval_loss, r->best_step);
    if (with_eval && strcmp(o->best_metric, "loss") != 0)
        printf(", %s %.4f", o->best_metric, r->best_value);
    fputs(with_eval ? ")\n" : "\n", stdout);
    if (with_eval)
        print_evaluations(r);
    return HN_OK;
}

static hn_status save_model(const hn_cli *cli, hn_model *model, const hn_train_options *options,
                            hn_error *err) {
    char *dir = hn_path_join(options->out_dir, "model");
    if (!dir)
        return hn_fail_no_memory(err, strlen(options->out_dir));
    hn_status status = hn_model_to_tensors(model, err);
    if (status == HN_OK)
        status = hn_merge_to_hf(&model->ckpt, NULL, dir, HN_F32, &cli->progress, err);
    hn_free(dir);
    return status;
}

static hn_status save(const hn_cli *cli, const hn_training *job, hn_error *err) {
    hn_ranks *ranks = job->options.ranks;
    hn_status status = HN_OK;
    if (job->options.full && hn_ranks_is_first(ranks))
        status = save_model(cli, job->session.model, &job->options, err);
    return hn_ranks_agree(ranks, status, err);
}

hn_status hn_training_run(const hn_cli *cli, hn_training *job, const hn_training_steps *steps,
                          hn_error *err) {
    hn_train_result result;
    hn_status status;
    HN_GO(hn_ranks_agree(cli->ranks, steps->prepare(cli, job, err), err));
    HN_GO(steps->learn(job, &cli->progress, &result, err));
    HN_GO(save(cli, job, err));
    status = print(cli, &job->options, &result, err);
done:
    hn_golden_probe_done(&job->golden);
    hn_session_done(&job->session);
    return status;
}
