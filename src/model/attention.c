/* Shares the queries of a batch out over the threads, in tiles of one key-value head and of rows
 * that share keys; for a few rows of long sequences also by parts of the keys. How they are cut
 * never changes a result, so it follows the load: small pieces when there are few. */
#include "model/attention.h"

#include <stdatomic.h>

typedef struct attention_job {
    const hn_attention *attention;
    const hn_attention_kernels *kernels;
    int queries_a_tile;
    bool by_parts;
    atomic_int next_tile;
} attention_job;

/* Places first..end-1 of the order, whose rows' sequences begin with the same block, the parts of
 * their keys that some of them sees, and the tiles these make. */
typedef struct family {
    int first, end;
    int32_t first_part, n_parts;
    int first_tile, n_tiles;
} family;

/* What a tile computes: so many queries of a family, from one on, for a head and a part. */
typedef struct tile_place {
    int first_query, n_queries, head_kv;
    int32_t part;
} tile_place;

const hn_attention_kernels *hn_attention_kernels_get(hn_isa isa) {
#if defined(__x86_64__)
    if (hn_isa_includes(isa, HN_ISA_AVX512VNNI))
        return &hn_attention_kernels_avx512;
    if (hn_isa_includes(isa, HN_ISA_AVX2))
        return &hn_attention_kernels_avx2;
#elif defined(__aarch64__)
    if (hn_isa_includes(isa, HN_ISA_NEON))
        return &hn_attention_kernels_neon;
#endif
    (void)isa;
    return &hn_attention_kernels_portable;
}

static int group_size(const hn_attention *a) {
    return a->n_head / a->n_head_kv;
}

static int32_t first_key_of(const hn_attention *a, int row) {
    int32_t position = a->places[row].position;
    return a->window && position >= a->window ? position - a->window + 1 : 0;
}

static const int32_t *blocks_of(const hn_kv *kv, const hn_row_place *place) {
    return kv->seqs[place->seq].blocks;
}

/* The order of the tables of blocks, a shorter one first: what begins alike stands together. */
static int compare_tables(const hn_kv *kv, const hn_row_place *a, const hn_row_place *b) {
    const int32_t n_a = a->position / HN_KV_BLOCK, n_b = b->position / HN_KV_BLOCK;
    const int32_t *blocks_a = blocks_of(kv, a), *blocks_b = blocks_of(kv, b);
    for (int32_t i = 0; blocks_a != blocks_b && i <= n_a && i <= n_b; i++)
        if (blocks_a[i] != blocks_b[i])
            return blocks_a[i] < blocks_b[i] ? -1 : 1;
    return n_a < n_b ? -1 : n_a > n_b;
}

/* A sequence's rows stand together already, their tables parts of the last one's: only those last
 * rows are sorted, by insertion, and then each makes room for the rows before it. */
void hn_attention_order(const hn_kv *kv, const hn_row_place *places, int n_rows, int *order) {
    int n_runs = 0;
    for (int row = 0; row < n_rows; row++) {
        if (row + 1 < n_rows && places[row + 1].seq == places[row].seq)
            continue;
        int at = n_runs++;
        for (; at > 0 && compare_tables(kv, &places[row], &places[order[at - 1]]) < 0; at--)
            order[at] = order[at - 1];
        order[at] = row;
    }
    for (int at = n_rows; n_runs-- > 0;) {
        const int last = order[n_runs];
        for (int row = last; row >= 0 && places[row].seq == places[last].seq; row--)
            order[--at] = row;
    }
}

/* Whether the first block of keys that both rows could see is the same one. */
static bool share_keys(const hn_attention *a, int row, int other) {
    const hn_row_place *x = &a->places[row], *y = &a->places[other];
    int32_t first = first_key_of(a, row), first_of_other = first_key_of(a, other);
    int32_t last = x->position < y->position ? x->position : y->position;
    int32_t index = (first > first_of_other ? first : first_of_other) / HN_KV_BLOCK;
    return x->seq == y->seq || (index <= last / HN_KV_BLOCK &&
                                blocks_of(a->kv, x)[index] == blocks_of(a->kv, y)[index]);
}

