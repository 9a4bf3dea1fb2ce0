/* Putting a model's folder into place as a whole (folder.h). */
#define _GNU_SOURCE /* faccessat */
#include "release/folder.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char CONFIG[] = "config.json"; /* without it a folder is no model */

hn_status hn_folder_open(hn_folder *folder, const char *dir, hn_error *err) {
    hn_buf work = {0};
    *folder = (hn_folder){.was_there = hn_path_exists(dir)};
    hn_buf_printf(&work, "%s/.tmp-%ld", dir, (long)getpid());
    folder->work = hn_buf_take(&work);
    folder->dir = hn_strdup(dir);
    hn_status status = folder->work && folder->dir ? HN_OK : hn_fail_no_memory(err, strlen(dir));
    if (status == HN_OK)
        status = hn_dir_make(folder->work, err);
    if (status != HN_OK)
        hn_folder_abort(folder);
    return status;
}

void hn_folder_abort(hn_folder *folder) {
    hn_error ignored;
    if (folder->work)
        (void)!hn_path_remove(folder->work, &ignored);
    if (folder->dir && !folder->was_there)
        (void)rmdir(folder->dir);
    hn_free(folder->work);
    hn_free(folder->dir);
    *folder = (hn_folder){0};
}

/* Both folders open, so that moving allocates nothing and can't stop halfway for want of memory. */
typedef struct places {
    const hn_folder *folder;
    int dir, work;
} places;

static hn_status move(const places *p, const char *name, hn_error *err) {
    return renameat(p->work, name, p->dir, name) ? hn_fail_errno(err, "%s/%s", p->folder->dir, name)
                                                 : HN_OK;
}

static hn_status drop(const places *p, const char *name, hn_error *err) {
    return unlinkat(p->dir, name, 0) && errno != ENOENT
               ? hn_fail_errno(err, "%s/%s", p->folder->dir, name)
               : HN_OK;
}

static hn_status move_unless_config(const places *p, const char *name, hn_error *err) {
    return strcmp(name, CONFIG) ? move(p, name, err) : HN_OK;
}

static bool is_weights(const char *name) {
    size_t n = strlen(name);
    static const char INDEX[] = "model.safetensors.index.json", SHARD[] = ".safetensors";
    return !strcmp(name, INDEX) || (!strncmp(name, "model", 5) && n > sizeof SHARD &&
                                    !strcmp(name + n - (sizeof SHARD - 1), SHARD));
}

/* Old shards beside a new single file, or the other way round, would be read in its place. */
static hn_status drop_old_weights(const places *p, const char *name, hn_error *err) {
    return is_weights(name) && faccessat(p->work, name, F_OK, 0) ? drop(p, name, err) : HN_OK;
}

/* What to do with one entry of a folder. */
typedef hn_status entry_fn(const places *p, const char *name, hn_error *err);

static hn_status each(const places *p, DIR *handle, entry_fn *act, hn_error *err) {
    hn_status status = HN_OK;
    struct dirent *entry;
    while (status == HN_OK && (entry = readdir(handle)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            status = act(p, entry->d_name, err);
    return status;
}

static hn_status put_in_place(const places *p, DIR *dir, DIR *work, hn_error *err) {
    HN_TRY(drop(p, CONFIG, err));
    HN_TRY(each(p, dir, drop_old_weights, err));
    HN_TRY(each(p, work, move_unless_config, err));
    HN_TRY(move(p, CONFIG, err));
    (void)fsync(p->dir); /* the new names must reach the disk too */
    return HN_OK;
}

hn_status hn_folder_commit(hn_folder *folder, hn_error *err) {
    DIR *dir = opendir(folder->dir), *work = opendir(folder->work);
    hn_status status = HN_OK;
    if (dir && work) {
        const places p = {.folder = folder, .dir = dirfd(dir), .work = dirfd(work)};
        folder->was_there = true;
        status = put_in_place(&p, dir, work, err);
        if (status != HN_OK)
            (void)hn_error_prefix(err, "%s is left without config.json", folder->dir);
    } else {
        status = hn_fail_errno(err, "%s", folder->dir);
    }
    if (dir)
        closedir(dir);
    if (work)
        closedir(work);
    hn_folder_abort(folder);
    return status;
}
