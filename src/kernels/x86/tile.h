/* Tile registers (Intel SDM volume 1, chapter 18): eight of at most 16 rows x 64 bytes, whose
 * shapes a thread sets before it uses them. All kernels divide them alike: the weights in one,
 * pairs of tiles of 16 rows of activations with their sums, and one more of each for the rows left
 * over.
 *
 * The compilers' intrinsics don't say that a tile's load reads memory: the barriers do. */
#pragma once

#include <immintrin.h>
#include <stdint.h>

/* Register numbers are part of an instruction: macros, no constants. */
#define HN_TILE_WEIGHTS 0
#define HN_TILE_ROWS_A 1
#define HN_TILE_ROWS_B 2
#define HN_TILE_ROWS_TAIL 3
#define HN_TILE_SUMS_A 4
#define HN_TILE_SUMS_B 5
#define HN_TILE_SUMS_TAIL 6

enum { HN_TILE_ROWS = 16, HN_TILE_ROW_BYTES = 64 };

#define HN_TILE_BARRIER() __asm__ volatile("" ::: "memory")
#define HN_TILE_LOAD(tile, from, stride)                                                           \
    do {                                                                                           \
        HN_TILE_BARRIER();                                                                         \
        _tile_loadd(tile, from, stride);                                                           \
    } while (0)
#define HN_TILE_STORE(tile, to, stride)                                                            \
    do {                                                                                           \
        _tile_stored(tile, to, stride);                                                            \
        HN_TILE_BARRIER();                                                                         \
    } while (0)

/* What ldtilecfg reads. */
typedef struct hn_tile_config {
    uint8_t palette, start_row;
    uint8_t reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} hn_tile_config;
_Static_assert(sizeof(hn_tile_config) == 64, "the processor reads 64 bytes");

/* Shapes for products over k_bytes of each row: weights [k_bytes / 4][16 rows][4 bytes]; `tail`
 * rows, 0 to 15, in the tiles for what is left. Ended by _tile_release. */
static inline void hn_tile_begin(int k_bytes, int tail) {
    _Alignas(64) hn_tile_config config = {.palette = 1};
#define SHAPE(tile, n_rows, n_bytes)                                                               \
    config.rows[tile] = (uint8_t)(n_rows);                                                         \
    config.row_bytes[tile] = (uint16_t)(n_bytes)
    SHAPE(HN_TILE_WEIGHTS, k_bytes / 4, HN_TILE_ROW_BYTES);
    SHAPE(HN_TILE_ROWS_A, HN_TILE_ROWS, k_bytes);
    SHAPE(HN_TILE_ROWS_B, HN_TILE_ROWS, k_bytes);
    SHAPE(HN_TILE_SUMS_A, HN_TILE_ROWS, HN_TILE_ROW_BYTES);
    SHAPE(HN_TILE_SUMS_B, HN_TILE_ROWS, HN_TILE_ROW_BYTES);
    if (tail > 0) {
        SHAPE(HN_TILE_ROWS_TAIL, tail, k_bytes);
        SHAPE(HN_TILE_SUMS_TAIL, tail, HN_TILE_ROW_BYTES);
    }
#undef SHAPE
    HN_TILE_BARRIER();
    _tile_loadconfig(&config);
    HN_TILE_BARRIER();
}
