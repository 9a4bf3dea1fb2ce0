/* Blocks of 32 values and plain floats as they lie in files; the 256-value blocks are in
 * blocks_k.c. Scalar and exact: the oracle of every kernel. Geometry: the GGUF format's. */
#include "kernels/blocks.h"

#include "kernels/blocks_k.h"
#include "kernels/layout.h"
#include "kernels/matrix.h"

#include <string.h>

static void split_nibbles(const uint8_t *bytes, uint8_t *code) {
    for (int i = 0; i < 16; i++) {
        code[i] = bytes[i] & 15;
        code[i + 16] = bytes[i] >> 4;
    }
}

static void add_fifth_bits(const uint8_t *high, uint8_t *code) {
    for (int i = 0; i < 32; i++)
        code[i] |= (uint8_t)((high[i / 8] >> (i % 8) & 1) << 4);
}

static void split_q4_0(const uint8_t *b, hn_block_parts *p) {
    p->scale[0] = hn_block_half(b);
    split_nibbles(b + 2, p->code);
}

static void split_q4_1(const uint8_t *b, hn_block_parts *p) {
    p->scale[0] = hn_block_half(b);
    p->min[0] = hn_block_half(b + 2);
    split_nibbles(b + 4, p->code);
}

static void split_q5_0(const uint8_t *b, hn_block_parts *p) {
    p->scale[0] = hn_block_half(b);
    split_nibbles(b + 6, p->code);
    add_fifth_bits(b + 2, p->code);
}

static void split_q5_1(const uint8_t *b, hn_block_parts *p) {
    p->scale[0] = hn_block_half(b);
    p->min[0] = hn_block_half(b + 2);
    split_nibbles(b + 8, p->code);
    add_fifth_bits(b + 4, p->code);
}

static void split_q8_0(const uint8_t *b, hn_block_parts *p) {
    p->scale[0] = hn_block_half(b);
    for (int i = 0; i < 32; i++)
        p->code[i] = b[2 + i] ^ 0x80;
}

/* The non-linear grid of IQ4_NL. */
static const int8_t IQ4_NL_VALUES[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                         1,    13,   25,  38,  53,  69,  89,  113};

static void split_iq4_nl(const uint8_t *b, hn_block_parts *p) {
    p->scale[0] = hn_block_half(b);
    split_nibbles(b + 2, p->code);
    for (int i = 0; i < 32; i++)
        p->code[i] = (uint8_t)(IQ4_NL_VALUES[p->code[i]] + 128);
}

typedef void split_fn(const uint8_t *block, hn_block_parts *parts);

static split_fn *const SPLIT[HN_DTYPE_COUNT] = {
    [HN_Q4_0] = split_q4_0,        [HN_Q4_1] = split_q4_1,        [HN_Q5_0] = split_q5_0,
    [HN_Q5_1] = split_q5_1,        [HN_Q8_0] = split_q8_0,        [HN_IQ4_NL] = split_iq4_nl,
    [HN_Q2_K] = hn_block_split_q2, [HN_Q3_K] = hn_block_split_q3, [HN_Q4_K] = hn_block_split_q4,
    [HN_Q5_K] = hn_block_split_q5, [HN_Q6_K] = hn_block_split_q6,
};

const hn_layout HN_LAYOUTS[HN_DTYPE_COUNT] = {
#define X(id, bits, subs, scale, min, off) [HN_##id] = {bits, subs, scale, min, off},
    HN_LAYOUT_LIST(X)
#undef X
        [HN_F16] = {.code_bits = 16},
    [HN_BF16] = {.code_bits = 16},
    [HN_F32] = {.code_bits = 32},
};

void hn_block_split(hn_dtype dtype, const uint8_t *block, hn_block_parts *parts) {
    memset(parts->min, 0, sizeof parts->min);
    SPLIT[dtype](block, parts);
}

static void dequantise_floats(hn_dtype dtype, const uint8_t *data, int64_t n, float *out) {
    if (dtype == HN_F32) {
        memcpy(out, data, (size_t)n * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < n; i++, data += 2)
        out[i] = dtype == HN_F16 ? hn_block_half(data) : hn_bf16_to_f32(hn_block_u16(data));
}

void hn_blocks_dequantise(hn_dtype dtype, const void *blocks, int64_t n, float *out) {
    if (!hn_dtype_is_quantised(dtype)) {
        dequantise_floats(dtype, blocks, n, out);
        return;
    }
    const hn_dtype_info *info = hn_dtype_get(dtype);
    const hn_layout l = HN_LAYOUTS[dtype];
    const int sub_values = HN_UNIT_COLS / l.sub_blocks;
    const uint8_t *p = blocks;
    hn_block_parts parts;
    for (int64_t i = 0; i < n; i += info->block_values, p += info->block_bytes) {
        hn_block_split(dtype, p, &parts);
        for (int v = 0; v < (int)info->block_values; v++) {
            float value = parts.scale[v / sub_values] * (float)(parts.code[v] - l.offset);
            out[i + v] = l.has_min ? value + parts.min[v / sub_values] : value;
        }
    }
}
