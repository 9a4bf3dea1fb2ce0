/* What tests under mpirun share: the ranks, and checks that all of them pass or fail together. */
#pragma once

#include "base/mem.h"
#include "train/loop.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "golden_model.h"

static hn_ranks *ranks;

static inline int my_rank(void) {
    return hn_ranks_rank(ranks);
}

static inline int size_of_all(void) {
    return hn_ranks_size(ranks);
}

/* Fails on every rank where it isn't true on one; who that is and what it says is on stderr. */
static inline void check_all(bool good, const char *fmt, ...) {
    double failed = good ? 0 : 1;
    if (!good) {
        va_list args;
        va_start(args, fmt);
        fprintf(stderr, "rank %d: ", my_rank());
        vfprintf(stderr, fmt, args);
        fputc('\n', stderr);
        va_end(args);
    }
    hn_ranks_add(ranks, &failed, 1);
    assert_true(failed == 0);
}

/* Rank 0 tells what happened. The first failure is the last: a rank that an assert has stopped
 * alone isn't where the others are. */
static inline int run_all(const struct CMUnitTest *tests, size_t n) {
    hn_error err;
    if (hn_ranks_open(&ranks, &err) != HN_OK || !ranks) {
        fprintf(stderr, "no ranks: start this with mpirun -n 2\n");
        return 1;
    }
    if (my_rank() > 0 && !freopen("/dev/null", "w", stdout))
        return 1;
    for (size_t i = 0; i < n; i++)
        if (_cmocka_run_group_tests(tests[i].name, &tests[i], 1, NULL, NULL)) {
            fflush(stdout);
            if (my_rank() > 0)
                sleep(2);
            hn_ranks_abort(ranks, 1);
        }
    hn_ranks_close(ranks);
    return 0;
}
