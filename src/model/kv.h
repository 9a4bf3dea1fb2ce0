/* The paged KV cache's inside, shared by kv.c, forward and attention. A block holds 32 consecutive
 * positions of one sequence for all layers: per layer K of each head, then V of each head, as
 * kv_type.h lays them out. */
#pragma once

#include "model/kv_type.h"
#include "model/model.h"

/* Of a sequence that nobody may reuse. */
#define HN_KV_MIXED_ADAPTERS UINT64_MAX

typedef struct hn_kv_seq {
    int32_t *blocks;      /* indices into the cache's blocks */
    int32_t length;       /* positions held */
    int32_t n_remembered; /* blocks, from the first on, that the prefix tree knows (prefix.h) */
    uint64_t adapter_id;  /* HN_KV_MIXED_ADAPTERS: rows of different ones wrote to it */
} hn_kv_seq;

struct hn_kv {
    int n_seqs, n_layer;
    int32_t n_blocks, n_free;
    hn_dtype type;
    int padded_dim;     /* head_dim rounded up to HN_KV_LANES */
    size_t head_bytes;  /* of K (or V) of one head and block */
    size_t layer_bytes; /* of K and V of one layer and block */
    size_t block_bytes;
    int n_head_kv;
    uint8_t *data; /* n_blocks * block_bytes */
    size_t data_bytes;
    int32_t *refs;   /* holds on each block: of sequences, and of the prefix tree */
    int32_t *free;   /* stack of n_free block numbers */
    int32_t *tokens; /* (n_blocks, 32): the token at each position */
    hn_kv_seq *seqs;
    int32_t *lengths_before; /* (n_seqs) of the forward pass at hand, to go back to */
    int32_t *seq_blocks;     /* (n_seqs, n_blocks), what seqs[].blocks point into */
    int32_t n_touched; /* blocks from 0 on that were ever written to: memory is had for these */
    struct hn_prefix *prefix; /* beginnings that are remembered; NULL = none are */
    float *partials;          /* attention's sums of parts */
    size_t partials_bytes;
};

static inline int32_t hn_kv_blocks_of(int32_t length) {
    return (length + HN_KV_BLOCK - 1) / HN_KV_BLOCK;
}
/* K of one head in a block; its V lies n_head_kv heads further on. */
static inline uint8_t *hn_kv_k(const hn_kv *kv, int32_t block, int layer, int head) {
    return kv->data + (size_t)block * kv->block_bytes + (size_t)layer * kv->layer_bytes +
           (size_t)head * kv->head_bytes;
}
static inline uint8_t *hn_kv_v(const hn_kv *kv, int32_t block, int layer, int head) {
    return hn_kv_k(kv, block, layer, head) + (size_t)kv->n_head_kv * kv->head_bytes;
}

/* One hold more or less on a block; without any it is free. */
void hn_kv_hold(hn_kv *kv, int32_t block);
void hn_kv_let_go(hn_kv *kv, int32_t block);

/* Adds one position for `token` to the sequence: takes a fresh block or copies a shared one first.
 * HN_NO_MEMORY when no block is free and none is only remembered. */
HN_MUST_CHECK hn_status hn_kv_append(hn_kv *kv, int seq, int32_t token, uint64_t adapter_id,
                                     hn_error *err);
