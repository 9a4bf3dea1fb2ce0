/* Tile instructions and bf16 products in plain C, from their definitions (Intel SDM volume 2:
 * LDTILECFG, TILELOADD, TILESTORED, TDPBSUD, TDPBF16PS, VDPBF16PS, VCVTNEPS2BF16). What a processor
 * would refuse ends the test: shapes that don't fit, tiles that weren't set up. */
#ifndef HN_TESTS_EMULATED_TILES_H
#define HN_TESTS_EMULATED_TILES_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HN_EMULATED_TILES = 8 };

typedef struct hn_emulated_tile {
    int rows, row_bytes;
    uint8_t data[16][64];
} hn_emulated_tile;

static _Thread_local hn_emulated_tile hn_emulated_tiles[HN_EMULATED_TILES];
static _Thread_local int hn_emulated_ready;

static inline void hn_emulated_refuse(const char *why) {
    printf("FAILED an emulated tile instruction would fault: %s\n", why);
    exit(1);
}

static inline hn_emulated_tile *hn_emulated_at(int tile) {
    if (!hn_emulated_ready || tile < 0 || tile >= HN_EMULATED_TILES ||
        hn_emulated_tiles[tile].rows == 0)
        hn_emulated_refuse("a tile that isn't set up");
    return &hn_emulated_tiles[tile];
}

static inline void hn_emulated_loadconfig(const void *from) {
    const uint8_t *config = from;
    if (config[0] != 1 || config[1] != 0)
        hn_emulated_refuse("palette or start row");
    for (int i = 2; i < 64; i++)
        if ((i < 16 || (i >= 16 + 2 * HN_EMULATED_TILES && i < 48) ||
             i >= 48 + HN_EMULATED_TILES) &&
            config[i])
            hn_emulated_refuse("reserved bytes of the configuration");
    memset(hn_emulated_tiles, 0, sizeof hn_emulated_tiles);
    for (int t = 0; t < HN_EMULATED_TILES; t++) {
        uint16_t row_bytes;
        memcpy(&row_bytes, config + 16 + 2 * t, sizeof row_bytes);
        if (row_bytes > 64 || config[48 + t] > 16 || !row_bytes != !config[48 + t])
            hn_emulated_refuse("a tile's shape");
        hn_emulated_tiles[t].rows = config[48 + t];
        hn_emulated_tiles[t].row_bytes = row_bytes;
    }
    hn_emulated_ready = 1;
}

static inline void hn_emulated_release(void) {
    hn_emulated_ready = 0;
}

static inline void hn_emulated_zero(int tile) {
    hn_emulated_tile *t = hn_emulated_at(tile);
    memset(t->data, 0, sizeof t->data);
}

static inline void hn_emulated_loadd(int tile, const void *base, int64_t stride) {
    hn_emulated_tile *t = hn_emulated_at(tile);
    memset(t->data, 0, sizeof t->data);
    for (int i = 0; i < t->rows; i++)
        memcpy(t->data[i], (const uint8_t *)base + i * stride, (size_t)t->row_bytes);
}

static inline void hn_emulated_stored(int tile, void *base, int64_t stride) {
    const hn_emulated_tile *t = hn_emulated_at(tile);
    for (int i = 0; i < t->rows; i++)
        memcpy((uint8_t *)base + i * stride, t->data[i], (size_t)t->row_bytes);
}

static inline void hn_emulated_shapes(const hn_emulated_tile *c, const hn_emulated_tile *a,
                                      const hn_emulated_tile *b) {
    if (a->row_bytes % 4 || b->row_bytes % 4 || c->rows != a->rows ||
        c->row_bytes != b->row_bytes || a->row_bytes / 4 != b->rows)
        hn_emulated_refuse("shapes of a product");
    if (c == a || c == b || a == b)
        hn_emulated_refuse("the same tile twice");
}

/* Signed bytes of a, unsigned ones of b. */
static inline void hn_emulated_dpbsud(int dst, int src1, int src2) {
    hn_emulated_tile *c = hn_emulated_at(dst);
    const hn_emulated_tile *a = hn_emulated_at(src1), *b = hn_emulated_at(src2);
    hn_emulated_shapes(c, a, b);
    for (int m = 0; m < c->rows; m++)
        for (int n = 0; n < c->row_bytes / 4; n++) {
            int32_t sum;
            memcpy(&sum, c->data[m] + 4 * n, sizeof sum);
            for (int k = 0; k < a->row_bytes / 4; k++)
                for (int i = 0; i < 4; i++)
                    sum += (int8_t)a->data[m][4 * k + i] * b->data[k][4 * n + i];
            memcpy(c->data[m] + 4 * n, &sum, sizeof sum);
        }
}

/* Subnormal numbers count as zeros, in and out. */
static inline float hn_emulated_flush(float x) {
    return fpclassify(x) == FP_SUBNORMAL ? copysignf(0, x) : x;
}

static inline float hn_emulated_bf16(const uint8_t *from) {
    uint16_t half;
    memcpy(&half, from, sizeof half);
    uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return hn_emulated_flush(x);
}

static inline float hn_emulated_fma(const uint8_t *a, const uint8_t *b, float sum) {
    return hn_emulated_flush(
        fmaf(hn_emulated_bf16(a), hn_emulated_bf16(b), hn_emulated_flush(sum)));
}

/* Even and odd columns are summed apart from zero on, then added together, then to dst. */
static inline void hn_emulated_tile_dpbf16(int dst, int src1, int src2) {
    hn_emulated_tile *c = hn_emulated_at(dst);
    const hn_emulated_tile *a = hn_emulated_at(src1), *b = hn_emulated_at(src2);
    hn_emulated_shapes(c, a, b);
    for (int m = 0; m < c->rows; m++)
        for (int n = 0; n < c->row_bytes / 4; n++) {
            float sum, part[2] = {0, 0};
            for (int k = 0; k < a->row_bytes / 4; k++)
                for (int i = 0; i < 2; i++)
                    part[i] = hn_emulated_fma(a->data[m] + 4 * k + 2 * i,
                                              b->data[k] + 4 * n + 2 * i, part[i]);
            memcpy(&sum, c->data[m] + 4 * n, sizeof sum);
            sum = hn_emulated_flush(hn_emulated_flush(sum) + hn_emulated_flush(part[0] + part[1]));
            memcpy(c->data[m] + 4 * n, &sum, sizeof sum);
        }
}

/* One vector of 16 sums: the odd element of each pair first, then the even one. */
static inline void hn_emulated_dpbf16(float *sum, const void *a, const void *b) {
    for (int i = 0; i < 16; i++)
        for (int odd = 1; odd >= 0; odd--)
            sum[i] = hn_emulated_fma((const uint8_t *)a + 4 * i + 2 * odd,
                                     (const uint8_t *)b + 4 * i + 2 * odd, sum[i]);
}

static inline uint16_t hn_emulated_to_bf16(float x) {
    uint32_t bits;
    x = hn_emulated_flush(x);
    memcpy(&bits, &x, sizeof bits);
    if (isnan(x))
        return (uint16_t)(bits >> 16 | 0x40);
    if (isinf(x) || x == 0)
        return (uint16_t)(bits >> 16);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbsud
#undef _tile_dpbf16ps
#define _tile_loadconfig hn_emulated_loadconfig
#define _tile_release hn_emulated_release
#define _tile_zero hn_emulated_zero
#define _tile_loadd hn_emulated_loadd
#define _tile_stored hn_emulated_stored
#define _tile_dpbsud hn_emulated_dpbsud
#define _tile_dpbf16ps hn_emulated_tile_dpbf16
#endif
