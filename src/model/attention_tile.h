/* The inner loops of attention, written once over vectors of floats and compiled for each
 * instruction set by the file that includes this. The includer defines KERNELS (the table's name),
 * FMA(a, b, c) on vf, QUERIES_AT_ONCE (how many share a read of K and V: 1, 3 or 6) and
 * IN_PLACE_QUERIES (up to how many K and V are read as they are held; more share a block that was
 * unpacked).
 *
 * Online softmax (Milakov and Gimelshein, 2018) in the log2 domain, by parts of the keys that are
 * then joined. Every query's operations and their order are the same however many are computed at
 * once. */
#include "model/attention_dots.h"

static const float MASKED = -1e30f; /* finite, so that differences of two stay numbers */

/* Visits between the one at hand and the one whose block is fetched meanwhile. */
enum { AHEAD = 2 };

/* n is a multiple of LANES. */
INLINE void clear(float *x, int n) {
    for (int i = 0; i < n; i += LANES)
        store_vf(x + i, splat(0));
}

/* Scores to weights for the part's keys first..last (may be outside it), zeros elsewhere. */
INLINE void weigh_part(tile_state *state, int i, int32_t first, int32_t last) {
    enum { VECTOR_PARTS = WIDE_LANES / LANES };
    float *p = state->p[i];
    first = first < 0 ? 0 : first;
    last = last >= HN_ATTENTION_PART ? HN_ATTENTION_PART - 1 : last;
    if (first > last) {
        clear(p, HN_ATTENTION_PART);
        return;
    }
    const int from = first - first % WIDE_LANES, end = last - last % WIDE_LANES + WIDE_LANES;
    for (int j = from; j < first; j++)
        p[j] = MASKED;
    for (int j = last + 1; j < end; j++)
        p[j] = MASKED;
    wf best = splat_wf(MASKED);
    for (int j = from; j < end; j += WIDE_LANES)
        best = max_wf(best, load_wf(p + j));
    float max = MASKED;
    for (int k = 0; k < VECTOR_PARTS; k++) {
        float largest = largest_vf(part_of_wf(best, k));
        max = largest > max ? largest : max;
    }
    vf sum = splat(0);
    for (int j = from; j < end; j += WIDE_LANES) {
        wf weight = exp2_wf(load_wf(p + j) - splat_wf(max)); /* of a masked one it is 0 */
        store_wf(p + j, weight);
        for (int k = 0; k < VECTOR_PARTS; k++)
            sum += part_of_wf(weight, k);
    }
    clear(p, from);
    clear(p + end, HN_ATTENTION_PART - end);
    state->max[i] = max;
    state->sum[i] = sum_vf(sum);
}

/* Keys of the block that some of n queries from `at` on sees. */
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

/* One function for each type and number of queries, so that the compiler keeps all sums of one in
 * registers. */
#if QUERIES_AT_ONCE == 1
#define EACH_COUNT(of, ...) of(__VA_ARGS__, 1)
#elif QUERIES_AT_ONCE == 3
#define EACH_COUNT(of, ...) of(__VA_ARGS__, 1) of(__VA_ARGS__, 2) of(__VA_ARGS__, 3)
#elif QUERIES_AT_ONCE == 6
#define EACH_COUNT(of, ...)                                                                        \
    of(__VA_ARGS__, 1) of(__VA_ARGS__, 2) of(__VA_ARGS__, 3) of(__VA_ARGS__, 4) of(__VA_ARGS__, 5) \
        of(__VA_ARGS__, 6)
#endif

typedef void block_fn(tile_state *state, int query, const tile_block *block);
#define BLOCK_FN(type, suffix, n)                                                                  \
    static void score_##suffix##_##n(tile_state *state, int query, const tile_block *block) {      \
        score_block(type, state, query, n, block);                                                 \
    }                                                                                              \
    static void mix_##suffix##_##n(tile_state *state, int query, const tile_block *block) {        \
        mix_block(type, state, query, n, block);                                                   \
    }
EACH_COUNT(BLOCK_FN, HN_F32, f32)
EACH_COUNT(BLOCK_FN, HN_F16, f16)
EACH_COUNT(BLOCK_FN, HN_Q8_0, q8)
EACH_COUNT(BLOCK_FN, HN_Q4_0, q4)

