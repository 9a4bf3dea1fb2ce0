/* A fork-join thread pool for short parallel regions. A region is cut into one share a thread; a
 * share runs on its own thread where that is awake, otherwise on any that is done with its own.
 * Waiting threads spin for a moment and then sleep: a region costs a fraction of a microsecond
 * while work is flowing, nothing when it isn't, and other processes cost no more than the time they
 * take. One region at a time; the caller takes part. */
#pragma once

#include "base/status.h"

typedef struct hn_pool hn_pool;

/* One share of a region, `thread` from 0 to n_threads - 1. Shares may run at once or one after
 * another in any order, so that none may wait for another. */
typedef void hn_pool_fn(void *arg, int thread, int n_threads);

/* n_threads 0 = hn_cpu_default_threads(). That many shares; beyond hn_cpu_max_threads() they have
 * no threads of their own. Freed with hn_pool_free. */
HN_MUST_CHECK hn_status hn_pool_new(hn_pool **pool, int n_threads, hn_error *err);
void hn_pool_free(hn_pool *pool);
int hn_pool_threads(const hn_pool *pool);

/* Binds each thread of the pool, the calling one first, to a processor of its own as far as they
 * last: one of each physical core before any second one. Threads made afterwards by the calling one
 * stay on its processor: open everything first. NULL pool = nothing to do. HN_UNSUPPORTED where
 * the system can't. */
HN_MUST_CHECK hn_status hn_pool_pin(hn_pool *pool, hn_error *err);

/* Runs all shares of fn and returns when they are done. NULL pool = one share, on this thread. */
void hn_pool_run(hn_pool *pool, hn_pool_fn *fn, void *arg);

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
