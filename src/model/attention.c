/* Shares the queries of a batch out over the threads, in tiles of one sequence and key-value head;
 * for a few rows of long sequences also by parts of the keys. How they are cut never changes a
 * result, so it follows the load: small pieces when there are few. */
#include "model/attention.h"

#include <stdatomic.h>

typedef struct attention_job {
    const hn_attention *attention;
    const hn_attention_kernels *kernels;
    int queries_a_tile;
    bool by_parts;
    atomic_int next_tile;
} attention_job;

/* Rows first..end-1 of one sequence, and the parts of its keys that they see. */
typedef struct run_of_rows {
    int first, end;
    int32_t first_part, n_parts;
} run_of_rows;

const hn_attention_kernels *hn_attention_kernels_get(hn_isa isa) {
#if defined(__x86_64__)
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

static run_of_rows run_from(const hn_attention *a, int first, bool by_parts) {
    run_of_rows run = {.first = first, .end = first + 1, .n_parts = 1};
    while (run.end < a->n_rows && a->places[run.end].seq == a->places[first].seq)
        run.end++;
    if (by_parts) {
        run.first_part = first_key_of(a, first) / HN_ATTENTION_PART;
        run.n_parts = a->places[run.end - 1].position / HN_ATTENTION_PART - run.first_part + 1;
    }
    return run;
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

static void compute_tile(const attention_job *job, const run_of_rows *run, int32_t part,
                         int head_kv, int first_query, int n_queries) {
    const hn_attention *a = job->attention;
    int group = group_size(a);
    hn_attention_tile tile = {
        .kv = a->kv,
        .blocks = a->kv->seqs[a->places[run->first].seq].blocks,
        .layer = a->layer,
        .head_kv = head_kv,
        .head_dim = a->head_dim,
        .n_queries = n_queries,
        .all_last = INT32_MAX,
        .scale = a->scale,
        .one_part = job->by_parts,
        .part = part,
    };
    for (int i = 0; i < n_queries; i++) {
        int row = run->first + (first_query + i) / group;
        int head = head_kv * group + (first_query + i) % group;
        int64_t at = ((int64_t)row * a->n_head + head) * a->head_dim;
        tile.q[i] = a->q + at;
        tile.out[i] = job->by_parts ? partial_of(a, row, head, part) : a->out + at;
        tile.last_key[i] = a->places[row].position;
        tile.first_key[i] = first_key_of(a, row);
        tile.all_first = tile.first_key[i] > tile.all_first ? tile.first_key[i] : tile.all_first;
        tile.all_last = tile.last_key[i] < tile.all_last ? tile.last_key[i] : tile.all_last;
    }
    job->kernels->tile(&tile);
}

/* Tiles are numbered over (run of rows, some of its queries, part, head); threads take the next
 * free one. */
static void attention_share(void *arg, int thread, int n_threads) {
    (void)thread, (void)n_threads;
    attention_job *job = arg;
    const hn_attention *a = job->attention;
    int mine = atomic_fetch_add_explicit(&job->next_tile, 1, memory_order_relaxed);
    int number = 0;
    for (int first = 0; first < a->n_rows;) {
        run_of_rows run = run_from(a, first, job->by_parts);
        int queries = (run.end - run.first) * group_size(a);
        int pieces = (queries + job->queries_a_tile - 1) / job->queries_a_tile;
        int tiles = pieces * run.n_parts * a->n_head_kv;
        while (mine < number + tiles) {
            int head_kv = (mine - number) % a->n_head_kv, rest = (mine - number) / a->n_head_kv;
            int32_t part = run.first_part + rest % run.n_parts;
            /* The last rows see most keys: they go first, so that no thread ends late. */
            int from = (pieces - 1 - rest / run.n_parts) * job->queries_a_tile;
            int n = queries - from < job->queries_a_tile ? queries - from : job->queries_a_tile;
            compute_tile(job, &run, part, head_kv, from, n);
            mine = atomic_fetch_add_explicit(&job->next_tile, 1, memory_order_relaxed);
        }
        number += tiles;
        first = run.end;
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

void hn_attention_run(hn_compute *compute, const hn_attention *attention) {
    attention_job job = {.attention = attention,
                         .kernels = hn_attention_kernels_get(hn_compute_isa(compute))};
    hn_pool *pool = hn_compute_pool(compute);
    int threads = hn_pool_threads(pool), group = group_size(attention);
    long queries = (long)attention->n_rows * attention->n_head;
    job.by_parts = worth_parts(attention, threads);
    bool small = !job.by_parts && queries < 8L * threads * HN_ATTENTION_QUERIES;
    /* Even a small tile holds the heads that share their keys. */
    job.queries_a_tile = small && group < HN_ATTENTION_QUERIES ? group : HN_ATTENTION_QUERIES;
    hn_pool_run(pool, attention_share, &job);
    if (job.by_parts)
        hn_pool_run(pool, join_share, &job);
}
