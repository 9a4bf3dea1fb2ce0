/* An OpenAI-compatible endpoint as a teacher: questions in flight, tried again with growing pauses
 * where a failure may pass, the server's Retry-After heeded by all of them. */
#include "teacher/teacher.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "hub/post.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIRST_DELAY_MS = 500,
    MAX_DELAY_MS = 30000,
    MAX_RETRY_AFTER_S = 600, /* a longer wait is the person's to take */
    POLL_MS = 100,           /* how soon Ctrl-C is seen */
    NOTE_WAIT_S = 5,         /* shorter waits aren't worth a line */
    DIGITS = 15,             /* 0.7 stays 0.7 */
    MAX_SAID_BYTES = 200,    /* of a server's own words in a message */
};

typedef struct question {
    bool open, flying;
    size_t tag;
    char *body; /* owned */
    int n_tries;
    double not_before; /* hn_clock_seconds */
} question;

typedef struct endpoint {
    hn_teacher teacher;
    hn_post *post;
    char *url, *key, *key_name;
    int max_retries;
    question *questions; /* (parallel) */
    double quiet_until;  /* the server asked all to wait */
    hn_rng rng;
} endpoint;

static void endpoint_free(hn_teacher *teacher) {
    endpoint *e = (endpoint *)teacher;
    hn_post_close(e->post);
    for (int i = 0; e->questions && i < teacher->parallel; i++)
        hn_free(e->questions[i].body);
    hn_free(e->questions);
    hn_free(e->url);
    hn_free(e->key);
    hn_free(e->key_name);
    hn_free(e);
}

static hn_status endpoint_ask(hn_teacher *teacher, size_t tag, const json_t *request,
                              hn_error *err) {
    endpoint *e = (endpoint *)teacher;
    question *q = e->questions;
    while (q < e->questions + teacher->parallel && q->open)
        q++;
    if (q == e->questions + teacher->parallel)
        return hn_fail(err, HN_FAILED, "more than %d questions under way", teacher->parallel);
    char *text = json_dumps(request, JSON_COMPACT | JSON_REAL_PRECISION(DIGITS));
    char *body = text ? hn_strdup(text) : NULL;
    free(text); /* jansson's own memory */
    if (!body)
        return hn_fail_no_memory(err, 1);
    *q = (question){.open = true, .tag = tag, .body = body};
    return HN_OK;
}

static void close_question(question *q) {
    hn_free(q->body);
    *q = (question){0};
}

/* The server's own words for a failure into out[size], without line breaks and without the key. */
static void words_of(const endpoint *e, const hn_post_answer *answer, char *out, size_t size) {
    json_t *value = NULL;
    hn_error ignored;
    const char *text = answer->body;
    out[0] = '\0';
    if (!hn_utf8_valid(text, answer->size) || !answer->size)
        return;
    if (hn_json_parse(text, answer->size, "", &value, &ignored) == HN_OK) {
        const json_t *error = json_object_get(value, "error");
        const json_t *message = json_is_object(error) ? json_object_get(error, "message") : error;
        if (json_is_string(message))
            text = json_string_value(message);
    }
    const char *leak = e->key && e->key[0] ? strstr(text, e->key) : NULL;
    if (leak) {
        snprintf(out, size, ": (it repeats the key)");
    } else {
        size_t n = strlen(text) < MAX_SAID_BYTES ? strlen(text) : MAX_SAID_BYTES;
        snprintf(out, size, ": %.*s", (int)hn_utf8_complete_prefix(text, n), text);
    }
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    json_decref(value);
}

/* A failure that every further question would meet. */
static hn_status fatal(const endpoint *e, const hn_post_answer *answer, const char *said,
                       hn_error *err) {
    switch (answer->code) {
    case 401:
    case 403:
        if (e->key_name)
            return hn_fail(err, HN_IO, "%s: access refused (HTTP %ld): look at the key in %s%s",
                           e->url, answer->code, e->key_name, said);
        return hn_fail(err, HN_IO,
                       "%s: access refused (HTTP %ld): name the environment variable that holds "
                       "the key with --key-env%s",
                       e->url, answer->code, said);
    case 402:
        return hn_fail(err, HN_IO, "%s: payment wanted (HTTP 402)%s", e->url, said);
    case 404:
    case 405:
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: no such address or model (HTTP %ld): check --endpoint (it usually ends "
                       "in /v1) and --model%s",
                       e->url, answer->code, said);
    default:
        break;
    }
    if (answer->code >= 300 && answer->code < 400)
        return hn_fail(err, HN_IO,
                       "%s: redirected (HTTP %ld); the key isn't sent elsewhere: give --endpoint "
                       "the address that it redirects to",
                       e->url, answer->code);
    if (answer->code == 429 && strstr(answer->body, "insufficient_quota"))
        return hn_fail(err, HN_IO, "%s: the account's quota is used up (HTTP 429)%s", e->url, said);
    if (answer->retry_after_s > MAX_RETRY_AFTER_S)
        return hn_fail(err, HN_IO,
                       "%s: HTTP %ld, to be asked again in %ld s: run the command again then",
                       e->url, answer->code, answer->retry_after_s);
    return HN_OK;
}

static bool code_may_pass(long code) {
    return code == 408 || code == 409 || code == 425 || code == 429 || code >= 500;
}

