/* The K types: 256 values with 8 or 16 sub-blocks whose scales are small integers times one or two
 * f16. Byte positions inside a block are the GGUF format's. */
#include "kernels/blocks_k.h"

/* The scales and minima from their factors; the file subtracts minima. */
static void multiply_scales(const uint8_t *d, const uint8_t *d_min, int n, hn_block_parts *p) {
    p->d = hn_block_u16(d);
    p->d_min = d_min ? hn_block_u16(d_min) ^ 0x8000 : 0;
    for (int s = 0; s < n; s++) {
        p->scale[s] = hn_f16_to_f32(p->d) * (float)p->factor[s];
        if (d_min)
            p->min[s] = hn_f16_to_f32(p->d_min) * (float)p->min_factor[s];
    }
}

/* 16 scales [16], 64 bytes of 2-bit codes, f16 scale, f16 min. */
void hn_block_split_q2(const uint8_t *b, hn_block_parts *p) {
    const uint8_t *codes = b + 16;
    for (int s = 0; s < 16; s++) {
        p->factor[s] = (int8_t)(b[s] & 15);
        p->min_factor[s] = (int8_t)(b[s] >> 4);
    }
    multiply_scales(b + 80, b + 82, 16, p);
    for (int i = 0; i < 256; i++)
        p->code[i] = codes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

/* 32 bytes of high bits, 64 bytes of 2-bit codes, 12 bytes of 6-bit scales, f16 scale. */
void hn_block_split_q3(const uint8_t *b, hn_block_parts *p) {
    const uint8_t *high = b, *codes = b + 32, *scales = b + 96;
    for (int s = 0; s < 16; s++) {
        int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4;
        int top = scales[8 + s % 4] >> (s / 4 * 2) & 3;
        p->factor[s] = (int8_t)((low | top << 4) - 32);
    }
    multiply_scales(b + 108, NULL, 16, p);
    for (int i = 0; i < 256; i++) {
        int low = codes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        int top = high[i % 32] >> (i / 32) & 1;
        p->code[i] = (uint8_t)(low | top << 2);
    }
}

/* Eight 6-bit scales and minima in 12 bytes, as Q4_K and Q5_K hold them. */
static void split_scales_6(const uint8_t *b, hn_block_parts *p) {
    const uint8_t *s = b + 4;
    for (int j = 0; j < 8; j++) {
        int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        int min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
        p->factor[j] = (int8_t)scale;
        p->min_factor[j] = (int8_t)min;
    }
    multiply_scales(b, b + 2, 8, p);
}

/* f16 scale, f16 min, 12 bytes of scales, 128 bytes of 4-bit codes. */
void hn_block_split_q4(const uint8_t *b, hn_block_parts *p) {
    split_scales_6(b, p);
    for (int i = 0; i < 256; i++)
        p->code[i] = b[16 + i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15;
}

/* As Q4_K, with 32 bytes of fifth bits before the codes. */
void hn_block_split_q5(const uint8_t *b, hn_block_parts *p) {
    split_scales_6(b, p);
    for (int i = 0; i < 256; i++) {
        int low = b[48 + i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15;
        int top = b[16 + i % 32] >> (i / 32) & 1;
        p->code[i] = (uint8_t)(low | top << 4);
    }
}

/* 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales, f16 scale. */
void hn_block_split_q6(const uint8_t *b, hn_block_parts *p) {
    memcpy(p->factor, b + 192, sizeof p->factor);
    multiply_scales(b + 208, NULL, 16, p);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, quarter = i % 128 / 32, l = i % 32;
        int low = b[half * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
        int top = b[128 + half * 32 + l] >> (quarter * 2) & 3;
        p->code[i] = (uint8_t)(low | top << 4);
    }
}
