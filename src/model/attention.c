/* Shares the queries of a batch out over the threads, in tiles of one sequence and key-value head.
 * How they are cut never changes a result, so it follows the load: small pieces when there are few.
 */
#include "model/attention.h"

#include <stdatomic.h>

typedef struct attention_job {
    const hn_attention *attention;
    hn_attention_tile_fn *tile;
    int queries_a_tile;
    atomic_int next_tile;
} attention_job;

static int group_size(const hn_attention *a) {
    return a->n_head / a->n_head_kv;
}

/* Rows first..return-1 belong to one sequence. */
static int run_end(const hn_attention *a, int first) {
    int end = first + 1;
    while (end < a->n_rows && a->places[end].seq == a->places[first].seq)
        end++;
    return end;
}

static void compute_tile(const attention_job *job, int first_row, int head_kv, int first_query,
                         int n_queries) {
    const hn_attention *a = job->attention;
    int group = group_size(a);
    hn_attention_tile tile = {
        .kv = a->kv,
        .blocks = a->kv->seqs[a->places[first_row].seq].blocks,
        .layer = a->layer,
        .head_kv = head_kv,
        .head_dim = a->head_dim,
        .n_queries = n_queries,
        .scale = a->scale,
    };
    for (int i = 0; i < n_queries; i++) {
        int row = first_row + (first_query + i) / group;
        int head = head_kv * group + (first_query + i) % group;
        int64_t at = ((int64_t)row * a->n_head + head) * a->head_dim;
        int32_t position = a->places[row].position;
        tile.q[i] = a->q + at;
        tile.out[i] = a->out + at;
        tile.last_key[i] = position;
        tile.first_key[i] = a->window && position >= a->window ? position - a->window + 1 : 0;
    }
    job->tile(&tile);
}

/* Tiles are numbered over (run of rows, part of its queries, head); threads take the next free one.
 */
static void attention_share(void *arg, int thread, int n_threads) {
    (void)thread, (void)n_threads;
    attention_job *job = arg;
    const hn_attention *a = job->attention;
    int group = group_size(a);
    int mine = atomic_fetch_add_explicit(&job->next_tile, 1, memory_order_relaxed);
    int number = 0;
    for (int first = 0, end; first < a->n_rows; first = end) {
        end = run_end(a, first);
        int queries = (end - first) * group;
        int parts = (queries + job->queries_a_tile - 1) / job->queries_a_tile;
        while (mine < number + parts * a->n_head_kv) {
            int part = (mine - number) / a->n_head_kv, head_kv = (mine - number) % a->n_head_kv;
            /* The last rows see most keys: they go first, so that no thread ends late. */
            int from = (parts - 1 - part) * job->queries_a_tile;
            int n = queries - from < job->queries_a_tile ? queries - from : job->queries_a_tile;
            compute_tile(job, first, head_kv, from, n);
            mine = atomic_fetch_add_explicit(&job->next_tile, 1, memory_order_relaxed);
        }
        number += parts * a->n_head_kv;
    }
}

void hn_attention_run(hn_compute *compute, const hn_attention *attention) {
    attention_job job = {.attention = attention, .tile = hn_attention_tile_portable};
#if defined(__x86_64__)
    hn_isa isa = hn_compute_isa(compute);
    if (isa == HN_ISA_AVX2 || isa == HN_ISA_AVXVNNI || isa == HN_ISA_AVX512VNNI)
        job.tile = hn_attention_tile_avx2;
#endif
    hn_pool *pool = hn_compute_pool(compute);
    int threads = hn_pool_threads(pool);
    long queries = (long)attention->n_rows * attention->n_head;
    job.queries_a_tile = queries >= 8L * threads * HN_ATTENTION_QUERIES ? HN_ATTENTION_QUERIES : 1;
    hn_pool_run(pool, attention_share, &job);
}
