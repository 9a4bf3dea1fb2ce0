/* Everything a run needs to go on exactly where it stopped, as one file that is replaced
 * atomically. Random numbers are functions of (seed, step), so the step is their state. */
#pragma once

#include "train/optim.h"

typedef struct hn_train_state {
    uint64_t step; /* updates made */
    uint64_t tokens, supervised;
    double seconds, eval_seconds, golden_seconds;
    double last_loss;
    double best_eval_loss; /* of the best evaluation; INFINITY until there is one */
    double best_value;     /* its best_metric */
    uint64_t best_step;
    uint64_t evaluated_step; /* the last one */
    uint64_t evals_without_gain;
} hn_train_state;

/* Identity of a run: whatever changes its results. Two runs of one fingerprint may continue each
 * other. `values` are the adapter's first values; data_hash stands for what is learned from. */
uint64_t hn_train_fingerprint(const hn_model *model, const hn_params *params, uint64_t data_hash,
                              const hn_train_options *options);
/* Stands for the weights. */
uint64_t hn_train_hash_model(const hn_model *model, uint64_t hash);
/* Tokens and labels; docs may be NULL. */
uint64_t hn_train_hash_document(const hn_document *doc, uint64_t hash);
uint64_t hn_train_hash_documents(const hn_documents *docs, uint64_t hash);

/* `best` (n) may be NULL when nothing has been evaluated. */
HN_MUST_CHECK hn_status hn_train_state_save(const char *path, uint64_t fingerprint,
                                            const hn_train_state *state, const hn_params *params,
                                            const hn_optimiser *optimiser, const float *best,
                                            hn_error *err);
/* HN_USAGE when the file belongs to another run, HN_BAD_INPUT when it is damaged; then nothing has
 * been changed. `best` (n) is left alone where the file has none. */
HN_MUST_CHECK hn_status hn_train_state_load(const char *path, uint64_t fingerprint,
                                            hn_train_state *state, hn_params *params,
                                            hn_optimiser *optimiser, float *best, hn_error *err);
/* Before anything is computed: makes out_dir, locks it (base/lock.h), and sees that the adapter can
 * go to its folder there, and that a checkpoint which is to be gone on from is this run's. */
HN_MUST_CHECK hn_status hn_train_place_take(const hn_train_options *options, uint64_t fingerprint,
                                            const hn_params *params, const char *adapter_dir,
                                            const char *checkpoint, int *lock, hn_error *err);
/* HN_USAGE on all ranks when one has another run, or computes at another level, than rank 0: each
 * would learn something else of it. */
HN_MUST_CHECK hn_status hn_train_check_alike(hn_ranks *ranks, hn_isa isa, uint64_t fingerprint,
                                             hn_error *err);
/* Every rank goes on from what rank 0 has. */
void hn_train_state_share(hn_ranks *ranks, hn_train_state *state, hn_params *params,
                          hn_optimiser *optimiser, float *best);
