#include "hub/fetch.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_REDIRECTS = 10, FIRST_DELAY_MS = 500, MAX_DELAY_MS = 30000, MAX_RETRY_AFTER_S = 60 };

hn_status hn_fetch_refused(const hn_http_answer *answer, const char *url, hn_error *err) {
    switch (answer->code) {
    case 401:
    case 403:
        return hn_fail(err, HN_IO,
                       "%s: access refused (HTTP %ld): set HF_TOKEN to a token that may read it, "
                       "and accept the model's licence on the hub if it asks for that",
                       url, answer->code);
    case 404:
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: not there (HTTP 404): check the name and the revision; a private model "
                       "needs HF_TOKEN",
                       url);
    case 429:
        return hn_fail(err, HN_IO, "%s: too many requests (HTTP 429): try again later", url);
    default:
        return hn_fail(err, HN_IO, "%s: the server answered HTTP %ld", url, answer->code);
    }
}

static bool may_pass(long code) {
    return code == 408 || code == 429 || code >= 500;
}

static bool is_redirect(const hn_http_answer *answer) {
    return answer->code >= 300 && answer->code < 400 && answer->location[0];
}

/* Sleeps before the next try; false when cancelled. */
static bool wait_before(const hn_fetch *fetch, int attempt, long retry_after_s) {
    long ms = FIRST_DELAY_MS;
    for (int i = 0; i < attempt && ms < MAX_DELAY_MS; i++)
        ms *= 2;
    if (retry_after_s > 0)
        ms = 1000 * (retry_after_s < MAX_RETRY_AFTER_S ? retry_after_s : MAX_RETRY_AFTER_S);
    enum { STEP_MS = 50 };
    for (long waited = 0; waited < ms; waited += STEP_MS) {
        if (hn_progress_cancelled(fetch->progress))
            return false;
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
    }
    return true;
}

/* One request and its redirects. The token goes to its own origin only, and an encrypted request
 * is never redirected to an open one. */
static hn_status follow(hn_fetch *fetch, hn_http_request *request, bool redirects,
                        hn_http_answer *answer, bool *retry, hn_error *err) {
    char url[HN_HTTP_TEXT_MAX];
    if (snprintf(url, sizeof url, "%s", request->url) >= (int)sizeof url)
        return hn_fail(err, HN_BAD_INPUT, "%.100s...: the address is too long", request->url);
    request->url = url;
    for (int hop = 0; hop <= MAX_REDIRECTS; hop++) {
        bool ours =
            fetch->token_origin && hn_http_same_origin(&fetch->curl, url, fetch->token_origin);
        request->token = ours ? fetch->token : NULL;
        HN_TRY(hn_http_exchange(&fetch->curl, request, answer, retry, &fetch->unreachable, err));
        /* As the hub's own client does, a HEAD still follows redirects within the hub: a renamed
         * model answers so. */
        bool inside =
            is_redirect(answer) && ours && hn_http_same_origin(&fetch->curl, url, answer->location);
        if (!is_redirect(answer) || (!redirects && !inside))
            return HN_OK;
        if (strncmp(url, "https:", 6) == 0 && strncmp(answer->location, "https:", 6) != 0)
            return hn_fail(err, HN_IO, "%s: redirected to an unencrypted address; refused", url);
        snprintf(url, sizeof url, "%s", answer->location);
        if (request->body)
            hn_buf_reset(request->body);
    }
    return hn_fail(err, HN_IO, "%s: more than %d redirects", url, MAX_REDIRECTS);
}

hn_status hn_fetch_small(hn_fetch *fetch, const char *url, hn_buf *body, bool redirects,
                         hn_http_answer *answer, hn_error *err) {
    for (int attempt = 0;; attempt++) {
        bool retry = false;
        hn_http_request request = {
            .url = url, .head = !body, .body = body, .progress = fetch->progress};
        if (body)
            hn_buf_reset(body);
        hn_status status = follow(fetch, &request, redirects, answer, &retry, err);
        if (status == HN_OK && !may_pass(answer->code))
            return HN_OK;
        if ((status != HN_OK && !retry) || attempt >= fetch->max_retries)
            return status == HN_OK ? hn_fetch_refused(answer, url, err) : status;
        if (!wait_before(fetch, attempt, status == HN_OK ? answer->retry_after_s : 0))
            return hn_fail(err, HN_CANCELLED, "cancelled");
    }
}

typedef struct sink {
    hn_fetch *fetch;
    int fd;
    int64_t offset; /* bytes in the file */
    int64_t expected;
    int error; /* errno of the first failed write */
    bool too_long;
} sink;

static bool rewind_fd(sink *s) {
    if (ftruncate(s->fd, 0) != 0 || lseek(s->fd, 0, SEEK_SET) != 0) {
        s->error = errno;
        return false;
    }
    s->offset = 0;
    return true;
}

static hn_status sink_rewind(sink *s, const char *path, hn_error *err) {
    return rewind_fd(s) ? HN_OK : hn_fail_errno(err, "%s", path);
}

static bool sink_start(void *context, const hn_http_answer *answer) {
    sink *s = context;
    /* The server may ignore the range and begin at the beginning. */
    if (answer->code == 206)
        return answer->range_start == s->offset;
    return rewind_fd(s);
}

static bool sink_data(void *context, const void *data, size_t n) {
    sink *s = context;
    for (size_t at = 0; at < n;) {
        ssize_t wrote = write(s->fd, (const char *)data + at, n - at);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0) {
            s->error = errno;
            return false;
        }
        at += (size_t)wrote;
    }
    s->offset += (int64_t)n;
    s->fetch->downloaded_bytes += n;
    if (s->expected >= 0 && s->offset > s->expected) {
        s->too_long = true;
        return false;
    }
    hn_progress_update(s->fetch->progress, s->fetch->label,
                       s->fetch->base_bytes + (uint64_t)s->offset, s->fetch->total_bytes, "bytes",
                       NULL);
    return true;
}

