/* Parts of a share (base/share.h) that work one after the other in one process. */
#pragma once

#include "base/share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { GATHERED_MAX = 4096 };

/* What the parts have found so far. */
typedef struct gathered {
    double sums[GATHERED_MAX];
    size_t n;
    int calls;
} gathered;

static inline hn_status gather_parts(void *context, hn_status status, double *values, size_t n,
                                     hn_error *err) {
    gathered *g = context;
    (void)err;
    g->calls++;
    if (status != HN_OK)
        return status;
    assert_true(n <= GATHERED_MAX && (g->n == 0 || g->n == n));
    g->n = n;
    for (size_t i = 0; i < n; i++) {
        assert_true(g->sums[i] == 0 || values[i] == 0); /* each is set by one part */
        values[i] = g->sums[i] += values[i];
    }
    return HN_OK;
}
