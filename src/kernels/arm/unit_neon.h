/* Loads from the packed layout (layout.h) with NEON, four rows ("part" 0 to 3 of a group) at a
 * time. The layout is always a constant where these are called, so that each dtype gets straight
 * code. */
#pragma once

#include "kernels/layout.h"

#include <arm_neon.h>
#include <string.h>

#define HN_INLINE static inline __attribute__((always_inline))

enum { HN_NEON_PARTS = 4, HN_NEON_ROWS = 4 };

/* Two quads of columns of 4 rows of a block of 32: dword lane r of v[0] holds columns 4j to 4j + 3
 * of row r, that of v[1] columns 16 + 4j to 16 + 4j + 3; unsigned bytes. */
HN_INLINE void hn_neon_code_pair(hn_layout l, const uint8_t *unit, int block, int part, int j,
                                 uint8x16_t v[2]) {
    const uint8_t *codes = unit + hn_layout_codes_offset(l) +
                           (size_t)block * hn_layout_block_bytes(l) + (size_t)(j * 64 + part * 16);
    const uint8x16_t x = vld1q_u8(codes);
    if (l.code_bits == 8) {
        v[0] = x;
        v[1] = vld1q_u8(codes + 4 * 64);
        return;
    }
    v[0] = vandq_u8(x, vdupq_n_u8(15));
    v[1] = vshrq_n_u8(x, 4);
    if (l.code_bits == 5) {
        const uint8x16_t h = vld1q_u8(unit + hn_layout_high_offset(l) + block * 64 + part * 16);
        const uint8x16_t bit = vdupq_n_u8(16);
        v[0] = vorrq_u8(v[0], vandq_u8(vshlq_u8(h, vdupq_n_s8((int8_t)(4 - j))), bit));
        v[1] = vorrq_u8(v[1], vandq_u8(vshlq_u8(h, vdupq_n_s8((int8_t)-j)), bit));
    }
    if (l.code_bits == 6) {
        const uint8_t *high = unit + hn_layout_high_offset(l) + block * 128 + part * 16;
        const int8x16_t shift = vdupq_n_s8((int8_t)(4 - 2 * j));
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            const uint8x16_t h = vshlq_u8(vld1q_u8(high + i * 64), shift);
            v[i] = vorrq_u8(v[i], vandq_u8(h, vdupq_n_u8(48)));
        }
    }
}

/* All quads: v[q] holds columns 4q to 4q + 3. */
HN_INLINE void hn_neon_codes(hn_layout l, const uint8_t *unit, int block, int part,
                             uint8x16_t v[8]) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        uint8x16_t pair[2];
        hn_neon_code_pair(l, unit, block, part, j, pair);
        v[j] = pair[0];
        v[4 + j] = pair[1];
    }
}

HN_INLINE float32x4_t hn_neon_scales_at(hn_layout l, const uint8_t *scales, int sub, int part) {
    const size_t at = (size_t)(sub * HN_UNIT_ROWS + part * HN_NEON_ROWS);
    if (l.scale_bytes == 2)
        return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(scales + at * 2)));
    uint32_t four;
    memcpy(&four, scales + HN_UNIT_FACTORS + at, sizeof four);
    const int16x8_t factors = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)));
    return vmulq_f32(vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(scales + part * HN_NEON_ROWS * 2))),
                     vcvtq_f32_s32(vmovl_s16(vget_low_s16(factors))));
}

/* Scales of 4 rows for sub-block `sub` (0 to sub_blocks - 1) of a unit. */
HN_INLINE float32x4_t hn_neon_scales(hn_layout l, const uint8_t *unit, int sub, int part) {
    return hn_neon_scales_at(l, unit, sub, part);
}

/* The minima; only where the layout has them. */
HN_INLINE float32x4_t hn_neon_mins(hn_layout l, const uint8_t *unit, int sub, int part) {
    return hn_neon_scales_at(l, unit + hn_layout_scales_bytes(l), sub, part);
}

/* What to add to scale * code: the minimum, or -offset * scale (exact). */
HN_INLINE float32x4_t hn_neon_biases(hn_layout l, const uint8_t *unit, int sub, int part,
                                     float32x4_t scale) {
    if (l.has_min)
        return hn_neon_mins(l, unit, sub, part);
    return vmulq_n_f32(scale, -(float)l.offset);
}

/* Sub-block of a unit that columns 4q to 4q + 3 of a block belong to. */
HN_INLINE int hn_neon_sub(hn_layout l, int block, int q) {
    return l.sub_blocks == 4 ? block * 2 + q / 4 : block;
}

/* Turns 4 registers of [4 rows][4 dwords] by their diagonal: dword c of r[i] becomes dword i of
 * r[c]. */
HN_INLINE void hn_neon_transpose(uint32x4_t r[4]) {
    const uint32x4_t a = vtrn1q_u32(r[0], r[1]), b = vtrn2q_u32(r[0], r[1]);
    const uint32x4_t c = vtrn1q_u32(r[2], r[3]), d = vtrn2q_u32(r[2], r[3]);
    r[0] = vreinterpretq_u32_u64(vtrn1q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(c)));
    r[1] = vreinterpretq_u32_u64(vtrn1q_u64(vreinterpretq_u64_u32(b), vreinterpretq_u64_u32(d)));
    r[2] = vreinterpretq_u32_u64(vtrn2q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(c)));
    r[3] = vreinterpretq_u32_u64(vtrn2q_u64(vreinterpretq_u64_u32(b), vreinterpretq_u64_u32(d)));
}
