/* What carries messages between ranks; ranks.c and ranks_sum.c make of it what ranks.h promises.
 * One implementation a library: ranks_mpi.c. */
#pragma once

#include "model/arch.h"
#include "train/ranks.h"

enum {
    HN_RANKS_GATHER_BYTES = 8192,
    /* Floats of a piece: large enough that a message's start costs little, small enough that its
       sum finds it in the cache. */
    HN_SUM_PIECE = 1 << 17,
    HN_SUM_PIECES = 16, /* on their way at once */
    HN_SUM_RANGES = HN_ARCH_MAX_LAYERS + 8,
};

/* A piece is cut into one part a rank. Each rank gets all ranks' values of its own part, adds them
 * up, and gives the sums to all. */
typedef struct hn_sum_piece {
    float *values; /* (n) */
    float *parts;  /* (size, own part) every rank's values of the own part, by rank */
    size_t n;
    enum { HN_PIECE_PARTS, HN_PIECE_SUMS, HN_PIECE_DONE } phase;
} hn_sum_piece;

/* Values [first, first + n) of a piece of `total` are part `rank` of it. */
static inline size_t hn_sum_part(size_t total, int rank, int size, size_t *first) {
    size_t each = (total + (size_t)size - 1) / (size_t)size;
    *first = each * (size_t)rank < total ? each * (size_t)rank : total;
    return total - *first < each ? total - *first : each;
}

/* Messages can't fail: where a library reports an error it ends all processes by itself. */
typedef struct hn_ranks_link {
    void (*close)(hn_ranks *ranks);
    void (*abort)(hn_ranks *ranks, int code);
    /* all (size, bytes): what each rank has; bytes <= HN_RANKS_GATHER_BYTES */
    void (*gather)(hn_ranks *ranks, const void *mine, size_t bytes, void *all);
    void (*broadcast)(hn_ranks *ranks, int from, void *data, size_t bytes);
    /* Begin the exchange of a piece's parts, of its sums; pieces begin in the same order
       everywhere, sums too, but how the two mix is each rank's own. `slot` < HN_SUM_PIECES. */
    void (*parts_begin)(hn_ranks *ranks, int slot, const hn_sum_piece *piece);
    void (*sums_begin)(hn_ranks *ranks, int slot, const hn_sum_piece *piece);
    bool (*test)(hn_ranks *ranks, int slot); /* is the exchange that was begun last over? */
} hn_ranks_link;

struct hn_ranks {
    const hn_ranks_link *link;
    int rank, size, threads;
    bool agreed_to_fail;
    char *gathered; /* (size, HN_RANKS_GATHER_BYTES) */

    /* sums on their way: ranges whose pieces haven't all begun, then pieces, oldest first */
    struct {
        float *values;
        size_t n;
    } ranges[HN_SUM_RANGES];
    int first_range, n_ranges;
    hn_sum_piece pieces[HN_SUM_PIECES];
    int first_piece, n_pieces;
    float *parts; /* of all pieces */
};

/* Fills in rank, size, link and the machine that each rank is on, as the number of the first rank
 * there; *out NULL where there is one process. */
HN_MUST_CHECK hn_status hn_ranks_link_open(hn_ranks **out, int *machine, hn_error *err);
/* Local: lets others have the processor while one waits; `tries` counts from 0. */
void hn_ranks_pause(unsigned tries);
