/* The highest rate of int8 multiply-adds with AMX; that of f32 is the level's below. */
#include "kernels/kernels.h"
#include "kernels/x86/tile.h"

#include <string.h>

enum { TILE_BYTES = HN_TILE_ROWS * HN_TILE_ROW_BYTES, CHAINS = 3 };

/* Rows of 64 bytes have the shape of sums: their second tile takes a third chain. */
static int64_t peak_i8_amx(int64_t n) {
    _Alignas(64) uint8_t ones[TILE_BYTES];
    _Alignas(64) int32_t lanes[CHAINS][TILE_BYTES / sizeof(int32_t)];
    memset(ones, 1, sizeof ones);
    hn_tile_begin(HN_TILE_ROW_BYTES, 0);
    HN_TILE_LOAD(HN_TILE_WEIGHTS, ones, HN_TILE_ROW_BYTES);
    HN_TILE_LOAD(HN_TILE_ROWS_A, ones, HN_TILE_ROW_BYTES);
    _tile_zero(HN_TILE_SUMS_A);
    _tile_zero(HN_TILE_SUMS_B);
    _tile_zero(HN_TILE_ROWS_B);
    for (int64_t i = 0; i < n; i++) {
        _tile_dpbsud(HN_TILE_SUMS_A, HN_TILE_ROWS_A, HN_TILE_WEIGHTS);
        _tile_dpbsud(HN_TILE_SUMS_B, HN_TILE_ROWS_A, HN_TILE_WEIGHTS);
        _tile_dpbsud(HN_TILE_ROWS_B, HN_TILE_ROWS_A, HN_TILE_WEIGHTS);
    }
    HN_TILE_STORE(HN_TILE_SUMS_A, lanes[0], HN_TILE_ROW_BYTES);
    HN_TILE_STORE(HN_TILE_SUMS_B, lanes[1], HN_TILE_ROW_BYTES);
    HN_TILE_STORE(HN_TILE_ROWS_B, lanes[2], HN_TILE_ROW_BYTES);
    _tile_release();
    int64_t sum = 0;
    for (int c = 0; c < CHAINS; c++)
        for (size_t j = 0; j < TILE_BYTES / sizeof(int32_t); j++)
            sum += lanes[c][j];
    return sum;
}

void hn_k_peak_init_amx(hn_kernels *table) {
    table->peak_i8 = peak_i8_amx;
}
