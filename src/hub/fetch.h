/* One file from the network to the disk: redirects, resume, retries, sum. */
#pragma once

#include "hub/http.h"
#include "hub/hub.h"

typedef struct hn_fetch {
    hn_curl curl;
    const char *token;
    const char *token_origin; /* the only origin that sees the token */
    int max_retries;
    const hn_progress *progress;
    const char *label;
    uint64_t base_bytes, total_bytes; /* for progress over several files */
    uint64_t downloaded_bytes;        /* summed up */
    bool unreachable;                 /* the last failure: no such host, nobody listens */
} hn_fetch;

/* GET of a small answer into `body`, or HEAD when it is NULL, with retries. With `redirects`,
 * follows them; else a redirect is an answer like others. */
HN_MUST_CHECK hn_status hn_fetch_small(hn_fetch *fetch, const char *url, hn_buf *body,
                                       bool redirects, hn_http_answer *answer, hn_error *err);
/* Downloads to `path` through `path`.incomplete, resuming what is there. `expected_size` -1 =
 * unknown. `etag` is checked when it is a SHA-256 (LFS) or a git blob's SHA-1. Returns the final
 * answer's headers in *answer. */
HN_MUST_CHECK hn_status hn_fetch_file(hn_fetch *fetch, const char *url, const char *path,
                                      int64_t expected_size, const char *etag, hn_error *err);
/* What an answer other than 2xx means to the person. */
hn_status hn_fetch_refused(const hn_http_answer *answer, const char *url, hn_error *err);
