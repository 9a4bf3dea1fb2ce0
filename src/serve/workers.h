/* A few threads that do what the server's loop must not wait for, in the order it came. */
#pragma once

#include "base/status.h"

#include <stdbool.h>

typedef struct hn_workers hn_workers;

/* `max_waiting` pieces of work at most. */
HN_MUST_CHECK hn_status hn_workers_new(hn_workers **out, int n_threads, int max_waiting,
                                       hn_error *err);
/* False: too much is waiting, nothing was taken. Any thread. */
bool hn_workers_add(hn_workers *workers, void (*work)(void *context), void *context);
/* Does what still waits, then ends the threads. NULL is nothing. */
void hn_workers_free(hn_workers *workers);
