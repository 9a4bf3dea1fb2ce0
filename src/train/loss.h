/* A loss is a function of the logits at supervised rows: it returns its value and leaves the
 * gradient in place of the logits. One file each: loss_sft.c, loss_dpo.c, loss_kd.c,
 * loss_minillm.c. */
#pragma once

#include "base/pool.h"
#include "base/status.h"
#include "data/tree.h"
#include "train/ops.h"

#include <stdint.h>

/* A tile of supervised rows. */
typedef struct hn_loss_rows {
    float *logits; /* (n, n_vocab): in the logits, out d loss / d logits */
    int32_t n, n_vocab;
    int32_t first;         /* of the tile, among the tree's targets */
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

/* What a layer gives to the next one, at the tree's targets. */
typedef struct hn_loss_states {
    int layer;      /* the last one's are those after the output norm */
    const float *x; /* (rows, dim) */
    float *dx;      /* (rows, dim) gradients are added to it; NULL = nothing below learns */
    int64_t dim;
    const int32_t *row; /* (n) each target's row of x */
    int32_t n;
} hn_loss_states;

typedef struct hn_loss {
    void *context;
    float weight; /* of each row, where `documents` is NULL */
    /* Before each pass, with the documents that its tree was built from; NULL = nothing to do. */
    hn_status (*begin)(void *context, const hn_tree *tree, const hn_document *const *docs,
                       hn_error *err);
    /* Adds the value of a tile, its rows' weights included. Sums must not depend on the number of
     * threads. */
    hn_status (*rows)(void *context, const hn_loss_rows *rows, double *value, hn_error *err);
    /* NULL, or a loss whose rows' gradients need something of all rows: the rows are gone over once
     * for it, what that gives being thrown away, then this is called, then the rows as usual. */
    hn_status (*between)(void *context, hn_error *err);
    /* NULL, or called for every layer of a pass with gradients; adds to *value. */
    hn_status (*states)(void *context, const hn_loss_states *states, double *value, hn_error *err);
    /* NULL, or a loss of whole completions: its value is what this returns, and the rows' gradients
     * are those of -weights[document] * logps[document]. */
    double (*documents)(void *context, const hn_loss_documents *documents);
} hn_loss;

/* What a loss does of each row of a tile by itself: `row` sets the gradient, logps and hits of one,
 * on any thread, and returns what `add` gets, which is called for one row after the other. */
typedef struct hn_loss_each {
    void *context;
    double (*row)(void *context, const hn_loss_rows *rows, int64_t i);
    void (*add)(void *context, const hn_loss_rows *rows, int64_t i, double value);
} hn_loss_each;
void hn_loss_rows_run(const hn_loss_rows *rows, const hn_loss_each *each);

/* Cross-entropy: sum of weight * -log p(label). */
hn_status hn_loss_cross_entropy(void *context, const hn_loss_rows *rows, double *value,
                                hn_error *err);
/* Supervised fine-tuning: every row counts `weight`. */
hn_loss hn_loss_sft(float weight);
