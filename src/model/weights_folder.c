#define _GNU_SOURCE
#include "model/weights_folder.h"

#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { MAX_FILES = 4096 }; /* more than anybody has models; others are left alone */

typedef struct entry {
    char name[64];
    uint64_t bytes;
    int64_t used_s; /* its modification time, which every use sets */
} entry;

typedef struct listing {
    entry *entries;
    size_t n;
    uint64_t bytes;
} listing;

static bool ends_with(const char *name, const char *suffix) {
    const size_t n = strlen(name), n_suffix = strlen(suffix);
    return n > n_suffix && strcmp(name + n - n_suffix, suffix) == 0;
}

/* A lock on a file that has been renamed or removed meanwhile is worth nothing. */
static bool is_still(int fd, int dir_fd, const char *path) {
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && fstatat(dir_fd, path, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

/* Of one of the cache's own files; false for anything else. */
static bool file_info(int dir_fd, const char *name, struct stat *info) {
    return ends_with(name, HN_WEIGHTS_SUFFIX) &&
           fstatat(dir_fd, name, info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info->st_mode);
}

/* A new file that nobody has locked was left by a process that is no more. */
static void drop_leftover(int dir_fd, const char *name) {
    int fd = openat(dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_still(fd, dir_fd, name))
        unlinkat(dir_fd, name, 0);
    close(fd);
}

static hn_status list_files(DIR *dir, listing *list, hn_error *err) {
    list->entries = hn_calloc(MAX_FILES, sizeof *list->entries);
    if (!list->entries)
        return hn_fail_no_memory(err, MAX_FILES * sizeof *list->entries);
    for (struct dirent *at; (at = readdir(dir)) && list->n < MAX_FILES;) {
        struct stat info;
        entry *e = &list->entries[list->n];
        if (ends_with(at->d_name, HN_WEIGHTS_NEW_SUFFIX))
            drop_leftover(dirfd(dir), at->d_name);
        if (strlen(at->d_name) >= sizeof e->name || !file_info(dirfd(dir), at->d_name, &info))
            continue;
        memcpy(e->name, at->d_name, strlen(at->d_name) + 1);
        e->bytes = (uint64_t)info.st_size;
        e->used_s = info.st_mtime;
        list->bytes += e->bytes;
        list->n++;
    }
    return HN_OK;
}

static int compare_used(const void *a, const void *b) {
    const entry *x = a, *y = b;
    return x->used_s < y->used_s ? -1 : x->used_s > y->used_s;
}

static hn_status check_disk(const char *path, uint64_t needed, double share, hn_error *err) {
    struct statvfs fs;
    if (statvfs(path, &fs))
        return hn_fail_errno(err, "%s", path);
    const double available = (double)fs.f_bavail * (double)fs.f_frsize;
    enum { MB = 1000000 };
    if ((double)needed > available * share)
        return hn_fail(err, HN_IO, "%s: %.0f MB are needed, and %.0f MB are free there", path,
                       (double)needed / MB, available / MB);
    return HN_OK;
}

hn_status hn_weights_folder_make_room(const char *path, uint64_t needed, uint64_t max_bytes,
                                      double share, hn_error *err) {
    enum { MB = 1000000 };
    if (needed > max_bytes)
        return hn_fail(err, HN_IO, "%s: %.0f MB are needed, and %.0f MB is the most that is kept",
                       path, (double)needed / MB, (double)max_bytes / MB);
    DIR *dir = opendir(path);
    if (!dir)
        return hn_fail_errno(err, "%s", path);
    listing list = {0};
    hn_status status = list_files(dir, &list, err);
    if (status == HN_OK)
        qsort(list.entries, list.n, sizeof *list.entries, compare_used);
    for (size_t i = 0; i < list.n && list.bytes > max_bytes - needed; i++)
        if (unlinkat(dirfd(dir), list.entries[i].name, 0) == 0) /* who has it mapped keeps it */
            list.bytes -= list.entries[i].bytes;
    hn_free(list.entries);
    closedir(dir);
    return status == HN_OK ? check_disk(path, needed, share, err) : status;
}

hn_status hn_weights_folder_lock(const char *path, int *out, hn_error *err) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return hn_fail_errno(err, "%s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) || !is_still(fd, AT_FDCWD, path)) {
        close(fd);
        return hn_fail(err, HN_IO, "%s: another process is writing it", path);
    }
    if (ftruncate(fd, 0)) {
        hn_status status = hn_fail_errno(err, "%s", path);
        close(fd);
        return status;
    }
    *out = fd;
    return HN_OK;
}

void hn_weights_folder_count(const char *path, int *n_files, uint64_t *bytes) {
    *n_files = 0;
    *bytes = 0;
    DIR *dir = opendir(path);
    if (!dir)
        return;
    struct stat info;
    for (struct dirent *at; (at = readdir(dir));)
        if (file_info(dirfd(dir), at->d_name, &info)) {
            (*n_files)++;
            *bytes += (uint64_t)info.st_size;
        }
    closedir(dir);
}
