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

/* Places first..end-1 of the order, whose rows' sequences begin with the same block, and the parts
 * of their keys that some of them sees. */
typedef struct family {
    int first, end;
    int32_t first_part, n_parts;
} family;

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

static family family_from(const hn_attention *a, int first, bool by_parts) {
    family f = {.first = first, .end = first + 1, .n_parts = 1};
    while (f.end < a->n_rows && share_keys(a, a->order[f.end - 1], a->order[f.end]))
        f.end++;
    if (!by_parts)
        return f;
    int32_t from = INT32_MAX, to = 0;
    for (int i = first; i < f.end; i++) {
        int32_t first_key = first_key_of(a, a->order[i]);
        int32_t last_key = a->places[a->order[i]].position;
        from = first_key < from ? first_key : from;
        to = last_key > to ? last_key : to;
    }
    f.first_part = from / HN_ATTENTION_PART;
    f.n_parts = to / HN_ATTENTION_PART - f.first_part + 1;
    return f;
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

static void compute_tile(const attention_job *job, const family *rows, int32_t part, int head_kv,
                         int first_query, int n_queries) {
    const hn_attention *a = job->attention;
    int group = group_size(a);
    hn_attention_tile tile = {
        .kv = a->kv,
        .layer = a->layer,
        .head_kv = head_kv,
        .head_dim = a->head_dim,
        .n_queries = n_queries,
        .scale = a->scale,
        .one_part = job->by_parts,
        .part = part,
    };
    for (int i = 0; i < n_queries; i++) {
        int row = a->order[rows->first + (first_query + i) / group];
        int head = head_kv * group + (first_query + i) % group;
        int64_t at = ((int64_t)row * a->n_head + head) * a->head_dim;
        tile.q[i] = a->q + at;
        tile.out[i] = job->by_parts ? partial_of(a, row, head, part) : a->out + at;
        tile.blocks[i] = blocks_of(a->kv, &a->places[row]);
        tile.last_key[i] = a->places[row].position;
        tile.first_key[i] = first_key_of(a, row);
    }
    find_common(&tile);
    job->kernels->tile(&tile);
}

/* Tiles are numbered over (family of rows, some of its queries, part, head); threads take the next
 * free one. */
static void attention_share(void *arg, int thread, int n_threads) {
    (void)thread, (void)n_threads;
    attention_job *job = arg;
    const hn_attention *a = job->attention;
    int mine = atomic_fetch_add_explicit(&job->next_tile, 1, memory_order_relaxed);
    int number = 0;
    for (int first = 0; first < a->n_rows;) {
        family rows = family_from(a, first, job->by_parts);
        int queries = (rows.end - rows.first) * group_size(a);
        int pieces = (queries + job->queries_a_tile - 1) / job->queries_a_tile;
        int tiles = pieces * rows.n_parts * a->n_head_kv;
        while (mine < number + tiles) {
            int head_kv = (mine - number) % a->n_head_kv, rest = (mine - number) / a->n_head_kv;
            int32_t part = rows.first_part + rest % rows.n_parts;
            /* The last rows see most keys: they go first, so that no thread ends late. */
            int from = (pieces - 1 - rest / rows.n_parts) * job->queries_a_tile;
            int n = queries - from < job->queries_a_tile ? queries - from : job->queries_a_tile;
            compute_tile(job, &rows, part, head_kv, from, n);
            mine = atomic_fetch_add_explicit(&job->next_tile, 1, memory_order_relaxed);
        }
        number += tiles;
        first = rows.end;
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
