/* Sums over ranks while the backward pass goes on. A range is cut into pieces; of each piece every
 * rank gets the others' values of its own part (a reduce-scatter), adds them in the order of the
 * ranks, and gives the sums to all (an allgather): 2 (N - 1) / N of the values travel from and to
 * each rank, and no library's choice of algorithm has a say in the bits.
 *
 * Nothing moves by itself: whoever computes calls hn_ranks_sum_poll between the matrices of a
 * layer. A thread of its own would do that without being asked, but it would take a processor from
 * the very threads that it's meant to let work, which are as many as there are processors. */
#include "base/clock.h"
#include "train/ranks_link.h"

static hn_sum_piece *piece_at(hn_ranks *ranks, int i, int *slot) {
    *slot = (ranks->first_piece + i) % HN_SUM_PIECES;
    return &ranks->pieces[*slot];
}

/* The own part's sums, in place. */
static void add_parts(const hn_ranks *ranks, const hn_sum_piece *piece) {
    enum { BLOCK = 256 };
    size_t first, n = hn_sum_part(piece->n, ranks->rank, ranks->size, &first);
    double sums[BLOCK];
    for (size_t at = 0; at < n; at += BLOCK) {
        size_t block = n - at < BLOCK ? n - at : BLOCK;
        for (size_t i = 0; i < block; i++)
            sums[i] = 0;
        for (int r = 0; r < ranks->size; r++) {
            const float *values = piece->parts + (size_t)r * n + at;
            for (size_t i = 0; i < block; i++)
                sums[i] += (double)values[i];
        }
        for (size_t i = 0; i < block; i++)
            piece->values[first + at + i] = (float)sums[i];
    }
}

/* The sums of pieces go round in order, so that a piece waits for the older ones. */
static void move_pieces(hn_ranks *ranks) {
    bool older_sent = true;
    for (int i = 0, slot; i < ranks->n_pieces; i++) {
        hn_sum_piece *piece = piece_at(ranks, i, &slot);
        if (piece->phase == HN_PIECE_PARTS && older_sent && ranks->link->test(ranks, slot)) {
            add_parts(ranks, piece);
            ranks->link->sums_begin(ranks, slot, piece);
            piece->phase = HN_PIECE_SUMS;
        }
        if (piece->phase == HN_PIECE_SUMS && ranks->link->test(ranks, slot))
            piece->phase = HN_PIECE_DONE;
        older_sent = piece->phase != HN_PIECE_PARTS;
    }
    for (int slot; ranks->n_pieces && piece_at(ranks, 0, &slot)->phase == HN_PIECE_DONE;) {
        ranks->first_piece = (ranks->first_piece + 1) % HN_SUM_PIECES;
        ranks->n_pieces--;
    }
}

static void begin_pieces(hn_ranks *ranks) {
    size_t most = HN_SUM_PIECE, room = HN_SUM_PIECE + (size_t)ranks->size;
    while (ranks->n_ranges && ranks->n_pieces < HN_SUM_PIECES) {
        int slot, range = ranks->first_range;
        size_t n = ranks->ranges[range].n < most ? ranks->ranges[range].n : most;
        hn_sum_piece *piece = piece_at(ranks, ranks->n_pieces++, &slot);
        *piece = (hn_sum_piece){.values = ranks->ranges[range].values,
                                .parts = ranks->parts + (size_t)slot * room,
                                .n = n,
                                .phase = HN_PIECE_PARTS};
        ranks->link->parts_begin(ranks, slot, piece);
        ranks->ranges[range].values += n;
        ranks->ranges[range].n -= n;
        if (ranks->ranges[range].n == 0) {
            ranks->first_range = (range + 1) % HN_SUM_RANGES;
            ranks->n_ranges--;
        }
    }
}

void hn_ranks_sum_poll(hn_ranks *ranks) {
    if (!ranks || (!ranks->n_ranges && !ranks->n_pieces))
        return;
    move_pieces(ranks);
    begin_pieces(ranks);
}

void hn_ranks_sum_begin(hn_ranks *ranks, float *values, size_t n) {
    if (!ranks || n == 0)
        return;
    for (unsigned tries = 0; ranks->n_ranges == HN_SUM_RANGES; tries++) {
        hn_ranks_sum_poll(ranks);
        hn_ranks_pause(tries);
    }
    int range = (ranks->first_range + ranks->n_ranges++) % HN_SUM_RANGES;
    ranks->ranges[range].values = values;
    ranks->ranges[range].n = n;
    hn_ranks_sum_poll(ranks);
}

double hn_ranks_sum_wait(hn_ranks *ranks) {
    double began = hn_clock_seconds();
    if (!ranks)
        return 0;
    for (unsigned tries = 0; ranks->n_ranges || ranks->n_pieces; tries++) {
        hn_ranks_sum_poll(ranks);
        hn_ranks_pause(tries);
    }
    return hn_clock_seconds() - began;
}
