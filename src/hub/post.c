/* Requests in flight over curl's multi interface: a handle each, all on one thread. */
#include "hub/post.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/version.h"
#include "hub/curl.h"

#include <stdio.h>
#include <string.h>

enum { MAX_ANSWER_BYTES = 16 << 20, CONNECT_TIMEOUT_S = 15, MAX_KEY_BYTES = 4096 };

typedef struct flight {
    CURL *handle;
    bool busy;
    size_t tag;
    hn_buf body;
} flight;

struct hn_post {
    hn_curl curl;
    CURLM *multi;
    struct curl_slist *headers;
    char *url;
    int timeout_s, n_flights;
    flight *flights;
};

static size_t on_body(char *data, size_t one, size_t n, void *context) {
    (void)one;
    flight *f = context;
    return hn_buf_append(&f->body, data, n) ? n : 0;
}

static hn_status add_header(hn_post *post, const char *line, hn_error *err) {
    struct curl_slist *longer = post->curl.slist_append(post->headers, line);
    if (!longer)
        return hn_fail_no_memory(err, strlen(line));
    post->headers = longer;
    return HN_OK;
}

static hn_status add_key(hn_post *post, const char *key, hn_error *err) {
    char line[MAX_KEY_BYTES];
    int n = snprintf(line, sizeof line, "Authorization: Bearer %s", key);
    if (n >= (int)sizeof line || strpbrk(key, "\r\n"))
        return hn_fail(err, HN_USAGE, "the key is no key: too long, or with line breaks");
    return add_header(post, line, err);
}

static hn_status fill(hn_post *post, const hn_post_options *options, hn_error *err) {
    HN_TRY(hn_curl_open(&post->curl, err));
    post->timeout_s = options->timeout_s;
    post->multi = post->curl.multi_init();
    post->url = hn_strdup(options->url);
    post->flights = hn_calloc((size_t)options->parallel, sizeof *post->flights);
    if (!post->multi || !post->url || !post->flights)
        return hn_fail_no_memory(err, (size_t)options->parallel * sizeof *post->flights);
    post->n_flights = options->parallel;
    for (int i = 0; i < post->n_flights; i++) {
        post->flights[i].body.max = MAX_ANSWER_BYTES;
        post->flights[i].handle = post->curl.easy_init();
        if (!post->flights[i].handle)
            return hn_fail_no_memory(err, 1);
    }
    HN_TRY(add_header(post, "Content-Type: application/json", err));
    HN_TRY(add_header(post, "Accept: application/json", err));
    HN_TRY(add_header(post, "Expect:", err)); /* long bodies go at once */
    return options->key ? add_key(post, options->key, err) : HN_OK;
}

hn_status hn_post_open(hn_post **out, const hn_post_options *options, hn_error *err) {
    hn_post *post = hn_calloc(1, sizeof *post);
    if (!post)
        return hn_fail_no_memory(err, sizeof *post);
    hn_status status = fill(post, options, err);
    if (status == HN_OK)
        *out = post;
    else
        hn_post_close(post);
    return status;
}

void hn_post_close(hn_post *post) {
    if (!post)
        return;
    for (int i = 0; i < post->n_flights; i++) {
        flight *f = &post->flights[i];
        if (f->busy)
            post->curl.multi_remove_handle(post->multi, f->handle);
        if (f->handle)
            post->curl.easy_cleanup(f->handle);
        hn_buf_done(&f->body);
    }
    if (post->multi)
        post->curl.multi_cleanup(post->multi);
    if (post->headers)
        post->curl.slist_free_all(post->headers);
    hn_curl_close(&post->curl);
    hn_free(post->flights);
    hn_free(post->url);
    hn_free(post);
}

