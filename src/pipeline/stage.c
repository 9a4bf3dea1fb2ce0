/* The stage cache: keys, the done marker, durability. */
#include "pipeline/stage.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char MARKER[] = "done.json";
enum { KEY_DIGITS = 16, MAX_MARKER_BYTES = 16 << 20, MAX_DEPTH = 8 };

char *hn_stage_path(const hn_stage *stage, const char *name) {
    return hn_path_join(stage->outputs ? stage->dir : stage->part, name);
}

hn_status hn_stage_write_json(const hn_stage *stage, const char *name, json_t *object,
                              hn_error *err) {
    char *path = hn_stage_path(stage, name);
    hn_status status =
        path && object ? hn_json_write(path, object, err) : hn_fail_no_memory(err, 256);
    json_decref(object);
    hn_free(path);
    return status;
}

static char *print_path(const char *run_dir, const char *name, const char *key, const char *end) {
    hn_buf buf = {0};
    hn_buf_printf(&buf, "%s/stages/%s-%.*s%s", run_dir, name, KEY_DIGITS, key, end);
    return hn_buf_take(&buf);
}

static hn_status set_key(hn_stage *stage, const char *run_dir, hn_error *err) {
    char *text = json_dumps(stage->inputs, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return hn_fail_no_memory(err, 1024);
    hn_status status = hn_sha256_data(text, strlen(text), stage->key, err);
    free(text);
    HN_TRY(status);
    stage->dir = print_path(run_dir, stage->name, stage->key, "");
    stage->part = print_path(run_dir, stage->name, stage->key, ".part");
    return stage->dir && stage->part ? HN_OK : hn_fail_no_memory(err, strlen(run_dir));
}

/* True when every recorded output is there with its size and sum. */
static bool is_intact(const hn_stage *stage, const json_t *outputs) {
    const char *name;
    json_t *entry;
    if (!json_is_object(outputs))
        return false;
    json_object_foreach ((json_t *)(uintptr_t)outputs, name, entry) {
        char *path = hn_path_join(stage->dir, name), hex[HN_SHA256_HEX];
        const char *wanted = json_string_value(json_object_get(entry, "sha256"));
        struct stat info;
        bool good = path && wanted && stat(path, &info) == 0 &&
                    info.st_size == json_integer_value(json_object_get(entry, "size_bytes")) &&
                    hn_sha256_file(path, hex, NULL) == HN_OK && !strcmp(hex, wanted);
        hn_free(path);
        if (!good)
            return false;
    }
    return true;
}

static bool try_reuse(hn_stage *stage) {
    char *path = hn_path_join(stage->dir, MARKER);
    json_t *marker = NULL;
    hn_error ignored;
    if (path && hn_json_read(path, MAX_MARKER_BYTES, &marker, &ignored) == HN_OK) {
        const char *key = json_string_value(json_object_get(marker, "key"));
        json_t *outputs = json_object_get(marker, "outputs");
        if (key && !strcmp(key, stage->key) && is_intact(stage, outputs)) {
            stage->outputs = json_incref(outputs);
            stage->seconds = json_number_value(json_object_get(marker, "seconds"));
            stage->reused = true;
        }
    }
    json_decref(marker);
    hn_free(path);
    return stage->reused;
}

/* What to do with each file below a folder; `name` is relative to that folder. */
typedef hn_status visit_fn(void *context, const char *path, const char *name, hn_error *err);

static hn_status walk(const char *dir, const char *prefix, int depth, visit_fn *visit,
                      void *context, hn_error *err) {
    DIR *handle = opendir(dir);
    if (!handle || depth > MAX_DEPTH) {
        hn_status status = hn_fail_errno(err, "%s", dir);
        if (handle)
            closedir(handle);
        return status;
    }
    hn_status status = HN_OK;
    struct dirent *entry;
    while (status == HN_OK && (entry = readdir(handle))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        char *path = hn_path_join(dir, entry->d_name), *name = hn_path_join(prefix, entry->d_name);
        if (!path || !name)
            status = hn_fail_no_memory(err, strlen(dir));
        else if (hn_path_is_dir(path))
            status = walk(path, name, depth + 1, visit, context, err);
        else
            status = visit(context, path, name, err);
        hn_free(path);
        hn_free(name);
    }
    closedir(handle);
    return status;
}

/* A killed process leaves half-written files under temporary names (base/file.c). */
static hn_status drop_temporary(void *context, const char *path, const char *name, hn_error *err) {
    (void)context;
    return strstr(name, ".tmp-") ? hn_path_remove(path, err) : HN_OK;
}

hn_status hn_stage_open(hn_stage *stage, const char *run_dir, const char *name, json_t *inputs,
                        bool resumes, hn_error *err) {
    hn_stage out = {.inputs = inputs, .start_ns = hn_clock_ns()};
    hn_status status = HN_OK;
    snprintf(out.name, sizeof out.name, "%s", name);
    if (!inputs) {
        status = hn_fail_no_memory(err, 1024);
        goto done;
    }
    HN_GO(set_key(&out, run_dir, err));
    if (!try_reuse(&out)) {
        if (!resumes)
            HN_GO(hn_path_remove(out.part, err));
        HN_GO(hn_dir_make(out.part, err));
        if (resumes)
            HN_GO(walk(out.part, "", 0, drop_temporary, NULL, err));
    }
    *stage = out;
    out = (hn_stage){0};
done:
    hn_stage_done(&out);
    return status;
}

static hn_status sync_path(const char *path, int flags, hn_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0 || fsync(fd)) {
        hn_status status = hn_fail_errno(err, "%s", path);
        if (fd >= 0)
            close(fd);
        return status;
    }
    close(fd);
    return HN_OK;
}

