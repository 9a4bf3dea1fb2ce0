#include "serve/problem.h"

#include "serve/json_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct kind {
    int http;
    hn_status status;
    const char *type, *code;
} kind;

static const kind KINDS[] = {
    {400, HN_BAD_INPUT, "invalid_request_error", NULL},
    {401, HN_BAD_INPUT, "authentication_error", "invalid_api_key"},
    {403, HN_BAD_INPUT, "permission_error", "forbidden"},
    {404, HN_BAD_INPUT, "not_found_error", "not_found"},
    {405, HN_BAD_INPUT, "invalid_request_error", "method_not_allowed"},
    {408, HN_FAILED, "timeout_error", "timeout"},
    {413, HN_BAD_INPUT, "invalid_request_error", "request_too_large"},
    {429, HN_FAILED, "rate_limit_error", "queue_full"},
    {500, HN_FAILED, "server_error", "internal_error"},
    {501, HN_UNSUPPORTED, "not_supported_error", "not_supported"},
    {503, HN_FAILED, "unavailable_error", "unavailable"},
};

static const kind *kind_of(int http) {
    const kind *internal = NULL;
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        if (KINDS[i].http == http)
            return &KINDS[i];
        if (KINDS[i].http == 500)
            internal = &KINDS[i];
    }
    return internal;
}

static hn_status set(hn_problem *p, int http, const char *param, const char *fmt, va_list args) {
    const kind *k = kind_of(http);
    *p = (hn_problem){.http = k->http, .type = k->type, .code = k->code};
    snprintf(p->param, sizeof p->param, "%s", param ? param : "");
    vsnprintf(p->message, sizeof p->message, fmt, args);
    return k->status;
}

hn_status hn_problem_bad(hn_problem *p, const char *param, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    hn_status status = set(p, 400, param, fmt, args);
    va_end(args);
    return status;
}

hn_status hn_problem_http(hn_problem *p, int http, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    hn_status status = set(p, http, NULL, fmt, args);
    va_end(args);
    return status;
}

hn_status hn_problem_too_many(hn_problem *p) {
    enum { AGAIN_S = 1 };
    const hn_status status = hn_problem_http(p, 429, "too many requests are waiting: try later");
    p->retry_after_s = AGAIN_S;
    return status;
}

hn_status hn_problem_no_memory(hn_problem *p) {
    enum { AGAIN_S = 5 };
    (void)hn_problem_http(p, 503, "there is no memory for this request now: try later");
    p->retry_after_s = AGAIN_S;
    return HN_NO_MEMORY;
}

hn_status hn_problem_no_model(hn_problem *p, const char *model) {
    hn_status status = hn_problem_http(
        p, 404, "the model '%.64s' isn't served here: GET /v1/models lists those that are", model);
    p->code = "model_not_found";
    snprintf(p->param, sizeof p->param, "model");
    return status;
}

hn_status hn_problem_too_long(hn_problem *p, int64_t n_prompt, int64_t n_context) {
    /* Clients look for OpenAI's words, up to the first number. */
    hn_status status = hn_problem_bad(
        p, NULL,
        "This model's maximum context length is %lld tokens, and the prompt has %lld: shorten it, "
        "or start the server with a larger --ctx",
        (long long)n_context, (long long)n_prompt);
    p->type = p->code = "exceed_context_size_error";
    p->n_prompt = n_prompt;
    p->n_context = n_context;
    return status;
}

hn_status hn_problem_from(hn_problem *p, const char *param, const hn_error *err) {
    enum { AGAIN_S = 1 };
    int http = 500;
    if (err->status == HN_NO_MEMORY)
        return hn_problem_no_memory(p);
    if (err->status == HN_BAD_INPUT || err->status == HN_USAGE || err->status == HN_UNSUPPORTED)
        http = 400;
    else if (err->status == HN_BUSY)
        http = 429;
    (void)hn_problem_http(p, http, "%s", err->message);
    if (http == 400)
        snprintf(p->param, sizeof p->param, "%s", param ? param : "");
    if (http == 429)
        p->retry_after_s = AGAIN_S;
    return err->status;
}

void hn_problem_json(const hn_problem *p, hn_buf *out) {
    hn_buf_puts(out, "{\"error\":{");
    hn_json_put_key(out, "message");
    hn_json_put_text(out, p->message);
    hn_json_put_key(out, "type");
    hn_json_put_text(out, p->type);
    hn_json_put_key(out, "param");
    hn_json_put_text(out, *p->param ? p->param : NULL);
    hn_json_put_key(out, "code");
    hn_json_put_text(out, p->code);
    if (p->n_context) {
        hn_json_put_key(out, "n_prompt_tokens");
        hn_json_put_int(out, p->n_prompt);
        hn_json_put_key(out, "n_ctx");
        hn_json_put_int(out, p->n_context);
    }
    hn_buf_puts(out, "}}");
}
