/* Messages by MPI; the only file that knows it. Everything is non-blocking and waited for with
 * pauses: an MPI library that waits by itself burns a processor, which another rank may need. Of
 * MPI's errors there is nothing to handle: its default is to end all processes with a message. */
#include "base/mem.h"
#include "train/ranks_launch.h"
#include "train/ranks_link.h"

#include <mpi.h>

/* Where each rank's part of a piece lies, which MPI reads until the exchange is over. */
typedef struct layout {
    int *part_n, *part_at; /* (size) parts of the piece */
    int *own_n, *own_at;   /* (size) each rank's values of the own part */
    MPI_Request request;
} layout;

typedef struct mpi_ranks {
    hn_ranks ranks; /* first: what the others see */
    /* Gathers and broadcasts; parts; sums: their orders are independent of each other. */
    MPI_Comm small, parts, sums;
    layout slots[HN_SUM_PIECES];
    int *numbers; /* of all slots */
} mpi_ranks;

static mpi_ranks *own(hn_ranks *ranks) {
    return (mpi_ranks *)(void *)ranks;
}

static void wait_for(MPI_Request *request) {
    int done = 0;
    for (unsigned tries = 0;; tries++) {
        MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (done)
            return;
        hn_ranks_pause(tries);
    }
}

static void gather(hn_ranks *ranks, const void *mine, size_t bytes, void *all) {
    MPI_Request request;
    MPI_Iallgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, own(ranks)->small,
                   &request);
    wait_for(&request);
}

static void broadcast(hn_ranks *ranks, int from, void *data, size_t bytes) {
    enum { MOST = 1 << 24 };
    for (size_t at = 0; at < bytes; at += MOST) {
        int part = bytes - at < MOST ? (int)(bytes - at) : MOST;
        MPI_Request request;
        MPI_Ibcast((char *)data + at, part, MPI_BYTE, from, own(ranks)->small, &request);
        wait_for(&request);
    }
}

static void lay_out(const hn_ranks *ranks, layout *l, size_t n) {
    size_t first, mine = hn_sum_part(n, ranks->rank, ranks->size, &first);
    for (int r = 0; r < ranks->size; r++) {
        l->part_n[r] = (int)hn_sum_part(n, r, ranks->size, &first);
        l->part_at[r] = (int)first;
        l->own_n[r] = (int)mine;
        l->own_at[r] = r * (int)mine;
    }
}

static void parts_begin(hn_ranks *ranks, int slot, const hn_sum_piece *piece) {
    layout *l = &own(ranks)->slots[slot];
    lay_out(ranks, l, piece->n);
    MPI_Ialltoallv(piece->values, l->part_n, l->part_at, MPI_FLOAT, piece->parts, l->own_n,
                   l->own_at, MPI_FLOAT, own(ranks)->parts, &l->request);
}

static void sums_begin(hn_ranks *ranks, int slot, const hn_sum_piece *piece) {
    layout *l = &own(ranks)->slots[slot];
    MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_FLOAT, piece->values, l->part_n, l->part_at, MPI_FLOAT,
                    own(ranks)->sums, &l->request);
}

static bool test(hn_ranks *ranks, int slot) {
    int done = 0;
    MPI_Test(&own(ranks)->slots[slot].request, &done, MPI_STATUS_IGNORE);
    return done;
}

static void close_ranks(hn_ranks *ranks) {
    mpi_ranks *m = own(ranks);
    MPI_Comm_free(&m->small);
    MPI_Comm_free(&m->parts);
    MPI_Comm_free(&m->sums);
    MPI_Finalize();
    hn_free(m->numbers);
    hn_free(m);
}

static void abort_ranks(hn_ranks *ranks, int code) {
    (void)ranks;
    MPI_Abort(MPI_COMM_WORLD, code);
}

static const hn_ranks_link LINK = {
    .close = close_ranks,
    .abort = abort_ranks,
    .gather = gather,
    .broadcast = broadcast,
    .parts_begin = parts_begin,
    .sums_begin = sums_begin,
    .test = test,
};

/* The first rank of this one's machine. */
static int find_machine(int rank) {
    MPI_Comm local;
    int first = rank;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &local);
    MPI_Bcast(&first, 1, MPI_INT, 0, local);
    MPI_Comm_free(&local);
    return first;
}

static void set_slots(mpi_ranks *m, size_t size) {
    for (size_t i = 0; i < HN_SUM_PIECES; i++) {
        int *numbers = m->numbers + 4 * size * i;
        m->slots[i] = (layout){.part_n = numbers,
                               .part_at = numbers + size,
                               .own_n = numbers + 2 * size,
                               .own_at = numbers + 3 * size,
                               .request = MPI_REQUEST_NULL};
    }
}

hn_status hn_ranks_link_open(hn_ranks **out, int *machine, hn_error *err) {
    int threads, size, rank;
    *out = NULL;
    if (!hn_ranks_launched())
        return HN_OK; /* starting MPI takes longer than many a command */
    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &threads);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (size == 1) {
        MPI_Finalize();
        if (hn_ranks_launched() > 1)
            return hn_fail(err, HN_USAGE,
                           "started as one of %d processes, but the MPI that hone was built with "
                           "sees one: start it with that MPI's own mpirun",
                           hn_ranks_launched());
        return HN_OK;
    }
    mpi_ranks *m = hn_calloc(1, sizeof *m);
    int *numbers = hn_malloc(4 * (size_t)size * HN_SUM_PIECES * sizeof *numbers);
    if (!m || !numbers)
        MPI_Abort(MPI_COMM_WORLD, 1); /* the others are past the place where they could be told */
    m->ranks = (hn_ranks){.link = &LINK, .rank = rank, .size = size};
    m->numbers = numbers;
    set_slots(m, (size_t)size);
    MPI_Comm_dup(MPI_COMM_WORLD, &m->small);
    MPI_Comm_dup(MPI_COMM_WORLD, &m->parts);
    MPI_Comm_dup(MPI_COMM_WORLD, &m->sums);
    *machine = find_machine(rank);
    *out = &m->ranks;
    return HN_OK;
}
