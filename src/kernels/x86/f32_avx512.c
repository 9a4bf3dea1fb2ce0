/* f32 products with AVX-512. Tile: 12 rows x 2 panels of 16 columns in 24 of the 32 registers; what
 * is left of the rows goes in tiles of 8, 4, 2 and 1. */
#include "kernels/f32_tile.h"

#include <immintrin.h>

enum { TILE_ROWS = MAX_TILE_ROWS };

HN_INLINE void store_sum(__m512 sum, float *c, float alpha, float beta) {
    __m512 value = _mm512_mul_ps(sum, _mm512_set1_ps(alpha));
    if (beta != 0)
        value = _mm512_fmadd_ps(_mm512_set1_ps(beta), _mm512_loadu_ps(c), value);
    _mm512_storeu_ps(c, value);
}

/* C (rows, panels * 16) in registers; all columns are there. Rows of A are reached from every
 * fourth: an address has a base, and one of two strides with a factor. */
HN_INLINE void tile(const int rows, const int panels, int64_t k, operand x, target y) {
    __m512 sum[TILE_ROWS][2];
    const float *a[TILE_ROWS / 4] = {x.a, rows > 4 ? x.a + 4 * x.a_row : NULL,
                                     rows > 8 ? x.a + 8 * x.a_row : NULL};
    const float *b = x.b;
    const int64_t thrice = 3 * x.a_row;
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < panels; j++)
            sum[i][j] = _mm512_setzero_ps();
    for (int64_t p = 0; p < k; p++, b += PANEL) {
        __m512 w[2];
#pragma GCC unroll 2
        for (int j = 0; j < panels; j++)
            w[j] = _mm512_load_ps(b + j * x.b_panel);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            const int64_t at[4] = {0, x.a_row, 2 * x.a_row, thrice};
            __m512 value = _mm512_set1_ps(a[i / 4][at[i % 4]]);
#pragma GCC unroll 2
            for (int j = 0; j < panels; j++)
                sum[i][j] = _mm512_fmadd_ps(value, w[j], sum[i][j]);
        }
#pragma GCC unroll 3
        for (int i = 0; i < (rows + 3) / 4; i++)
            a[i] += x.a_k;
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < panels; j++)
            store_sum(sum[i][j], y.c + i * y.stride + j * PANEL, y.alpha, y.beta);
}

#define TILE(rows, panels)                                                                         \
    static void tile_##rows##x##panels(int64_t k, const operand *x, const target *y) {             \
        tile(rows, panels, k, *x, *y);                                                             \
    }
TILE(12, 1)
TILE(8, 1)
TILE(4, 1)
TILE(2, 1)
TILE(1, 1)
TILE(12, 2)
TILE(8, 2)
TILE(4, 2)
TILE(2, 2)
TILE(1, 2)

static const struct {
    int rows;
    tile_fn *one_panel, *two_panels;
} TILES[] = {
    {12, tile_12x1, tile_12x2}, {8, tile_8x1, tile_8x2}, {4, tile_4x1, tile_4x2},
    {2, tile_2x1, tile_2x2},    {1, tile_1x1, tile_1x2},
};

/* Panels in pairs stay in L1 while the rows stream from L2. */
static void gemm_f32_avx512(int64_t m, int64_t width, int64_t k, const float *a, int64_t a_row,
                            int64_t a_k, const float *b, int64_t b_panel, float *c,
                            int64_t c_stride, float alpha, float beta) {
    for (int64_t j = 0; j < width;) {
        const int panels = width - j >= 2 * PANEL ? 2 : 1;
        int t = 0;
        for (int64_t i = 0; i < m; i += TILES[t].rows) {
            while (TILES[t].rows > m - i)
                t++;
            operand x = {a + i * a_row, a_row, a_k, b + j / PANEL * b_panel, b_panel};
            target y = {c + i * c_stride + j, c_stride, alpha, beta};
            if (panels == 2)
                TILES[t].two_panels(k, &x, &y);
            else if (width - j >= PANEL)
                TILES[t].one_panel(k, &x, &y);
            else
                tile_narrow(TILES[t].rows, TILES[t].one_panel, width - j, k, &x, &y);
        }
        j += panels * PANEL;
    }
}

void hn_k_f32_init_avx512(hn_kernels *table) {
    table->gemm_f32 = gemm_f32_avx512;
}
