/* How long work tells its caller how far it is, and how the caller stops it. cli/ draws the bars.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct hn_progress {
    void *context;
    /* `done` of `total` (0 = unknown) `unit`s of `label`; `detail` is a short text such as
     * "loss 1.23", or NULL. Called often: the receiver decides what to draw. May be NULL. */
    void (*update)(void *context, const char *label, uint64_t done, uint64_t total,
                   const char *unit, const char *detail);
    /* A message for the person, one line without newline. May be NULL. */
    void (*note)(void *context, const char *text);
    /* Set from a signal handler or another thread; checked between steps. May be NULL. */
    const atomic_bool *cancel;
} hn_progress;

/* All three accept a NULL progress. */
void hn_progress_update(const hn_progress *progress, const char *label, uint64_t done,
                        uint64_t total, const char *unit, const char *detail);
void hn_progress_note(const hn_progress *progress, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
bool hn_progress_cancelled(const hn_progress *progress);
