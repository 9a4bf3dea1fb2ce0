/* bf16 products with AVX512_BF16. vdpbf16ps adds two products to a float: first that of the odd
 * column, then that of the even one, each fused, subnormals as zeros. One chain an output. */
#include "kernels/x86/unit_avx512.h"

#include "kernels/kernels.h"

#include <string.h>

enum { MAX_TILE_ROWS = 8, VECTOR = 16 };

static void round_bf16_avx512bf16(int64_t n, const float *x, uint16_t *out) {
    for (int64_t i = 0; i < hn_round_up(n, HN_UNIT_COLS); i += VECTOR) {
        float tail[VECTOR] = {0};
        const float *from = x + i;
        if (i + VECTOR > n) {
            if (i < n)
                memcpy(tail, from, (size_t)(n - i) * sizeof *x);
            from = tail;
        }
        const __m256i values = (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from));
        _mm256_storeu_si256((__m256i *)(void *)(out + i), values);
    }
}

/* Two neighbouring activations, to all lanes. */
HN_INLINE __m512i spread_pair(const uint16_t *x) {
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return _mm512_set1_epi32(pair);
}

HN_INLINE void store(__m512 sum, int64_t width, float *y, bool add) {
    if (width < HN_UNIT_ROWS) {
        float values[HN_UNIT_ROWS];
        _mm512_storeu_ps(values, sum);
        for (int64_t j = 0; j < width; j++)
            y[j] = add ? y[j] + values[j] : values[j];
        return;
    }
    _mm512_storeu_ps(y, add ? _mm512_add_ps(_mm512_loadu_ps(y), sum) : sum);
}

/* One group or several, each a chain of its own for every row. */
typedef struct operands {
    const uint16_t *w; /* the first group */
    int64_t w_stride;  /* values of a group */
    const uint16_t *x;
    int64_t x_stride, n_units;
    float *y;
    int64_t y_stride, width; /* columns of y that are left */
    bool add;
} operands;

HN_INLINE void tile(int rows, int groups, const operands *o) {
    __m512 sum[MAX_TILE_ROWS][4];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++)
            sum[i][g] = _mm512_setzero_ps();
    for (int64_t k = 0; k < o->n_units * HN_UNIT_COLS; k += 2) {
        __m512i w[4];
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++)
            w[g] = hn_avx512_pairs(o->w + g * o->w_stride + k * HN_UNIT_ROWS);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            const __m512i x = spread_pair(o->x + i * o->x_stride + k);
#pragma GCC unroll 4
            for (int g = 0; g < groups; g++)
                sum[i][g] = _mm512_dpbf16_ps(sum[i][g], (__m512bh)x, (__m512bh)w[g]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++)
            store(sum[i][g], o->width - g * HN_UNIT_ROWS, o->y + i * o->y_stride + g * HN_UNIT_ROWS,
                  o->add);
}

typedef void tile_fn(const operands *o);
#define TILE(rows, groups)                                                                         \
    static void tile_##rows##x##groups(const operands *o) {                                        \
        tile(rows, groups, o);                                                                     \
    }
TILE(8, 1)
TILE(4, 1)
TILE(2, 1)
TILE(1, 1)
TILE(8, 2)
TILE(4, 2)
TILE(2, 4)
TILE(1, 4)

/* Few rows take more groups at once: as many chains as hide the latency of one. */
static const struct {
    int rows, groups;
    tile_fn *one_group, *several;
} TILES[] = {
    {8, 2, tile_8x1, tile_8x2},
    {4, 2, tile_4x1, tile_4x2},
    {2, 4, tile_2x1, tile_2x4},
    {1, 4, tile_1x1, tile_1x4},
};

static void gemm_bf16_avx512bf16(int64_t m, int64_t width, int64_t n_units, const void *w,
                                 const uint16_t *x, int64_t x_stride, float *y, int64_t y_stride,
                                 bool add) {
    const int64_t group = n_units * HN_UNIT_COLS * HN_UNIT_ROWS;
    int t = 0;
    for (int64_t i = 0; i < m; i += TILES[t].rows) {
        while (TILES[t].rows > m - i)
            t++;
        for (int64_t j = 0; j < width;) {
            const bool several = width - j >= TILES[t].groups * HN_UNIT_ROWS;
            const operands o = {(const uint16_t *)w + j / HN_UNIT_ROWS * group,
                                group,
                                x + i * x_stride,
                                x_stride,
                                n_units,
                                y + i * y_stride + j,
                                y_stride,
                                width - j,
                                add};
            (several ? TILES[t].several : TILES[t].one_group)(&o);
            j += several ? TILES[t].groups * HN_UNIT_ROWS : HN_UNIT_ROWS;
        }
    }
}

void hn_k_bf16_init_avx512bf16(hn_kernels *table) {
    table->round_bf16 = round_bf16_avx512bf16;
    table->gemm_bf16 = gemm_bf16_avx512bf16;
    table->has_fast_bf16 = true;
}
