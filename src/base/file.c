#define _GNU_SOURCE
#include "base/file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t nanoseconds(struct timespec t) {
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* id may be NULL. */
static hn_status open_regular(const char *path, int *fd, size_t *size, hn_file_id *id,
                              hn_error *err) {
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer doesn't hang */
    if (*fd < 0)
        return hn_fail_errno(err, "%s", path);
    struct stat info;
    if (fstat(*fd, &info)) {
        hn_status status = hn_fail_errno(err, "%s", path);
        close(*fd);
        return status;
    }
    if (!S_ISREG(info.st_mode)) {
        close(*fd);
        return hn_fail(err, HN_BAD_INPUT, "%s: not a regular file%s", path,
                       S_ISDIR(info.st_mode) ? " but a directory: name a file in it"
                                             : ", and a pipe or device can't be read twice: put "
                                               "its contents into a file and name that");
    }
    *size = (size_t)info.st_size;
    if (id)
        *id = (hn_file_id){.inode = info.st_ino,
                           .size = (uint64_t)info.st_size,
                           .modified_ns = nanoseconds(info.st_mtim),
                           .changed_ns = nanoseconds(info.st_ctim)};
    return HN_OK;
}

hn_status hn_map_open(hn_map *map, const char *path, hn_error *err) {
    int fd;
    size_t size;
    hn_file_id id;
    HN_TRY(open_regular(path, &fd, &size, &id, err));
    void *data = NULL;
    if (size) {
        data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            hn_status status = hn_fail_errno(err, "%s: mapping %zu bytes", path, size);
            close(fd);
            return status;
        }
    }
    close(fd);
    *map = (hn_map){.data = data, .size = size, .id = id};
    return HN_OK;
}

void hn_map_close(hn_map *map) {
    if (map->data)
        munmap((void *)(uintptr_t)map->data, map->size);
    *map = (hn_map){0};
}

void hn_map_release(const hn_map *map, const void *data, size_t size) {
#if defined(__linux__)
    /* The kernel maps so much around a page that is touched; to give back less would leave crumbs.
     */
    const uintptr_t AROUND = 64 << 10;
    const uintptr_t base = (uintptr_t)map->data, from = (uintptr_t)data;
    if (!map->data || from < base || from - base > map->size || size > map->size - (from - base))
        return;
    uintptr_t first = from / AROUND * AROUND;
    uintptr_t end = (from + size + AROUND - 1) / AROUND * AROUND;
    if (first < base)
        first = base;
    if (end > base + map->size)
        end = base + map->size;
    madvise((void *)first, end - first, MADV_DONTNEED); /* a hint: failing costs memory only */
#else
    (void)map, (void)data, (void)size;
#endif
}

hn_status hn_file_read(const char *path, size_t max_bytes, char **text, size_t *size,
                       hn_error *err) {
    int fd;
    size_t total, used = 0;
    HN_TRY(open_regular(path, &fd, &total, NULL, err));
    hn_status status = HN_OK;
    char *data = NULL;
    if (total > max_bytes) {
        status = hn_fail(err, HN_BAD_INPUT, "%s: %zu bytes, but at most %zu are read", path, total,
                         max_bytes);
        goto done;
    }
    data = hn_malloc(total + 1);
    if (!data) {
        status = hn_fail_no_memory(err, total + 1);
        goto done;
    }
    while (used < total) {
        ssize_t n = read(fd, data + used, total - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            status = hn_fail_errno(err, "%s", path);
            goto done;
        }
        if (n == 0)
            break;
        used += (size_t)n;
    }
    data[used] = 0;
    *text = data;
    if (size)
        *size = used;
    data = NULL;
done:
    hn_free(data);
    close(fd);
    return status;
}

hn_status hn_dir_make(const char *path, hn_error *err) {
    char *copy = hn_strdup(path);
    if (!copy)
        return hn_fail_no_memory(err, strlen(path));
    hn_status status = HN_OK;
    for (char *p = copy + 1; status == HN_OK && *copy; p++) {
        char c = *p;
        if (c && c != '/')
            continue;
        *p = 0;
        if (mkdir(copy, 0777) && errno != EEXIST)
            status = hn_fail_errno(err, "%s", copy);
        *p = c;
        if (!c)
            break;
    }
    if (status == HN_OK && !hn_path_is_dir(path))
        status = hn_fail(err, HN_IO, "%s: exists and is not a directory", path);
    hn_free(copy);
    return status;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info, (void)kind, (void)where;
    return remove(path);
}

hn_status hn_path_remove(const char *path, hn_error *err) {
    struct stat info;
    if (lstat(path, &info))
        return errno == ENOENT ? HN_OK : hn_fail_errno(err, "%s", path);
    enum { MAX_OPEN_DIRS = 16 };
    if (nftw(path, remove_entry, MAX_OPEN_DIRS, FTW_DEPTH | FTW_PHYS))
        return hn_fail_errno(err, "%s: could not be removed", path);
    return HN_OK;
}

bool hn_path_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

bool hn_path_is_missing(const char *path) {
    struct stat info;
    return stat(path, &info) && (errno == ENOENT || errno == ENOTDIR);
}

bool hn_path_is_dir(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool hn_path_same(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

char *hn_path_join(const char *dir, const char *name) {
    if (name[0] == '/' || !dir[0])
        return hn_strdup(name);
    size_t n_dir = strlen(dir), n_name = strlen(name);
    while (n_dir > 1 && dir[n_dir - 1] == '/')
        n_dir--;
    char *path = hn_malloc(n_dir + n_name + 2);
    if (!path)
        return NULL;
    memcpy(path, dir, n_dir);
    path[n_dir] = '/';
    memcpy(path + n_dir + 1, name, n_name + 1);
    return path;
}

char *hn_path_dir(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash)
        return hn_strdup(".");
    return hn_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}
