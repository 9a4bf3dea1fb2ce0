/* Work on many items that several parts, such as processes, share out among them: each does its own
 * items, then every part gets what all have found. A share that is NULL is one that does all. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct hn_share {
    int part, n_parts;
    /* Called by every part once its work is done or has failed. If one has failed all return its
     * failure. Otherwise values (n, the same for all), of which each was set by one part and is 0
     * in the others, become what that part set, bit for bit. */
    hn_status (*gather)(void *context, hn_status status, double *values, size_t n, hn_error *err);
    void *context; /* borrowed */
} hn_share;

static inline bool hn_share_has(const hn_share *share, size_t item) {
    return !share || item % (size_t)share->n_parts == (size_t)share->part;
}

static inline HN_MUST_CHECK hn_status hn_share_gather(const hn_share *share, hn_status status,
                                                      double *values, size_t n, hn_error *err) {
    return share ? share->gather(share->context, status, values, n, err) : status;
}
