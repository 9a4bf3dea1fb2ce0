/* A release bundle: one folder with everything a device needs to run a model and to check that it
 * still answers as it did (spec/evaluation-release.md, "Release bundle"). */
#pragma once

#include "base/progress.h"
#include "base/status.h"

#include <stdint.h>

typedef struct hn_bundle_options {
    const char *name, *version, *min_runtime_version;
    const char *architecture; /* GGUF's name of the family */
    const char *quantisation; /* "q8_0", or "q4_1 + lora" */
    const char *system;       /* system prompt that the scores were made with; may be NULL */
    const char *model_path;   /* GGUF: the merged model, or the base */
    const char *adapter_path; /* GGUF adapter beside a base; NULL = merged */
    const char *golden_path;  /* JSONL */
    const char *samples_path; /* what hn_eval_run wrote: the expected results */
    uint64_t kv_bytes_per_token;
    int32_t n_ctx_train;
} hn_bundle_options;

/* Writes the folder `dir`, which must not be there yet: built beside it, made durable, renamed.
 * manifest.json names every other file with size and sha256. Equal inputs give equal bytes. */
HN_MUST_CHECK hn_status hn_bundle_write(const char *dir, const hn_bundle_options *options,
                                        const hn_progress *progress, hn_error *err);
/* HN_BAD_INPUT unless the folder holds exactly what its manifest names, byte for byte. */
HN_MUST_CHECK hn_status hn_bundle_verify(const char *dir, hn_error *err);
