/* Int8 products of several rows with 256-bit registers; included by i8_ymm.h.
 *
 * The codes of a group of 16 rows of W are unpacked into a panel that stays in the L1 cache while
 * tiles of 4 rows of activations pass by: a tile's 8 integer sums (4 rows x 16 rows of W) share
 * each load, so that multiplications and not loads set the pace. Without VNNI, int16 sums of
 * vpmaddubsw have to last as long as they can:
 *
 *   - 4-bit codes: all 8 quads of a block (8 * 2 * 15 * 127 = 30480);
 *   - 5-bit codes: the same, for the sums start at -16 * (the activations' pair sums), as if each
 *     code were less 16: they end within 8 * 2 * 16 * 127 = 32512, and may wrap on the way;
 *   - 6-bit codes: two quads (2 * 2 * 63 * 127 = 32004), then vpmaddwd;
 *   - 8-bit codes: one quad, |w| * sign(a, w) (2 * 128 * 127 = 32512). */
#pragma once

enum {
    TILE_ROWS = 4,
    FEW_ROWS = 8,    /* at most: small panels, or none (i8_ymm_few.h) */
    PANEL_UNITS = 8, /* of columns: 8 or 16 KB of codes */
    PANEL_BLOCKS = PANEL_UNITS * HN_UNIT_BLOCKS,
    QUADS = HN_BLOCK_COLS / 4,
    QUAD_BYTES = HN_UNIT_ROWS * 4,
};

/* How the products of a type are added up. */
typedef enum sum_kind {
    SUM_I32,    /* VNNI */
    SUM_I16,    /* one int16 sum a sub-block */
    SUM_PAIRS,  /* int16 for two quads at a time */
    SUM_SIGNED, /* codes as signed bytes, int16 for a quad */
} sum_kind;

HN_INLINE sum_kind kind_of(hn_layout l) {
#ifdef HN_VNNI
    (void)l;
    return SUM_I32;
#else
    return l.code_bits < 6 ? SUM_I16 : l.code_bits == 6 ? SUM_PAIRS : SUM_SIGNED;
#endif
}

/* What int16 sums take off each code from the start. Halves of blocks have no pair sums. */
HN_INLINE int center_of(hn_layout l) {
    if (kind_of(l) != SUM_I16 || l.sub_blocks == 4)
        return 0;
    return l.code_bits == 5 ? 16 : l.offset;
}

/* Sub-blocks of a block, and their quads. */
HN_INLINE int parts_of(hn_layout l) {
    return l.sub_blocks / HN_UNIT_BLOCKS;
}

HN_INLINE int32_t part_sum(hn_layout l, const hn_act_block *a, int part) {
    return parts_of(l) == 2 ? a->half_sums[part] : a->sum;
}

/* Where an int16 sum starts that takes `center` off each code. */
HN_INLINE __m256i pair_start(const hn_act_block *a, int center) {
    int32_t both;
    memcpy(&both, a->pair_sums, sizeof both);
    return _mm256_mullo_epi16(_mm256_set1_epi32(both), _mm256_set1_epi16((int16_t)-center));
}

/* sum - times * n; times: 0 or a power of two, also a negative one. */
HN_INLINE __m256i minus_times(__m256i sum, int32_t n, int times) {
    if (times == 0)
        return sum;
    const __m256i all = _mm256_set1_epi32(n);
    if (times < 0)
        return _mm256_add_epi32(sum, _mm256_slli_epi32(all, __builtin_ctz((unsigned)-times)));
    return _mm256_sub_epi32(sum, _mm256_slli_epi32(all, __builtin_ctz((unsigned)times)));
}

typedef struct panel {
    /* [block][quad][16 rows][4] codes; SUM_SIGNED: [block][quad][w, |w|][16 rows][4] */
    _Alignas(64) uint8_t codes[PANEL_BLOCKS * QUADS * QUAD_BYTES * 2];
    _Alignas(64) float scale[PANEL_UNITS * 4 * HN_UNIT_ROWS]; /* [sub-block][16] */
    _Alignas(64) float min[PANEL_UNITS * 4 * HN_UNIT_ROWS];
} panel;

HN_INLINE size_t panel_quad_bytes(hn_layout l) {
    return QUAD_BYTES * (kind_of(l) == SUM_SIGNED ? 2 : 1);
}

HN_INLINE void fill_block(hn_layout l, const uint8_t *unit, int block, int half, uint8_t *codes) {
    __m256i v[QUADS];
    hn_avx2_codes(l, unit, block, half, v);
    if (kind_of(l) == SUM_SIGNED)
        center(l, v, QUADS);
#pragma GCC unroll 8
    for (int q = 0; q < QUADS; q++) {
        __m256i *to = (__m256i *)(void *)(codes + (size_t)q * panel_quad_bytes(l) +
                                          (size_t)half * QUAD_BYTES / 2);
        if (kind_of(l) == SUM_SIGNED) {
            _mm256_store_si256(to, v[q]);
            _mm256_store_si256(to + 2, _mm256_abs_epi8(v[q]));
        } else {
            _mm256_store_si256(to, v[q]);
        }
    }
}

