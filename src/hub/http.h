/* HTTP for the hub: one exchange, no redirects of curl's own, the headers that matter. */
#pragma once

#include "base/buf.h"
#include "base/progress.h"
#include "base/status.h"
#include "hub/curl.h"

#include <stdbool.h>
#include <stdint.h>

enum { HN_HTTP_TEXT_MAX = 2048 };

typedef struct hn_http_answer {
    long code;
    char location[HN_HTTP_TEXT_MAX]; /* absolute, or "" */
    char etag[128];                  /* X-Linked-Etag, else ETag: without quotes and W/ */
    char commit[65];                 /* X-Repo-Commit */
    int64_t size;                    /* X-Linked-Size, else Content-Length; -1 = unknown */
    int64_t range_start;             /* of a 206's Content-Range; -1 = none */
    long retry_after_s;              /* 0 = none */
} hn_http_answer;

typedef struct hn_http_request {
    const char *url;
    const char *token;                                             /* sent as Bearer, or NULL */
    bool head;                                                     /* headers only */
    int64_t from;                                                  /* > 0: Range: bytes=from- */
    hn_buf *body;                                                  /* small answers, or: */
    bool (*on_start)(void *context, const hn_http_answer *answer); /* before the first byte */
    bool (*on_data)(void *context, const void *data, size_t n);
    void *context;
    const hn_progress *progress; /* cancellation */
} hn_http_request;

/* HN_OK whatever the code: the caller judges it. *retry says whether a failure may pass (broken
 * connection, time-out); *unreachable that the host can't be found or refuses connections. */
HN_MUST_CHECK hn_status hn_http_exchange(const hn_curl *curl, const hn_http_request *request,
                                         hn_http_answer *answer, bool *retry, bool *unreachable,
                                         hn_error *err);
/* True when both have the same scheme, host and port. */
bool hn_http_same_origin(const hn_curl *curl, const char *a, const char *b);
