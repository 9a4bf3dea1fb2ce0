/* Products of queries with a block of keys and of weights with a block of values, reading the
 * cache's types as they are held; included by attention_tile.h. What is converted is a code,
 * exactly; a group's scale is multiplied to its sum of codes (keys) or to the weights (values), so
 * that a block that was unpacked before gives the same bits as one that is read in place. */
#include "model/attention.h"

#include "model/attention_wide.h"

enum {
    MAX_DIM = HN_ARCH_MAX_HEAD_DIM,
    WIDE_VECTORS = HN_KV_BLOCK / WIDE_LANES, /* of a block's keys, or a group's dimensions */
    /* Those of a row of codes that are computed together, for each query. */
    WIDE = WIDE_VECTORS < 4 ? WIDE_VECTORS : 4,
};

/* What is known of a tile's queries. Rows lie close together: three that are far apart make each
 * other's cache lines slow to find. */
typedef struct tile_state {
    float q[HN_ATTENTION_QUERIES * MAX_DIM];          /* (queries, dim) */
    float p[HN_ATTENTION_QUERIES][HN_ATTENTION_PART]; /* the part's scores, then weights */
    float acc[HN_ATTENTION_QUERIES * MAX_DIM];        /* of the part, as max and sum are */
    float max[HN_ATTENTION_QUERIES], sum[HN_ATTENTION_QUERIES];
    float total_max[HN_ATTENTION_QUERIES], total_sum[HN_ATTENTION_QUERIES]; /* of parts before */
    float total[HN_ATTENTION_QUERIES * MAX_DIM];
} tile_state;

/* K or V of one head and block. */
typedef struct tile_block {
    const uint8_t *codes;   /* as the type holds them, or floats */
    const uint16_t *scales; /* (groups, 32); NULL = none */
    const uint8_t
        *ahead; /* what is wanted later: fetched meanwhile, a line for each row of codes */
    int ahead_step;
    int dim;
    int at;               /* the block's first key in the part */
    int first, last;      /* values: keys of the block that count */
    int query, n_queries; /* who reads it: so many from `query` on */
    bool common;          /* all of the tile do, and see all of it */
} tile_block;

/* Into L2: what waits for memory holds few places there, and L1 is a small step from it. */
#define FETCH(address) __builtin_prefetch(address, 0, 2)

/* Vector c of the 32 codes of row `row`: a dimension of K. */
INLINE wf load_key(const int type, const uint8_t *codes, int row, int c) {
    int i = row * HN_KV_BLOCK + c * WIDE_LANES;
    switch (type) {
    case HN_F32:
        return load_wf((const float *)(const void *)codes + i);
    case HN_F16:
        return wf_of_f16((const uint16_t *)(const void *)codes + i);
    default:
        return wf_of_q8(codes + i);
    }
}

/* Vector c of the 32 dimensions from `at` on of a position's values. */
INLINE wf load_value(const int type, const uint8_t *codes, int at, int c) {
    int i = at + c * WIDE_LANES;
    switch (type) {
    case HN_F32:
        return load_wf((const float *)(const void *)codes + i);
    case HN_F16:
        return wf_of_f16((const uint16_t *)(const void *)codes + i);
    case HN_Q8_0:
        return wf_of_q8(codes + i);
    default:
        return wf_of_q4(codes + at / 2 + c % (WIDE_VECTORS / 2) * WIDE_LANES,
                        c / (WIDE_VECTORS / 2));
    }
}

/* s[i] += q[i] . K over dimensions first..end-1; q (n, b->dim). */
INLINE void score_dims(const int type, const float *q, const int n, const tile_block *b, int first,
                       int end, int part, wf s[][WIDE]) {
    for (int d = first; d < end; d++) {
        FETCH(b->ahead + d * b->ahead_step);
        for (int c = 0; c < WIDE; c++) {
            wf k = load_key(type, b->codes, d, part + c);
            for (int i = 0; i < n; i++)
                s[i][c] = fma_wf(splat_wf(q[i * b->dim + d]), k, s[i][c]);
        }
    }
}

/* The same for a group of q4_0: low halves of the bytes are its first 16 dimensions. */
INLINE void score_group_q4(const float *q, const int n, const tile_block *b, int first, int part,
                           wf s[][WIDE]) {
    for (int high = 0; high < 2; high++) {
        const uint8_t *codes = b->codes + first / 2 * HN_KV_BLOCK + part * WIDE_LANES;
        int d = first + high * (HN_KV_GROUP / 2);
        for (int end = d + HN_KV_GROUP / 2; d < end; d++, codes += HN_KV_BLOCK) {
            FETCH(b->ahead + d * b->ahead_step);
            for (int c = 0; c < WIDE; c++) {
                wf k = wf_of_q4(codes + c * WIDE_LANES, high);
                for (int i = 0; i < n; i++)
                    s[i][c] = fma_wf(splat_wf(q[i * b->dim + d]), k, s[i][c]);
            }
        }
    }
}

