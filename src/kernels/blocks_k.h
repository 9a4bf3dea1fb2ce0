/* Super-blocks of 256 values (GGUF's K types), taken apart; called through blocks.h. */
#pragma once

#include "kernels/blocks.h"

#include <string.h>

static inline uint16_t hn_block_u16(const uint8_t *p) {
    uint16_t value;
    memcpy(&value, p, sizeof value);
    return value;
}
static inline float hn_block_half(const uint8_t *p) {
    return hn_f16_to_f32(hn_block_u16(p));
}

void hn_block_split_q2(const uint8_t *block, hn_block_parts *parts);
void hn_block_split_q3(const uint8_t *block, hn_block_parts *parts);
void hn_block_split_q4(const uint8_t *block, hn_block_parts *parts);
void hn_block_split_q5(const uint8_t *block, hn_block_parts *parts);
void hn_block_split_q6(const uint8_t *block, hn_block_parts *parts);
