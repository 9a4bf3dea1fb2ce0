/* Rows of a file to rows of the packed layout. Loading a model is mostly this, so codes move four
 * at a time: a dword of a file's block is a dword of the layout for every type with blocks of 32.
 * That is as fast as memory, without an instruction set of its own. */
#include "kernels/pack_rows.h"

#include "kernels/blocks.h"
#include "kernels/blocks_k.h"
#include "kernels/layout.h"
#include "kernels/matrix.h"

#include <math.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    ROW_BYTES = 4,                            /* of a row's codes in a register of the layout */
    REGISTER_BYTES = HN_UNIT_ROWS * ROW_BYTES /* 4 columns of 16 rows */
};

INLINE uint32_t load32(const uint8_t *p) {
    uint32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

INLINE void store32(uint8_t *p, uint32_t value) {
    memcpy(p, &value, sizeof value);
}

INLINE bool half_is_finite(uint16_t half) {
    return (half & 0x7c00) != 0x7c00;
}

/* Copies an f16 scale or minimum. */
INLINE bool copy_half(const uint8_t *src, uint8_t *scales, int sub, int row) {
    uint16_t half = hn_block_u16(src);
    memcpy(scales + (size_t)(sub * HN_UNIT_ROWS + row) * sizeof half, &half, sizeof half);
    return half_is_finite(half);
}

INLINE uint32_t swap_bits(uint32_t x, uint32_t mask, int distance) {
    uint32_t t = ((x >> distance) ^ x) & mask;
    return x ^ t ^ (t << distance);
}

/* The fifth bits of 32 columns: from bit 16h + 4j + c of a file to bit 8c + 4h + j of the layout,
 * by exchanging two bits of the position at a time. */
INLINE uint32_t spread_fifth_bits(uint32_t x) {
    x = swap_bits(x, 0x0000cccc, 14);   /* position bits 4 and 1 */
    x = swap_bits(x, 0x00aa00aa, 7);    /* 3 and 0 */
    x = swap_bits(x, 0x0c0c0c0c, 2);    /* 2 and 1 */
    return swap_bits(x, 0x22222222, 1); /* 1 and 0 */
}

/* Where a type with blocks of 32 keeps its minimum, fifth bits and codes in a block, which begins
 * with the scale; -1 = it has none. */
typedef struct block_format {
    int min, high, codes;
} block_format;

/* No codes: the type has no such simple format. */
INLINE block_format format_of(hn_dtype dtype) {
    switch (dtype) {
    case HN_Q4_0:
    case HN_Q8_0:
        return (block_format){-1, -1, 2};
    case HN_Q4_1:
        return (block_format){2, -1, 4};
    case HN_Q5_0:
        return (block_format){-1, 2, 6};
    case HN_Q5_1:
        return (block_format){2, 4, 8};
    default:
        return (block_format){-1, -1, -1};
    }
}

INLINE bool pack_blocks_32(hn_dtype dtype, hn_layout l, const uint8_t *src, int64_t n_blocks,
                           uint8_t *group, int row) {
    const block_format f = format_of(dtype);
    const size_t block_bytes = hn_dtype_get(dtype)->block_bytes;
    const int registers = l.code_bits == 8 ? 8 : 4;
    bool finite = true;
    for (int64_t b = 0; b < n_blocks; b++, src += block_bytes) {
        uint8_t *unit = group + (size_t)(b / HN_UNIT_BLOCKS) * hn_layout_unit_bytes(l);
        const int half = (int)(b % HN_UNIT_BLOCKS);
        finite &= copy_half(src, unit, half, row);
        if (f.min >= 0)
            finite &= copy_half(src + f.min, unit + hn_layout_scales_bytes(l), half, row);
        if (f.high >= 0)
            store32(unit + hn_layout_high_offset(l) + half * REGISTER_BYTES + row * ROW_BYTES,
                    spread_fifth_bits(load32(src + f.high)));
        uint8_t *out = unit + hn_layout_codes_offset(l) + (size_t)half * hn_layout_block_bytes(l) +
                       (size_t)row * ROW_BYTES;
        for (int j = 0; j < registers; j++)
            store32(out + j * REGISTER_BYTES,
                    load32(src + f.codes + j * 4) ^ (l.code_bits == 8 ? 0x80808080u : 0));
    }
    return finite;
}

/* A scale or minimum: `value`, or for K types d * factor. */
INLINE void store_scale(hn_layout l, uint8_t *scales, int sub, int row, float value, uint16_t d,
                        int8_t factor) {
    const size_t at = (size_t)(sub * HN_UNIT_ROWS + row);
    if (l.scale_bytes == 2) {
        uint16_t half = hn_f32_to_f16(value);
        memcpy(scales + at * sizeof half, &half, sizeof half);
    } else {
        memcpy(scales + (size_t)row * sizeof d, &d, sizeof d);
        scales[HN_UNIT_FACTORS + at] = (uint8_t)factor;
    }
}

/* 32 codes of one row, a byte each, into a block of a unit. */
INLINE void store_codes(hn_layout l, uint8_t *unit, int block, int row, const uint8_t *code) {
    uint8_t *out = unit + hn_layout_codes_offset(l) + (size_t)block * hn_layout_block_bytes(l) +
                   (size_t)row * ROW_BYTES;
    if (l.code_bits == 8) {
        for (int j = 0; j < 8; j++)
            store32(out + j * REGISTER_BYTES, load32(code + j * 4));
        return;
    }
    uint32_t high = 0, pairs[2] = {0};
    for (int j = 0; j < 4; j++) {
        uint32_t first = load32(code + j * 4), second = load32(code + 16 + j * 4);
        store32(out + j * REGISTER_BYTES, (first & 0x0f0f0f0f) | (second & 0x0f0f0f0f) << 4);
        high |= (first >> 4 & 0x01010101) << j | (second >> 4 & 0x01010101) << (4 + j);
        pairs[0] |= (first >> 4 & 0x03030303) << (2 * j);
        pairs[1] |= (second >> 4 & 0x03030303) << (2 * j);
    }
    if (l.code_bits == 5)
        store32(unit + hn_layout_high_offset(l) + block * REGISTER_BYTES + row * ROW_BYTES, high);
    for (int h = 0; h < 2 && l.code_bits == 6; h++)
        store32(unit + hn_layout_high_offset(l) + (block * 2 + h) * REGISTER_BYTES +
                    row * ROW_BYTES,
                pairs[h]);
}

/* Any quantised type, by way of hn_block_split. */
INLINE bool pack_blocks(hn_dtype dtype, hn_layout l, const uint8_t *src, int64_t cols,
                        uint8_t *group, int row) {
    const hn_dtype_info *info = hn_dtype_get(dtype);
    const int sub_values = HN_UNIT_COLS / l.sub_blocks;
    bool finite = true;
    hn_block_parts parts;
    for (int64_t col = 0; col < cols; col += info->block_values, src += info->block_bytes) {
        hn_block_split(dtype, src, &parts);
        for (int i = 0; i < (int)info->block_values; i += HN_BLOCK_COLS) {
            uint8_t *unit = group + (size_t)((col + i) / HN_UNIT_COLS) * hn_layout_unit_bytes(l);
            int at = (int)((col + i) % HN_UNIT_COLS); /* 0 or 32 */
            store_codes(l, unit, at / HN_BLOCK_COLS, row, parts.code + i);
            for (int v = 0; v < HN_BLOCK_COLS; v += sub_values) {
                int s = (i + v) / sub_values, sub = (at + v) / sub_values;
                finite &= isfinite(parts.scale[s]) && isfinite(parts.min[s]);
                store_scale(l, unit, sub, row, parts.scale[s], parts.d, parts.factor[s]);
                if (l.has_min)
                    store_scale(l, unit + hn_layout_scales_bytes(l), sub, row, parts.min[s],
                                parts.d_min, parts.min_factor[s]);
            }
        }
    }
    return finite;
}

INLINE bool pack_halves(const uint8_t *src, int64_t cols, uint16_t exponent, uint8_t *group,
                        int row) {
    bool finite = true;
    for (int64_t col = 0; col < cols; col++, src += 2) {
        uint16_t bits = hn_block_u16(src);
        finite &= (bits & exponent) != exponent;
        memcpy(group + (size_t)(col * HN_UNIT_ROWS + row) * 2, &bits, 2);
    }
    return finite;
}

static bool pack_F32(const uint8_t *src, int64_t cols, uint8_t *group, int row) {
    const uint32_t exponent = 0x7f800000;
    bool finite = true;
    for (int64_t col = 0; col < cols; col++, src += 4) {
        uint32_t bits = load32(src);
        finite &= (bits & exponent) != exponent;
        store32(group + (size_t)(col * HN_UNIT_ROWS + row) * 4, bits);
    }
    return finite;
}

#define X(id, bits, subs, scale, min, off)                                                         \
    static bool pack_##id(const uint8_t *src, int64_t cols, uint8_t *group, int row) {             \
        const hn_layout l = {bits, subs, scale, min, off};                                         \
        if (format_of(HN_##id).codes >= 0)                                                         \
            return pack_blocks_32(HN_##id, l, src, cols / HN_BLOCK_COLS, group, row);              \
        return pack_blocks(HN_##id, l, src, cols, group, row);                                     \
    }
HN_LAYOUT_LIST(X)
#undef X

static bool pack_F16(const uint8_t *src, int64_t cols, uint8_t *group, int row) {
    return pack_halves(src, cols, 0x7c00, group, row);
}

static bool pack_BF16(const uint8_t *src, int64_t cols, uint8_t *group, int row) {
    return pack_halves(src, cols, 0x7f80, group, row);
}

bool hn_pack_row(hn_dtype dtype, const uint8_t *src, int64_t cols, uint8_t *group, int row) {
    typedef bool pack_fn(const uint8_t *src, int64_t cols, uint8_t *group, int row);
    static pack_fn *const PACK[HN_DTYPE_COUNT] = {
#define X(id, ...) [HN_##id] = pack_##id,
        HN_DTYPE_LIST(X)
#undef X
    };
    return PACK[dtype](src, cols, group, row);
}

int64_t hn_find_bad_column(hn_dtype dtype, const uint8_t *src, int64_t cols) {
    const hn_dtype_info *info = hn_dtype_get(dtype);
    float values[HN_BLOCK_VALUES_MAX];
    for (int64_t col = 0; col < cols; col += info->block_values, src += info->block_bytes) {
        hn_blocks_dequantise(dtype, src, info->block_values, values);
        for (int i = 0; i < (int)info->block_values; i++)
            if (!isfinite(values[i]))
                return col + i;
    }
    return -1;
}
