#include "hub/http.h"

#include "base/version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const long CONNECT_TIMEOUT_S = 15, STALL_TIMEOUT_S = 30;

typedef struct exchange {
    const hn_http_request *request;
    hn_http_answer *answer;
    const hn_curl *curl;
    bool started, refused;
} exchange;

static void header_text(char *out, size_t size, const char *value, size_t n) {
    if (n < size) {
        memcpy(out, value, n);
        out[n] = '\0';
    }
}

static void header_etag(hn_http_answer *answer, const char *value, size_t n) {
    if (n > 2 && memcmp(value, "W/", 2) == 0) {
        value += 2;
        n -= 2;
    }
    if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
        value++;
        n -= 2;
    }
    header_text(answer->etag, sizeof answer->etag, value, n);
}

static size_t on_header(char *line, size_t one, size_t n, void *context) {
    (void)one;
    exchange *e = context;
    hn_http_answer *answer = e->answer;
    size_t n_name = 0;
    while (n_name < n && line[n_name] != ':')
        n_name++;
    if (n_name == n) /* a status line, or the end of the headers */
        return n;
    const char *value = line + n_name + 1;
    size_t n_value = n - n_name - 1;
    while (n_value && (*value == ' ' || *value == '\t')) {
        value++;
        n_value--;
    }
    while (n_value && (value[n_value - 1] == '\r' || value[n_value - 1] == '\n'))
        n_value--;
    char number[32] = "";
    header_text(number, sizeof number, value, n_value);
#define IS(name) (n_name == sizeof name - 1 && strncasecmp(line, name, n_name) == 0)
    if (IS("x-linked-etag") || (IS("etag") && !answer->etag[0]))
        header_etag(answer, value, n_value);
    else if (IS("x-linked-size"))
        answer->size = strtoll(number, NULL, 10);
    else if (IS("content-length") && answer->size < 0)
        answer->size = strtoll(number, NULL, 10);
    else if (IS("x-repo-commit"))
        header_text(answer->commit, sizeof answer->commit, value, n_value);
    else if (IS("retry-after"))
        answer->retry_after_s = strtol(number, NULL, 10);
    else if (IS("content-range") && strncasecmp(number, "bytes ", 6) == 0)
        answer->range_start = strtoll(number + 6, NULL, 10);
#undef IS
    return n;
}

static size_t on_body(char *data, size_t one, size_t n, void *context) {
    (void)one;
    exchange *e = context;
    const hn_http_request *request = e->request;
    e->curl->easy_getinfo(e->curl->handle, CURLINFO_RESPONSE_CODE, &e->answer->code);
    if (request->body)
        return hn_buf_append(request->body, data, n) ? n : 0;
    if (e->answer->code != 200 && e->answer->code != 206)
        return n; /* an error's text is of no interest */
    if (!e->started && request->on_start && !request->on_start(request->context, e->answer)) {
        e->refused = true;
        return 0;
    }
    e->started = true;
    if (request->on_data && !request->on_data(request->context, data, n)) {
        e->refused = true;
        return 0;
    }
    return n;
}

static int on_transfer(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)a, (void)b, (void)c, (void)d;
    return hn_progress_cancelled(((exchange *)context)->request->progress);
}

static CURLcode perform(exchange *e, struct curl_slist *headers) {
    const hn_http_request *request = e->request;
    const hn_curl *c = e->curl;
    CURL *curl = c->handle;
    char range[40];
    c->easy_reset(curl); /* keeps the connections */
    c->easy_setopt(curl, CURLOPT_URL, request->url);
    c->easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    c->easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    c->easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    c->easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    c->easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    c->easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, STALL_TIMEOUT_S);
    c->easy_setopt(curl, CURLOPT_USERAGENT, "hone/" HN_VERSION);
    c->easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    c->easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    c->easy_setopt(curl, CURLOPT_HEADERDATA, e);
    c->easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    c->easy_setopt(curl, CURLOPT_WRITEDATA, e);
    c->easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    c->easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_transfer);
    c->easy_setopt(curl, CURLOPT_XFERINFODATA, e);
    c->easy_setopt(curl, CURLOPT_NOBODY, request->head ? 1L : 0L);
    if (request->from > 0) {
        snprintf(range, sizeof range, "%lld-", (long long)request->from);
        c->easy_setopt(curl, CURLOPT_RANGE, range);
    }
    return c->easy_perform(curl);
}

