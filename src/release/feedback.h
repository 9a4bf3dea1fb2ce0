/* Error feedback over columns (GPTQ: Frantar et al., "GPTQ: accurate post-training quantization for
 * generative pre-trained transformers", ICLR 2023): the error that rounding makes in one column is
 * spread over the columns that come after it, so that the layer's outputs on calibration text
 * change least. It also keeps what an adapter changed when that is less than half a step. Private
 * to release/. */
#pragma once

#include "base/dtype.h"
#include "base/pool.h"
#include "base/status.h"

#include <stdint.h>

/* Turns the Gram matrix of inputs, h = sum x x^T (cols, cols; only the lower triangle is read), in
 * place into what hn_feedback_row needs; scratch: (cols, cols). False when it isn't positive. */
bool hn_feedback_prepare(hn_pool *pool, float *h, float *scratch, int64_t cols);
/* One row: x (cols) is used up, blocks are written to out. weights as in hn_row_quantise; factor:
 * from hn_feedback_prepare. */
HN_MUST_CHECK hn_status hn_feedback_row(hn_dtype dtype, float *x, const float *weights,
                                        const float *factor, int64_t cols, uint8_t *out,
                                        hn_error *err);
