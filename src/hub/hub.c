/* Pulling: which files a model needs, where each goes, and what the cache already has. */
#include "hub/hub.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "hub/fetch.h"
#include "hub/select.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char DEFAULT_ENDPOINT[] = "https://huggingface.co";
enum { MAX_LISTING_BYTES = 64 << 20 };

typedef struct pull {
    const hn_hub_options *options;
    const hn_progress *progress;
    hn_fetch fetch;
    const char *id, *endpoint, *revision;
    char *dir; /* CACHE/hub/ORG--NAME */
    char commit[65];
    hn_hub_result *result;
} pull;

static hn_status path_printf(char **out, hn_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static hn_status path_printf(char **out, hn_error *err, const char *fmt, ...) {
    va_list args;
    char *text = NULL;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n >= 0 && (text = hn_malloc((size_t)n + 1))) {
        va_start(args, fmt);
        vsnprintf(text, (size_t)n + 1, fmt, args);
        va_end(args);
        *out = text;
        return HN_OK;
    }
    return hn_fail_no_memory(err, (size_t)(n > 0 ? n : 0) + 1);
}

static const char *environment(const char *given, const char *name) {
    const char *value = given ? given : getenv(name);
    return value && value[0] ? value : NULL;
}

/* "ORG/NAME" as a folder's name, "refs/pr/1" as a file's. */
static hn_status flat_name(const char *text, char **out, hn_error *err) {
    hn_buf buf = {0};
    for (const char *at = text; *at; at++)
        *at == '/' ? hn_buf_puts(&buf, "--") : hn_buf_putc(&buf, *at);
    HN_TRY(hn_buf_check(&buf, err));
    *out = hn_buf_take(&buf);
    return HN_OK;
}

/* GET api/models/ID/revision/REV: the commit and the names of the files. */
static hn_status list_files(pull *p, json_t **listing, hn_error *err) {
    char *url = NULL;
    hn_buf body = {.max = MAX_LISTING_BYTES};
    hn_http_answer answer;
    hn_status status;
    HN_GO(path_printf(&url, err, "%s/api/models/%s/revision/%s", p->endpoint, p->id, p->revision));
    HN_GO(hn_fetch_small(&p->fetch, url, &body, true, &answer, err));
    if (answer.code != 200) {
        status = hn_fetch_refused(&answer, url, err);
        goto done;
    }
    HN_GO(hn_json_parse(hn_buf_text(&body), body.size, url, listing, err));
    const char *commit = NULL;
    HN_GO(hn_json_get_string(*listing, "sha", url, &commit, err));
    if (!commit || strlen(commit) >= sizeof p->commit || !commit[0] ||
        commit[strspn(commit, "0123456789abcdefABCDEF")]) {
        json_decref(*listing);
        *listing = NULL;
        status = hn_fail(err, HN_BAD_INPUT, "%s: the answer names no commit", url);
        goto done;
    }
    snprintf(p->commit, sizeof p->commit, "%s", commit);
done:
    hn_free(url);
    hn_buf_done(&body);
    return status;
}

/* Links snapshots/COMMIT/NAME to ../../blobs/BLOB (one "../" more for each folder in the name). */
static hn_status link_blob(const pull *p, const char *name, const char *blob, hn_error *err) {
    char *path = NULL, *folder = NULL, *target = NULL;
    hn_buf up = {0};
    hn_status status;
    HN_GO(path_printf(&path, err, "%s/snapshots/%s/%s", p->dir, p->commit, name));
    folder = hn_path_dir(path);
    status = folder ? HN_OK : hn_fail_no_memory(err, 1);
    if (status == HN_OK)
        status = hn_dir_make(folder, err);
    if (status != HN_OK)
        goto done;
    hn_buf_puts(&up, "../../");
    for (const char *at = name; (at = strchr(at, '/')); at++)
        hn_buf_puts(&up, "../");
    HN_GO(hn_buf_check(&up, err));
    HN_GO(path_printf(&target, err, "%sblobs/%s", hn_buf_text(&up), blob));
    unlink(path);
    if (symlink(target, path) != 0 && errno != EEXIST)
        status = hn_fail_errno(err, "%s", path);
done:
    hn_free(path);
    hn_free(folder);
    hn_free(target);
    hn_buf_done(&up);
    return status;
}

/* The header's answer for one file: its size and what its bytes are called. */
static hn_status ask_file(pull *p, json_t *file, hn_error *err) {
    char *url = NULL;
    hn_http_answer answer;
    hn_status status;
    char *escaped = hn_url_escape_path(json_string_value(json_object_get(file, "name")));
    if (!escaped)
        return hn_fail_no_memory(err, 1);
    HN_GO(path_printf(&url, err, "%s/%s/resolve/%s/%s", p->endpoint, p->id, p->commit, escaped));
    HN_GO(hn_fetch_small(&p->fetch, url, NULL, false, &answer, err));
    if (answer.code >= 400 || answer.code < 200) {
        status = hn_fetch_refused(&answer, url, err);
        goto done;
    }
    if (!answer.etag[0] || answer.etag[strspn(answer.etag, "0123456789abcdefABCDEF-")]) {
        status = hn_fail(err, HN_BAD_INPUT, "%s: the hub gives no usable ETag for it", url);
        goto done;
    }
    if (json_object_set_new(file, "size", json_integer(answer.size)) ||
        json_object_set_new(file, "etag", json_string(answer.etag)) ||
        json_object_set_new(file, "url", json_string(url)))
        status = hn_fail_no_memory(err, 1);
done:
    hn_free(escaped);
    hn_free(url);
    return status;
}

