/* Writing and verifying bundles. */
#include "release/bundle.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char MANIFEST[] = "manifest.json";
enum { COPY_BYTES = 1 << 20, MAX_MANIFEST_BYTES = 16 << 20 };

/* Work memory beside weights and cache: activations of a prefill chunk and one row of logits. */
static const uint64_t WORK_BYTES = (uint64_t)64 << 20;

static hn_status copy_file(const char *from, const char *to, const hn_progress *progress,
                           char hex[HN_SHA256_HEX], uint64_t *size, hn_error *err) {
    hn_map map;
    hn_out out = {0};
    hn_sha256 sha = {0};
    uint8_t digest[HN_SHA256_BYTES];
    HN_TRY(hn_map_open(&map, from, err));
    hn_status status;
    HN_GO(hn_out_open(&out, to, err));
    HN_GO(hn_sha256_init(&sha, err));
    for (size_t at = 0; at < map.size; at += COPY_BYTES) {
        size_t n = map.size - at < COPY_BYTES ? map.size - at : COPY_BYTES;
        hn_out_write(&out, map.data + at, n);
        hn_sha256_update(&sha, map.data + at, n);
        hn_progress_update(progress, "bundle", at + n, map.size, "bytes", NULL);
        if (hn_progress_cancelled(progress)) {
            status = hn_fail(err, HN_CANCELLED, "bundling was stopped");
            goto done;
        }
    }
    HN_GO(hn_out_commit(&out, err));
    *size = map.size;
done:
    if (sha.context) {
        hn_sha256_final(&sha, digest);
        hn_sha256_hex(digest, hex);
    }
    hn_out_abort(&out);
    hn_map_close(&map);
    return status;
}

static hn_status add_file(json_t *files, const char *dir, const char *name, const char *role,
                          const char *from, const hn_progress *progress, hn_error *err) {
    char *to = hn_path_join(dir, name), hex[HN_SHA256_HEX];
    uint64_t size = 0;
    if (!to)
        return hn_fail_no_memory(err, strlen(dir));
    hn_status status = copy_file(from, to, progress, hex, &size, err);
    hn_free(to);
    HN_TRY(status);
    json_t *entry = json_pack("{s:s, s:s, s:I, s:s}", "name", name, "role", role, "size_bytes",
                              (json_int_t)size, "sha256", hex);
    return json_array_append_new(files, entry) ? hn_fail_no_memory(err, 256) : HN_OK;
}

/* Weights, cache and work memory at the context lengths that people ask for. */
static json_t *memory_need(const hn_bundle_options *options, const json_t *files) {
    static const int32_t CONTEXTS[] = {512, 2048, 8192, 32768, 131072};
    uint64_t weights = 0;
    size_t i;
    json_t *entry, *need = json_object();
    json_array_foreach (files, i, entry) {
        const char *role = json_string_value(json_object_get(entry, "role"));
        if (!strcmp(role, "model") || !strcmp(role, "adapter"))
            weights += (uint64_t)json_integer_value(json_object_get(entry, "size_bytes"));
    }
    for (i = 0; i < sizeof CONTEXTS / sizeof *CONTEXTS; i++) {
        char key[16];
        if (i && CONTEXTS[i] > options->n_ctx_train)
            break;
        snprintf(key, sizeof key, "%d", CONTEXTS[i]);
        json_object_set_new(
            need, key,
            json_integer((json_int_t)(weights + WORK_BYTES +
                                      options->kv_bytes_per_token * (uint64_t)CONTEXTS[i])));
    }
    return need;
}

static hn_status write_manifest(const char *dir, const hn_bundle_options *options, json_t *files,
                                hn_error *err) {
    char *path = hn_path_join(dir, MANIFEST);
    json_t *manifest = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s*, s:I, s:i, s:o, s:O}", "format", "hone-bundle-1",
        "name", options->name, "version", options->version, "min_runtime_version",
        options->min_runtime_version, "architecture", options->architecture, "quantisation",
        options->quantisation, "system", options->system, "kv_bytes_per_token",
        (json_int_t)options->kv_bytes_per_token, "n_ctx_train", options->n_ctx_train,
        "memory_bytes_by_context", memory_need(options, files), "files", files);
    hn_status status =
        path && manifest ? hn_json_write(path, manifest, err) : hn_fail_no_memory(err, 1024);
    json_decref(manifest);
    hn_free(path);
    return status;
}