/* n_units units of a group, asking for the lines `ahead` bytes further on. */
HN_INLINE void fill_panel(hn_layout l, int64_t n_units, const uint8_t *unit, size_t ahead,
                          panel *p) {
    const size_t unit_bytes = hn_layout_unit_bytes(l);
    uint8_t *codes = p->codes;
    for (int64_t u = 0; u < n_units; u++, unit += unit_bytes) {
        for (size_t line = 0; line < unit_bytes; line += 64)
            _mm_prefetch((const char *)unit + ahead + line, _MM_HINT_T0);
        for (int half = 0; half < 2; half++) {
            for (int block = 0; block < HN_UNIT_BLOCKS; block++)
                fill_block(l, unit, block, half,
                           codes + (size_t)block * QUADS * panel_quad_bytes(l));
            for (int sub = 0; sub < l.sub_blocks; sub++) {
                const int64_t at = (u * l.sub_blocks + sub) * HN_UNIT_ROWS + half * 8;
                _mm256_store_ps(p->scale + at, hn_avx2_scales(l, unit, sub, half));
                if (l.has_min)
                    _mm256_store_ps(p->min + at, hn_avx2_mins(l, unit, sub, half));
            }
        }
        codes += HN_UNIT_BLOCKS * QUADS * panel_quad_bytes(l);
    }
}

/* `rows` rows of activations by `vectors` vectors of 8 rows of W: integer sums of a sub-block. */
typedef struct tile_sums {
    __m256i at[TILE_ROWS][2];
} tile_sums;

/* Left to itself the compiler adds in a tree, which takes more registers than there are. */
HN_INLINE void keep_order(__m256i *sum) {
    __asm__("" : "+x"(*sum));
}

/* Quads [first, last) of a block in one int16 or, with VNNI, int32 sum each. */
HN_INLINE void sum_plain(hn_layout l, int rows, int first, int last, const uint8_t *codes,
                         const hn_act_block *x, int64_t x_stride, tile_sums *s) {
#pragma GCC unroll 8
    for (int q = first; q < last; q++) {
        const __m256i *w = (const __m256i *)(const void *)(codes + q * QUAD_BYTES);
        const __m256i w0 = _mm256_load_si256(w), w1 = _mm256_load_si256(w + 1);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const __m256i a = quad(x + i * x_stride, q);
            s->at[i][0] = add_products(l, s->at[i][0], w0, a);
            s->at[i][1] = add_products(l, s->at[i][1], w1, a);
            keep_order(&s->at[i][0]);
            keep_order(&s->at[i][1]);
        }
    }
}

#ifndef HN_VNNI
/* Two quads a time in int16, added to int32 sums. */
HN_INLINE void sum_pairs(int rows, int first, int last, const uint8_t *codes, const hn_act_block *x,
                         int64_t x_stride, tile_sums *s) {
#pragma GCC unroll 4
    for (int q = first; q < last; q += 2) {
        const __m256i *w = (const __m256i *)(const void *)(codes + q * QUAD_BYTES);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const __m256i a = quad(x + i * x_stride, q), b = quad(x + i * x_stride, q + 1);
#pragma GCC unroll 2
            for (int v = 0; v < 2; v++) {
                __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(w[v], a),
                                                 _mm256_maddubs_epi16(w[2 + v], b));
                s->at[i][v] =
                    _mm256_add_epi32(s->at[i][v], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
                keep_order(&s->at[i][v]);
            }
        }
    }
}

/* Signed codes, whose absolute values take the activations with the codes' signs. */
HN_INLINE void sum_signed(int rows, const uint8_t *codes, const hn_act_block *x, int64_t x_stride,
                          tile_sums *s) {
#pragma GCC unroll 8
    for (int q = 0; q < QUADS; q++) {
        const __m256i *w = (const __m256i *)(const void *)(codes + q * 2 * QUAD_BYTES);
        const __m256i w0 = _mm256_load_si256(w), w1 = _mm256_load_si256(w + 1);
        const __m256i abs0 = _mm256_load_si256(w + 2), abs1 = _mm256_load_si256(w + 3);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const __m256i a = quad(x + i * x_stride, q), one = _mm256_set1_epi16(1);
            __m256i p0 = _mm256_maddubs_epi16(abs0, _mm256_sign_epi8(a, w0));
            __m256i p1 = _mm256_maddubs_epi16(abs1, _mm256_sign_epi8(a, w1));
            s->at[i][0] = _mm256_add_epi32(s->at[i][0], _mm256_madd_epi16(p0, one));
            s->at[i][1] = _mm256_add_epi32(s->at[i][1], _mm256_madd_epi16(p1, one));
            keep_order(&s->at[i][0]);
            keep_order(&s->at[i][1]);
        }
    }
}
#endif