hn_status hn_http_exchange(const hn_curl *curl, const hn_http_request *request,
                           hn_http_answer *answer, bool *retry, bool *unreachable, hn_error *err) {
    exchange e = {.request = request, .answer = answer, .curl = curl};
    struct curl_slist *headers = NULL;
    char authorization[HN_HTTP_TEXT_MAX];
    *answer = (hn_http_answer){.size = -1, .range_start = -1};
    *retry = *unreachable = false;
    if (request->token && request->token[0]) {
        int n = snprintf(authorization, sizeof authorization, "Authorization: Bearer %s",
                         request->token);
        if (n >= (int)sizeof authorization || strpbrk(request->token, "\r\n"))
            return hn_fail(err, HN_USAGE,
                           "the access token is no token: too long, or with line "
                           "breaks; look at HF_TOKEN");
        headers = curl->slist_append(NULL, authorization);
        if (!headers)
            return hn_fail_no_memory(err, sizeof authorization);
    }
    CURLcode code = perform(&e, headers);
    char *location = NULL;
    curl->easy_getinfo(curl->handle, CURLINFO_RESPONSE_CODE, &answer->code);
    if (curl->easy_getinfo(curl->handle, CURLINFO_REDIRECT_URL, &location) == CURLE_OK && location)
        header_text(answer->location, sizeof answer->location, location, strlen(location));
    curl->slist_free_all(headers);
    if (code == CURLE_OK)
        return HN_OK;
    if (hn_progress_cancelled(request->progress))
        return hn_fail(err, HN_CANCELLED, "cancelled; what has come stays and is resumed");
    if (e.refused) /* the receiver has its own words */
        return hn_fail(err, HN_IO, "%s: could not be stored", request->url);
    *unreachable = code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY ||
                   code == CURLE_COULDNT_CONNECT;
    *retry = code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR ||
             code == CURLE_OPERATION_TIMEDOUT || code == CURLE_GOT_NOTHING || code == CURLE_HTTP2 ||
             code == CURLE_HTTP2_STREAM;
    return hn_fail(err, HN_IO, "%s: %s", request->url, curl->easy_strerror(code));
}

static bool origin(const hn_curl *curl, CURLU *url, const char *text, char **scheme, char **host,
                   char **port) {
    return curl->url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
           curl->url_get(url, CURLUPART_SCHEME, scheme, 0) == CURLUE_OK &&
           curl->url_get(url, CURLUPART_HOST, host, 0) == CURLUE_OK &&
           curl->url_get(url, CURLUPART_PORT, port, CURLU_DEFAULT_PORT) == CURLUE_OK;
}

bool hn_http_same_origin(const hn_curl *curl, const char *a, const char *b) {
    char *parts[6] = {NULL};
    CURLU *url_a = curl->url(), *url_b = curl->url();
    bool same = url_a && url_b && origin(curl, url_a, a, &parts[0], &parts[1], &parts[2]) &&
                origin(curl, url_b, b, &parts[3], &parts[4], &parts[5]) &&
                strcasecmp(parts[0], parts[3]) == 0 && strcasecmp(parts[1], parts[4]) == 0 &&
                strcmp(parts[2], parts[5]) == 0;
    for (int i = 0; i < 6; i++)
        curl->free(parts[i]);
    curl->url_cleanup(url_a);
    curl->url_cleanup(url_b);
    return same;
}
