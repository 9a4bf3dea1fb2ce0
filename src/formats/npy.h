/* NumPy's .npy v1.0, f32, for `hone logits` and tests. */
#pragma once

#include "base/status.h"

#include <stdint.h>

HN_MUST_CHECK hn_status hn_npy_write(const char *path, const float *data, int n_dims,
                                     const uint64_t *shape, hn_error *err);
