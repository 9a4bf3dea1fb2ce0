/* The processes that train one model together, each on its share of every step's rows (data
 * parallel training, docs/train-on-several-machines.md): who they are, sums over them, and how they
 * stop together. `ranks` NULL is a process of its own: every function takes it and does what is
 * left to do then, mostly nothing. What isn't said to be local must be called by all ranks in the
 * same order. Sums are taken in the order of the ranks, in double precision: as many ranks give the
 * same bits from run to run, on every rank, whatever carries the messages. */
#pragma once

#include "base/share.h"

#include <stdint.h>

typedef struct hn_ranks hn_ranks;

/* Joins the processes that mpirun (or srun) has started; *out is NULL where it started one, or
 * nobody did. HN_UNSUPPORTED where there are several and this build has no MPI. Once a process, by
 * the thread that makes all other calls too. On failure *out may be there, for hn_ranks_abort. */
HN_MUST_CHECK hn_status hn_ranks_open(hn_ranks **out, hn_error *err);
/* Leaves them; waits for the others to do the same. */
void hn_ranks_close(hn_ranks *ranks);
/* Local: ends all processes at once, this one with `code`. For a failure that the others can't be
 * told of, since they are at work on something else. Doesn't return when there are several. */
void hn_ranks_abort(hn_ranks *ranks, int code);

/* Local. 0 and 1 for NULL. Rank 0 is the one that writes files and talks to the person. */
int hn_ranks_rank(const hn_ranks *ranks);
int hn_ranks_size(const hn_ranks *ranks);
static inline bool hn_ranks_is_first(const hn_ranks *ranks) {
    return hn_ranks_rank(ranks) == 0;
}
/* Local: the threads that this rank should use, so that those which share its processors with it
 * have theirs; 0 = as many as it likes (NULL). */
int hn_ranks_threads(const hn_ranks *ranks);

/* Each rank's status and error become those of the first rank that failed (Ctrl-C counts less than
 * any failure): all go on, or all return the same. */
HN_MUST_CHECK hn_status hn_ranks_agree(hn_ranks *ranks, hn_status status, hn_error *err);
/* Local: the ranks have agreed on a failure, so that rank 0 can speak for all. */
bool hn_ranks_agreed_to_fail(const hn_ranks *ranks);

/* values (n) become the sums over all ranks. */
void hn_ranks_add(hn_ranks *ranks, double *values, size_t n);
/* data becomes what rank 0 has. */
void hn_ranks_broadcast(hn_ranks *ranks, void *data, size_t bytes);

/* Shares of items by rank, for what is computed below train/. ranks NULL: one part that has all. */
hn_share hn_ranks_share(hn_ranks *ranks);

/* Sums on the way while something else is computed: values (n) become the sums over all ranks; they
 * may not be touched until hn_ranks_sum_wait. The ranges must be the same ones, in the same order.
 */
void hn_ranks_sum_begin(hn_ranks *ranks, float *values, size_t n);
/* Local: moves what is on its way; to be called now and then. */
void hn_ranks_sum_poll(hn_ranks *ranks);
/* Returns when all sums that were begun are there; the seconds that this took. */
double hn_ranks_sum_wait(hn_ranks *ranks);

/* Local: which of n items of these sizes each rank takes: the largest first, each to the rank that
 * has least. mine[i] says whether item i is this one's. A pure function of the sizes. */
HN_MUST_CHECK hn_status hn_ranks_split(const hn_ranks *ranks, const int64_t *sizes, size_t n,
                                       bool *mine, hn_error *err);
