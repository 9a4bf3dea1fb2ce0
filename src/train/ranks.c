/* What ranks agree on and share out; see ranks_sum.c for sums on the way. */
#define _GNU_SOURCE
#include "train/ranks.h"

#include "base/cpu.h"
#include "base/mem.h"
#include "base/processors.h"
#include "train/ranks_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int hn_ranks_rank(const hn_ranks *ranks) {
    return ranks ? ranks->rank : 0;
}

int hn_ranks_size(const hn_ranks *ranks) {
    return ranks ? ranks->size : 1;
}

int hn_ranks_threads(const hn_ranks *ranks) {
    return ranks ? ranks->threads : 0;
}

bool hn_ranks_agreed_to_fail(const hn_ranks *ranks) {
    return ranks && ranks->agreed_to_fail;
}

/* Asks again at once while the others are about to answer, then sleeps: another rank may be at work
 * on this very processor, or busy for minutes. Yielding instead would hand whole time slices to any
 * other program, of which each message would wait for one; who sleeps is woken in time. */
void hn_ranks_pause(unsigned tries) {
    enum { AT_ONCE = 100, SHORT_SLEEPS = 20000, SHORT_NS = 10000, LONG_NS = 1000000 };
    struct timespec sleep = {.tv_nsec = tries < SHORT_SLEEPS ? SHORT_NS : LONG_NS};
    if (tries >= AT_ONCE)
        nanosleep(&sleep, NULL);
}

/* What a rank tells the others of where it runs. */
typedef struct place {
    int machine, threads, quota;
    unsigned char cpus[HN_PROCESSORS_MAX / 8];
} place;

static bool share_processors(const place *a, const place *b) {
    if (a->machine != b->machine)
        return false;
    for (size_t i = 0; i < sizeof a->cpus; i++)
        if (a->cpus[i] & b->cpus[i])
            return true;
    return false;
}

/* Ranks that mpirun has bound to processors of their own use those; ranks that may all use the same
 * ones divide them. A quota is everybody's on the machine. */
static int choose_threads(hn_ranks *ranks, int machine) {
    hn_processors own;
    hn_processors_read(&own, "", NULL, 0);
    place mine = {.machine = machine, .threads = hn_cpu_default_threads(), .quota = own.quota};
    for (int i = 0; i < own.n; i++)
        mine.cpus[own.cpus[i] / 8] |= (unsigned char)(1u << own.cpus[i] % 8);
    place *all = (place *)(void *)ranks->gathered;
    ranks->link->gather(ranks, &mine, sizeof mine, all);
    int sharers = 0, neighbours = 0;
    for (int r = 0; r < ranks->size; r++) {
        sharers += r == ranks->rank || share_processors(&mine, &all[r]);
        neighbours += all[r].machine == machine;
    }
    int threads = mine.threads / sharers;
    if (own.quota > 0 && own.quota / neighbours < threads)
        threads = own.quota / neighbours;
    return threads > 1 ? threads : 1;
}

hn_status hn_ranks_open(hn_ranks **out, hn_error *err) {
    hn_ranks *ranks;
    int machine;
    *out = NULL;
    HN_TRY(hn_ranks_link_open(&ranks, &machine, err));
    if (!ranks)
        return HN_OK;
    size_t gathered = (size_t)ranks->size * HN_RANKS_GATHER_BYTES;
    /* a part is rounded up, so that all ranks' parts are up to a float each more than the piece */
    size_t parts = HN_SUM_PIECES * (HN_SUM_PIECE + (size_t)ranks->size) * sizeof *ranks->parts;
    ranks->gathered = hn_malloc(gathered);
    ranks->parts = hn_malloc(parts);
    *out = ranks; /* also on failure: the others wait, and are to be told */
    if (!ranks->gathered || !ranks->parts)
        return hn_fail_no_memory(err, gathered + parts);
    ranks->threads = choose_threads(ranks, machine);
    return HN_OK;
}

void hn_ranks_close(hn_ranks *ranks) {
    if (!ranks)
        return;
    hn_free(ranks->gathered);
    hn_free(ranks->parts);
    ranks->link->close(ranks);
}

