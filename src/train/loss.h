/* A loss is a function of the logits at supervised rows: it returns its value and leaves the
 * gradient in place of the logits. One file each: loss_sft.c, loss_dpo.c. */
#pragma once

#include "base/pool.h"
#include "base/status.h"
#include "train/ops.h"

#include <stdint.h>

/* A tile of supervised rows. */
typedef struct hn_loss_rows {
    float *logits; /* (n, n_vocab): in the logits, out d loss / d logits */
    int32_t n, n_vocab;
    const int32_t *labels; /* (n) */
    const float *weights;  /* (n) each row's share, e.g. 1 / supervised tokens of the whole step */
    double *logps;         /* (n) out: log p(label) */
    bool *hits;            /* (n) out: the label has the largest logit */
    const hn_train_ops *ops;
    hn_pool *pool; /* NULL = this thread alone */
} hn_loss_rows;

/* Documents of a pass, whose completions a loss weighs as wholes. */
typedef struct hn_loss_documents {
    int32_t n;
    const double *logps;   /* (n) sums of log p(label) over the document's targets */
    const int32_t *counts; /* (n) targets */
    float *weights;        /* (n) out: -d loss / d logps */
} hn_loss_documents;

typedef struct hn_loss {
    void *context;
    float weight; /* of each row, where `documents` is NULL */
    /* The value of a tile, its rows' weights included. Sums must not depend on the number of
     * threads. */
    double (*rows)(void *context, const hn_loss_rows *rows);
    /* NULL, or a loss of whole completions: its value is what this returns, and the rows' gradients
     * are those of -weights[document] * logps[document]. */
    double (*documents)(void *context, const hn_loss_documents *documents);
} hn_loss;

/* Cross-entropy: sum of weight * -log p(label). */
double hn_loss_cross_entropy(void *context, const hn_loss_rows *rows);
/* Supervised fine-tuning: every row counts `weight`. */
hn_loss hn_loss_sft(float weight);
