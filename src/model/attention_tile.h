/* The inner loops of attention, written once over vectors of floats and compiled for each
 * instruction set by the file that includes this. The includer defines KERNELS (the table's name),
 * FMA(a, b, c) on vf, and QUERIES_AT_ONCE (how many share a read of K and V).
 *
 * Online softmax (Milakov and Gimelshein, 2018) in the log2 domain, by parts of the keys that are
 * then joined. Every query's operations and their order are the same however many are computed at
 * once. */
#include "model/attention_dots.h"

static const float MASKED = -1e30f; /* finite, so that differences of two stay numbers */

/* Queries read K and V in place up to this many; more share a block that was unpacked. */
enum { IN_PLACE_QUERIES = QUERIES_AT_ONCE };
/* Blocks between the one at hand and the one that is fetched meanwhile. */
enum { AHEAD = 2 };

/* n is a multiple of LANES. */
INLINE void clear(float *x, int n) {
    for (int i = 0; i < n; i += LANES)
        store_vf(x + i, splat(0));
}

/* Scores to weights for the part's keys first..last (may be outside it), zeros elsewhere. */
INLINE void weigh_part(tile_state *state, int i, int32_t first, int32_t last) {
    const vi lane = lanes_vi();
    enum { VECTORS = HN_ATTENTION_PART / LANES };
    vf *p = (vf *)state->p[i], best = splat(MASKED), sum = splat(0);
    first = first < 0 ? 0 : first;
    last = last >= HN_ATTENTION_PART ? HN_ATTENTION_PART - 1 : last;
    if (first > last) {
        clear((float *)p, HN_ATTENTION_PART);
        return;
    }
    int from = first / LANES, to = last / LANES;
    p[from] = select_vf(lane + from * LANES >= first, p[from], splat(MASKED));
    p[to] = select_vf(lane + to * LANES <= last, p[to], splat(MASKED));
    for (int c = from; c <= to; c++)
        best = max_vf(best, p[c]);
    state->max[i] = largest_vf(best);
    clear((float *)p, from * LANES);
    for (int c = from; c <= to; c++) {
        p[c] = exp2_vf(p[c] - splat(state->max[i])); /* of a masked one it is 0 */
        sum += p[c];
    }
    clear((float *)(p + to + 1), (VECTORS - 1 - to) * LANES);
    state->sum[i] = sum_vf(sum);
}

/* Whether every query of the tile sees all of the block. */
INLINE bool seen_by_all(const hn_attention_tile *tile, int32_t base) {
    return base >= tile->all_first && base + HN_KV_BLOCK - 1 <= tile->all_last;
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

/* One step over `left` queries: as many as go together. */
INLINE int queries_now(int left) {
    if (QUERIES_AT_ONCE >= 3 && left != 2 && left != 4 && left > 1)
        return 3;
    return QUERIES_AT_ONCE >= 2 && left > 1 ? 2 : 1;
}

/* The scores (is_k) or the sums of all queries for a block. */
INLINE void run_block(const int type, const int is_k, const hn_attention_tile *tile,
                      tile_state *state, tile_block block, int32_t base) {
    for (int i = 0, n; i < tile->n_queries; i += n) {
        n = queries_now(tile->n_queries - i);
        if (!seen_by_all(tile, base)) {
            seen_range(tile, i, n, base, &block.first, &block.last);
            if (block.first > block.last)
                continue;
        }
        if (QUERIES_AT_ONCE >= 3 && n == 3)
            is_k ? score_block(type, state, i, 3, &block) : mix_block(type, state, i, 3, &block);
        else if (QUERIES_AT_ONCE >= 2 && n == 2)
            is_k ? score_block(type, state, i, 2, &block) : mix_block(type, state, i, 2, &block);
        else
            is_k ? score_block(type, state, i, 1, &block) : mix_block(type, state, i, 1, &block);
        block.ahead_step = 0;
    }
}

#define RUN_BLOCKS(type, suffix)                                                                   \
    static void score_##suffix(const hn_attention_tile *tile, tile_state *state,                   \
                               const tile_block *block, int32_t base) {                            \
        run_block(type, 1, tile, state, *block, base);                                             \
    }                                                                                              \
    static void mix_##suffix(const hn_attention_tile *tile, tile_state *state,                     \
                             const tile_block *block, int32_t base) {                              \
        run_block(type, 0, tile, state, *block, base);                                             \
    }
RUN_BLOCKS(HN_F32, f32)
RUN_BLOCKS(HN_F16, f16)
RUN_BLOCKS(HN_Q8_0, q8)
RUN_BLOCKS(HN_Q4_0, q4)

typedef void block_fn(const hn_attention_tile *tile, tile_state *state, const tile_block *block,
                      int32_t base);
static block_fn *const SCORES[HN_DTYPE_COUNT] = {
    [HN_F32] = score_f32, [HN_F16] = score_f16, [HN_Q8_0] = score_q8, [HN_Q4_0] = score_q4};