#define SCORE_OF(suffix, n) score_##suffix##_##n,
#define MIX_OF(suffix, n) mix_##suffix##_##n,
typedef block_fn *const block_fns[HN_DTYPE_COUNT][QUERIES_AT_ONCE];
static block_fns SCORES = {[HN_F32] = {EACH_COUNT(SCORE_OF, f32)},
                           [HN_F16] = {EACH_COUNT(SCORE_OF, f16)},
                           [HN_Q8_0] = {EACH_COUNT(SCORE_OF, q8)},
                           [HN_Q4_0] = {EACH_COUNT(SCORE_OF, q4)}};
static block_fns MIXES = {[HN_F32] = {EACH_COUNT(MIX_OF, f32)},
                          [HN_F16] = {EACH_COUNT(MIX_OF, f16)},
                          [HN_Q8_0] = {EACH_COUNT(MIX_OF, q8)},
                          [HN_Q4_0] = {EACH_COUNT(MIX_OF, q4)}};

/* One step over `left` queries: as many as go together, but no small rest. */
INLINE int queries_now(int left) {
    if (left <= QUERIES_AT_ONCE)
        return left;
    return left < 2 * QUERIES_AT_ONCE ? (left + 1) / 2 : QUERIES_AT_ONCE;
}

/* The scores (is_k) or the sums of a block, which is held or was unpacked as `type`, for its
 * queries. */
static void run_block(hn_dtype type, const int is_k, const hn_attention_tile *tile,
                      tile_state *state, tile_block *block, int32_t base) {
    for (int i = block->query, end = i + block->n_queries, n; i < end; i += n) {
        n = queries_now(end - i);
        if (!block->common)
            seen_range(tile, i, n, base, &block->first, &block->last);
        (is_k ? SCORES : MIXES)[type][n - 1](state, i, block);
        block->ahead_step = 0;
    }
}

/* K (is_k) or V of a query's block `index`. */
INLINE const uint8_t *held(const hn_attention_tile *tile, int query, const int is_k,
                           int32_t index) {
    int32_t block = tile->blocks[query][index];
    return is_k ? hn_kv_k(tile->kv, block, tile->layer, tile->head_kv)
                : hn_kv_v(tile->kv, block, tile->layer, tile->head_kv);
}

INLINE bool sees_block(const hn_attention_tile *tile, int query, int32_t index) {
    return tile->first_key[query] / HN_KV_BLOCK <= index &&
           tile->last_key[query] / HN_KV_BLOCK >= index;
}

INLINE bool is_common(const hn_attention_tile *tile, int32_t index) {
    return index >= tile->first_common && index < tile->end_common;
}

/* How many queries from `query` on, which sees block `index`, go through it together. */
INLINE int count_readers(const hn_attention_tile *tile, int query, int32_t index) {
    if (is_common(tile, index))
        return tile->n_queries - query;
    int end = query + 1;
    while (end < tile->n_queries && sees_block(tile, end, index) &&
           tile->blocks[end][index] == tile->blocks[query][index])
        end++;
    return end - query;
}

/* A block that a tile goes through: each part's keys, then its values. */
typedef struct visit {
    int32_t index;
    int is_k;
} visit;

/* The one after it in a tile whose blocks end with `last`; past its end, keys beyond `last`. */
INLINE visit next_visit(visit v, int32_t first, int32_t last) {
    int32_t from = v.index - v.index % HN_ATTENTION_PART_BLOCKS;
    int32_t to = from + HN_ATTENTION_PART_BLOCKS - 1;
    if (v.index < (to < last ? to : last) || v.index > last)
        return (visit){v.index + 1, v.is_k};
    if (v.is_k)
        return (visit){from > first ? from : first, 0};
    return (visit){v.index + 1, 1};
}

/* What a query reads at a visit to come: of the tile, or, once for all its queries, of the tile
 * after it; NULL = nothing. */
