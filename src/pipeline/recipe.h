/* A recipe: one YAML file that says what `hone run` makes. examples/intent-router/recipe.yaml shows
 * every section; recipe_table.c lists every key with its type, range and default. */
#pragma once

#include "base/arena.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { HN_RECIPE_MAX_ARTEFACTS = 16, HN_RECIPE_MAX_TRAIN_FILES = 64 };

typedef enum hn_artefact_kind {
    HN_ARTEFACT_ADAPTER,     /* the base untouched, the adapter beside it */
    HN_ARTEFACT_MERGED,      /* one GGUF with the adapter merged in, quantised to `type` */
    HN_ARTEFACT_HUGGINGFACE, /* a merged safetensors folder in `type` f32, f16 or bf16 */
} hn_artefact_kind;

typedef struct hn_recipe_artefact {
    char *name;
    int kind;                /* hn_artefact_kind */
    char *type;              /* "q8_0", "q4_k_m", ...; NULL for an adapter */
    char *calibration;       /* "train" = the training rows, "self" = the model's own text, "none",
                                "train+self", or a file; NULL = train+self where the type gains
                                from it */
    bool allow_lost_adapter; /* write the file although rounding undid the teaching */
} hn_recipe_artefact;

/* Files of rows. */
typedef struct hn_recipe_files {
    char *path[HN_RECIPE_MAX_TRAIN_FILES];
    int n;
} hn_recipe_files;

/* The stages that teach, in their order: answers, a teacher's distributions, thoughts, preferences.
 * sft is always there; the others where the recipe has their section. */
typedef enum hn_teaching {
    HN_TEACH_SFT,
    HN_TEACH_KD,
    HN_TEACH_RKD,
    HN_TEACH_DPO,
    HN_TEACH_COUNT
} hn_teaching;

/* How a stage teaches. What shapes the adapter (rank to alpha_pattern) is sft's alone: a later
 * stage goes on from the adapter before. */
typedef struct hn_recipe_training {
    bool wanted;           /* the recipe has the section */
    hn_recipe_files train; /* of rkd and dpo, and of kd when it has its own; data.train is sft's */
    int64_t rank, max_steps, batch, max_length, warmup_steps, eval_every, save_every, early_stop,
        golden_rows, seed;
    double alpha, dropout, learning_rate, weight_decay, epochs, warmup_ratio, max_grad_norm,
        lora_plus_ratio, neftune_alpha, replay_share;
    char *modules, *layers, *rank_pattern, *alpha_pattern; /* as hn_adapter_spec has them */
    bool rslora, dora;
    char *best_metric, *general; /* as hn_train_options has them; general may be NULL */
    char *replay;                /* a file of rows of another kind; not of dpo; may be NULL */
    int optimiser;               /* hn_optimiser_kind */
    int schedule;                /* hn_schedule */
    int supervise;               /* hn_supervise */
    int numerics;                /* of the forward pass: index for hn_train_numerics_at */
} hn_recipe_training;

/* All strings are owned by the arena; paths are resolved against the recipe's folder. */
typedef struct hn_recipe {
    hn_arena arena;
    char *path, *dir; /* of the recipe itself; NULL and "" when parsed from memory */
    char sha256[65];

    char *name, *version;
    char *base; /* GGUF file or Hugging Face folder */

    struct {
        hn_recipe_files train; /* of sft */
        char *golden;
        char *system;      /* NULL = none */
        double eval_share; /* of the training rows, held out for the loss curve */
        double near_copy;  /* rows at least this alike (0..1) count as copies; 0 = no check */
        bool skip_bad;
        int64_t seed;
    } data;

    /* A teacher asked for rows before anything is taught. */
    struct {
        bool wanted; /* the recipe has the section */
        char *prompts;
        char *teacher;                    /* a model on this machine, or: */
        char *endpoint, *model, *key_env; /* as `hone data generate` has them */
        char *system;                     /* NULL = ours */
        bool plain, critique, hard_negatives;
        int64_t samples, max_tokens, max_field_tokens, seed, parallel, timeout, retries,
            max_total_tokens;
        double temperature, top_p, max_cost, price_in, price_out, min_share;
        int keep, vote;            /* hn_rows_keep; 0 = by text, 1 = by number */
        bool allow_partial;        /* go on although the budget ended before the prompts did */
        bool into[HN_TEACH_COUNT]; /* stages that learn from it; kd by way of sft */
    } generate;

    hn_recipe_training sft, kd, rkd, dpo;
    struct {
        char *teacher, *teacher_logits; /* a model, or a file of hone distill store: one of them */
        int teacher_numerics;           /* hn_numerics */
        char *hidden_layers; /* as hn_layer_pairs_parse reads them; NULL = spread evenly */
        double alpha, temperature, beta, on_policy, sample_temperature, gamma, single_step, hidden;
        int64_t sample_tokens;
        int on_policy_loss; /* 0 = gkd, 1 = minillm */
    } distill;              /* of kd; as `hone distill` has them */
    struct {
        int loss; /* hn_dpo_kind */
        double beta, label_smoothing;
        int reference; /* 0 = the adapter that dpo starts from, 1 = the base without one */
    } preference;

    hn_recipe_artefact artefacts[HN_RECIPE_MAX_ARTEFACTS];
    int n_artefacts;

    struct {
        int64_t max_tokens, kl_chunks;
        char *prompt_only;    /* system prompt of the base by prompt alone; NULL = data.system */
        char *kl_text;        /* text file for KL against float; NULL = the golden prompts */
        double abstain_below; /* as hn_eval_options has them; 0 and NULL = no abstention */
        char *abstain_as;
        char *grammar, *json_schema; /* files: what answers may be; at most one, NULL = anything */
        bool bench;
    } eval;

    struct {
        double max_quality_drop, max_stage_drop, max_slice_drop, min_quality, max_p95_ms;
        int latency; /* 0 = whole response, 1 = first token */
    } gate;

    struct {
        bool wanted;    /* the recipe has a bundle section */
        char *artefact; /* the one to pack */
        char *min_runtime_version;
    } bundle;
} hn_recipe;

/* Reads, checks and resolves. Everything wrong is HN_BAD_INPUT with file:line:column: unknown keys
 * (with the nearest known one), duplicate keys, wrong types, values out of range, files that aren't
 * there. A base that isn't found beside the recipe is looked for in hone's cache. */
HN_MUST_CHECK hn_status hn_recipe_read(hn_recipe *recipe, const char *path, hn_error *err);
/* The same over text in memory; `where` opens messages, and files are looked for only when
 * `check_files`. */
HN_MUST_CHECK hn_status hn_recipe_parse(hn_recipe *recipe, const char *text, size_t n_bytes,
                                        const char *where, const char *dir, bool check_files,
                                        hn_error *err);
void hn_recipe_done(hn_recipe *recipe);

const char *hn_teaching_name(hn_teaching stage); /* "sft", "kd", "rkd", "dpo": also the section */
bool hn_recipe_teaches(const hn_recipe *recipe, hn_teaching stage);
const hn_recipe_training *hn_recipe_training_of(const hn_recipe *recipe, hn_teaching stage);
const hn_recipe_files *hn_recipe_rows(const hn_recipe *recipe, hn_teaching stage);
