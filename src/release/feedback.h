/* Error feedback over columns (GPTQ: Frantar et al., "GPTQ: accurate post-training quantization for
 * generative pre-trained transformers", ICLR 2023): the error that rounding makes in one column is
 * spread over the columns that come after it, so that the layer's outputs on calibration text
 * change least. rounding.c applies it. Private to release/. */
#pragma once

#include "base/pool.h"

#include <stdbool.h>
#include <stdint.h>

/* From the Gram matrix of inputs, h = sum x x^T (cols, cols), symmetric: raises its diagonal by a
 * share of the mean (diagonal (cols) gets the result) and puts the factor U of the inverse, upper
 * triangular, into factor (cols, cols). False when h isn't positive. */
bool hn_feedback_prepare(hn_pool *pool, float *h, float *factor, float *diagonal, int64_t cols);