void hn_ranks_abort(hn_ranks *ranks, int code) {
    if (ranks)
        ranks->link->abort(ranks, code);
}

/* The rank whose word counts: the first that failed, else the first that was stopped; -1 = none. */
static int first_failed(const int *statuses, int size) {
    int stopped = -1;
    for (int r = 0; r < size; r++) {
        if (statuses[r] != HN_OK && statuses[r] != HN_CANCELLED)
            return r;
        if (statuses[r] == HN_CANCELLED && stopped < 0)
            stopped = r;
    }
    return stopped;
}

hn_status hn_ranks_agree(hn_ranks *ranks, hn_status status, hn_error *err) {
    if (!ranks)
        return status;
    int mine = (int)status, *statuses = (int *)(void *)ranks->gathered;
    ranks->link->gather(ranks, &mine, sizeof mine, statuses);
    int from = first_failed(statuses, ranks->size);
    if (from < 0)
        return HN_OK;
    hn_error said = {.status = status};
    if (from == ranks->rank && err)
        said = *err;
    said.status = (hn_status)statuses[from];
    ranks->link->broadcast(ranks, from, &said, sizeof said);
    if (err)
        *err = said;
    if (from > 0)
        hn_error_prefix(err, "rank %d of %d", from, ranks->size);
    ranks->agreed_to_fail = true;
    return said.status;
}

void hn_ranks_add(hn_ranks *ranks, double *values, size_t n) {
    enum { MOST = HN_RANKS_GATHER_BYTES / sizeof(double) };
    if (!ranks)
        return;
    const double *all = (const double *)(void *)ranks->gathered;
    for (size_t at = 0; at < n; at += MOST) {
        size_t part = n - at < MOST ? n - at : MOST;
        ranks->link->gather(ranks, values + at, part * sizeof *values, ranks->gathered);
        for (size_t i = 0; i < part; i++) {
            double sum = 0;
            for (int r = 0; r < ranks->size; r++)
                sum += all[(size_t)r * part + i];
            values[at + i] = sum;
        }
    }
}

/* All but one rank add 0: their sum is that one's value. */
static hn_status gather_share(void *context, hn_status status, double *values, size_t n,
                              hn_error *err) {
    HN_TRY(hn_ranks_agree(context, status, err));
    hn_ranks_add(context, values, n);
    return HN_OK;
}

hn_share hn_ranks_share(hn_ranks *ranks) {
    return (hn_share){.part = hn_ranks_rank(ranks),
                      .n_parts = hn_ranks_size(ranks),
                      .gather = gather_share,
                      .context = ranks};
}

void hn_ranks_broadcast(hn_ranks *ranks, void *data, size_t bytes) {
    if (ranks)
        ranks->link->broadcast(ranks, 0, data, bytes);
}

typedef struct sized {
    int64_t size;
    size_t item;
} sized;

/* The largest first; of the same size the first one. */
static int compare_sizes(const void *left, const void *right) {
    const sized *a = left, *b = right;
    if (a->size != b->size)
        return a->size < b->size ? 1 : -1;
    return a->item < b->item ? -1 : 1;
}

hn_status hn_ranks_split(const hn_ranks *ranks, const int64_t *sizes, size_t n, bool *mine,
                         hn_error *err) {
    if (!ranks) {
        memset(mine, true, n * sizeof *mine);
        return HN_OK;
    }
    sized *order = hn_malloc((n + 1) * sizeof *order);
    int64_t *loads = hn_calloc((size_t)ranks->size, sizeof *loads);
    hn_status status = HN_OK;
    if (!order || !loads)
        HN_GO(hn_fail_no_memory(err, n * sizeof *order));
    for (size_t i = 0; i < n; i++)
        order[i] = (sized){sizes[i], i};
    qsort(order, n, sizeof *order, compare_sizes);
    for (size_t i = 0; i < n; i++) {
        int least = 0;
        for (int r = 1; r < ranks->size; r++)
            if (loads[r] < loads[least])
                least = r;
        loads[least] += order[i].size;
        mine[order[i].item] = least == ranks->rank;
    }
done:
    hn_free(order);
    hn_free(loads);
    return status;
}
