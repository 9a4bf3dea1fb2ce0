/* The unit tests' tiny model: stories260K of llama2.c, from the shared data, as a GGUF file. */
#pragma once

#include "base/status.h"

#include <stddef.h>

/* What a test may ask to be wrong. Zero-initialised = a correct file. */
typedef struct stories_fault {
    const char *drop;         /* leaves this tensor out */
    const char *narrow;       /* writes this one with one row (or value) less */
    const char *nan;          /* makes the first value of this one NaN */
    const char *extra;        /* adds a tensor of this name */
    const char *architecture; /* instead of "llama" */
    const char *key;          /* this u32 key is set to `value` */
    unsigned value;
    const char *chat_template; /* no fault: the file gets this one, it has none otherwise */
} stories_fault;

/* The shared data's folder (HONE_SHARED or ../shared beside the repository), "/data/<name>"
 * appended; false when there is no such file, so that the test can skip. */
int shared_file(char *path, size_t size, const char *name);

/* Writes the model to `path`. HN_IO when the shared data isn't there. */
HN_MUST_CHECK hn_status stories_write_gguf(const char *path, const stories_fault *fault,
                                           hn_error *err);
/* The same to a new file of a name of its own in /tmp; `path` has room for 64 bytes. Removed by the
 * caller with remove(). Calls cmocka's skip() when the shared data isn't there. */
void stories_make(char path[64], const stories_fault *fault);
