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

/* "No such file" would be said of the file that is to be made; what is missing is its folder. */
static hn_status fail_place(const char *path, hn_error *err) {
    int problem = errno;
    char *dir = hn_path_dir(path);
    if (!dir)
        return hn_fail_no_memory(err, strlen(path));
    hn_status status;
    if (problem == ENOENT && !hn_path_exists(dir)) {
        status = hn_fail(err, HN_IO, "%s: there is no folder %s; make it first: mkdir -p %s", path,
                         dir, dir);
    } else {
        errno = problem;
        status = hn_fail_errno(err, "%s", path);
    }
    hn_free(dir);
    return status;
}

/* The file that a link leads to, so that the link stays one; `path` itself otherwise, for messages.
 */
static char *end_of_links(const char *path) {
    struct stat info;
    bool is_link = lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
    char *end = is_link ? realpath(path, NULL) : NULL; /* NULL: it leads nowhere */
    char *copy = hn_strdup(end ? end : path);
    free(end);
    return copy;
}

/* Names out->path, and out->temporary unless `path` is a device or a pipe: a rename would put a
 * file in its place, which root may do even to /dev/null. */
static hn_status name_places(hn_out *out, const char *path, hn_error *err) {
    struct stat info;
    bool is_there = stat(path, &info) == 0;
    if (is_there && S_ISDIR(info.st_mode)) /* the rename would fail, after all the work */
        return hn_fail(err, HN_IO, "%s: is a directory; name a file", path);
    bool is_stream = is_there && !S_ISREG(info.st_mode);
    out->path = is_stream ? hn_strdup(path) : end_of_links(path);
    if (!out->path)
        return hn_fail_no_memory(err, strlen(path));
    if (is_stream)
        return HN_OK;
    size_t length = strlen(out->path) + 32;
    out->temporary = hn_malloc(length);
    if (!out->temporary)
        return hn_fail_no_memory(err, length);
    snprintf(out->temporary, length, "%s.tmp-%ld", out->path, (long)getpid());
    return HN_OK;
}

hn_status hn_out_open(hn_out *out, const char *path, hn_error *err) {
    *out = (hn_out){0};
    if (!path[0])
        return hn_fail(err, HN_IO, "the name of the file to write is empty");
    hn_status named = name_places(out, path, err);
    if (named != HN_OK) {
        hn_out_abort(out);
        return named;
    }
    out->file = fopen(out->temporary ? out->temporary : out->path, "wbe");
    if (!out->file) {
        hn_status status = fail_place(path, err);
        hn_out_abort(out);
        return status;
    }
    return HN_OK;
}

bool hn_out_write(hn_out *out, const void *data, size_t n_bytes) {
    if (out->error)
        return false;
    if (n_bytes && fwrite(data, 1, n_bytes, out->file) != n_bytes) {
        out->error = errno ? errno : EIO;
        return false;
    }
    out->size += n_bytes;
    return true;
}

bool hn_out_printf(hn_out *out, const char *fmt, ...) {
    if (out->error)
        return false;
    va_list args;
    va_start(args, fmt);
    int n = vfprintf(out->file, fmt, args);
    va_end(args);
    if (n < 0) {
        out->error = errno ? errno : EIO;
        return false;
    }
    out->size += (uint64_t)n;
    return true;
}

bool hn_out_pad(hn_out *out, size_t align) {
    static const char zeros[64];
    size_t missing = (align - out->size % align) % align;
    while (missing) {
        size_t n = missing < sizeof zeros ? missing : sizeof zeros;
        if (!hn_out_write(out, zeros, n))
            return false;
        missing -= n;
    }
    return true;
}

/* After a rename the folder's own entry must reach the disk too. */
static void sync_parent(const char *path) {
    char *dir = hn_path_dir(path);
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    hn_free(dir);
}

/* Flushes and closes; a file reaches the disk. Returns the first problem's errno, or 0. */
static int finish_writing(hn_out *out) {
    int problem = out->error;
    if (!problem && fflush(out->file))
        problem = errno;
    if (!problem && out->temporary && fsync(fileno(out->file)))
        problem = errno;
    if (fclose(out->file) && !problem)
        problem = errno;
    out->file = NULL;
    return problem;
}

hn_status hn_out_commit(hn_out *out, hn_error *err) {
    int problem = finish_writing(out);
    if (!problem && out->temporary && rename(out->temporary, out->path))
        problem = errno;
    hn_status status = HN_OK;
    if (problem) {
        errno = problem;
        status = hn_fail_errno(err, out->temporary ? "%s: nothing was written" : "%s", out->path);
    } else if (out->temporary) {
        sync_parent(out->path);
        hn_free(out->temporary);
        out->temporary = NULL;
    }
    hn_out_abort(out);
    return status;
}

void hn_out_abort(hn_out *out) {
    if (out->file)
        fclose(out->file);
    if (out->temporary)
        unlink(out->temporary);
    hn_free(out->temporary);
    hn_free(out->path);
    *out = (hn_out){0};
}

hn_status hn_file_write(const char *path, const void *data, size_t n_bytes, hn_error *err) {
    hn_out out;
    HN_TRY(hn_out_open(&out, path, err));
    hn_out_write(&out, data, n_bytes);
    return hn_out_commit(&out, err);
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
