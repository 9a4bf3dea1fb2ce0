/* Files that appear when they are complete. */
#define _GNU_SOURCE
#include "base/file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static hn_status check_written(const hn_out *out, hn_error *err) {
    if (!out->error)
        return HN_OK;
    errno = out->error;
    return hn_fail_errno(err, "%s: nothing was written", out->path);
}

hn_status hn_out_read_back(hn_out *out, const char **path, hn_error *err) {
    if (!out->temporary)
        return hn_fail(err, HN_UNSUPPORTED, "%s: what is written there can't be read back",
                       out->path);
    if (!out->error && fflush(out->file))
        out->error = errno;
    *path = out->temporary;
    return check_written(out, err);
}

hn_status hn_out_overwrite(hn_out *out, uint64_t offset, const void *data, size_t n_bytes,
                           hn_error *err) {
    const uint64_t size = out->size;
    if (offset > size || n_bytes > size - offset)
        return hn_fail(err, HN_USAGE, "%s: nothing was written there yet", out->path);
    if (!out->error && fseeko(out->file, (off_t)offset, SEEK_SET))
        out->error = errno;
    hn_out_write(out, data, n_bytes);
    out->size = size;
    if (!out->error && fseeko(out->file, 0, SEEK_END))
        out->error = errno;
    return check_written(out, err);
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
