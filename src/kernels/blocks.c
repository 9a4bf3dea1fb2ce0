/* Blocks as they lie in GGUF files, to floats. Scalar and exact: the oracle of every kernel. */
#include "kernels/matrix.h"

#include <string.h>

static uint16_t load_u16(const uint8_t *p) {
    uint16_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

static float load_half(const uint8_t *p) {
    return hn_f16_to_f32(load_u16(p));
}

static void q8_0_block(const uint8_t *b, float *out) {
    float d = load_half(b);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)(int8_t)b[2 + i];
}

static void q4_0_block(const uint8_t *b, float *out) {
    float d = load_half(b);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((b[2 + i] & 15) - 8);
        out[i + 16] = d * (float)((b[2 + i] >> 4) - 8);
    }
}

static void q4_1_block(const uint8_t *b, float *out) {
    float d = load_half(b), m = load_half(b + 2);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)(b[4 + i] & 15) + m;
        out[i + 16] = d * (float)(b[4 + i] >> 4) + m;
    }
}

static void f32_block(const uint8_t *b, float *out) {
    memcpy(out, b, sizeof *out);
}

static void f16_block(const uint8_t *b, float *out) {
    *out = load_half(b);
}

static void bf16_block(const uint8_t *b, float *out) {
    *out = hn_bf16_to_f32(load_u16(b));
}

typedef void block_fn(const uint8_t *block, float *out);

static block_fn *const BLOCK[HN_DTYPE_COUNT] = {
    [HN_F32] = f32_block,   [HN_F16] = f16_block,   [HN_BF16] = bf16_block,
    [HN_Q8_0] = q8_0_block, [HN_Q4_0] = q4_0_block, [HN_Q4_1] = q4_1_block,
};

void hn_blocks_dequantise(hn_dtype dtype, const void *blocks, int64_t n, float *out) {
    const hn_dtype_info *info = hn_dtype_get(dtype);
    const uint8_t *p = blocks;
    for (int64_t i = 0; i < n; i += info->block_values, p += info->block_bytes)
        BLOCK[dtype](p, out + i);
}