static hn_status transfer(sink *s, const char *url, const char *path, hn_error *err) {
    hn_fetch *fetch = s->fetch;
    for (int attempt = 0;; attempt++) {
        bool retry = false;
        int64_t before = s->offset;
        hn_http_answer answer;
        hn_http_request request = {.url = url,
                                   .from = s->offset,
                                   .on_start = sink_start,
                                   .on_data = sink_data,
                                   .context = s,
                                   .progress = fetch->progress};
        hn_status status = follow(fetch, &request, true, &answer, &retry, err);
        if (s->error) {
            errno = s->error;
            return hn_fail_errno(err, "%s", path);
        }
        if (s->too_long)
            return hn_fail(err, HN_BAD_INPUT, "%s: more came than the %lld bytes announced", url,
                           (long long)s->expected);
        if (status == HN_OK && (answer.code == 200 || answer.code == 206) &&
            (s->expected < 0 || s->offset == s->expected))
            return HN_OK;
        if (status == HN_OK && answer.code == 416 && s->offset > 0) {
            /* What lies there is no beginning of the file: from the start. */
            HN_TRY(sink_rewind(s, path, err));
            continue;
        }
        bool short_answer = status == HN_OK && (answer.code == 200 || answer.code == 206);
        if (status == HN_OK && !short_answer && !may_pass(answer.code))
            return hn_fetch_refused(&answer, url, err);
        if (status != HN_OK && !retry)
            return status;
        if (s->offset > before)
            attempt = 0; /* it got further: the tries count anew */
        if (attempt >= fetch->max_retries) {
            if (short_answer)
                return hn_fail(err, HN_IO, "%s: the connection ended after %lld of %lld bytes", url,
                               (long long)s->offset, (long long)s->expected);
            return status == HN_OK ? hn_fetch_refused(&answer, url, err) : status;
        }
        if (!wait_before(fetch, attempt, status == HN_OK ? answer.retry_after_s : 0))
            return hn_fail(err, HN_CANCELLED, "cancelled; what has come stays and is resumed");
    }
}

static bool is_hex(const char *text, size_t n) {
    return strlen(text) == n && strspn(text, "0123456789abcdef") == n;
}

/* A git blob's name: SHA-1 of "blob SIZE\0" and the bytes. */
static hn_status git_sum(const char *path, char hex[HN_SHA256_HEX], hn_error *err) {
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n_digest = 0;
    char head[40];
    hn_map map;
    HN_TRY(hn_map_open(&map, path, err));
    int n_head = snprintf(head, sizeof head, "blob %zu", map.size) + 1;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done = context && EVP_DigestInit_ex(context, EVP_sha1(), NULL) &&
                EVP_DigestUpdate(context, head, (size_t)n_head) &&
                EVP_DigestUpdate(context, map.data, map.size) &&
                EVP_DigestFinal_ex(context, digest, &n_digest);
    EVP_MD_CTX_free(context);
    hn_map_close(&map);
    if (!done)
        return hn_fail(err, HN_FAILED, "%s: SHA-1 is not to be had from libcrypto", path);
    for (unsigned i = 0; i < n_digest; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return HN_OK;
}

static hn_status check_sum(const char *path, const char *url, const char *etag, hn_error *err) {
    enum { SHA1_HEX = 40, SHA256_HEX = 64 };
    char hex[HN_SHA256_HEX] = "";
    if (etag && is_hex(etag, SHA256_HEX))
        HN_TRY(hn_sha256_file(path, hex, err));
    else if (etag && is_hex(etag, SHA1_HEX))
        HN_TRY(git_sum(path, hex, err));
    else
        return HN_OK;
    if (strcmp(hex, etag) == 0)
        return HN_OK;
    unlink(path); /* nothing to resume from */
    return hn_fail(err, HN_BAD_INPUT,
                   "%s: the sum of what came is %s, not %s; it was thrown away, try again", url,
                   hex, etag);
}

hn_status hn_fetch_file(hn_fetch *fetch, const char *url, const char *path, int64_t expected_size,
                        const char *etag, hn_error *err) {
    char *part = NULL;
    hn_status status = HN_OK;
    struct stat info;
    sink s = {.fetch = fetch, .fd = -1, .expected = expected_size};
    hn_buf name = {0};
    hn_buf_printf(&name, "%s.incomplete", path);
    HN_GO(hn_buf_check(&name, err));
    part = hn_buf_take(&name);
    s.fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (s.fd < 0) {
        status = hn_fail_errno(err, "%s", part);
        goto done;
    }
    /* Another hone may be pulling the same file: wait, and find it done. */
    if (flock(s.fd, LOCK_EX) != 0 || fstat(s.fd, &info) != 0) {
        status = hn_fail_errno(err, "%s", part);
        goto done;
    }
    if (hn_path_exists(path))
        goto done;
    s.offset = info.st_size;
    if (expected_size >= 0 && s.offset > expected_size)
        HN_GO(sink_rewind(&s, part, err));
    lseek(s.fd, (off_t)s.offset, SEEK_SET);
    if (expected_size < 0 || s.offset < expected_size)
        HN_GO(transfer(&s, url, part, err));
    if (fsync(s.fd) != 0) {
        status = hn_fail_errno(err, "%s", part);
        goto done;
    }
    HN_GO(check_sum(part, url, etag, err));
    if (rename(part, path) != 0)
        status = hn_fail_errno(err, "%s", path);
done:
    if (s.fd >= 0)
        close(s.fd);
    hn_free(part);
    hn_buf_done(&name);
    return status;
}
