/* Causal grouped-query attention of a batch's rows over the paged cache. What a row gets depends on
 * its own query, keys and position alone: each query walks its blocks of 32 keys in order, whoever
 * else is in the batch. */
#pragma once

#include "kernels/matrix.h"
#include "model/kv.h"
#include "model/scratch.h"

typedef struct hn_attention {
    const hn_kv *kv;
    int layer;
    int n_head, n_head_kv, head_dim;
    int32_t window; /* keys a row sees, itself included; 0 = all */
    float scale;    /* multiplies q k^T */
    const hn_row_place *places;
    const int *order; /* (n_rows) of hn_attention_order */
    int n_rows;
    const float *q; /* (n_rows, n_head * head_dim), rotated */
    float *out;     /* the same shape; not q */
} hn_attention;

void hn_attention_run(hn_compute *compute, const hn_attention *attention);

/* The rows' numbers so that those whose sequences begin with the same blocks of the cache stand
 * next to each other, and go through these blocks together; order (n_rows). */
void hn_attention_order(const hn_kv *kv, const hn_row_place *places, int n_rows, int *order);

/* The keys of a sequence are summed in parts of this many, and the parts' sums in their order: for
 * a few rows of a long sequence the threads share the parts, for many a tile goes through all of
 * them, and both come to the same bits. */
enum { HN_ATTENTION_PART = 256, HN_ATTENTION_PART_BLOCKS = HN_ATTENTION_PART / HN_KV_BLOCK };
/* Rows of a batch up to which the parts may be shared out. */
enum { HN_ATTENTION_SPLIT_ROWS = 8 };
/* A part's sum: the largest score, the sum of weights, then (from HN_KV_LANES on) the weighted sum
 * of values, padded_dim floats. */
enum { HN_PARTIAL_MAX, HN_PARTIAL_SUM };
static inline size_t hn_attention_partial_floats(int padded_dim) {
    return HN_KV_LANES + (size_t)padded_dim;
}
/* Room for the parts' sums of HN_ATTENTION_SPLIT_ROWS rows, in floats. */
size_t hn_attention_partials_floats(const hn_kv *kv, int n_head);

/* Queries of one key-value head, computed together so that each block of keys is read once for all
 * whose sequences hold it there. Private to attention.c and the tile functions. */
enum { HN_ATTENTION_QUERIES = 12 };

/* The keys that the same thread will probably read after a tile: blocks first..last of a table, so
 * that the memory has work while the tile ends; last < first: nothing. */
typedef struct hn_attention_next {
    const int32_t *blocks;
    int head_kv;
    int32_t first, last;
} hn_attention_next;

typedef struct hn_attention_tile {
    const hn_kv *kv;
    int layer, head_kv, head_dim;
    int n_queries;
    const int32_t *blocks[HN_ATTENTION_QUERIES]; /* of the query's sequence */
    const float *q[HN_ATTENTION_QUERIES];
    float *out[HN_ATTENTION_QUERIES]; /* (head_dim); with one_part the part's sum */
    int32_t first_key[HN_ATTENTION_QUERIES], last_key[HN_ATTENTION_QUERIES]; /* inclusive */
    int32_t first_common, end_common; /* blocks that are the same and wholly seen for all */
    float scale;
    bool one_part;
    int32_t part; /* with one_part: which */
    hn_attention_next next;
} hn_attention_tile;

/* What attention needs for an instruction set. */
typedef struct hn_attention_kernels {
    void (*tile)(const hn_attention_tile *tile);
    /* Joins the sums of parts that lie one after another, and divides: out (head_dim). */
    void (*join)(const hn_kv *kv, const float *partials, int n_parts, int head_dim, float *out);
    const hn_kv_codec *codecs; /* by hn_dtype */
} hn_attention_kernels;

const hn_attention_kernels *hn_attention_kernels_get(hn_isa isa);

extern const hn_attention_kernels hn_attention_kernels_portable;
#if defined(__x86_64__)
extern const hn_attention_kernels hn_attention_kernels_avx2;
extern const hn_attention_kernels hn_attention_kernels_avx512;
#elif defined(__aarch64__)
extern const hn_attention_kernels hn_attention_kernels_neon;
#endif