static hn_status fill(const char *dir, const hn_bundle_options *options,
                      const hn_progress *progress, hn_error *err) {
    json_t *files = json_array();
    hn_status status;
    if (!files)
        return hn_fail_no_memory(err, 64);
    HN_GO(add_file(files, dir, "model.gguf", "model", options->model_path, progress, err));
    if (options->adapter_path)
        HN_GO(
            add_file(files, dir, "adapter.gguf", "adapter", options->adapter_path, progress, err));
    HN_GO(add_file(files, dir, "golden.jsonl", "golden", options->golden_path, progress, err));
    HN_GO(add_file(files, dir, "expected.jsonl", "expected", options->samples_path, progress, err));
    HN_GO(write_manifest(dir, options, files, err));
done:
    json_decref(files);
    return status;
}

hn_status hn_bundle_write(const char *dir, const hn_bundle_options *options,
                          const hn_progress *progress, hn_error *err) {
    if (hn_path_exists(dir))
        return hn_fail(err, HN_USAGE, "%s is there already: remove it or choose another folder",
                       dir);
    hn_buf name = {0};
    hn_buf_printf(&name, "%s.tmp-%ld", dir, (long)getpid());
    char *work = hn_buf_take(&name);
    if (!work)
        return hn_fail_no_memory(err, strlen(dir));
    hn_status status;
    HN_GO(hn_path_remove(work, err));
    HN_GO(hn_dir_make(work, err));
    HN_GO(fill(work, options, progress, err));
    if (rename(work, dir))
        status = hn_fail_errno(err, "%s", dir);
done:
    if (status != HN_OK && hn_path_remove(work, NULL) != HN_OK)
        (void)hn_error_prefix(err, "%s could not be removed", work);
    hn_free(work);
    return status;
}

static const json_t *find_entry(const json_t *files, const char *name) {
    size_t i;
    const json_t *entry;
    json_array_foreach (files, i, entry) {
        const char *own = json_string_value(json_object_get(entry, "name"));
        if (own && !strcmp(own, name))
            return entry;
    }
    return NULL;
}

static hn_status verify_file(const char *dir, const json_t *entry, hn_error *err) {
    const char *name = json_string_value(json_object_get(entry, "name"));
    const char *wanted = json_string_value(json_object_get(entry, "sha256"));
    char hex[HN_SHA256_HEX];
    if (!name || !wanted || !name[0] || name[0] == '.' || strchr(name, '/'))
        return hn_fail(err, HN_BAD_INPUT, "%s/%s: a file without a proper name and sum", dir,
                       MANIFEST);
    char *path = hn_path_join(dir, name);
    if (!path)
        return hn_fail_no_memory(err, strlen(dir));
    hn_status status = HN_OK;
    struct stat info;
    if (lstat(path, &info))
        status = hn_fail(err, HN_BAD_INPUT, "%s: named by the manifest, but not there", path);
    else if (!S_ISREG(info.st_mode))
        status = hn_fail(err, HN_BAD_INPUT, "%s: not a regular file", path);
    else if (info.st_size != json_integer_value(json_object_get(entry, "size_bytes")))
        status = hn_fail(err, HN_BAD_INPUT, "%s: %lld bytes where the manifest says %lld", path,
                         (long long)info.st_size,
                         (long long)json_integer_value(json_object_get(entry, "size_bytes")));
    else
        status = hn_sha256_file(path, hex, err);
    if (status == HN_OK && strcmp(hex, wanted))
        status = hn_fail(err, HN_BAD_INPUT, "%s: its sha256 is %s, the manifest says %s", path, hex,
                         wanted);
    hn_free(path);
    return status;
}

static hn_status refuse_strangers(const char *dir, const json_t *files, hn_error *err) {
    DIR *handle = opendir(dir);
    if (!handle)
        return hn_fail_errno(err, "%s", dir);
    hn_status status = HN_OK;
    struct dirent *entry;
    while (status == HN_OK && (entry = readdir(handle))) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") && strcmp(name, "..") && strcmp(name, MANIFEST) &&
            !find_entry(files, name))
            status = hn_fail(err, HN_BAD_INPUT, "%s/%s: not named by the manifest", dir, name);
    }
    closedir(handle);
    return status;
}

hn_status hn_bundle_verify(const char *dir, hn_error *err) {
    char *path = hn_path_join(dir, MANIFEST);
    json_t *manifest = NULL;
    hn_status status;
    if (!path)
        return hn_fail_no_memory(err, strlen(dir));
    HN_GO(hn_json_read(path, MAX_MANIFEST_BYTES, &manifest, err));
    const json_t *files = json_object_get(manifest, "files");
    if (!json_array_size(files)) {
        status = hn_fail(err, HN_BAD_INPUT, "%s: 'files' must list the bundle's files", path);
        goto done;
    }
    for (size_t i = 0; i < json_array_size(files); i++)
        HN_GO(verify_file(dir, json_array_get(files, i), err));
    HN_GO(refuse_strangers(dir, files, err));
done:
    json_decref(manifest);
    hn_free(path);
    return status;
}