/* Adds a group's sums, times its scales, to the scores; without scales there is one group. */
INLINE void store_scores(float (*p)[HN_ATTENTION_PART], const int n, const tile_block *b, int first,
                         int part, wf s[][WIDE]) {
    for (int c = 0; c < WIDE; c++) {
        wf scale = splat_wf(1);
        if (b->scales) /* a group has as many as dimensions */
            scale = wf_of_f16(b->scales + first + (part + c) * WIDE_LANES);
        for (int i = 0; i < n; i++) {
            float *at = p[i] + b->at + (part + c) * WIDE_LANES;
            if (b->scales)
                s[i][c] = fma_wf(s[i][c], scale, first ? load_wf(at) : splat_wf(0));
            store_wf(at, s[i][c]);
        }
    }
}

/* p[i] = q[i] . K for WIDE vectors of the block's keys from vector `part` on; n queries from `at`
 * on. */
INLINE void score_part(const int type, tile_state *state, int at, const int n, const tile_block *b,
                       int part) {
    const float *q = state->q + at * b->dim;
    wf s[QUERIES_AT_ONCE][WIDE];
    int group = b->scales ? HN_KV_GROUP : b->dim;
    for (int first = 0; first < b->dim; first += group) {
        int end = first + group < b->dim ? first + group : b->dim;
        for (int i = 0; i < n; i++)
            for (int c = 0; c < WIDE; c++)
                s[i][c] = splat_wf(0);
        if (type == HN_Q4_0)
            score_group_q4(q, n, b, first, part, s);
        else
            score_dims(type, q, n, b, first, end, part, s);
        store_scores(state->p + at, n, b, first, part, s);
    }
}

INLINE void score_block(const int type, tile_state *state, int at, const int n,
                        const tile_block *b) {
    for (int part = 0; part < WIDE_VECTORS; part += WIDE)
        score_part(type, state, at, n, b, part);
}

/* The weights of the block's 32 keys for the group of dimensions at `dim`: with its scales in them,
 * in `scaled`, where there are any. */
INLINE void scale_weights(const tile_state *state, int query, const int n, const tile_block *b,
                          int dim, float scaled[][HN_KV_BLOCK], const float **p) {
    for (int i = 0; i < n; i++) {
        p[i] = state->p[query + i] + b->at;
        for (int c = 0; b->scales && c < BLOCK_VECTORS; c++) {
            vf scale = load_f16(b->scales + dim / HN_KV_GROUP * HN_KV_BLOCK + c * LANES);
            store_vf(scaled[i] + c * LANES, load_vf(p[i] + c * LANES) * scale);
        }
        if (b->scales)
            p[i] = scaled[i];
    }
}

/* acc[i] += p[i] V for keys first..last and WIDE vectors of dimensions, from vector `part` of the
 * group at `dim` on. */
INLINE void mix_group(const int type, tile_state *state, int query, const int n,
                      const tile_block *b, int dim, const int part) {
    wf acc[QUERIES_AT_ONCE][WIDE];
    float scaled[QUERIES_AT_ONCE][HN_KV_BLOCK];
    const float *p[QUERIES_AT_ONCE];
    float *sums = state->acc + query * b->dim + dim + part * WIDE_LANES;
    scale_weights(state, query, n, b, dim, scaled, p);
    for (int i = 0; i < n; i++)
        for (int c = 0; c < WIDE; c++)
            acc[i][c] = load_wf(sums + i * b->dim + c * WIDE_LANES);
    const uint8_t *ahead = b->ahead + dim * b->ahead_step;
    int at = b->first * b->dim + dim;
    for (int j = b->first; j <= b->last; j++, at += b->dim) {
        FETCH(ahead + j * b->ahead_step);
        for (int c = 0; c < WIDE; c++) {
            wf v = load_value(type, b->codes, at, part + c);
            for (int i = 0; i < n; i++)
                acc[i][c] = fma_wf(splat_wf(p[i][j]), v, acc[i][c]);
        }
    }
    for (int i = 0; i < n; i++)
        for (int c = 0; c < WIDE; c++)
            store_wf(sums + i * b->dim + c * WIDE_LANES, acc[i][c]);
}

/* The same for one vector of a group that isn't whole, as floats. */
INLINE void mix_rest(tile_state *state, int query, const int n, const tile_block *b, int dim) {
    float scaled[QUERIES_AT_ONCE][HN_KV_BLOCK];
    const float *p[QUERIES_AT_ONCE], *values = (const float *)(const void *)b->codes + dim;
    scale_weights(state, query, n, b, dim, scaled, p);
    float *sums = state->acc + query * b->dim + dim;
    vf acc[QUERIES_AT_ONCE];
    for (int i = 0; i < n; i++)
        acc[i] = load_vf(sums + i * b->dim);
    for (int j = b->first; j <= b->last; j++) {
        vf v = load_vf(values + j * b->dim);
        for (int i = 0; i < n; i++)
            acc[i] = FMA(splat(p[i][j]), v, acc[i]);
    }
    for (int i = 0; i < n; i++)
        store_vf(sums + i * b->dim, acc[i]);
}

INLINE void mix_block(const int type, tile_state *state, int query, const int n,
                      const tile_block *b) {
    int dim = 0;
    for (; dim + HN_KV_GROUP <= b->dim; dim += HN_KV_GROUP)
        for (int part = 0; part < WIDE_VECTORS; part += WIDE)
            mix_group(type, state, query, n, b, dim, part);
    for (; type == HN_F32 && dim < b->dim; dim += LANES)
        mix_rest(state, query, n, b, dim);
}