/* Where the sums over part `part` of a block start. */
HN_INLINE void start_sums(hn_layout l, int rows, int part, const hn_act_block *x, int64_t x_stride,
                          tile_sums *s) {
    const sum_kind kind = kind_of(l);
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) {
        __m256i start = _mm256_setzero_si256();
        if (kind == SUM_I16 && center_of(l))
            start = pair_start(x + i * x_stride, center_of(l));
        if (kind == SUM_I32 || kind == SUM_PAIRS)
            start = minus_times(start, part_sum(l, x + i * x_stride, part), l.offset);
        s->at[i][0] = s->at[i][1] = start;
    }
}

/* Sums of any kind become int32 sums of q * (code - offset). */
HN_INLINE void end_sums(hn_layout l, int rows, int part, const hn_act_block *x, int64_t x_stride,
                        tile_sums *s) {
    if (kind_of(l) != SUM_I16)
        return;
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
            __m256i sum = _mm256_madd_epi16(s->at[i][v], _mm256_set1_epi16(1));
            s->at[i][v] =
                minus_times(sum, part_sum(l, x + i * x_stride, part), l.offset - center_of(l));
        }
}

/* int32 sums of q * (code - offset) over part `part` of a block. */
HN_INLINE void sum_part(hn_layout l, int rows, int part, const uint8_t *codes,
                        const hn_act_block *x, int64_t x_stride, tile_sums *s) {
    const int quads = QUADS / parts_of(l), first = part * quads, last = first + quads;
    start_sums(l, rows, part, x, x_stride, s);
#ifndef HN_VNNI
    if (kind_of(l) == SUM_SIGNED) {
        sum_signed(rows, codes, x, x_stride, s);
        return;
    }
    if (kind_of(l) == SUM_PAIRS) {
        sum_pairs(rows, first, last, codes, x, x_stride, s);
        return;
    }
#endif
    sum_plain(l, rows, first, last, codes, x, x_stride, s);
    end_sums(l, rows, part, x, x_stride, s);
}

/* y (rows, 16) += the panel's first n_blocks blocks times x. */
HN_INLINE void tile(hn_layout l, int rows, int64_t n_blocks, const panel *p, const hn_act_block *x,
                    int64_t x_stride, float *y) {
    const uint8_t *codes = p->codes;
    const float *scale = p->scale, *min = p->min;
    for (int64_t b = 0; b < n_blocks; b++, x++, codes += QUADS * panel_quad_bytes(l)) {
#pragma GCC unroll 2
        for (int part = 0; part < parts_of(l); part++) {
            tile_sums s;
            sum_part(l, rows, part, codes, x, x_stride, &s);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++) {
                const hn_act_block *a = x + i * x_stride;
                const float scaled = parts_of(l) == 2 ? a->scaled_half_sums[part] : a->scaled_sum;
#pragma GCC unroll 2
                for (int v = 0; v < 2; v++) {
                    float *to = y + i * HN_UNIT_ROWS + v * 8;
                    _mm256_store_ps(to,
                                    finish_sub(l, s.at[i][v], a->scale, scaled,
                                               _mm256_load_ps(scale + v * 8),
                                               _mm256_load_ps(min + v * 8), _mm256_load_ps(to)));
                }
            }
            scale += HN_UNIT_ROWS;
            min += HN_UNIT_ROWS;
        }
    }
}

/* y (m, 16) = x times one group. */
HN_INLINE void several_rows(hn_layout l, int64_t m, int64_t n_units, const uint8_t *unit,
                            const hn_act_block *x, int64_t x_stride, float *y) {
    panel p;
    const size_t unit_bytes = hn_layout_unit_bytes(l);
    /* Few rows wait for memory: small panels keep it at work. */
    const int64_t most = m <= FEW_ROWS ? 1 : PANEL_UNITS;
    const int64_t n_panels = (n_units + most - 1) / most;
    memset(y, 0, (size_t)m * HN_UNIT_ROWS * sizeof *y);
    for (int64_t u = 0, panel_at = 0; panel_at < n_panels; panel_at++) {
        const int64_t end = n_units * (panel_at + 1) / n_panels;
        const hn_act_block *at = x + u * HN_UNIT_BLOCKS;
        const int64_t n_blocks = (end - u) * HN_UNIT_BLOCKS;
        fill_panel(l, end - u, unit + (size_t)u * unit_bytes, PREFETCH_BYTES, &p);
        int64_t i = 0;
        for (; i + TILE_ROWS <= m; i += TILE_ROWS)
            tile(l, TILE_ROWS, n_blocks, &p, at + i * x_stride, x_stride, y + i * HN_UNIT_ROWS);
        if (i + 2 <= m) {
            tile(l, 2, n_blocks, &p, at + i * x_stride, x_stride, y + i * HN_UNIT_ROWS);
            i += 2;
        }
        if (i < m)
            tile(l, 1, n_blocks, &p, at + i * x_stride, x_stride, y + i * HN_UNIT_ROWS);
        u = end;
    }
}
