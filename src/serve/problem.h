/* Why a request is refused, in the terms of OpenAI's errors: an HTTP status, a type, a code, the
 * field that is wrong and a message that says what to do. */
#pragma once

#include "base/buf.h"
#include "base/status.h"

#include <stdint.h>

enum { HN_PROBLEM_PARAM_MAX = 96 };

/* On a caller's stack. http 0 = nothing is wrong. type and code are static; code may be NULL. */
typedef struct hn_problem {
    int http;
    const char *type, *code;
    char param[HN_PROBLEM_PARAM_MAX]; /* "" = none */
    char message[HN_ERROR_MESSAGE_MAX];
    int64_t n_prompt, n_context; /* of exceed_context_size_error; otherwise 0 */
    int retry_after_s;           /* 429 and 503; 0 = don't say */
} hn_problem;

/* 400 invalid_request_error about `param` (NULL = the body as a whole); HN_BAD_INPUT. */
hn_status hn_problem_bad(hn_problem *p, const char *param, const char *fmt, ...) HN_PRINTF(3, 4);
/* Any status of HTTP, with the type and code that belong to it; the hn_status that is nearest. */
hn_status hn_problem_http(hn_problem *p, int http, const char *fmt, ...) HN_PRINTF(3, 4);
hn_status hn_problem_no_memory(hn_problem *p);
/* 429: more is waiting than can be. */
hn_status hn_problem_too_many(hn_problem *p);
/* 404 model_not_found. */
hn_status hn_problem_no_model(hn_problem *p, const char *model);
/* 400 exceed_context_size_error with both numbers. */
hn_status hn_problem_too_long(hn_problem *p, int64_t n_prompt, int64_t n_context);
/* What a lower layer reported about `param` (may be NULL): bad input, usage and what is unsupported
 * are the client's fault (400), busy is 429, everything else 500. Returns err->status. */
hn_status hn_problem_from(hn_problem *p, const char *param, const hn_error *err);
/* {"error": {message, type, code, param, ...}} */
void hn_problem_json(const hn_problem *p, hn_buf *out);