INLINE const uint8_t *read_later(const hn_attention_tile *tile, int query, visit v, int32_t last) {
    const hn_attention_next *next = &tile->next;
    if (v.index <= last)
        return sees_block(tile, query, v.index) ? held(tile, query, v.is_k, v.index) : NULL;
    const int32_t index = next->first + v.index - last - 1;
    if (query > 0 || index > next->last)
        return NULL;
    return hn_kv_k(tile->kv, next->blocks[index], tile->layer, next->head_kv);
}

/* A visit's block for the n queries from `query` on that hold it there, while `later` is fetched;
 * `values` holds what has to be unpacked. */
INLINE void attend_shared(const int is_k, const hn_attention_tile *tile, tile_state *state,
                          int query, int n, int32_t index, const uint8_t *later, float *values) {
    const hn_kv *kv = tile->kv;
    const uint8_t *bytes = held(tile, query, is_k, index);
    hn_dtype type = kv->type;
    int32_t base = index * HN_KV_BLOCK;
    tile_block block = {.dim = kv->padded_dim,
                        .scales = hn_kv_type_scales(type, bytes),
                        .at = base % HN_ATTENTION_PART,
                        .query = query,
                        .n_queries = n,
                        .common = is_common(tile, index),
                        .last = HN_KV_BLOCK - 1,
                        .ahead = bytes};
    if (!block.common)
        seen_range(tile, query, n, base, &block.first, &block.last);
    if (type == HN_F32) {
        block.codes = bytes;
    } else if (n <= IN_PLACE_QUERIES && kv->padded_dim % HN_KV_GROUP == 0) {
        block.codes = block.scales ? codes_in(bytes, kv->padded_dim) : bytes;
    } else {
        const hn_kv_codec *codec = &CODECS[type];
        block.codes = (const uint8_t *)(is_k ? codec->get_k(bytes, kv->padded_dim, values)
                                             : codec->get_v(bytes, kv->padded_dim, block.first,
                                                            block.last, values));
        type = HN_F32;
    }
    if (later) {
        block.ahead = later;
        block.ahead_step = (int)kv->head_bytes / kv->padded_dim;
    }
    run_block(type, is_k, tile, state, &block, base);
}

INLINE void attend_block(const int is_k, const hn_attention_tile *tile, tile_state *state,
                         int32_t index, visit later, int32_t last, float *values) {
    for (int i = 0, n; i < tile->n_queries; i += n) {
        n = 1;
        if (!sees_block(tile, i, index))
            continue;
        n = count_readers(tile, i, index);
        attend_shared(is_k, tile, state, i, n, index, read_later(tile, i, later, last), values);
    }
}

static void start_part(const hn_attention_tile *tile, tile_state *state) {
    for (int i = 0; i < tile->n_queries; i++) {
        state->max[i] = MASKED;
        state->sum[i] = 0;
    }
    clear(state->acc, tile->n_queries * tile->kv->padded_dim);
}

/* Adds a part's sums to those of the parts before, scaled to the larger maximum. */
INLINE void join_part(float *total_max, float *total_sum, float *total, float max, float sum,
                      const float *acc, int dim) {
    if (max <= MASKED) /* it saw no key */
        return;
    float most = max > *total_max ? max : *total_max;
    vf old = exp2_vf(splat(*total_max - most)), new = exp2_vf(splat(max - most));
    *total_sum = *total_sum * old[0] + sum * new[0];
    for (int d = 0; d < dim; d += LANES)
        store_vf(total + d, FMA(load_vf(total + d), old, load_vf(acc + d) * new));
    *total_max = most;
}

static void finish_part(const hn_attention_tile *tile, tile_state *state, int i) {
    int dim = tile->kv->padded_dim;
    const float *acc = state->acc + i * dim;
    if (!tile->one_part) {
        join_part(&state->total_max[i], &state->total_sum[i], state->total + i * dim, state->max[i],
                  state->sum[i], acc, dim);
        return;
    }
    float *out = tile->out[i];
    out[HN_PARTIAL_MAX] = state->max[i];
    out[HN_PARTIAL_SUM] = state->sum[i];
    memcpy(out + HN_KV_LANES, acc, (size_t)dim * sizeof *acc);
}

