/* The inner loops of attention, written once over vectors of eight floats and compiled for each
 * instruction set by the file that includes this. The includer defines TILE_FN (the function's
 * name), FMA(a, b, c) on v8, and QUERIES_AT_ONCE (how many share a read of K and V).
 *
 * Online softmax (Milakov and Gimelshein, 2018) in the log2 domain. Every query's operations and
 * their order are the same however many are computed at once. */
#include "model/attention.h"

#include "model/vec.h"

enum { VECTORS = HN_KV_BLOCK / LANES, MAX_DIM = HN_ARCH_MAX_HEAD_DIM };

static const float MASKED = -1e30f; /* finite, so that differences of two stay numbers */

typedef struct query_state {
    float max;
    v8 sum;        /* lane sums of the weights */
    v8 p[VECTORS]; /* weights of the block at hand */
    float q[MAX_DIM];
    v8 acc[MAX_DIM / LANES];
} query_state;

/* s[i] = q[i] . K for the block's 32 keys; k: (dim, 32). */
INLINE void score_block(query_state *states, const int n, const float *k, int dim) {
    v8 s[QUERIES_AT_ONCE][VECTORS];
    for (int i = 0; i < n; i++)
        for (int c = 0; c < VECTORS; c++)
            s[i][c] = splat(0);
    for (int d = 0; d < dim; d++, k += HN_KV_BLOCK) {
        const v8 *row = (const v8 *)k;
        for (int i = 0; i < n; i++) {
            v8 q = splat(states[i].q[d]);
            for (int c = 0; c < VECTORS; c++)
                s[i][c] = FMA(q, row[c], s[i][c]);
        }
    }
    for (int i = 0; i < n; i++)
        for (int c = 0; c < VECTORS; c++)
            states[i].p[c] = s[i][c];
}

/* Scores to weights for keys first..last of the block (may be outside it); the sums so far are
 * scaled to the new maximum. */
INLINE void weigh_block(query_state *state, int32_t first, int32_t last, int vectors_dim) {
    const i8 lane = {0, 1, 2, 3, 4, 5, 6, 7};
    i8 seen[VECTORS];
    v8 best = splat(state->max);
    for (int c = 0; c < VECTORS; c++) {
        i8 index = lane + c * LANES;
        seen[c] = (index >= first) & (index <= last);
        state->p[c] = select_v8(seen[c], state->p[c], splat(MASKED));
        best = max_v8(best, state->p[c]);
    }
    float max = best[0];
    for (int c = 1; c < LANES; c++)
        max = best[c] > max ? best[c] : max;
    if (max > state->max) {
        v8 scale = exp2_v8(splat(state->max - max));
        state->sum *= scale;
        for (int c = 0; c < vectors_dim; c++)
            state->acc[c] *= scale;
        state->max = max;
    }
    for (int c = 0; c < VECTORS; c++) {
        v8 p = exp2_v8(state->p[c] - splat(max));
        state->p[c] = select_v8(seen[c], p, splat(0));
        state->sum += state->p[c];
    }
}

/* acc[i] += p[i] V for keys first..last, `width` vectors of dimensions from `at` on. */
INLINE void mix_columns(query_state *states, const int n, const float *v, int stride, int at,
                        const int width, int first, int last) {
    v8 acc[QUERIES_AT_ONCE][VECTORS];
    for (int i = 0; i < n; i++)
        for (int c = 0; c < width; c++)
            acc[i][c] = states[i].acc[at + c];
    v += (size_t)first * (size_t)stride + (size_t)at * LANES;
    for (int j = first; j <= last; j++, v += stride) {
        const v8 *row = (const v8 *)v;
        for (int i = 0; i < n; i++) {
            v8 p = splat(((const float *)states[i].p)[j]);
            for (int c = 0; c < width; c++)
                acc[i][c] = FMA(p, row[c], acc[i][c]);
        }
    }
    for (int i = 0; i < n; i++)
        for (int c = 0; c < width; c++)
            states[i].acc[at + c] = acc[i][c];
}

INLINE void mix_block(query_state *states, const int n, const float *v, int stride, int first,
                      int last) {
    int vectors = stride / LANES, at = 0;
    for (; at + VECTORS <= vectors; at += VECTORS)
        mix_columns(states, n, v, stride, at, VECTORS, first, last);
    for (; at < vectors; at++)
        mix_columns(states, n, v, stride, at, 1, first, last);
}

INLINE void attend_block(const hn_attention_tile *tile, query_state *states, int at, const int n,
                         int32_t index) {
    int32_t block = tile->blocks[index], base = index * HN_KV_BLOCK;
    int stride = tile->kv->padded_dim;
    int32_t first = HN_KV_BLOCK, last = -1;
    for (int i = 0; i < n; i++) {
        int32_t from = tile->first_key[at + i] - base, to = tile->last_key[at + i] - base;
        first = from < first ? from : first;
        last = to > last ? to : last;
    }
    first = first < 0 ? 0 : first;
    last = last >= HN_KV_BLOCK ? HN_KV_BLOCK - 1 : last;
    if (first > last)
        return;
    score_block(states, n, hn_kv_k(tile->kv, block, tile->layer, tile->head_kv), tile->head_dim);
    for (int i = 0; i < n; i++)
        weigh_block(&states[i], tile->first_key[at + i] - base, tile->last_key[at + i] - base,
                    stride / LANES);
    mix_block(states, n, hn_kv_v(tile->kv, block, tile->layer, tile->head_kv), stride, first, last);
}

static void start_query(const hn_attention_tile *tile, query_state *state, int i) {
    const float log2_e = 1.44269504f;
    state->max = MASKED;
    state->sum = splat(0);
    for (int d = 0; d < tile->head_dim; d++)
        state->q[d] = tile->q[i][d] * (tile->scale * log2_e);
    memset(state->acc, 0, (size_t)tile->kv->padded_dim * sizeof(float));
}

static void finish_query(const hn_attention_tile *tile, const query_state *state, int i) {
    const float *sums = (const float *)&state->sum, *acc = (const float *)state->acc;
    float sum =
        ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
    for (int d = 0; d < tile->head_dim; d++)
        tile->out[i][d] = acc[d] / sum;
}

void TILE_FN(const hn_attention_tile *tile) {
    _Alignas(64) query_state states[HN_ATTENTION_QUERIES];
    int n = tile->n_queries;
    int32_t first = tile->first_key[0], last = tile->last_key[0];
    for (int i = 0; i < n; i++) {
        start_query(tile, &states[i], i);
        first = tile->first_key[i] < first ? tile->first_key[i] : first;
        last = tile->last_key[i] > last ? tile->last_key[i] : last;
    }
    for (int32_t b = first / HN_KV_BLOCK; b <= last / HN_KV_BLOCK; b++) {
        int i = 0;
        for (; i + QUERIES_AT_ONCE <= n; i += QUERIES_AT_ONCE)
            attend_block(tile, states + i, i, QUERIES_AT_ONCE, b);
        for (; i < n; i++)
            attend_block(tile, states + i, i, 1, b);
    }
    for (int i = 0; i < n; i++)
        finish_query(tile, &states[i], i);
}
