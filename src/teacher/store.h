/* The file that a teacher's answers are kept in: one JSON object a line, told apart by its key,
 * only ever appended to, each line on the disk before the next is asked for. */
#pragma once

#include "base/progress.h"
#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct hn_store {
    char *path;
    int fd;
    int64_t size; /* bytes of whole lines */
    json_t *rows; /* key -> row, in the file's order */
} hn_store;

/* Opens or makes the file, for this process alone. A last line that was cut off (kill -9, a full
 * disk) is taken away; any other broken line, or one without a key, is HN_BAD_INPUT. */
HN_MUST_CHECK hn_status hn_store_open(hn_store *store, const char *path,
                                      const hn_progress *progress, hn_error *err);
void hn_store_close(hn_store *store);
bool hn_store_has(const hn_store *store, const char *key);
/* Appends a row, which holds its key, and waits until it is on the disk. A row that doesn't get
 * there whole is taken away again. */
HN_MUST_CHECK hn_status hn_store_add(hn_store *store, json_t *row, hn_error *err);

/* The rows of such a file, without changing it; freed with json_decref. */
HN_MUST_CHECK hn_status hn_store_read(const char *path, json_t **rows, hn_error *err);