/* values: padded_dim of them, changed. */
static void finish_query(const hn_kv *kv, float *values, float sum, int head_dim, float *out) {
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
    float max = MASKED, sum = 0, total[MAX_DIM];
    int dim = kv->padded_dim;
    clear(total, dim);
    for (int i = 0; i < n_parts; i++, partials += hn_attention_partial_floats(dim))
        join_part(&max, &sum, total, partials[HN_PARTIAL_MAX], partials[HN_PARTIAL_SUM],
                  partials + HN_KV_LANES, dim);
    finish_query(kv, total, sum, head_dim, out);
}

/* They lie far apart: all are on their way before the first one is waited for. */
static void fetch_queries(const hn_attention_tile *tile) {
    enum { LINE = 64 / sizeof(float) };
    for (int i = 0; i < tile->n_queries; i++)
        for (int d = 0; d < tile->head_dim; d += LINE)
            __builtin_prefetch(tile->q[i] + d);
}

static void start_query(const hn_attention_tile *tile, tile_state *state, int i) {
    const float log2_e = 1.44269504f;
    const int dim = tile->kv->padded_dim;
    float *q = state->q + i * dim;
    for (int d = 0; d < tile->head_dim; d++)
        q[d] = tile->q[i][d] * (tile->scale * log2_e);
    for (int d = tile->head_dim; d < dim; d++)
        q[d] = 0;
    if (CODECS[tile->kv->type].turn)
        CODECS[tile->kv->type].turn(q, dim);
    state->total_max[i] = MASKED;
    state->total_sum[i] = 0;
    clear(state->total + i * dim, dim);
}

/* The blocks that some query of the tile sees, in its part where it has one. */
INLINE void seen_blocks(const hn_attention_tile *tile, int32_t *first, int32_t *last) {
    int32_t from = tile->first_key[0], to = tile->last_key[0];
    for (int i = 1; i < tile->n_queries; i++) {
        from = tile->first_key[i] < from ? tile->first_key[i] : from;
        to = tile->last_key[i] > to ? tile->last_key[i] : to;
    }
    *first = from / HN_KV_BLOCK;
    *last = to / HN_KV_BLOCK;
    if (!tile->one_part)
        return;
    int32_t part_first = tile->part * HN_ATTENTION_PART_BLOCKS;
    int32_t part_last = part_first + HN_ATTENTION_PART_BLOCKS - 1;
    *first = *first > part_first ? *first : part_first;
    *last = *last < part_last ? *last : part_last;
}

static void attend(const hn_attention_tile *tile) {
    _Alignas(64) tile_state state;
    _Alignas(64) float values[HN_KV_TILE];
    int n = tile->n_queries;
    int32_t first, last;
    fetch_queries(tile);
    for (int i = 0; i < n; i++)
        start_query(tile, &state, i);
    seen_blocks(tile, &first, &last);
    visit later = {first, 1};
    for (int i = 0; i < AHEAD; i++)
        later = next_visit(later, first, last);
    for (int32_t from = first, to; from <= last; from = to + 1) {
        int32_t part = from / HN_ATTENTION_PART_BLOCKS;
        to = (part + 1) * HN_ATTENTION_PART_BLOCKS - 1;
        to = to < last ? to : last;
        start_part(tile, &state);
        for (int32_t b = from; b <= to; b++, later = next_visit(later, first, last))
            attend_block(1, tile, &state, b, later, last, values);
        for (int i = 0; i < n; i++)
            weigh_part(&state, i, tile->first_key[i] - part * HN_ATTENTION_PART,
                       tile->last_key[i] - part * HN_ATTENTION_PART);
        for (int32_t b = from; b <= to; b++, later = next_visit(later, first, last))
            attend_block(0, tile, &state, b, later, last, values);
        for (int i = 0; i < n; i++)
            finish_part(tile, &state, i);
    }
    for (int i = 0, dim = tile->kv->padded_dim; i < n && !tile->one_part; i++)
        finish_query(tile->kv, state.total + i * dim, state.total_sum[i], tile->head_dim,
                     tile->out[i]);
}

const hn_attention_kernels KERNELS = {attend, join, CODECS};
