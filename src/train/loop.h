/* What all trainings have in common: steps over shuffled items, evaluation, the best adapter,
 * checkpoints, metrics. What an item is, and what is computed of it, is the task's.
 *
 * With several ranks (options->ranks) all run the same loop over the same items. A task computes
 * its rank's share of them, with weights that count all; what it leaves is summed by the loop. An
 * error of one rank becomes everybody's where the loop looks for it, after each call of the task:
 * in between, what a task asks of the other ranks must be asked by all. */
#pragma once

#include "train/metrics.h"
#include "train/net.h"
#include "train/train.h"

typedef struct hn_trainer {
    hn_model *model;
    const hn_train_options *options;
    const hn_progress *progress;
    hn_adapter *adapter; /* as it was at the start, see hn_params_store; NULL: all weights */
    hn_params params;
    hn_net *net;
    hn_sums sums;
} hn_trainer;

typedef struct hn_task {
    void *context;
    size_t n_items;     /* documents, pairs: a step takes options->batch_rows of them */
    const char *path;   /* of their file, for messages; NULL = "the data" */
    uint64_t data_hash; /* of the items, of those to evaluate on, and of the task's own options */
    bool evaluates;
    uint64_t (*line)(const void *context, uint32_t item); /* in the file */
    /* Values that are trained beside the adapter's and kept in the checkpoint alone. */
    size_t n_extra;
    void (*init_extra)(void *context, const hn_train_options *options, float *values);
    /* Called before the first step, also when a run goes on, with the adapter as it was at the
     * start; NULL = nothing to do. */
    hn_status (*begin)(void *context, const hn_trainer *trainer, hn_error *err);
    /* Adds the gradients of this rank's share of a step's items; sets its shares of the loss, of
     * the computed rows and of the values in *metrics, and the counts of all items. `key` stands
     * for the step's random numbers. */
    hn_status (*step)(void *context, const hn_trainer *trainer, const uint32_t *items, size_t n,
                      uint64_t key, hn_step_metrics *metrics, hn_error *err);
    /* Sets all but the step, to this rank's shares. */
    hn_status (*evaluate)(void *context, const hn_trainer *trainer, hn_eval_metrics *metrics,
                          hn_error *err);
} hn_task;

/* Trains an adapter; contract as hn_train_sft. */
HN_MUST_CHECK hn_status hn_train_run(hn_model *model, const hn_task *task,
                                     const hn_train_options *options, const hn_progress *progress,
                                     hn_train_result *result, hn_error *err);

/* How many steps an epoch over n_items takes, and the whole run. */
HN_MUST_CHECK hn_status hn_train_count_steps(const hn_train_options *options, size_t n_items,
                                             int *an_epoch, int *all, hn_error *err);
/* Leaves this rank's share of n documents in docs[0..*n). */
HN_MUST_CHECK hn_status hn_train_own_documents(const hn_trainer *trainer, const hn_document **docs,
                                               size_t *n, hn_error *err);
/* This rank's shares of loss, accuracy and row_accuracy over all documents, without gradients. */
HN_MUST_CHECK hn_status hn_train_evaluate(const hn_trainer *trainer, const hn_documents *docs,
                                          const hn_loss *loss, hn_eval_metrics *metrics,
                                          hn_error *err);
/* Local: the adapter (NULL = nothing to do) gets the parameters' present values, for the two below.
 */
HN_MUST_CHECK hn_status hn_train_fit(const hn_trainer *trainer, hn_adapter *adapter, hn_error *err);
/* Adds perplexity on a text and, with an adapter, KL to the base. Ranks share it out; what one
 * fails at, all do. */
HN_MUST_CHECK hn_status hn_train_general(const hn_trainer *trainer, const hn_adapter *adapter,
                                         const char *text, size_t n_bytes, hn_eval_metrics *m,
                                         hn_error *err);
/* Adds the score of options->golden, likewise, and the seconds it took. */
HN_MUST_CHECK hn_status hn_train_golden_score(const hn_trainer *trainer, const hn_adapter *adapter,
                                              hn_eval_metrics *m, hn_error *err);

/* One pass over documents that fit in memory together; pass->tree is made of them. Adds to *sum
 * and, computed rows, to *rows (NULL = not asked). HN_CANCELLED after it when that is wished. */
HN_MUST_CHECK hn_status hn_train_pass(const hn_trainer *trainer, const hn_document *const *docs,
                                      size_t n, const hn_pass *pass, hn_net_loss *sum,
                                      uint64_t *rows, hn_error *err);
/* As many passes as documents need, packed to the memory budget; sum->missed counts in an order of
 * its own. */
HN_MUST_CHECK hn_status hn_train_passes(const hn_trainer *trainer, const hn_document *const *docs,
                                        size_t n, const hn_pass *pass, hn_net_loss *sum,
                                        uint64_t *rows, hn_error *err);
