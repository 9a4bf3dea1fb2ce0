/* A golden set that a model is scored on while it is taught: what hn_train_options.golden calls. */
#pragma once

#include "eval/golden.h"
#include "train/train.h"

typedef struct hn_golden_probe {
    hn_golden golden;
    hn_eval_options options;
    hn_train_golden call; /* points to the probe, which must stay where it is */
} hn_golden_probe;

/* At most max_rows (0 = all) of the rows at `path`, spread evenly. Of the options system,
 * max_tokens, abstain_below, abstain_as and the constraint count; all are borrowed. `salt` stands
 * for what the hash can't see: the constraint. */
HN_MUST_CHECK hn_status hn_golden_probe_open(hn_golden_probe *probe, const char *path,
                                             size_t max_rows, const hn_eval_options *options,
                                             uint64_t salt, hn_error *err);
/* Harmless on one that is all zero. */
void hn_golden_probe_done(hn_golden_probe *probe);
