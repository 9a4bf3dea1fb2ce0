/* In place of ranks_mpi.c in a build without MPI: several processes are refused, since each would
 * train alone, into the same folder. */
#include "train/ranks_launch.h"
#include "train/ranks_link.h"

hn_status hn_ranks_link_open(hn_ranks **out, int *machine, hn_error *err) {
    *machine = 0;
    *out = NULL;
    if (hn_ranks_launched() <= 1)
        return HN_OK;
    return hn_fail(err, HN_UNSUPPORTED,
                   "started as one of %d processes, but this hone was built without MPI, so that "
                   "each would train alone: build it with -Dmpi=enabled "
                   "(docs/train-on-several-machines.md), or start one process",
                   hn_ranks_launched());
}