/* The parts that some row of the family sees. */
static void find_parts(const hn_attention *a, family *f) {
    int32_t from = INT32_MAX, to = 0;
    for (int i = f->first; i < f->end; i++) {
        int32_t first_key = first_key_of(a, a->order[i]);
        int32_t last_key = a->places[a->order[i]].position;
        from = first_key < from ? first_key : from;
        to = last_key > to ? last_key : to;
    }
    f->first_part = from / HN_ATTENTION_PART;
    f->n_parts = to / HN_ATTENTION_PART - f->first_part + 1;
}

static int pieces_of(const attention_job *job, const family *f) {
    int queries = (f->end - f->first) * group_size(job->attention);
    return (queries + job->queries_a_tile - 1) / job->queries_a_tile;
}

/* The family that begins at place `first`, its tiles numbered from first_tile on. */
static family family_from(const attention_job *job, int first, int first_tile) {
    const hn_attention *a = job->attention;
    family f = {.first = first, .end = first + 1, .n_parts = 1, .first_tile = first_tile};
    while (f.end < a->n_rows && share_keys(a, a->order[f.end - 1], a->order[f.end]))
        f.end++;
    if (job->by_parts)
        find_parts(a, &f);
    f.n_tiles = pieces_of(job, &f) * f.n_parts * a->n_head_kv;
    return f;
}

/* From a family to the one that holds tile `number`; false = there are fewer tiles. */
static bool find_family(const attention_job *job, family *f, int number) {
    while (number >= f->first_tile + f->n_tiles) {
        if (f->end >= job->attention->n_rows)
            return false;
        *f = family_from(job, f->end, f->first_tile + f->n_tiles);
    }
    return true;
}

/* Tiles of a family are numbered over (some of its queries, part, head). The last rows see most
 * keys: they go first, so that no thread ends late. */
static tile_place place_of(const attention_job *job, const family *f, int number) {
    int n_head_kv = job->attention->n_head_kv;
    int queries = (f->end - f->first) * group_size(job->attention);
    int rest = (number - f->first_tile) / n_head_kv;
    int from = (pieces_of(job, f) - 1 - rest / f->n_parts) * job->queries_a_tile;
    return (tile_place){
        .first_query = from,
        .n_queries = queries - from < job->queries_a_tile ? queries - from : job->queries_a_tile,
        .head_kv = (number - f->first_tile) % n_head_kv,
        .part = f->first_part + rest % f->n_parts,
    };
}

static int32_t parts_of_cache(const hn_kv *kv) {
    return (int32_t)(((int64_t)kv->n_blocks * HN_KV_BLOCK + HN_ATTENTION_PART - 1) /
                     HN_ATTENTION_PART);
}

size_t hn_attention_partials_floats(const hn_kv *kv, int n_head) {
    return HN_ATTENTION_SPLIT_ROWS * (size_t)n_head * (size_t)parts_of_cache(kv) *
           hn_attention_partial_floats(kv->padded_dim);
}

static float *partial_of(const hn_attention *a, int row, int head, int32_t part) {
    size_t query = (size_t)row * (size_t)a->n_head + (size_t)head;
    return a->kv->partials + (query * (size_t)parts_of_cache(a->kv) + (size_t)part) *
                                 hn_attention_partial_floats(a->kv->padded_dim);
}

/* Finds the blocks that every query of the tile sees wholly, and which are the same ones. */
static void find_common(hn_attention_tile *tile) {
    int32_t first = 0, last = INT32_MAX, end;
    for (int i = 0; i < tile->n_queries; i++) {
        first = tile->first_key[i] > first ? tile->first_key[i] : first;
        last = tile->last_key[i] < last ? tile->last_key[i] : last;
    }
    first = hn_kv_blocks_of(first);
    end = (last + 1) / HN_KV_BLOCK;
    for (int i = 1; i < tile->n_queries; i++) {
        const int32_t *a = tile->blocks[i - 1], *b = tile->blocks[i];
        for (int32_t index = first; a != b && index < end; index++)
            if (a[index] != b[index])
                end = index;
    }
    tile->first_common = first;
    tile->end_common = end;
}

/* What a tile reads first: keys of its first query. */
static hn_attention_next first_keys(const attention_job *job, const family *f,
                                    const tile_place *place) {
    const hn_attention *a = job->attention;
    int row = a->order[f->first + place->first_query / group_size(a)];
    int32_t first = first_key_of(a, row) / HN_KV_BLOCK;
    int32_t part = place->part * HN_ATTENTION_PART_BLOCKS;
    return (hn_attention_next){
        .blocks = blocks_of(a->kv, &a->places[row]),
        .head_kv = place->head_kv,
        .first = job->by_parts && part > first ? part : first,
        .last = a->places[row].position / HN_KV_BLOCK,
    };
}