static hn_status record(void *context, const char *path, const char *name, hn_error *err) {
    json_t *outputs = context;
    struct stat info;
    char hex[HN_SHA256_HEX];
    HN_TRY(sync_path(path, 0, err));
    HN_TRY(hn_sha256_file(path, hex, err));
    if (stat(path, &info))
        return hn_fail_errno(err, "%s", path);
    json_t *entry = json_pack("{s:I, s:s}", "size_bytes", (json_int_t)info.st_size, "sha256", hex);
    return json_object_set_new(outputs, name, entry) ? hn_fail_no_memory(err, 128) : HN_OK;
}

static hn_status publish(hn_stage *stage, hn_error *err) {
    char *parent = hn_path_dir(stage->dir);
    if (!parent)
        return hn_fail_no_memory(err, strlen(stage->dir));
    hn_status status;
    HN_GO(sync_path(stage->part, O_DIRECTORY, err));
    HN_GO(hn_path_remove(stage->dir, err)); /* a damaged one, or nothing */
    if (rename(stage->part, stage->dir)) {
        status = hn_fail_errno(err, "%s", stage->dir);
        goto done;
    }
    HN_GO(sync_path(parent, O_DIRECTORY, err));
done:
    hn_free(parent);
    return status;
}

hn_status hn_stage_commit(hn_stage *stage, hn_error *err) {
    json_t *outputs = json_object(), *marker = NULL;
    char *path = hn_path_join(stage->part, MARKER);
    hn_status status = HN_OK;
    if (!outputs || !path) {
        status = hn_fail_no_memory(err, 256);
        goto done;
    }
    HN_GO(hn_path_remove(path, err));
    HN_GO(walk(stage->part, "", 0, record, outputs, err));
    stage->seconds = (double)(hn_clock_ns() - stage->start_ns) * 1e-9;
    marker = json_pack("{s:s, s:s, s:O, s:O, s:f}", "stage", stage->name, "key", stage->key,
                       "inputs", stage->inputs, "outputs", outputs, "seconds", stage->seconds);
    if (!marker) {
        status = hn_fail_no_memory(err, 1024);
        goto done;
    }
    HN_GO(hn_json_write(path, marker, err));
    HN_GO(publish(stage, err));
    stage->outputs = json_incref(outputs);
done:
    json_decref(outputs);
    json_decref(marker);
    hn_free(path);
    return status;
}

void hn_stage_done(hn_stage *stage) {
    json_decref(stage->inputs);
    json_decref(stage->outputs);
    hn_free(stage->dir);
    hn_free(stage->part);
    *stage = (hn_stage){0};
}

static bool is_below(const char *path, const char *name) {
    size_t n = strlen(name);
    return !strncmp(path, name, n) && (!path[n] || path[n] == '/');
}

bool hn_stage_has(const hn_stage *stage, const char *name) {
    return json_object_get(stage->outputs, name) != NULL;
}

hn_status hn_stage_output_hash(const hn_stage *stage, const char *name, char hex[65],
                               hn_error *err) {
    const char *path;
    json_t *entry, *found = json_object();
    if (!found)
        return hn_fail_no_memory(err, 64);
    json_object_foreach (stage->outputs, path, entry) {
        if (is_below(path, name))
            json_object_set(found, path, json_object_get(entry, "sha256"));
    }
    char *text = json_dumps(found, JSON_COMPACT | JSON_SORT_KEYS);
    hn_status status = HN_OK;
    if (!text)
        status = hn_fail_no_memory(err, 256);
    else if (!json_object_size(found))
        status = hn_fail(err, HN_FAILED, "stage %s made no '%s'", stage->name, name);
    else
        status = hn_sha256_data(text, strlen(text), hex, err);
    free(text);
    json_decref(found);
    return status;
}

uint64_t hn_stage_output_bytes(const hn_stage *stage, const char *name) {
    const char *path;
    json_t *entry;
    uint64_t total = 0;
    json_object_foreach (stage->outputs, path, entry) {
        if (is_below(path, name))
            total += (uint64_t)json_integer_value(json_object_get(entry, "size_bytes"));
    }
    return total;
}
