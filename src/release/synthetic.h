/* Models with the shape of known ones and seeded random weights, to measure speed without their
 * files: what a token costs depends on the shape and the types alone. */
#pragma once

#include "base/progress.h"
#include "release/quantise.h"

/* Names that hn_synthetic_write knows, separated by '|'. stories260k is small enough for tests. */
#define HN_SYNTHETIC_SHAPES                                                                        \
    "smollm2-135m|smollm2-360m|smollm2-1.7b|qwen2.5-0.5b|qwen2.5-1.5b|qwen3-0.6b|llama-3.2-1b|"    \
    "llama-3.2-3b|stories260k"

/* Writes a GGUF that any program for such files can run: the shape's architecture, weights in the
 * types that `ftype` gives its tensors, and a vocabulary of bytes filled up to the right size. Rows
 * of a matrix are drawn from a few dozen quantised ones of its width: the same seed gives the same
 * bytes. HN_USAGE: no such shape. */
HN_MUST_CHECK hn_status hn_synthetic_write(const char *path, const char *shape, hn_ftype ftype,
                                           uint64_t seed, const hn_progress *progress,
                                           hn_error *err);
