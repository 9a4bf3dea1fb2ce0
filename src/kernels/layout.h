/* The packed layout of weights: one for all instruction sets (spec/kernels.md).
 *
 * A matrix is a sequence of groups of 16 rows, a group a sequence of units of 16 rows x 64 columns,
 * each unit contiguous and aligned to 64 bytes. Rows are padded to 16 and columns to 64 with zeros.
 * A unit of a quantised type is
 *
 *     scales    [sub_blocks][16] f16; K types: [16] f16, then [sub_blocks][16] int8 that multiply
 *               the row's f16, as in the file
 *     minima    the same, where the type has them; then zeros up to 64 bytes
 *     high bits [2][16][4] where codes have 5 bits, [2][2][16][4] where they have 6
 *     codes     [2][4 or 8][16][4]
 *
 * The leading 2 of codes counts blocks of 32 columns. For 4-bit codes byte (j, r, c) of a block
 * holds column 4j + c of row r in its low and column 16 + 4j + c in its high nibble; the byte of
 * high bits (r, c) holds the fifth bit of column 4j + c in bit j and that of 16 + 4j + c in bit
 * 4 + j. For 6-bit codes byte (h, r, c) of the high bits holds bits 4 and 5 of column 16h + 4j + c
 * in its bits 2j and 2j + 1. For 8-bit codes byte (q, r, c) is column 4q + c of row r. A unit of a
 * float type is [64 columns][16 rows] values of that type. */
#pragma once

#include "base/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* Of what is written here. Packed weights are kept in files between runs: whoever changes where
     * a bit of them lies adds 1. */
    HN_LAYOUT_VERSION = 2,
    HN_UNIT_ROWS = 16,
    HN_UNIT_COLS = 64,
    HN_UNIT_BLOCKS = 2, /* of 32 columns */
    HN_BLOCK_COLS = 32,
};

typedef struct hn_layout {
    uint8_t code_bits;   /* 4, 5, 6, 8; 16 and 32: a float type */
    uint8_t sub_blocks;  /* scales a row and unit: 2 (of 32 columns) or 4 (of 16); 0: float */
    uint8_t scale_bytes; /* a sub-block and row: 2: f16, 1: int8 beside an f16 a row */
    bool has_min;
    int16_t offset; /* value = scale * (code - offset) + min */
} hn_layout;

/* X(dtype, code_bits, sub_blocks, scale_bytes, has_min, offset): the quantised types. Codes of
 * Q8_0 and IQ4_NL are the signed values XOR 0x80. */
#define HN_LAYOUT_LIST(X)                                                                          \
    X(Q4_0, 4, 2, 2, false, 8)                                                                     \
    X(Q4_1, 4, 2, 2, true, 0)                                                                      \
    X(Q5_0, 5, 2, 2, false, 16)                                                                    \
    X(Q5_1, 5, 2, 2, true, 0)                                                                      \
    X(Q8_0, 8, 2, 2, false, 128)                                                                   \
    X(Q2_K, 4, 4, 1, true, 0)                                                                      \
    X(Q3_K, 4, 4, 1, false, 4)                                                                     \
    X(Q4_K, 4, 2, 1, true, 0)                                                                      \
    X(Q5_K, 5, 2, 1, true, 0)                                                                      \
    X(Q6_K, 6, 4, 1, false, 32)                                                                    \
    X(IQ4_NL, 8, 2, 2, false, 128)

extern const hn_layout HN_LAYOUTS[HN_DTYPE_COUNT];

static inline int64_t hn_round_up(int64_t n, int64_t grain) {
    return (n + grain - 1) / grain * grain;
}

static inline int64_t hn_min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Where a K type's int8 lie within its scales or minima. */
enum { HN_UNIT_FACTORS = HN_UNIT_ROWS * 2 };

static inline size_t hn_layout_scales_bytes(hn_layout l) {
    return (size_t)l.sub_blocks * HN_UNIT_ROWS * l.scale_bytes +
           (l.scale_bytes == 1 ? HN_UNIT_FACTORS : 0);
}
static inline size_t hn_layout_high_offset(hn_layout l) {
    return (size_t)hn_round_up((int64_t)hn_layout_scales_bytes(l) * (l.has_min ? 2 : 1), 64);
}
static inline size_t hn_layout_codes_offset(hn_layout l) {
    const size_t high = l.code_bits == 5 ? 1 : l.code_bits == 6 ? 2 : 0;
    return hn_layout_high_offset(l) + high * HN_UNIT_BLOCKS * HN_UNIT_ROWS * 4;
}
/* Bytes of the codes of one block of 32 columns, without high bits. */
static inline size_t hn_layout_block_bytes(hn_layout l) {
    return l.code_bits == 8 ? 512 : 256;
}
static inline size_t hn_layout_unit_bytes(hn_layout l) {
    if (l.sub_blocks == 0)
        return (size_t)HN_UNIT_ROWS * HN_UNIT_COLS * l.code_bits / 8;
    return hn_layout_codes_offset(l) + HN_UNIT_BLOCKS * hn_layout_block_bytes(l);
}
static inline int64_t hn_layout_units(int64_t cols) {
    return (cols + HN_UNIT_COLS - 1) / HN_UNIT_COLS;
}
static inline size_t hn_layout_group_bytes(hn_layout l, int64_t cols) {
    return hn_layout_unit_bytes(l) * (size_t)hn_layout_units(cols);
}