static hn_status get_file(pull *p, json_t *file, hn_error *err) {
    const char *etag = json_string_value(json_object_get(file, "etag"));
    const char *name = json_string_value(json_object_get(file, "name"));
    json_int_t size = json_integer_value(json_object_get(file, "size"));
    char *blob = NULL;
    hn_status status;
    HN_GO(path_printf(&blob, err, "%s/blobs/%s", p->dir, etag));
    p->fetch.label = name;
    if (!hn_path_exists(blob))
        HN_GO(hn_fetch_file(&p->fetch, json_string_value(json_object_get(file, "url")), blob, size,
                            etag, err));
    HN_GO(link_blob(p, name, etag, err));
    json_object_del(file, "url");
    if (size > 0)
        p->fetch.base_bytes += (uint64_t)size;
done:
    hn_free(blob);
    return status;
}

static hn_status get_files(pull *p, json_t *files, hn_error *err) {
    json_t *file;
    size_t i;
    char *blobs = NULL;
    HN_TRY(path_printf(&blobs, err, "%s/blobs", p->dir));
    hn_status status = hn_dir_make(blobs, err);
    hn_free(blobs);
    if (status != HN_OK)
        return status;
    json_array_foreach (files, i, file) {
        HN_TRY(ask_file(p, file, err));
        json_int_t size = json_integer_value(json_object_get(file, "size"));
        p->fetch.total_bytes += size > 0 ? (uint64_t)size : 0;
    }
    json_array_foreach (files, i, file)
        HN_TRY(get_file(p, file, err));
    return HN_OK;
}

static hn_status ref_path(const pull *p, char **path, hn_error *err) {
    char *name = NULL;
    HN_TRY(flat_name(p->revision, &name, err));
    hn_status status = path_printf(path, err, "%s/refs/%s", p->dir, name);
    hn_free(name);
    return status;
}

static hn_status write_ref(const pull *p, hn_error *err) {
    char *path = NULL, *folder = NULL;
    hn_status status;
    HN_GO(ref_path(p, &path, err));
    folder = hn_path_dir(path);
    status = folder ? hn_dir_make(folder, err) : hn_fail_no_memory(err, 1);
    if (status == HN_OK)
        status = hn_file_write(path, p->commit, strlen(p->commit), err);
done:
    hn_free(path);
    hn_free(folder);
    return status;
}

/* The only GGUF file of the snapshot, or the snapshot's folder. */
static hn_status snapshot_path(const pull *p, char **out, hn_error *err) {
    char *dir = NULL;
    HN_TRY(path_printf(&dir, err, "%s/snapshots/%s", p->dir, p->commit));
    char *file = hn_only_gguf(dir);
    *out = file ? file : dir;
    if (file)
        hn_free(dir);
    return HN_OK;
}

/* Uses the cache when it holds this revision, complete; *found says so. */
static hn_status use_cache(pull *p, bool *found, hn_error *err) {
    char *path = NULL, *text = NULL, *snapshot = NULL;
    size_t size = 0;
    hn_error ignored;
    hn_status status;
    *found = false;
    HN_GO(ref_path(p, &path, err));
    if (hn_file_read(path, sizeof p->commit - 1, &text, &size, &ignored) == HN_OK)
        snprintf(p->commit, sizeof p->commit, "%.*s", (int)strcspn(text, "/\n"), text);
    else
        snprintf(p->commit, sizeof p->commit, "%s", p->revision); /* may be a commit itself */
    HN_GO(path_printf(&snapshot, err, "%s/snapshots/%s", p->dir, p->commit));
    if (text && hn_path_is_dir(snapshot)) {
        *found = true;
        p->result->from_cache = true;
        status = snapshot_path(p, &p->result->path, err);
    }
done:
    hn_free(path);
    hn_free(text);
    hn_free(snapshot);
    return status;
}

static hn_status fail_offline(const pull *p, const char *why, hn_error *err) {
    json_t *names = NULL;
    hn_buf list = {0};
    hn_error ignored;
    if (hn_hub_cached(p->options->cache_dir, &names, &ignored) == HN_OK)
        for (size_t i = 0; i < json_array_size(names); i++)
            hn_buf_printf(&list, "%s%s", i ? ", " : "",
                          json_string_value(json_array_get(names, i)));
    json_decref(names);
    hn_status status = hn_fail(err, HN_IO, "%s: %s; in the cache: %s", p->id, why,
                               list.size ? hn_buf_text(&list) : "nothing");
    hn_buf_done(&list);
    return status;
}

