/* A fork-join thread pool for short parallel regions. Workers spin for a moment after each region
 * and then sleep, so that a region costs a fraction of a microsecond while work is flowing and
 * nothing when it isn't. One region at a time; the caller is thread 0. */
#pragma once

#include "base/status.h"

typedef struct hn_pool hn_pool;

/* Runs on every thread at once; `thread` counts from 0 to n_threads - 1. */
typedef void hn_pool_fn(void *arg, int thread, int n_threads);

/* n_threads 0 = hn_cpu_default_threads(). Freed with hn_pool_free. */
HN_MUST_CHECK hn_status hn_pool_new(hn_pool **pool, int n_threads, hn_error *err);
void hn_pool_free(hn_pool *pool);
int hn_pool_threads(const hn_pool *pool);

/* Runs fn on all threads and returns when all are done. NULL pool = on this thread alone. */
void hn_pool_run(hn_pool *pool, hn_pool_fn *fn, void *arg);
/* Inside a region: waits until every thread has arrived. NULL pool = nothing. */
void hn_pool_barrier(hn_pool *pool);

/* The share [*first, *last) of `count` items that belongs to `thread`, in multiples of `grain`. */
static inline void hn_pool_share(long count, long grain, int thread, int n_threads, long *first,
                                 long *last) {
    long chunks = (count + grain - 1) / grain;
    *first = chunks * thread / n_threads * grain;
    *last = chunks * (thread + 1) / n_threads * grain;
    if (*first > count)
        *first = count;
    if (*last > count)
        *last = count;
}
