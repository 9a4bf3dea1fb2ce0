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
    int n_rows;
    const float *q; /* (n_rows, n_head * head_dim), rotated */
    float *out;     /* the same shape; not q */
} hn_attention;

void hn_attention_run(hn_compute *compute, const hn_attention *attention);

/* Queries of one sequence and one key-value head, computed together so that each block of keys is
 * read once. Private to attention.c and the tile functions. */
enum { HN_ATTENTION_QUERIES = 12 };
typedef struct hn_attention_tile {
    const hn_kv *kv;
    const int32_t *blocks;
    int layer, head_kv, head_dim;
    int n_queries;
    const float *q[HN_ATTENTION_QUERIES];
    float *out[HN_ATTENTION_QUERIES];
    int32_t first_key[HN_ATTENTION_QUERIES], last_key[HN_ATTENTION_QUERIES]; /* inclusive */
    float scale;
} hn_attention_tile;

typedef void hn_attention_tile_fn(const hn_attention_tile *tile);
hn_attention_tile_fn hn_attention_tile_portable;
#if defined(__x86_64__)
hn_attention_tile_fn hn_attention_tile_avx2;
#endif