static block_fn *const MIXES[HN_DTYPE_COUNT] = {
    [HN_F32] = mix_f32, [HN_F16] = mix_f16, [HN_Q8_0] = mix_q8, [HN_Q4_0] = mix_q4};

/* K (is_k) or V of the tile's block `index`. */
INLINE const uint8_t *held(const hn_attention_tile *tile, const int is_k, int32_t index) {
    int32_t block = tile->blocks[index];
    return is_k ? hn_kv_k(tile->kv, block, tile->layer, tile->head_kv)
                : hn_kv_v(tile->kv, block, tile->layer, tile->head_kv);
}

/* One block of keys or values of a part that goes from `from` to `to`, for all queries; `values`
 * holds what has to be unpacked. */
INLINE void attend_block(const int is_k, const hn_attention_tile *tile, tile_state *state,
                         int32_t index, int32_t from, int32_t to, float *values) {
    const hn_kv *kv = tile->kv;
    const uint8_t *bytes = held(tile, is_k, index);
    hn_dtype type = kv->type;
    int32_t base = index * HN_KV_BLOCK, next = index + AHEAD;
    tile_block block = {.dim = kv->padded_dim,
                        .scales = hn_kv_type_scales(type, bytes),
                        .at = base % HN_ATTENTION_PART,
                        .ahead = bytes,
                        .last = HN_KV_BLOCK - 1};
    if (!seen_by_all(tile, base))
        seen_range(tile, 0, tile->n_queries, base, &block.first, &block.last);
    if (block.first > block.last)
        return;
    if (type == HN_F32) {
        block.codes = bytes;
    } else if (tile->n_queries <= IN_PLACE_QUERIES && kv->padded_dim % HN_KV_GROUP == 0) {
        block.codes = block.scales ? codes_in(bytes, kv->padded_dim) : bytes;
    } else {
        const hn_kv_codec *codec = &CODECS[type];
        block.codes = (const uint8_t *)(is_k ? codec->get_k(bytes, kv->padded_dim, values)
                                             : codec->get_v(bytes, kv->padded_dim, block.first,
                                                            block.last, values));
        type = HN_F32;
    }
    if (next <= to || (is_k && next - to - 1 + from <= to)) {
        block.ahead = next <= to ? held(tile, is_k, next) : held(tile, 0, next - to - 1 + from);
        block.ahead_step = (int)kv->head_bytes / kv->padded_dim;
    }
    (is_k ? SCORES : MIXES)[type](tile, state, &block, base);
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

static void start_query(const hn_attention_tile *tile, tile_state *state, int i) {
    const float log2_e = 1.44269504f;
    float *q = state->q + i * tile->kv->padded_dim;
    for (int d = 0; d < tile->head_dim; d++)
        q[d] = tile->q[i][d] * (tile->scale * log2_e);
    for (int d = tile->head_dim; d < tile->kv->padded_dim; d++)
        q[d] = 0;
    if (CODECS[tile->kv->type].turn)
        CODECS[tile->kv->type].turn(q, tile->kv->padded_dim);
    state->total_max[i] = MASKED;
    state->total_sum[i] = 0;
    clear(state->total + i * tile->kv->padded_dim, tile->kv->padded_dim);
}

static void attend(const hn_attention_tile *tile) {
    _Alignas(64) tile_state state;
    _Alignas(64) float values[HN_KV_TILE];
    int n = tile->n_queries;
    int32_t first = tile->first_key[0], last = tile->last_key[0];
    for (int i = 0; i < n; i++) {
        start_query(tile, &state, i);
        first = tile->first_key[i] < first ? tile->first_key[i] : first;
        last = tile->last_key[i] > last ? tile->last_key[i] : last;
    }
    int32_t part = tile->one_part ? tile->part : first / HN_ATTENTION_PART;
    int32_t last_part = tile->one_part ? tile->part : last / HN_ATTENTION_PART;
    for (; part <= last_part; part++) {
        int32_t from = part * HN_ATTENTION_PART_BLOCKS, to = from + HN_ATTENTION_PART_BLOCKS - 1;
        start_part(tile, &state);
        from = first / HN_KV_BLOCK > from ? first / HN_KV_BLOCK : from;
        to = last / HN_KV_BLOCK < to ? last / HN_KV_BLOCK : to;
        for (int32_t b = from; b <= to; b++)
            attend_block(1, tile, &state, b, from, to, values);
        for (int i = 0; i < n; i++)
            weigh_part(&state, i, tile->first_key[i] - part * HN_ATTENTION_PART,
                       tile->last_key[i] - part * HN_ATTENTION_PART);
        for (int32_t b = from; b <= to; b++)
            attend_block(0, tile, &state, b, from, to, values);
        for (int i = 0; i < n; i++)
            finish_part(tile, &state, i);
    }
    for (int i = 0, dim = tile->kv->padded_dim; i < n && !tile->one_part; i++)
        finish_query(tile->kv, state.total + i * dim, state.total_sum[i], tile->head_dim,
                     tile->out[i]);
}

const hn_attention_kernels KERNELS = {attend, join, CODECS};
