/* The inner loops of attention, written once over vectors of eight floats and compiled for each
 * instruction set by the file that includes this. The includer defines KERNELS (the table's name),
 * FMA(a, b, c) on v8, and QUERIES_AT_ONCE (how many share a read of K and V).
 *
 * Online softmax (Milakov and Gimelshein, 2018) in the log2 domain, by parts of the keys that are
 * then joined. Every query's operations and their order are the same however many are computed at
 * once. */
#include "model/attention.h"

#include "model/kv_codec.h"
#include "model/vec.h"

enum { VECTORS = BLOCK_VECTORS, MAX_DIM = HN_ARCH_MAX_HEAD_DIM };

static const float MASKED = -1e30f; /* finite, so that differences of two stay numbers */

typedef struct query_state {
    float max;     /* of the part at hand, as sum and acc are */
    v8 sum;        /* lane sums of the weights */
    v8 p[VECTORS]; /* weights of the block at hand */
    float q[MAX_DIM];
    v8 acc[MAX_DIM / LANES];
    float total_max, total_sum; /* of the parts before */
    v8 total[MAX_DIM / LANES];
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

/* Keys of the block that some of n queries from `at` on sees; none when first > last. */
INLINE void seen_range(const hn_attention_tile *tile, int at, int n, int32_t base, int *first,
                       int *last) {
    int32_t from = HN_KV_BLOCK, to = -1;
    for (int i = at; i < at + n; i++) {
        from = tile->first_key[i] - base < from ? tile->first_key[i] - base : from;
        to = tile->last_key[i] - base > to ? tile->last_key[i] - base : to;
    }
    *first = from < 0 ? 0 : from;
    *last = to >= HN_KV_BLOCK ? HN_KV_BLOCK - 1 : to;
}

INLINE void score_and_weigh(const hn_attention_tile *tile, query_state *states, int at, const int n,
                            const float *k, int32_t base) {
    int first, last;
    seen_range(tile, at, n, base, &first, &last);
    if (first > last)
        return;
    score_block(states + at, n, k, tile->kv->padded_dim);
    for (int i = at; i < at + n; i++)
        weigh_block(&states[i], tile->first_key[i] - base, tile->last_key[i] - base,
                    tile->kv->padded_dim / LANES);
}

INLINE void mix(const hn_attention_tile *tile, query_state *states, int at, const int n,
                const float *v, int32_t base) {
    int first, last;
    seen_range(tile, at, n, base, &first, &last);
    if (first <= last)
        mix_block(states + at, n, v, tile->kv->padded_dim, first, last);
}

/* One block of keys and values, for all queries; `values` holds what has to be unpacked. */
static void attend_block(const hn_attention_tile *tile, query_state *states, int32_t index,
                         float *values) {
    const hn_kv *kv = tile->kv;
    const hn_kv_codec *codec = &CODECS[kv->type];
    int32_t block = tile->blocks[index], base = index * HN_KV_BLOCK;
    int n = tile->n_queries, first, last, i = 0;
    seen_range(tile, 0, n, base, &first, &last);
    if (first > last)
        return;
    const float *k =
        codec->get_k(hn_kv_k(kv, block, tile->layer, tile->head_kv), kv->padded_dim, values);
    for (; i + QUERIES_AT_ONCE <= n; i += QUERIES_AT_ONCE)
        score_and_weigh(tile, states, i, QUERIES_AT_ONCE, k, base);
    for (; i < n; i++)
        score_and_weigh(tile, states, i, 1, k, base);
    const float *v = codec->get_v(hn_kv_v(kv, block, tile->layer, tile->head_kv), kv->padded_dim,
                                  first, last, values);
    for (i = 0; i + QUERIES_AT_ONCE <= n; i += QUERIES_AT_ONCE)
        mix(tile, states, i, QUERIES_AT_ONCE, v, base);
    for (; i < n; i++)
        mix(tile, states, i, 1, v, base);
}

static void start_part(query_state *state, int padded_dim) {
    state->max = MASKED;
    state->sum = splat(0);
    memset(state->acc, 0, (size_t)padded_dim * sizeof(float));
}

/* Adds a part's sums to those of the parts before, scaled to the larger maximum. */
INLINE void join_part(float *total_max, float *total_sum, v8 *total, float max, float sum,
                      const v8 *acc, int vectors_dim) {
    if (max <= MASKED) /* it saw no key */
        return;
    float most = max > *total_max ? max : *total_max;
    v8 old = exp2_v8(splat(*total_max - most)), new = exp2_v8(splat(max - most));
    *total_sum = *total_sum * old[0] + sum * new[0];
    for (int c = 0; c < vectors_dim; c++)
        total[c] = FMA(total[c], old, acc[c] * new);
    *total_max = most;
}

static void finish_part(const hn_attention_tile *tile, query_state *state, int i) {
    int vectors_dim = tile->kv->padded_dim / LANES;
    float sum = sum_v8(state->sum);
    if (!tile->one_part) {
        join_part(&state->total_max, &state->total_sum, state->total, state->max, sum, state->acc,
                  vectors_dim);
        return;
    }
    float *out = tile->out[i];
    out[HN_PARTIAL_MAX] = state->max;
    out[HN_PARTIAL_SUM] = sum;
    memcpy(out + HN_KV_LANES, state->acc, (size_t)vectors_dim * sizeof(v8));
}

static void finish_query(const hn_kv *kv, v8 *total, float sum, int head_dim, float *out) {
    float *values = (float *)total;
    for (int d = 0; d < head_dim; d++)
        values[d] /= sum;
    if (CODECS[kv->type].turn) {
        for (int d = head_dim; d < kv->padded_dim; d++)
            values[d] /= sum;
        CODECS[kv->type].turn(values, kv->padded_dim);
    }
    memcpy(out, values, (size_t)head_dim * sizeof *out);
}

static void join(const hn_kv *kv, const float *partials, int n_parts, int head_dim, float *out) {
    float max = MASKED, sum = 0;
    int padded_dim = kv->padded_dim;
    v8 total[MAX_DIM / LANES];
    memset(total, 0, (size_t)padded_dim * sizeof(float));
    for (int i = 0; i < n_parts; i++, partials += hn_attention_partial_floats(padded_dim))
        join_part(&max, &sum, total, partials[HN_PARTIAL_MAX], partials[HN_PARTIAL_SUM],
                  (const v8 *)(partials + HN_KV_LANES), padded_dim / LANES);
    finish_query(kv, total, sum, head_dim, out);
}

static void start_query(const hn_attention_tile *tile, query_state *state, int i) {
    const float log2_e = 1.44269504f;
    for (int d = 0; d < tile->head_dim; d++)
        state->q[d] = tile->q[i][d] * (tile->scale * log2_e);
    for (int d = tile->head_dim; d < tile->kv->padded_dim; d++)
        state->q[d] = 0;
    if (CODECS[tile->kv->type].turn)
        CODECS[tile->kv->type].turn(state->q, tile->kv->padded_dim);
    state->total_max = MASKED;
    state->total_sum = 0;
    memset(state->total, 0, (size_t)tile->kv->padded_dim * sizeof(float));
}

static void attend(const hn_attention_tile *tile) {
    _Alignas(64) query_state states[HN_ATTENTION_QUERIES];
    _Alignas(64) float values[HN_KV_TILE];
    int n = tile->n_queries;
    int32_t first = tile->first_key[0], last = tile->last_key[0];
    for (int i = 0; i < n; i++) {
        start_query(tile, &states[i], i);
        first = tile->first_key[i] < first ? tile->first_key[i] : first;
        last = tile->last_key[i] > last ? tile->last_key[i] : last;
    }
    int32_t part = tile->one_part ? tile->part : first / HN_ATTENTION_PART;
    int32_t last_part = tile->one_part ? tile->part : last / HN_ATTENTION_PART;
    for (; part <= last_part; part++) {
        int32_t from = part * HN_ATTENTION_PART_BLOCKS, to = from + HN_ATTENTION_PART_BLOCKS - 1;
        for (int i = 0; i < n; i++)
            start_part(&states[i], tile->kv->padded_dim);
        from = first / HN_KV_BLOCK > from ? first / HN_KV_BLOCK : from;
        to = last / HN_KV_BLOCK < to ? last / HN_KV_BLOCK : to;
        for (int32_t b = from; b <= to; b++)
            attend_block(tile, states, b, values);
        for (int i = 0; i < n; i++)
            finish_part(tile, &states[i], i);
    }
    for (int i = 0; i < n && !tile->one_part; i++)
        finish_query(tile->kv, states[i].total, states[i].total_sum, tile->head_dim, tile->out[i]);
}

const hn_attention_kernels KERNELS = {attend, join, CODECS};