hn_status hn_post_send(hn_post *post, size_t tag, const char *body, size_t n_bytes, hn_error *err) {
    const hn_curl *c = &post->curl;
    flight *f = post->flights;
    while (f < post->flights + post->n_flights && f->busy)
        f++;
    if (f == post->flights + post->n_flights)
        return hn_fail(err, HN_FAILED, "more than %d requests in flight", post->n_flights);
    f->tag = tag;
    hn_buf_reset(&f->body);
    c->easy_reset(f->handle); /* keeps the connection */
    c->easy_setopt(f->handle, CURLOPT_URL, post->url);
    c->easy_setopt(f->handle, CURLOPT_PROTOCOLS_STR, "http,https");
    c->easy_setopt(f->handle, CURLOPT_FOLLOWLOCATION, 0L);
    c->easy_setopt(f->handle, CURLOPT_NOSIGNAL, 1L);
    c->easy_setopt(f->handle, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    c->easy_setopt(f->handle, CURLOPT_TIMEOUT, (long)post->timeout_s);
    c->easy_setopt(f->handle, CURLOPT_USERAGENT, "hone/" HN_VERSION);
    c->easy_setopt(f->handle, CURLOPT_HTTPHEADER, post->headers);
    c->easy_setopt(f->handle, CURLOPT_WRITEFUNCTION, on_body);
    c->easy_setopt(f->handle, CURLOPT_WRITEDATA, f);
    c->easy_setopt(f->handle, CURLOPT_PRIVATE, f);
    c->easy_setopt(f->handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n_bytes);
    if (c->easy_setopt(f->handle, CURLOPT_COPYPOSTFIELDS, body) != CURLE_OK)
        return hn_fail_no_memory(err, n_bytes);
    CURLMcode code = c->multi_add_handle(post->multi, f->handle);
    if (code != CURLM_OK)
        return hn_fail(err, HN_FAILED, "%s: %s", post->url, c->multi_strerror(code));
    f->busy = true;
    return HN_OK;
}

/* A broken address or a certificate that doesn't hold stays as it is; the rest may pass. */
static bool may_pass(CURLcode code) {
    return code != CURLE_UNSUPPORTED_PROTOCOL && code != CURLE_URL_MALFORMAT &&
           code != CURLE_PEER_FAILED_VERIFICATION && code != CURLE_SSL_CONNECT_ERROR &&
           code != CURLE_SSL_CACERT_BADFILE && code != CURLE_WRITE_ERROR;
}

static hn_status take(hn_post *post, const CURLMsg *message, hn_post_answer *answer,
                      hn_error *err) {
    const hn_curl *c = &post->curl;
    CURLcode result = message->data.result;
    flight *f = NULL;
    curl_off_t retry_after = 0;
    c->easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &f);
    hn_post_answer a = {.tag = f->tag};
    if (result == CURLE_OK) {
        c->easy_getinfo(f->handle, CURLINFO_RESPONSE_CODE, &a.code);
        c->easy_getinfo(f->handle, CURLINFO_RETRY_AFTER, &retry_after);
        a.retry_after_s = (long)retry_after;
        a.size = f->body.size;
        a.body = a.size ? hn_buf_take(&f->body) : hn_strdup("");
    } else {
        a.problem = f->body.failed ? "the answer is longer than 16 MB" : c->easy_strerror(result);
        a.may_pass = may_pass(result);
    }
    c->multi_remove_handle(post->multi, f->handle);
    f->busy = false;
    if (result == CURLE_OK && !a.body)
        return hn_fail_no_memory(err, a.size);
    *answer = a;
    return HN_OK;
}

static hn_status next_done(hn_post *post, hn_post_answer *answer, bool *got, hn_error *err) {
    int n_left;
    const CURLMsg *message;
    while (!*got && (message = post->curl.multi_info_read(post->multi, &n_left)))
        if (message->msg == CURLMSG_DONE) {
            HN_TRY(take(post, message, answer, err));
            *got = true;
        }
    return HN_OK;
}

hn_status hn_post_wait(hn_post *post, int timeout_ms, hn_post_answer *answer, bool *got,
                       hn_error *err) {
    const hn_curl *c = &post->curl;
    int running = 0;
    *got = false;
    CURLMcode code = c->multi_perform(post->multi, &running);
    HN_TRY(next_done(post, answer, got, err));
    if (*got)
        return HN_OK;
    if (code == CURLM_OK)
        code = c->multi_poll(post->multi, NULL, 0, timeout_ms, NULL);
    if (code == CURLM_OK)
        code = c->multi_perform(post->multi, &running);
    if (code != CURLM_OK)
        return hn_fail(err, HN_FAILED, "%s: %s", post->url, c->multi_strerror(code));
    return next_done(post, answer, got, err);
}
