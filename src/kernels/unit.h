/* Scalar access to one unit of the packed layout (layout.h): used to pack, to read single rows, and
 * by the scalar kernels. */
#pragma once

#include "kernels/layout.h"

#include <string.h>

static inline float hn_unit_scale_at(hn_layout l, const uint8_t *scales, int sub, int row) {
    const size_t at = (size_t)(sub * HN_UNIT_ROWS + row);
    uint16_t half;
    memcpy(&half, scales + (l.scale_bytes == 2 ? at : (size_t)row) * sizeof half, sizeof half);
    const float value = hn_f16_to_f32(half);
    return l.scale_bytes == 2 ? value : value * (float)(int8_t)scales[HN_UNIT_FACTORS + at];
}

static inline float hn_unit_scale(hn_layout l, const uint8_t *unit, int sub, int row) {
    return hn_unit_scale_at(l, unit, sub, row);
}

/* Zero where the type has no minima. */
static inline float hn_unit_min(hn_layout l, const uint8_t *unit, int sub, int row) {
    return l.has_min ? hn_unit_scale_at(l, unit + hn_layout_scales_bytes(l), sub, row) : 0;
}

/* The code of column `col` (0 to 63) of row `row`. */
static inline int hn_unit_code(hn_layout l, const uint8_t *unit, int row, int col) {
    int block = col / HN_BLOCK_COLS, i = col % HN_BLOCK_COLS;
    const uint8_t *codes =
        unit + hn_layout_codes_offset(l) + (size_t)block * hn_layout_block_bytes(l);
    if (l.code_bits == 8)
        return codes[i / 4 * 64 + row * 4 + i % 4];
    int high_half = i / 16, j = i % 16 / 4, c = i % 4;
    int code = codes[j * 64 + row * 4 + c] >> (4 * high_half) & 15;
    if (l.code_bits == 5) {
        uint8_t high = unit[hn_layout_high_offset(l) + (size_t)(block * 64 + row * 4 + c)];
        code |= (high >> (j + 4 * high_half) & 1) << 4;
    }
    if (l.code_bits == 6) {
        const uint8_t *high = unit + hn_layout_high_offset(l) + block * 128 + high_half * 64;
        code |= (high[row * 4 + c] >> (2 * j) & 3) << 4;
    }
    return code;
}

static inline int hn_unit_sub(hn_layout l, int col) {
    return col * l.sub_blocks / HN_UNIT_COLS;
}

/* The value of a column of a quantised unit; exactly what hn_blocks_dequantise gives. */
static inline float hn_unit_value(hn_layout l, const uint8_t *unit, int row, int col) {
    int sub = hn_unit_sub(l, col);
    float value =
        hn_unit_scale(l, unit, sub, row) * (float)(hn_unit_code(l, unit, row, col) - l.offset);
    return l.has_min ? value + hn_unit_min(l, unit, sub, row) : value;
}

/* The value of a column of a unit of a float type. */
static inline float hn_unit_float(hn_dtype dtype, const void *unit, int row, int col) {
    size_t i = (size_t)col * HN_UNIT_ROWS + (size_t)row;
    if (dtype == HN_F32)
        return ((const float *)unit)[i];
    uint16_t bits = ((const uint16_t *)unit)[i];
    return dtype == HN_F16 ? hn_f16_to_f32(bits) : hn_bf16_to_f32(bits);
}
