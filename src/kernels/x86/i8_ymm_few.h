/* Int8 products of two to eight rows with 256-bit registers; included by i8_ymm.h.
 *
 * So few rows don't pay for a panel: codes go from the unit through registers to the products of
 * up to 4 rows, and are unpacked again for the next 4. The sums are those of i8_ymm_panel.h. */
#pragma once

/* Layouts whose blocks have one scale a row, so that one sum a row and vector is all there is. */
HN_INLINE bool goes_without_panel(hn_layout l) {
    return parts_of(l) == 1;
}

/* Left to itself the compiler does ahead what tiles and quads have in common, onto the stack. */
#define LOAD_HERE(pointer) __asm__("" : "+r"(pointer))

/* Both halves' codes of a pair of quads are at hand while the rows pass. */
HN_INLINE void sum_few_plain(hn_layout l, int rows, const uint8_t *unit, int block,
                             const hn_act_block *x, int64_t x_stride, tile_sums *s) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m256i v[2][2];
        LOAD_HERE(unit);
        hn_avx2_code_pair(l, unit, block, 0, j, v[0]);
        hn_avx2_code_pair(l, unit, block, 1, j, v[1]);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (int k = 0; k < 2; k++) {
                const __m256i a = quad(x + i * x_stride, j + 4 * k);
                s->at[i][0] = add_products(l, s->at[i][0], v[0][k], a);
                s->at[i][1] = add_products(l, s->at[i][1], v[1][k], a);
                keep_order(&s->at[i][0]);
                keep_order(&s->at[i][1]);
            }
    }
}

/* Signed codes take a register more each, for their absolute values: one half at a time. */
HN_INLINE void sum_few_signed(hn_layout l, int rows, const uint8_t *unit, int block,
                              const hn_act_block *x, int64_t x_stride, tile_sums *s) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            __m256i v[2];
            LOAD_HERE(unit);
            hn_avx2_code_pair(l, unit, block, half, j, v);
            center(l, v, 2);
#pragma GCC unroll 2
            for (int k = 0; k < 2; k++)
#pragma GCC unroll 4
                for (int i = 0; i < rows; i++) {
                    const __m256i a = quad(x + i * x_stride, j + 4 * k);
                    s->at[i][half] = add_products(l, s->at[i][half], v[k], a);
                    keep_order(&s->at[i][half]);
                }
        }
}

/* y (rows, 16) += one unit times x. */
HN_INLINE void few_tile(hn_layout l, int rows, const uint8_t *unit, const hn_act_block *x,
                        int64_t x_stride, float *y) {
#pragma GCC unroll 2
    for (int block = 0; block < HN_UNIT_BLOCKS; block++, x++) {
        tile_sums s;
        LOAD_HERE(x);
        start_sums(l, rows, 0, x, x_stride, &s);
        if (CODES_ARE_UNSIGNED(l.code_bits))
            sum_few_plain(l, rows, unit, block, x, x_stride, &s);
        else
            sum_few_signed(l, rows, unit, block, x, x_stride, &s);
        end_sums(l, rows, 0, x, x_stride, &s);
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            const block_scales w = load_scales(l, unit, block, half);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++) {
                const hn_act_block *a = x + i * x_stride;
                float *to = y + i * HN_UNIT_ROWS + half * 8;
                _mm256_store_ps(to, finish_sub(l, s.at[i][half], a->scale, a->scaled_sum,
                                               w.scale[0], w.min[0], _mm256_load_ps(to)));
            }
        }
    }
}

/* y (m, 16) = x times one group, 2 <= m <= FEW_ROWS. */
HN_INLINE void few_rows(hn_layout l, int64_t m, int64_t n_units, const uint8_t *unit,
                        const hn_act_block *x, int64_t x_stride, float *y) {
    const size_t unit_bytes = hn_layout_unit_bytes(l);
    memset(y, 0, (size_t)m * HN_UNIT_ROWS * sizeof *y);
    for (int64_t u = 0; u < n_units; u++, unit += unit_bytes, x += HN_UNIT_BLOCKS) {
        for (size_t line = 0; line < unit_bytes; line += 64)
            _mm_prefetch((const char *)unit + PREFETCH_BYTES + line, _MM_HINT_T0);
        /* 5 rows are 3 and 2, 6 are 3 and 3: one row by itself would cost as much as two. */
        for (int64_t i = 0, rows; i < m; i += rows) {
            rows = m - i <= TILE_ROWS ? m - i : m - i < 2 * TILE_ROWS - 1 ? 3 : TILE_ROWS;
            const hn_act_block *at = x + i * x_stride;
            float *to = y + i * HN_UNIT_ROWS;
            if (rows == 4)
                few_tile(l, 4, unit, at, x_stride, to);
            else if (rows == 3)
                few_tile(l, 3, unit, at, x_stride, to);
            else
                few_tile(l, 2, unit, at, x_stride, to);
        }
    }
}
