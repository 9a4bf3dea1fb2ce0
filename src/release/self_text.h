/* Text that a model writes by itself, for calibration where nobody gave data: what a model says is
 * drawn from what it was taught, which no longer can be had (Liu et al., "LLM-QAT: data-free
 * quantization aware training for large language models", 2023). Private to release/. */
#pragma once

#include "base/progress.h"
#include "model/model.h"

/* Appends n_sequences pieces of `length` tokens each, sampled at temperature 1, the same for the
 * same model each time. */
HN_MUST_CHECK hn_status hn_self_text(hn_model *model, int n_sequences, int32_t length,
                                     const hn_progress *progress, hn_ids *out, hn_error *err);
