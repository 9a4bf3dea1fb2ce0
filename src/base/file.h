/* Files: read-only maps, whole reads, and writes that leave either the old file or the new one. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What tells a file from another one, or from itself before it was changed. */
typedef struct hn_file_id {
    uint64_t inode, size;
    int64_t modified_ns, changed_ns; /* the contents; anything about it */
} hn_file_id;

/* A read-only map of a whole file. An empty file maps to data = NULL, size = 0. */
typedef struct hn_map {
    const uint8_t *data;
    size_t size;
    hn_file_id id; /* zeros where the bytes come from no file */
} hn_map;

HN_MUST_CHECK hn_status hn_map_open(hn_map *map, const char *path, hn_error *err);
void hn_map_close(hn_map *map);
/* Gives the memory under [data, data + size) back; it comes from the file again when it is read.
 * Does nothing for bytes outside the map. Safe beside threads that read the map. */
void hn_map_release(const hn_map *map, const void *data, size_t size);

/* Reads a whole file, at most max_bytes; *text is NUL-terminated and freed with hn_free. */
HN_MUST_CHECK hn_status hn_file_read(const char *path, size_t max_bytes, char **text, size_t *size,
                                     hn_error *err);

/* Output that appears at `path` only when hn_out_commit has flushed, fsynced and renamed it. A link
 * is followed; what is no file (a device, a pipe) stays what it is and gets the bytes as they come.
 * Every failed write is remembered, so callers may ignore hn_out_write's result until commit. */
typedef struct hn_out {
    FILE *file;
    char *path;
    char *temporary; /* path + ".tmp-<pid>" in the same folder; NULL: path is a device or a pipe */
    int error;       /* errno of the first failed write */
    uint64_t size;   /* bytes written so far */
} hn_out;

HN_MUST_CHECK hn_status hn_out_open(hn_out *out, const char *path, hn_error *err);
bool hn_out_write(hn_out *out, const void *data, size_t n_bytes);
bool hn_out_printf(hn_out *out, const char *fmt, ...) HN_PRINTF(2, 3);
/* Zero bytes up to the next multiple of `align`. */
bool hn_out_pad(hn_out *out, size_t align);
/* *path: where what was written so far can be read. HN_UNSUPPORTED where that is a device or a
 * pipe.
 */
HN_MUST_CHECK hn_status hn_out_read_back(hn_out *out, const char **path, hn_error *err);
/* Other bytes in the place of some that were written; not for a device or a pipe. */
HN_MUST_CHECK hn_status hn_out_overwrite(hn_out *out, uint64_t offset, const void *data,
                                         size_t n_bytes, hn_error *err);
/* Publishes the file, or removes the temporary one and reports why. Ends the hn_out either way. */
HN_MUST_CHECK hn_status hn_out_commit(hn_out *out, hn_error *err);
/* Removes the temporary file. Harmless after commit. */
void hn_out_abort(hn_out *out);

HN_MUST_CHECK hn_status hn_file_write(const char *path, const void *data, size_t n_bytes,
                                      hn_error *err);
/* Makes a directory and its missing parents. */
HN_MUST_CHECK hn_status hn_dir_make(const char *path, hn_error *err);
/* Removes a file or a whole directory tree; nothing there is no error. Links aren't followed. */
HN_MUST_CHECK hn_status hn_path_remove(const char *path, hn_error *err);
bool hn_path_exists(const char *path);
bool hn_path_is_dir(const char *path);
/* Both name the same file or folder, links followed. */
bool hn_path_same(const char *a, const char *b);
/* Nothing is there. False too where that can't be seen for want of rights. */
bool hn_path_is_missing(const char *path);
/* "dir/name", or name when it is absolute or dir is empty; freed with hn_free, NULL = no memory. */
char *hn_path_join(const char *dir, const char *name);
/* The folder part of `path` ("." when there is none); freed with hn_free. */
char *hn_path_dir(const char *path);
