/* How the cache holds keys and values: the types there are, what they take, and the functions that
 * write and read them. A type of its own is a row in each instruction set's table of codecs
 * (kv_codec.h) and one in KV_TYPES (kv_type.c); nothing else knows one from another.
 *
 * Keys of one head and 32 positions lie as (dim, 32), so that scores of 32 keys are one vector
 * loop; values as (32, dim). Quantised rows are cut into groups of 32 dimensions with an f16 scale
 * each, as GGUF's q8_0 and q4_0 are; the scales (groups, 32) come first in the block, then the
 * codes. q4_0 holds two dimensions a byte, half a group apart, so that a position's bytes are its
 * own. */
#pragma once

#include "base/dtype.h"
#include "model/arch.h"

enum {
    HN_KV_BLOCK = 32, /* positions of a block */
    HN_KV_LANES = 8,  /* rows are padded with zeros to whole vectors */
    HN_KV_GROUP = 32, /* dimensions that share a scale */
    HN_KV_TILE = HN_KV_BLOCK * HN_ARCH_MAX_HEAD_DIM, /* floats of a block of one head, at most */
};

/* f32, f16, q8_0 and q4_0. */
bool hn_kv_type_supported(hn_dtype type);
/* The type called `name`; HN_USAGE lists those that there are. */
HN_MUST_CHECK hn_status hn_kv_type_parse(const char *name, hn_dtype *type, hn_error *err);
/* Bytes of K (or V) of one head and block; `dim` is a multiple of HN_KV_LANES. */
size_t hn_kv_type_block_bytes(hn_dtype type, int dim);
static inline int hn_kv_padded_dim(int head_dim) {
    return (head_dim + HN_KV_LANES - 1) / HN_KV_LANES * HN_KV_LANES;
}
/* Bytes of cache that one position takes in all layers. */
uint64_t hn_kv_type_bytes_per_token(hn_dtype type, const hn_arch *arch);

/* The scales (groups, 32) of a block, as f16: a value is its code times its group's scale. NULL for
 * types without. */
static inline const uint16_t *hn_kv_type_scales(hn_dtype type, const uint8_t *block) {
    return hn_dtype_is_quantised(type) ? (const uint16_t *)(const void *)block : NULL;
}

/* Blocks are of one head; dim as above; x (dim). What is put is finite afterwards: f16 ends at
 * 65504, NaN becomes a number. */
typedef struct hn_kv_codec {
    void (*put_k)(uint8_t *block, const float *x, int dim, int slot);
    void (*put_v)(uint8_t *block, const float *x, int dim, int slot);
    /* The block as f32, (dim, 32), without the scales; in `tile` or in the block itself. */
    const float *(*get_k)(const uint8_t *block, int dim, float *tile);
    /* Rows first..last of (32, dim), without the scales; the others are anything. */
    const float *(*get_v)(const uint8_t *block, int dim, int first, int last, float *tile);
    /* Turns a query as the keys are held, or an output back; NULL = as they are. */
    void (*turn)(float *x, int dim);
} hn_kv_codec;