static void compute_tile(const attention_job *job, const family *f, const tile_place *place,
                         hn_attention_next next) {
    const hn_attention *a = job->attention;
    int group = group_size(a);
    hn_attention_tile tile = {
        .kv = a->kv,
        .layer = a->layer,
        .head_kv = place->head_kv,
        .head_dim = a->head_dim,
        .n_queries = place->n_queries,
        .scale = a->scale,
        .one_part = job->by_parts,
        .part = place->part,
        .next = next,
    };
    for (int i = 0; i < place->n_queries; i++) {
        int row = a->order[f->first + (place->first_query + i) / group];
        int head = place->head_kv * group + (place->first_query + i) % group;
        int64_t at = ((int64_t)row * a->n_head + head) * a->head_dim;
        tile.q[i] = a->q + at;
        tile.out[i] = job->by_parts ? partial_of(a, row, head, place->part) : a->out + at;
        tile.blocks[i] = blocks_of(a->kv, &a->places[row]);
        tile.last_key[i] = a->places[row].position;
        tile.first_key[i] = first_key_of(a, row);
    }
    find_common(&tile);
    job->kernels->tile(&tile);
}

/* Threads take the next free tile, and guess that of those after it each gets one in turn. */
static void attention_share(void *arg, int thread, int n_threads) {
    (void)thread;
    attention_job *job = arg;
    family here = family_from(job, 0, 0);
    for (;;) {
        int mine = atomic_fetch_add_explicit(&job->next_tile, 1, memory_order_relaxed);
        if (!find_family(job, &here, mine))
            return;
        tile_place place = place_of(job, &here, mine);
        hn_attention_next next = {.last = -1};
        family there = here;
        if (find_family(job, &there, mine + n_threads)) {
            tile_place after = place_of(job, &there, mine + n_threads);
            next = first_keys(job, &there, &after);
        }
        compute_tile(job, &here, &place, next);
    }
}

static void join_share(void *arg, int thread, int n_threads) {
    const attention_job *job = arg;
    const hn_attention *a = job->attention;
    long first, last;
    hn_pool_share((long)a->n_rows * a->n_head, 1, thread, n_threads, &first, &last);
    for (long i = first; i < last; i++) {
        int row = (int)(i / a->n_head), head = (int)(i % a->n_head);
        int32_t from = first_key_of(a, row) / HN_ATTENTION_PART;
        int32_t to = a->places[row].position / HN_ATTENTION_PART;
        job->kernels->join(a->kv, partial_of(a, row, head, from), to - from + 1, a->head_dim,
                           a->out + i * a->head_dim);
    }
}

/* Sharing the parts out takes a second region: it is for threads that would else have nothing to
 * do.
 */
static bool worth_parts(const hn_attention *a, int threads) {
    if (threads == 1 || a->n_rows > HN_ATTENTION_SPLIT_ROWS)
        return false;
    for (int row = 0; row < a->n_rows; row++)
        if (a->places[row].position >= HN_ATTENTION_PART)
            return true;
    return false;
}

/* As many as share what is read, as long as every thread gets a few tiles; even the smallest tile
 * holds the heads that share their keys. */
static int queries_a_tile(const hn_attention *a, int threads) {
    enum { TILES_A_THREAD = 4 };
    int group = group_size(a);
    long queries = (long)a->n_rows * a->n_head / ((long)threads * TILES_A_THREAD);
    queries = queries < group ? group : queries - queries % group;
    return queries < HN_ATTENTION_QUERIES ? (int)queries : HN_ATTENTION_QUERIES;
}

void hn_attention_run(hn_compute *compute, const hn_attention *attention) {
    attention_job job = {.attention = attention,
                         .kernels = hn_attention_kernels_get(hn_compute_isa(compute))};
    hn_pool *pool = hn_compute_pool(compute);
    int threads = hn_pool_threads(pool);
    job.by_parts = worth_parts(attention, threads);
    job.queries_a_tile = job.by_parts ? HN_ATTENTION_QUERIES : queries_a_tile(attention, threads);
    hn_pool_run(pool, attention_share, &job);
    if (job.by_parts)
        hn_pool_run(pool, join_share, &job);
}