static hn_status pull_model(pull *p, hn_error *err) {
    json_t *listing = NULL;
    bool found = false;
    hn_status status;
    if (p->options->offline) {
        HN_TRY(use_cache(p, &found, err));
        return found ? HN_OK : fail_offline(p, "not in the cache, and offline was asked for", err);
    }
    status = list_files(p, &listing, err);
    if (status == HN_IO && p->fetch.unreachable) {
        HN_TRY(use_cache(p, &found, err));
        if (!found)
            return fail_offline(p, "no network, or the hub can't be reached", err);
        hn_progress_note(p->progress, "the hub can't be reached; using the cached copy");
        return HN_OK;
    }
    if (status != HN_OK)
        return status;
    HN_GO(hn_hub_select(listing, p->id, p->options, &p->result->files, err));
    HN_GO(get_files(p, p->result->files, err));
    HN_GO(write_ref(p, err));
    HN_GO(snapshot_path(p, &p->result->path, err));
done:
    json_decref(listing);
    return status;
}

static hn_status pull_url(pull *p, const char *url, hn_error *err) {
    char hex[HN_SHA256_HEX], *dir = NULL, *path = NULL, name[256];
    enum { URL_HASH_DIGITS = 16 };
    hn_status status;
    const char *base = url + strcspn(url, "?#");
    while (base > url && base[-1] != '/')
        base--;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(base, "?#"), base);
    if (!hn_file_name_is_safe(name))
        return hn_fail(err, HN_USAGE, "%s: the address ends in no file name", url);
    HN_TRY(hn_sha256_data(url, strlen(url), hex, err));
    HN_GO(path_printf(&dir, err, "%s/hub/urls/%.*s", p->options->cache_dir, URL_HASH_DIGITS, hex));
    HN_GO(path_printf(&path, err, "%s/%s", dir, name));
    p->fetch.label = name;
    if (!hn_path_exists(path)) {
        hn_http_answer answer;
        if (p->options->offline) {
            status = fail_offline(p, "not in the cache, and offline was asked for", err);
            goto done;
        }
        HN_GO(hn_dir_make(dir, err));
        status = hn_fetch_small(&p->fetch, url, NULL, true, &answer, err);
        if (status == HN_IO && p->fetch.unreachable)
            status = fail_offline(p, "no network, or the host can't be reached", err);
        if (status != HN_OK)
            goto done;
        if (answer.code >= 400) {
            status = hn_fetch_refused(&answer, url, err);
            goto done;
        }
        p->fetch.total_bytes = answer.size > 0 ? (uint64_t)answer.size : 0;
        HN_GO(hn_fetch_file(&p->fetch, url, path, answer.size, p->options->sha256, err));
    } else {
        p->result->from_cache = true;
    }
    p->result->path = path;
    path = NULL;
done:
    hn_free(dir);
    hn_free(path);
    return status;
}

hn_status hn_hub_pull(const char *what, const hn_hub_options *options, const hn_progress *progress,
                      hn_hub_result *result, hn_error *err) {
    *result = (hn_hub_result){0};
    bool is_url = strncmp(what, "http://", 7) == 0 || strncmp(what, "https://", 8) == 0;
    const char *endpoint = environment(options->endpoint, "HF_ENDPOINT");
    char *flat = NULL, *trimmed = NULL;
    hn_status status = HN_OK;
    pull p = {.options = options,
              .progress = progress,
              .id = what,
              .revision = options->revision ? options->revision : "main",
              .result = result};
    if (!is_url)
        HN_TRY(hn_hub_check_name(what, p.revision, err));
    trimmed = hn_strdup(endpoint ? endpoint : DEFAULT_ENDPOINT);
    HN_GO(trimmed ? HN_OK : hn_fail_no_memory(err, 1));
    HN_GO(hn_curl_open(&p.fetch.curl, err));
    for (size_t n = strlen(trimmed); n && trimmed[n - 1] == '/'; n--)
        trimmed[n - 1] = '\0';
    p.endpoint = p.fetch.token_origin = trimmed;
    p.fetch.token = environment(options->token, "HF_TOKEN");
    p.fetch.max_retries = options->max_retries;
    p.fetch.progress = progress;
    if (is_url) {
        HN_GO(pull_url(&p, what, err));
    } else {
        HN_GO(flat_name(what, &flat, err));
        HN_GO(path_printf(&p.dir, err, "%s/hub/%s", options->cache_dir, flat));
        HN_GO(pull_model(&p, err));
        snprintf(result->commit, sizeof result->commit, "%s", p.commit);
    }
    result->downloaded_bytes = p.fetch.downloaded_bytes;
done:
    hn_curl_close(&p.fetch.curl);
    hn_free(flat);
    hn_free(trimmed);
    hn_free(p.dir);
    if (status != HN_OK)
        hn_hub_result_done(result);
    return status;
}

void hn_hub_result_done(hn_hub_result *result) {
    hn_free(result->path);
    json_decref(result->files);
    *result = (hn_hub_result){0};
}
