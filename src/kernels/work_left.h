/* What the threads of a region still have to do, in pieces that whoever is done first takes from
 * the others: processors differ, and other programs and machines take time from one or the other.
 */
#pragma once

#include "kernels/compute.h"

#include <stdatomic.h>

/* A thread's own pieces: the first in the high half, the end in the low one. It takes them from the
 * front, so that it reads on in order; the others, when they have none left, from the back. */
typedef struct hn_work_left {
    _Alignas(64) _Atomic uint64_t range;
} hn_work_left;

enum {
    HN_WORK_LOOKED_AT = 4
}; /* shares that one which is done looks for work at: each is a miss */

static inline uint64_t hn_work_range(uint64_t first, uint64_t end) {
    return first << 32 | end;
}

/* `total` pieces, shared out; valid until the next call. */
HN_MUST_CHECK static inline hn_status hn_work_share(hn_compute *compute, int64_t total,
                                                    hn_work_left **out, hn_error *err) {
    const int n_threads = hn_pool_threads(compute->pool);
    void *scratch;
    HN_TRY(hn_compute_scratch(compute, HN_SCRATCH_LEFT, (size_t)n_threads * sizeof(hn_work_left),
                              &scratch, err));
    *out = scratch;
    for (int i = 0; i < n_threads; i++) {
        long first, last;
        hn_pool_share((long)total, 1, i, n_threads, &first, &last);
        atomic_init(&(*out)[i].range, hn_work_range((uint64_t)first, (uint64_t)last));
    }
    return HN_OK;
}

/* Takes up to n pieces of one thread, off the front or off the back. False when none is left. */
static inline bool hn_work_take_of(hn_work_left *left, int64_t n, bool front, long *first,
                                   long *end) {
    uint64_t range = atomic_load_explicit(&left->range, memory_order_relaxed), rest;
    do {
        *first = (long)(range >> 32);
        *end = (long)(range & UINT32_MAX);
        if (*first >= *end)
            return false;
        const long cut = *end - *first <= n ? front ? *end : *first
                         : front            ? *first + (long)n
                                            : *end - (long)n;
        rest = front ? hn_work_range((uint64_t)cut, (uint64_t)*end)
                     : hn_work_range((uint64_t)*first, (uint64_t)cut);
        *(front ? end : first) = cut;
    } while (!atomic_compare_exchange_weak_explicit(&left->range, &range, rest,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

/* Up to n pieces [*first, *end), the thread's own as long as there are any. False when all are
 * taken. */
static inline bool hn_work_take(hn_work_left *left, int thread, int n_threads, int64_t n,
                                long *first, long *end) {
    if (hn_work_take_of(&left[thread], n, true, first, end))
        return true;
    for (int i = 1; i < n_threads && i <= HN_WORK_LOOKED_AT; i++)
        if (hn_work_take_of(&left[(thread + i) % n_threads], n, false, first, end))
            return true;
    return false;
}
