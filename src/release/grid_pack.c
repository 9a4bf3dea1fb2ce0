/* Codes and scales into the bytes of GGUF's blocks; the inverse of kernels/blocks*.c. */
#include "release/grid.h"

#include <string.h>

static void put_u16(uint8_t *p, uint16_t value) {
    memcpy(p, &value, sizeof value);
}

/* Low nibbles: value i and value i + 16 share a byte. */
static void put_nibbles(uint8_t *p, const uint8_t *codes) {
    for (int i = 0; i < 16; i++)
        p[i] = (uint8_t)((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

static void put_fifth_bits(uint8_t *p, const uint8_t *codes) {
    uint32_t bits = 0;
    for (int i = 0; i < 32; i++)
        bits |= (uint32_t)(codes[i] >> 4 & 1) << i;
    memcpy(p, &bits, sizeof bits);
}

/* f16 scale, f16 minimum, eight 6-bit scales and minima in 12 bytes. */
static void put_k_scales(const hn_grid *grid, uint8_t *b) {
    uint8_t *s = b + 4;
    put_u16(b, grid->d);
    put_u16(b + 2, grid->m);
    for (int j = 0; j < 4; j++) {
        s[j] = (uint8_t)(grid->sub[j] | (grid->sub[j + 4] >> 4) << 6);
        s[j + 4] = (uint8_t)(grid->min[j] | (grid->min[j + 4] >> 4) << 6);
        s[j + 8] = (uint8_t)((grid->sub[j + 4] & 15) | (grid->min[j + 4] & 15) << 4);
    }
}

/* 64 values share 32 bytes: the first 32 in the low nibbles. */
static void put_k_nibbles(uint8_t *p, const uint8_t *codes) {
    for (int i = 0; i < 128; i++) {
        const uint8_t *c = codes + i / 32 * 64 + i % 32;
        p[i] = (uint8_t)((c[0] & 15) | (c[32] & 15) << 4);
    }
}

static void pack_q5_k(const hn_grid *grid, const uint8_t *codes, uint8_t *b) {
    put_k_scales(grid, b);
    put_k_nibbles(b + 48, codes);
    memset(b + 16, 0, 32);
    for (int i = 0; i < 256; i++)
        b[16 + i % 32] |= (uint8_t)((codes[i] >> 4 & 1) << (i / 32));
}

static void pack_q6_k(const hn_grid *grid, const uint8_t *codes, uint8_t *b) {
    memset(b, 0, 192);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, quarter = i % 128 / 32, l = i % 32;
        b[half * 64 + quarter % 2 * 32 + l] |= (uint8_t)((codes[i] & 15) << (quarter / 2 * 4));
        b[128 + half * 32 + l] |= (uint8_t)((codes[i] >> 4) << (quarter * 2));
    }
    for (int g = 0; g < 16; g++)
        b[192 + g] = (uint8_t)(int8_t)grid->sub[g];
    put_u16(b + 208, grid->d);
}

void hn_grid_pack(const hn_grid *grid, const uint8_t *codes, uint8_t *b) {
    put_u16(b, grid->d);
    switch (grid->dtype) {
    case HN_Q8_0:
        for (int i = 0; i < 32; i++)
            b[2 + i] = (uint8_t)(int8_t)(codes[i] - 127);
        break;
    case HN_Q4_0:
        put_nibbles(b + 2, codes);
        break;
    case HN_Q4_1:
        put_u16(b + 2, grid->m);
        put_nibbles(b + 4, codes);
        break;
    case HN_Q5_0:
        put_fifth_bits(b + 2, codes);
        put_nibbles(b + 6, codes);
        break;
    case HN_Q5_1:
        put_u16(b + 2, grid->m);
        put_fifth_bits(b + 4, codes);
        put_nibbles(b + 8, codes);
        break;
    case HN_Q4_K:
        put_k_scales(grid, b);
        put_k_nibbles(b + 16, codes);
        break;
    case HN_Q5_K:
        pack_q5_k(grid, codes, b);
        break;
    default:
        pack_q6_k(grid, codes, b);
        break;
    }
}
