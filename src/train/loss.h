/* A loss is a function of the logits at supervised positions: it returns its value and leaves the
 * gradient in place of the logits. One file each: loss_sft.c, later loss_kd.c, loss_dpo.c. */
#pragma once

#include "base/pool.h"
#include "train/ops.h"

#include <stdint.h>

typedef struct hn_loss_rows {
    float *logits; /* (n, n_vocab): in the logits, out d loss / d logits */
    int32_t n, n_vocab;
    const int32_t *labels; /* (n) */
    float weight;          /* each row's share, e.g. 1 / supervised tokens of the whole step */
    bool *hits;            /* (n) out: the label has the largest logit */
    const hn_train_ops *ops;
    hn_pool *pool; /* NULL = this thread alone */
} hn_loss_rows;

/* Cross-entropy: weight * sum of -log p(label); returns the weighted sum in double. */
double hn_loss_sft(const hn_loss_rows *rows);
