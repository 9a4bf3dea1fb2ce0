/* Scalar dequantisation of the packed layout into panels of f32: the oracle. */
#include "kernels/kernels.h"
#include "kernels/unit.h"

static inline float value_at(hn_dtype dtype, hn_layout l, const void *unit, int row, int col) {
    return l.sub_blocks ? hn_unit_value(l, unit, row, col) : hn_unit_float(dtype, unit, row, col);
}

static inline void unpack(hn_dtype dtype, const uint8_t *units, int64_t n_units, float *out) {
    const hn_layout l = HN_LAYOUTS[dtype];
    for (int64_t u = 0; u < n_units; u++, units += hn_layout_unit_bytes(l))
        for (int c = 0; c < HN_UNIT_COLS; c++)
            for (int r = 0; r < HN_UNIT_ROWS; r++)
                *out++ = value_at(dtype, l, units, r, c);
}

static inline void unpack_t(hn_dtype dtype, const void *unit, int block, float *out,
                            int64_t out_panel) {
    const hn_layout l = HN_LAYOUTS[dtype];
    for (int c = 0; c < HN_BLOCK_COLS; c++)
        for (int r = 0; r < HN_UNIT_ROWS; r++)
            out[c / 16 * out_panel + r * 16 + c % 16] =
                value_at(dtype, l, unit, r, block * HN_BLOCK_COLS + c);
}

#define X(id, ...)                                                                                 \
    static void unpack_f32_##id##_ref(const void *units, int64_t n_units, float *out) {            \
        unpack(HN_##id, units, n_units, out);                                                      \
    }                                                                                              \
    static void unpack_f32_t_##id##_ref(const void *unit, int block, float *out,                   \
                                        int64_t out_panel) {                                       \
        unpack_t(HN_##id, unit, block, out, out_panel);                                            \
    }
HN_DTYPE_LIST(X)
#undef X

void hn_k_unpack_init_ref(hn_kernels *table) {
#define X(id, ...)                                                                                 \
    table->unpack_f32[HN_##id] = unpack_f32_##id##_ref;                                            \
    table->unpack_f32_t[HN_##id] = unpack_f32_t_##id##_ref;
    HN_DTYPE_LIST(X)
#undef X
}
