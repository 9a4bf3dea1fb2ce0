/* Dequantisation of the packed layout into panels of f32 with NEON. */
#define HN_LEVEL neon
#include "kernels/arm/unit_neon.h"
#include "kernels/kernels.h"

/* 4 values of u16 floats as f32. */
HN_INLINE float32x4_t widen(hn_dtype dtype, uint16x4_t x) {
    if (dtype == HN_F16)
        return vcvt_f32_f16(vreinterpret_f16_u16(x));
    return vreinterpretq_f32_u32(vshll_n_u16(x, 16));
}

HN_INLINE void unpack_floats(hn_dtype dtype, const uint16_t *units, int64_t n_units, float *out) {
    for (int64_t i = 0; i < n_units * HN_UNIT_ROWS * HN_UNIT_COLS; i += 4)
        vst1q_f32(out + i, widen(dtype, vld1_u16(units + i)));
}

/* A block's 32 columns of 4 rows: out[column * 16 + row]. */
HN_INLINE void unpack_part(hn_layout l, const uint8_t *unit, int block, int part, float *out) {
    uint8x16_t v[8];
    hn_neon_codes(l, unit, block, part, v);
#pragma GCC unroll 8
    for (int q = 0; q < 8; q++) {
        const int sub = hn_neon_sub(l, block, q);
        const float32x4_t scale = hn_neon_scales(l, unit, sub, part);
        const float32x4_t bias = hn_neon_biases(l, unit, sub, part, scale);
        uint32x4_t codes = vreinterpretq_u32_u8(v[q]);
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++, codes = vshrq_n_u32(codes, 8)) {
            const float32x4_t code = vcvtq_f32_u32(vandq_u32(codes, vdupq_n_u32(255)));
            vst1q_f32(out + (q * 4 + c) * HN_UNIT_ROWS, vfmaq_f32(bias, code, scale));
        }
    }
}

HN_INLINE void unpack_codes(hn_layout l, const uint8_t *units, int64_t n_units, float *out) {
    for (int64_t u = 0; u < n_units; u++, units += hn_layout_unit_bytes(l))
        for (int block = 0; block < HN_UNIT_BLOCKS; block++) {
            for (int part = 0; part < HN_NEON_PARTS; part++)
                unpack_part(l, units, block, part, out + part * HN_NEON_ROWS);
            out += HN_BLOCK_COLS * HN_UNIT_ROWS;
        }
}

/* 16 codes of a row to floats. */
HN_INLINE void store_16(uint8x16_t codes, float scale, float bias, float *out) {
    const uint16x8_t half[2] = {vmovl_u8(vget_low_u8(codes)), vmovl_high_u8(codes)};
    const float32x4_t b = vdupq_n_f32(bias);
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        const float32x4_t low = vcvtq_f32_u32(vmovl_u16(vget_low_u16(half[h])));
        const float32x4_t high = vcvtq_f32_u32(vmovl_high_u16(half[h]));
        vst1q_f32(out + 8 * h, vfmaq_n_f32(b, low, scale));
        vst1q_f32(out + 8 * h + 4, vfmaq_n_f32(b, high, scale));
    }
}

HN_INLINE void unpack_codes_t(hn_layout l, const uint8_t *unit, int block, float *out,
                              int64_t out_panel) {
    for (int part = 0; part < HN_NEON_PARTS; part++) {
        uint8x16_t v[8];
        hn_neon_codes(l, unit, block, part, v);
#pragma GCC unroll 2
        for (int panel = 0; panel < 2; panel++) {
            const int sub = hn_neon_sub(l, block, panel * 4);
            float scale[HN_NEON_ROWS], bias[HN_NEON_ROWS];
            const float32x4_t scales = hn_neon_scales(l, unit, sub, part);
            vst1q_f32(scale, scales);
            vst1q_f32(bias, hn_neon_biases(l, unit, sub, part, scales));
            uint32x4_t rows[4]; /* 16 columns of a row */
#pragma GCC unroll 4
            for (int q = 0; q < 4; q++)
                rows[q] = vreinterpretq_u32_u8(v[panel * 4 + q]);
            hn_neon_transpose(rows);
            float *to = out + panel * out_panel + part * HN_NEON_ROWS * HN_UNIT_ROWS;
#pragma GCC unroll 4
            for (int r = 0; r < HN_NEON_ROWS; r++, to += HN_UNIT_ROWS)
                store_16(vreinterpretq_u8_u32(rows[r]), scale[r], bias[r], to);
        }
    }
}

/* Units of floats are [column][row] and the panels [row][column]: 4 x 4 at a time. */
HN_INLINE void unpack_floats_t(hn_dtype dtype, const void *unit, int block, float *out,
                               int64_t out_panel) {
    for (int c = 0; c < HN_BLOCK_COLS; c += 4)
        for (int part = 0; part < HN_NEON_PARTS; part++) {
            uint32x4_t r[4];
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                const int at = (block * HN_BLOCK_COLS + c + i) * HN_UNIT_ROWS + part * HN_NEON_ROWS;
                r[i] = vreinterpretq_u32_f32(
                    dtype == HN_F32 ? vld1q_f32((const float *)unit + at)
                                    : widen(dtype, vld1_u16((const uint16_t *)unit + at)));
            }
            hn_neon_transpose(r);
            float *to = out + c / HN_UNIT_ROWS * out_panel + part * HN_NEON_ROWS * HN_UNIT_ROWS +
                        c % HN_UNIT_ROWS;
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                vst1q_f32(to + i * HN_UNIT_ROWS, vreinterpretq_f32_u32(r[i]));
        }
}

#include "kernels/unpack_entry.h"

void hn_k_unpack_init_neon(hn_kernels *table) {
    put_unpacking(table);
}
