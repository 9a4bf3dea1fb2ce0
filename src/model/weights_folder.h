/* The folder of the weights cache: room for a new file, and leftovers of what was killed. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define HN_WEIGHTS_SUFFIX ".weights"
#define HN_WEIGHTS_NEW_SUFFIX ".weights-new"

/* Removes the longest unused files until `needed` more bytes keep within `max_bytes`, and new files
 * that nobody writes any more. HN_IO when it can't be, or when the disk hasn't the room: `share`
 * (0 to 1) of what is free there may be taken. */
HN_MUST_CHECK hn_status hn_weights_folder_make_room(const char *dir, uint64_t needed,
                                                    uint64_t max_bytes, double share,
                                                    hn_error *err);
/* Opens `path` for writing as its only writer, emptied. HN_IO when another process writes it. */
HN_MUST_CHECK hn_status hn_weights_folder_lock(const char *path, int *fd, hn_error *err);
/* What the folder holds; nothing where it isn't there. */
void hn_weights_folder_count(const char *dir, int *n_files, uint64_t *bytes);