/* Takes a pause before the next try; false when there were enough of them. */
static bool again(endpoint *e, question *q, long retry_after_s, const hn_progress *progress) {
    double now = hn_clock_seconds();
    if (q->n_tries > e->max_retries)
        return false;
    long ms = FIRST_DELAY_MS;
    for (int i = 1; i < q->n_tries && ms < MAX_DELAY_MS; i++)
        ms *= 2;
    if (ms > MAX_DELAY_MS)
        ms = MAX_DELAY_MS;
    /* Between half and all of it: those that failed together don't come again together. */
    q->not_before = now + 1e-3 * (double)ms * (0.5 + 0.5 * hn_rng_double(&e->rng));
    if (retry_after_s > 0) {
        double until = now + (double)retry_after_s;
        if (until > e->quiet_until)
            e->quiet_until = until;
        if (retry_after_s >= NOTE_WAIT_S)
            hn_progress_note(progress, "the endpoint asks to wait %ld s", retry_after_s);
    }
    q->flying = false;
    e->teacher.n_retries++;
    return true;
}

static hn_status send_due(endpoint *e, hn_error *err) {
    double now = hn_clock_seconds();
    for (int i = 0; i < e->teacher.parallel; i++) {
        question *q = &e->questions[i];
        if (!q->open || q->flying || q->not_before > now || e->quiet_until > now)
            continue;
        q->n_tries++;
        q->flying = true;
        HN_TRY(hn_post_send(e->post, (size_t)i, q->body, strlen(q->body), err));
    }
    return HN_OK;
}

/* What an answer means; *done when the question has its reply. */
static hn_status judge(endpoint *e, const hn_post_answer *answer, const hn_progress *progress,
                       hn_teacher_reply *reply, bool *done, hn_error *err) {
    question *q = &e->questions[answer->tag];
    char said[MAX_SAID_BYTES + 8] = "";
    hn_error bad = {0};
    bool may_pass = answer->may_pass;
    hn_teacher_reply read = {.tag = q->tag};
    if (answer->code == 200) {
        hn_status status = hn_teacher_reply_parse(answer->body, answer->size, &read, &bad);
        if (status == HN_OK) {
            *reply = read;
            *done = true;
            return HN_OK;
        }
        if (status != HN_BAD_INPUT)
            return hn_fail(err, status, "%s", bad.message);
        may_pass = true; /* servers that run out of something answer so */
    } else if (answer->code) {
        words_of(e, answer, said, sizeof said);
        HN_TRY(fatal(e, answer, said, err));
        may_pass = code_may_pass(answer->code);
    }
    if (may_pass && again(e, q, answer->retry_after_s, progress))
        return HN_OK;
    if (answer->code == 200)
        snprintf(read.problem, sizeof read.problem, "%.900s", bad.message);
    else if (answer->code)
        snprintf(read.problem, sizeof read.problem, "HTTP %ld%s", answer->code, said);
    else
        snprintf(read.problem, sizeof read.problem, "%s", answer->problem);
    read.unreachable = answer->code == 0;
    *reply = read;
    *done = true;
    return HN_OK;
}

static hn_status endpoint_next(hn_teacher *teacher, const hn_progress *progress,
                               hn_teacher_reply *reply, hn_error *err) {
    endpoint *e = (endpoint *)teacher;
    for (;;) {
        hn_post_answer answer;
        bool got = false, done = false;
        if (hn_progress_cancelled(progress))
            return hn_fail(err, HN_CANCELLED,
                           "stopped; what has come stays, and the same command goes on from it");
        HN_TRY(send_due(e, err));
        HN_TRY(hn_post_wait(e->post, POLL_MS, &answer, &got, err));
        if (!got)
            continue;
        hn_status status = judge(e, &answer, progress, reply, &done, err);
        hn_free(answer.body);
        if (status == HN_OK && done)
            close_question(&e->questions[answer.tag]);
        if (status != HN_OK || done)
            return status;
    }
}

/* The address of chat completions under the API's. */
static char *full_url(const char *url) {
    static const char PATH[] = "/chat/completions";
    size_t n = strlen(url), n_path = sizeof PATH - 1;
    while (n && url[n - 1] == '/')
        n--;
    bool whole = n >= n_path && strncmp(url + n - n_path, PATH, n_path) == 0;
    hn_buf out = {0};
    hn_buf_append(&out, url, n);
    if (!whole)
        hn_buf_puts(&out, PATH);
    return hn_buf_take(&out);
}

hn_status hn_teacher_open_endpoint(hn_teacher **out, const hn_endpoint_options *options,
                                   hn_error *err) {
    if (strncmp(options->url, "http://", 7) != 0 && strncmp(options->url, "https://", 8) != 0)
        return hn_fail(err, HN_USAGE, "'%s' is no address: it begins with https:// or http://",
                       options->url);
    endpoint *e = hn_calloc(1, sizeof *e);
    if (!e)
        return hn_fail_no_memory(err, sizeof *e);
    hn_status status = HN_OK;
    e->teacher = (hn_teacher){.parallel = options->parallel,
                              .ask = endpoint_ask,
                              .next = endpoint_next,
                              .free = endpoint_free};
    e->max_retries = options->max_retries;
    e->rng = hn_rng_new(hn_clock_ns(), 0);
    e->questions = hn_calloc((size_t)options->parallel, sizeof *e->questions);
    e->url = full_url(options->url);
    e->key = options->key ? hn_strdup(options->key) : NULL;
    e->key_name = options->key_name ? hn_strdup(options->key_name) : NULL;
    if (!e->questions || !e->url || (options->key && !e->key) ||
        (options->key_name && !e->key_name)) {
        status = hn_fail_no_memory(err, 1);
        goto done;
    }
    HN_GO(hn_post_open(&e->post,
                       &(hn_post_options){.url = e->url,
                                          .key = e->key,
                                          .parallel = options->parallel,
                                          .timeout_s = options->timeout_s},
                       err));
    *out = &e->teacher;
done:
    if (status != HN_OK)
        endpoint_free(&e->teacher);
    return status;
}
