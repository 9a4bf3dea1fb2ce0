/* What rounding.c and rounding_descent.c share. Private to them. */
#pragma once

#include "release/rounding.h"
#include "release/row_ops.h"

struct hn_rounding {
    hn_compute *compute;
    const hn_row_ops *ops;
    int64_t max_cols, cols;
    float *gram, *factor; /* (cols, cols): borrowed; owned, of hn_feedback_prepare */
    float *weights;       /* (cols) importance of columns for the choice of grids */

    /* of the batch: */
    hn_dtype dtype;
    int64_t rows, block;
    int64_t chunk_first, chunk_cols; /* at most HN_GRID_MAX_VALUES */
    const float *target;             /* (rows, cols) */
    const float *change;             /* (rows, cols): of the target, to be kept; or NULL */
    float *change_gram;              /* (rows, cols): change times gram */
    float *beyond;                   /* (rows): how much more of its change a row aims at */
    float *work;    /* (rows, cols): first targets with feedback, then the gradient */
    float *error;   /* (rows, cols): target - value when the descent begins */
    float *delta;   /* (rows, HN_GRID_MAX_VALUES): what a step did in its chunk */
    hn_grid *grids; /* (rows, cols / block) */
    uint8_t *codes; /* (rows, cols) */
    uint8_t *out;
};

/* One step of descent over the chunk's blocks of a row: scales, then each code. Reads the gradient,
 * and leaves in delta what values moved by. */
void hn_rounding_descend(hn_rounding *rounding, int64_t row);
