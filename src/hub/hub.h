/* Models from a hub in Hugging Face's layout, or from a URL, into a content-addressed cache:
 *   CACHE/hub/ORG--NAME/blobs/ETAG                 the bytes, named by what they are
 *   CACHE/hub/ORG--NAME/snapshots/COMMIT/FILE      links into blobs
 *   CACHE/hub/ORG--NAME/refs/REVISION              the commit; written when all files are there
 *   CACHE/hub/urls/HASH/FILE                       files pulled by URL
 * Interrupted downloads stay as blobs/ETAG.incomplete and are resumed. */
#pragma once

#include "base/progress.h"
#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hn_hub_options {
    const char *endpoint;       /* NULL = HF_ENDPOINT or the public hub */
    const char *token;          /* NULL = HF_TOKEN or none; sent to the endpoint's host only */
    const char *revision;       /* NULL = "main" */
    const char *cache_dir;      /* hone's cache folder */
    const char *const *include; /* globs of files to take; NULL = what a model needs */
    size_t n_include;
    const char *sha256; /* for a URL: what the file must have, or NULL */
    int max_retries;    /* without a byte of progress in between */
    bool offline;       /* use the cache alone */
} hn_hub_options;

typedef struct hn_hub_result {
    char *path;      /* folder of the model, or its only GGUF file; hn_free */
    char commit[65]; /* "" for a URL */
    json_t *files;   /* [{name, size, etag}] */
    uint64_t downloaded_bytes;
    bool from_cache; /* nothing was asked of the network */
} hn_hub_result;

/* `what` is "ORG/NAME" or an http(s) URL of a file. HN_IO: the network or the hub refused;
 * HN_BAD_INPUT: no such model, a wrong sum; offline, the message names what the cache holds. */
HN_MUST_CHECK hn_status hn_hub_pull(const char *what, const hn_hub_options *options,
                                    const hn_progress *progress, hn_hub_result *result,
                                    hn_error *err);
void hn_hub_result_done(hn_hub_result *result);

/* Names of the complete models in the cache: "ORG/NAME" strings, sorted (new reference). */
HN_MUST_CHECK hn_status hn_hub_cached(const char *cache_dir, json_t **names, hn_error *err);
