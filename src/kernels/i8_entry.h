/* The table's entries of a level's int8 products, one a layout; included at the end of a file that
 * defines `gemm` for a layout and HN_LEVEL, the ending of the kernels' names. */
#include "kernels/kernels.h"

#define HN_ENTRY_NAME__(id, level) gemm_i8_##id##_##level
#define HN_ENTRY_NAME_(id, level) HN_ENTRY_NAME__(id, level)
#define HN_ENTRY_NAME(id) HN_ENTRY_NAME_(id, HN_LEVEL)

#define X(id, bits, subs, scale, min, off)                                                         \
    static void HN_ENTRY_NAME(id)(int64_t m, int64_t width, int64_t n_units, const void *w,        \
                                  const hn_act_block *x, int64_t x_stride, float *y,               \
                                  int64_t y_stride, bool add) {                                    \
        gemm((hn_layout){bits, subs, scale, min, off}, m, width, n_units, w, x, x_stride, y,       \
             y_stride, add);                                                                       \
    }
HN_LAYOUT_LIST(X)
#undef X

static void put_products(hn_kernels *table) {
#define X(id, ...) table->gemm_i8[HN_##id] = HN_ENTRY_NAME(id);
    HN_LAYOUT_LIST(X)
#undef X
}
