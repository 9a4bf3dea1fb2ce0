/* Rounding a batch of rows so that a layer's outputs on calibration text change least: first error
 * feedback over columns (feedback.h), then coordinate descent on everything that the blocks hold,
 * scales and minima as well as codes. An adapter's change is smaller than half a step of a 4-bit
 * grid nearly everywhere; it survives in the scales, and in the few codes that the descent finds
 * worth moving. Private to release/. */
#pragma once

#include "base/dtype.h"
#include "kernels/matrix.h"

typedef struct hn_rounding hn_rounding;

/* For matrices of at most max_cols columns; compute is borrowed. */
HN_MUST_CHECK hn_status hn_rounding_new(hn_rounding **out, hn_compute *compute, int64_t max_cols,
                                        hn_error *err);
void hn_rounding_free(hn_rounding *rounding);
/* Rows of a matrix of `cols` columns that hn_rounding_run takes at once. */
int64_t hn_rounding_max_rows(const hn_rounding *rounding, int64_t cols);
/* Values that such rows have at most, whatever the matrix. */
size_t hn_rounding_batch_values(const hn_rounding *rounding);
/* What the inputs of the matrices to come look like: gram (cols, cols) = sum of x x^T, symmetric,
 * borrowed until the next call; its diagonal is raised a little. HN_BAD_INPUT when it is zero or
 * not finite. */
HN_MUST_CHECK hn_status hn_rounding_inputs(hn_rounding *rounding, float *gram, int64_t cols,
                                           hn_error *err);
/* target (rows, cols), finite, into blocks of dtype; rows at most hn_rounding_max_rows. change
 * (rows, cols), or NULL: what an adapter added to the target; what it does to the outputs is kept
 * in each row, at the price of a little more noise. */
HN_MUST_CHECK hn_status hn_rounding_run(hn_rounding *rounding, hn_dtype dtype, const float *target,
                                        const float *change, int64_t rows, uint8_t *out,
                                        hn_error *err);
/* (rows, cols): what is left, (target - value) times gram, after hn_rounding_run. */
const float *hn_rounding_gradient(const hn_rounding *rounding);
/* (rows, cols): change times gram, after hn_rounding_run with a change. */
const float *hn_rounding_change_gram(const hn_rounding *rounding);
