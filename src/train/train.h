/* LoRA training over a frozen packed base: hand-derived backward over the same layers that the
 * forward pass runs (DESIGN.md items 5 and 6, spec/training.md). */
#pragma once

#include "base/progress.h"
#include "data/records.h"
#include "model/model.h"
#include "train/kd_file.h"
#include "train/loss_dpo.h"
#include "train/ranks.h"

typedef enum hn_schedule {
    HN_SCHEDULE_LINEAR,
    HN_SCHEDULE_COSINE,
    HN_SCHEDULE_CONSTANT
} hn_schedule;

typedef enum hn_optimiser_kind { HN_ADAMW, HN_ADAMW_8BIT, HN_LION } hn_optimiser_kind;

/* The job's own score, of the model as an evaluation finds it. It comes from above, because what a
 * golden set is train/ doesn't know. */
typedef struct hn_train_golden {
    void *context;
    /* *score: 0 to 1. The adapter (NULL: all weights are trained) holds the present parameters.
     * `share` says which of the rows are this process's; it gathers once, also after a failure. */
    hn_status (*score)(void *context, hn_model *model, const hn_adapter *adapter,
                       const hn_share *share, const hn_progress *progress, double *score,
                       hn_error *err);
    uint64_t hash; /* of what is asked and how: with it the score is the same */
} hn_train_golden;

typedef struct hn_train_options {
    int r;
    float alpha, dropout;
    unsigned module_mask; /* bit i = hn_module i; default all seven */
    /* As hn_adapter_spec has them; NULL = none. They and the shape are init_adapter's own. */
    const char *layers, *rank_pattern, *alpha_pattern;
    bool rslora, dora;
    float lora_plus_ratio; /* rate of B over that of A (LoRA+) */
    float neftune_alpha;   /* noise of uniform [-a, a] / sqrt(tokens * n_embd) on embeddings; 0 */
    hn_optimiser_kind optimiser;
    float learning_rate, weight_decay, beta1, adam_eps, max_grad_norm;
    float beta2; /* 0 = the optimiser's own: 0.999, Lion's 0.99 */
    hn_schedule schedule;
    float warmup_ratio; /* of all steps; warmup_steps wins when > 0 */
    int warmup_steps;
    float epochs;
    int max_steps;  /* 0 = from epochs */
    int batch_rows; /* documents a step */
    int max_length;
    uint64_t seed;
    int eval_every, save_every; /* steps; 0 = once an epoch */
    /* Kept is the adapter of the best evaluation by this metric: "loss", "accuracy", ... as the
     * task has them in metrics.jsonl (an "eval_" before it is left out). NULL = "loss". */
    const char *best_metric;
    const char *general; /* text file: each evaluation has its perplexity, and the KL to the base */
    const hn_train_golden *golden; /* each evaluation has its score, as "golden"; NULL = none */
    /* SFT: rows of another kind mixed in, this share of all rows; NULL = none */
    const hn_documents *replay;
    float replay_share;
    int early_stop_evals; /* stop after this many evaluations without improvement; 0 = never */
    bool full;  /* all weights of the model instead of an adapter; it must be thawed nowhere yet */
    int shared; /* full: so many layers in a row hold one set of weights; 0 or 1 = none */
    const char *init_adapter; /* start from this adapter instead of a fresh one; NULL = fresh */
    const char *out_dir;      /* adapter/, checkpoint, metrics.jsonl */
    bool resume;              /* continue from out_dir/checkpoint when it is there */
    bool shuffle;             /* false: rows in file order (parity tests) */
    bool plain_batches;       /* compute common beginnings once a document, not once a step */
    size_t budget_bytes;      /* kept for backward, on each rank; 0 = by the model (train/net.h) */
    hn_ranks *ranks; /* that train together, all with the same options and rows; NULL = one process.
                        A step's rows are shared out among them; rank 0 writes. Borrowed */
    bool late_sums;  /* sum gradients over ranks after the backward pass: to compare with */
} hn_train_options;

