/* Blocks of quantised dtypes as they lie in GGUF files, taken apart into codes and scales. */
#pragma once

#include "base/dtype.h"

enum { HN_BLOCK_VALUES_MAX = 256, HN_BLOCK_SUBS_MAX = 16 };

/* Value i of a block is scale[s] * (code[i] - offset) + min[s], s = i / sub_values; offset and
 * sub_values belong to the dtype (layout.h). scale * code is always exact in f32 (at most 24 bits),
 * so that a fused and an unfused evaluation give the same bits. */
typedef struct hn_block_parts {
    uint8_t code[HN_BLOCK_VALUES_MAX];
    float scale[HN_BLOCK_SUBS_MAX];
    float min[HN_BLOCK_SUBS_MAX]; /* zero where the dtype has none */
    /* K types: what these are made of, scale = d * factor and min = d_min * min_factor. */
    uint16_t d, d_min; /* f16 */
    int8_t factor[HN_BLOCK_SUBS_MAX], min_factor[HN_BLOCK_SUBS_MAX];
} hn_block_parts;

/* `dtype` must be quantised. */
void hn_block_split(hn_dtype dtype, const uint8_t *block, hn_block_parts *parts);
