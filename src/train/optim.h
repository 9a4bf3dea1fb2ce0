/* The optimiser: AdamW over the flat parameter vector, clipping, learning-rate schedules. */
#pragma once

#include "train/net.h"
#include "train/train.h"

typedef struct hn_optimiser {
    float *m, *v; /* (n) first and second moments */
    size_t n;
    uint64_t updates; /* made so far: t of the bias corrections */
} hn_optimiser;

HN_MUST_CHECK hn_status hn_optimiser_new(hn_optimiser *out, size_t n, hn_error *err);
void hn_optimiser_done(hn_optimiser *optimiser);

/* L2 norm, summed in double over fixed blocks: the same for any number of threads. */
double hn_gradient_norm(const hn_net *net);
/* One update at `rate`, gradients scaled by min(1, max_grad_norm / (norm + 1e-6)). */
void hn_optimiser_update(hn_optimiser *optimiser, const hn_net *net,
                         const hn_train_options *options, double rate, double norm);
/* The rate of update `step` (from 0) of `total`, as transformers' get_scheduler. */
double hn_schedule_rate(const hn_train_options *options, int step, int total);
