/* A step's gradients, summed over ranks: those of a layer travel while the layers below it are
 * computed. */
#pragma once

#include "train/params.h"
#include "train/ranks.h"

typedef struct hn_sums {
    hn_ranks *ranks; /* borrowed; NULL = this process alone: nothing is done */
    const hn_params *params;
    int begun; /* the sums of layers from this one on have begun */
    bool late; /* none begins before hn_sums_finish */
} hn_sums;

/* A new step: no sum has begun. */
void hn_sums_start(hn_sums *sums);
/* Local: the gradients of `layer`, and of those above it, won't change any more. */
void hn_sums_layer(hn_sums *sums, int layer);
/* Local: called between the parts of a layer. */
static inline void hn_sums_poll(hn_sums *sums) {
    if (sums)
        hn_ranks_sum_poll(sums->ranks);
}
/* Begins what is left, and waits for everything; the seconds that the waiting took. Each rank must
 * call it once a step, whatever it did in it. */
double hn_sums_finish(hn_sums *sums);