hn_train_options hn_train_options_default(void);
/* HN_USAGE for what makes no sense. */
HN_MUST_CHECK hn_status hn_train_options_check(const hn_train_options *options, hn_error *err);

typedef struct hn_train_result {
    int steps, best_step;
    double final_loss, best_eval_loss; /* best_eval_loss: INFINITY without evaluation */
    double best_value;                 /* of best_metric */
    uint64_t tokens, supervised;       /* of the documents, each time they were read */
    double seconds;                    /* of training steps, over all resumed parts */
    double eval_seconds;               /* of evaluations, likewise; golden_seconds is part of it */
    double golden_seconds;
    uint64_t peak_resident_bytes;
} hn_train_result;

/* Supervised fine-tuning; an adapter is written to out_dir/adapter, or, with `full`, the model's
 * own weights are what was learned. `eval` may be NULL; with it the adapter kept is the one of the
 * lowest evaluation loss, otherwise the last. Ctrl-C (progress->cancel) writes a checkpoint and
 * returns HN_CANCELLED; a NaN loss stops with the last good checkpoint kept and the rows named. */
HN_MUST_CHECK hn_status hn_train_sft(hn_model *model, const hn_documents *docs,
                                     const hn_documents *eval, const hn_train_options *options,
                                     const hn_progress *progress, hn_train_result *result,
                                     hn_error *err);

typedef struct hn_dpo_options {
    hn_dpo loss;
    bool base_is_reference; /* the model without any adapter, not the one it starts from */
} hn_dpo_options;

/* Preference tuning; the rest as hn_train_sft. metrics.jsonl has the values that TRL logs. */
HN_MUST_CHECK hn_status hn_train_dpo(hn_model *model, const hn_pairs *pairs, const hn_pairs *eval,
                                     const hn_dpo_options *options, const hn_train_options *train,
                                     const hn_progress *progress, hn_train_result *result,
                                     hn_error *err);

/* A layer of the student that learns to give what one of the teacher's gives, from 1; the last ones
 * are taken after the output norm. */
typedef struct hn_layer_pair {
    int student, teacher;
} hn_layer_pair;

/* "2:4,6:12" (NULL: none) as pairs, which hn_free frees; HN_USAGE for what is no such list. */
HN_MUST_CHECK hn_status hn_layer_pairs_parse(const char *text, hn_layer_pair **pairs, int *n,
                                             hn_error *err);

typedef struct hn_distill_options {
    hn_model *teacher;        /* with the student's vocabulary; borrowed, or NULL: */
    const hn_kd_file *stored; /* its distributions, made at this temperature; borrowed */
    float alpha, temperature; /* the teacher's share of the loss, and the softmax's T */
    float beta; /* 0: KL(teacher || student), 1: KL(student || teacher), between: train/ops.h */
    float on_policy; /* probability of a step whose completions the student samples itself; they
                        are learned without the cross-entropy, and not from a file */
    float sample_temperature;
    int sample_tokens; /* longest sampled completion */
    bool minillm; /* sampled completions are learned by train/loss_minillm.h, not by the divergence
                   */
    float gamma, single_step; /* of that */
    float hidden;             /* share of the hidden states' term, 0 = none */
    const hn_layer_pair *layers;
    int n_layers; /* 0 = each of the student's layers, spread evenly over the teacher's */
} hn_distill_options;

/* Alpha 0.5, temperature 2, beta 0, no hidden states, nothing sampled (otherwise at temperature
 * 0.9, 128 tokens; learned by the divergence; MiniLLM's gamma and single step are 1). */
hn_distill_options hn_distill_options_default(void);
/* Logit distillation: loss = alpha T^2 KL(teacher || student) + (1 - alpha) cross-entropy + hidden
 * * MSE of the layers (train/loss_kd.h); evaluation is that of hn_train_sft, so that the two can be
 * compared. The rest as hn_train_sft. */
HN_MUST_CHECK hn_status hn_train_distill(hn_model *model, const hn_documents *docs,
                                         const hn_documents *eval,
                                         const hn_distill_options *options,
                                         const hn_train_options *train, const hn_progress *progress,
                                         hn_train_result *result, hn_error *err);
