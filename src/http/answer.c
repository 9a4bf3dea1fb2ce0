/* The head of an answer, and errors in OpenAI's form. */
#include "http/internal.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static const char *reason(int status) {
    static const struct {
        int status;
        const char *text;
    } REASONS[] = {{200, "OK"},
                   {201, "Created"},
                   {204, "No Content"},
                   {304, "Not Modified"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {408, "Request Timeout"},
                   {409, "Conflict"},
                   {413, "Content Too Large"},
                   {414, "URI Too Long"},
                   {415, "Unsupported Media Type"},
                   {417, "Expectation Failed"},
                   {422, "Unprocessable Content"},
                   {429, "Too Many Requests"},
                   {431, "Request Header Fields Too Large"},
                   {500, "Internal Server Error"},
                   {501, "Not Implemented"},
                   {503, "Service Unavailable"},
                   {504, "Gateway Timeout"},
                   {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof REASONS / sizeof *REASONS; i++)
        if (REASONS[i].status == status)
            return REASONS[i].text;
    return "Answer";
}

/* In English whatever the locale. */
static void write_date(hn_buf *out) {
    static const char DAYS[] = "SunMonTueWedThuFriSat";
    static const char MONTHS[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    struct tm tm;
    if (gmtime_r(&now, &tm))
        hn_buf_printf(out, "Date: %.3s, %02d %.3s %d %02d:%02d:%02d GMT\r\n", DAYS + 3 * tm.tm_wday,
                      tm.tm_mday, MONTHS + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                      tm.tm_sec);
}

/* A value from a request must not begin a header of its own. */
static bool is_safe(const char *value) {
    for (; *value; value++)
        if ((unsigned char)*value < ' ' || *value == 0x7f)
            return false;
    return true;
}

void hn_http_head_write(hn_http_call *call, int status, const char *content_type, int64_t length,
                        const hn_http_field *fields) {
    hn_buf *out = &call->out;
    const bool bodiless = status == 204 || status == 304;
    call->status = status;
    if (!call->head.keep_alive || atomic_load(&call->box->draining))
        call->close_after = true;
    call->chunked = length < 0 && call->head.minor == 1;
    if (length < 0 && !call->chunked)
        call->close_after = true; /* HTTP/1.0 sees a stream's end in the connection's */
    hn_buf_printf(out, "HTTP/1.1 %d %s\r\n", status, reason(status));
    write_date(out);
    if (content_type && !bodiless)
        hn_buf_printf(out, "Content-Type: %s\r\n", content_type);
    if (call->chunked)
        hn_buf_puts(out, "Transfer-Encoding: chunked\r\n");
    else if (length >= 0 && !bodiless)
        hn_buf_printf(out, "Content-Length: %lld\r\n", (long long)length);
    hn_buf_printf(out, "X-Request-Id: %s\r\nX-Content-Type-Options: nosniff\r\n", call->id);
    if (call->cors_origin)
        hn_buf_printf(out,
                      "Access-Control-Allow-Origin: %s\r\nAccess-Control-Expose-Headers: "
                      "X-Request-Id, Retry-After\r\nVary: Origin\r\n",
                      call->cors_origin);
    bool cached = false;
    for (const hn_http_field *f = fields; f && f->name; f++) {
        cached |= strcasecmp(f->name, "Cache-Control") == 0;
        if (is_safe(f->value))
            hn_buf_printf(out, "%s: %s\r\n", f->name, f->value);
    }
    if (!cached)
        hn_buf_puts(out, "Cache-Control: no-store\r\n");
    if (call->close_after)
        hn_buf_puts(out, "Connection: close\r\n");
    else if (call->head.minor == 0)
        hn_buf_puts(out, "Connection: keep-alive\r\n");
    hn_buf_puts(out, "\r\n");
}

void hn_http_json_text(hn_buf *out, const char *text) {
    if (!text) {
        hn_buf_puts(out, "null");
        return;
    }
    hn_buf_putc(out, '"');
    for (size_t left = strlen(text); left > 0;) {
        uint32_t c = 0;
        size_t n = hn_utf8_decode(text, left, &c);
        if (n == 0) {
            hn_buf_puts(out, "\\ufffd");
            n = 1;
        } else if (c < ' ' || c == 0x7f)
            hn_buf_printf(out, "\\u%04x", (unsigned)c);
        else if (c == '"' || c == '\\')
            hn_buf_printf(out, "\\%c", (int)c);
        else
            hn_buf_append(out, text, n);
        text += n;
        left -= n;
    }
    hn_buf_putc(out, '"');
}

static const char *type_of(int status) {
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 429:
        return "rate_limit_error";
    case 501:
        return "not_supported_error";
    case 503:
        return "unavailable_error";
    default:
        return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

void hn_http_problem_json(hn_buf *out, const hn_http_problem *problem, const char *message) {
    hn_buf_puts(out, "{\"error\":{\"message\":");
    hn_http_json_text(out, message);
    hn_buf_puts(out, ",\"type\":");
    hn_http_json_text(out, problem->type ? problem->type : type_of(problem->status));
    hn_buf_puts(out, ",\"param\":");
    hn_http_json_text(out, problem->param);
    hn_buf_puts(out, ",\"code\":");
    hn_http_json_text(out, problem->code);
    hn_buf_puts(out, "}}");
}

void hn_http_fail_with(hn_http_call *call, const hn_http_problem *problem,
                       const hn_http_field *field, const char *message) {
    hn_buf body = {0};
    char seconds[16];
    hn_http_field fields[3] = {{0}};
    size_t n = 0;
    if (field)
        fields[n++] = *field;
    if (problem->retry_after_s > 0) {
        snprintf(seconds, sizeof seconds, "%d", problem->retry_after_s);
        fields[n++] = (hn_http_field){"Retry-After", seconds};
    }
    hn_http_problem_json(&body, problem, message);
    hn_http_reply(call, problem->status, "application/json", hn_buf_text(&body), body.size, fields);
    hn_buf_done(&body);
}

void hn_http_fail(hn_http_call *call, const hn_http_problem *problem, const char *fmt, ...) {
    char message[HN_ERROR_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    hn_http_fail_with(call, problem, NULL, message);
}

int hn_http_status_of(hn_status status) {
    switch (status) {
    case HN_OK:
        return 200;
    case HN_USAGE:
    case HN_BAD_INPUT:
        return 400;
    case HN_UNSUPPORTED:
        return 501;
    case HN_NO_MEMORY:
    case HN_CANCELLED:
        return 503;
    default:
        return 500;
    }
}
