/* The table's entries of a level's unpacking, one a layout and one a float type; included at the
 * end of a file that defines unpack_codes, unpack_codes_t, unpack_floats and unpack_floats_t, and
 * HN_LEVEL, the ending of the kernels' names. */
#include "kernels/kernels.h"

#define HN_ENTRY_NAME__(base, id, level) base##_##id##_##level
#define HN_ENTRY_NAME_(base, id, level) HN_ENTRY_NAME__(base, id, level)
#define HN_ENTRY_NAME(base, id) HN_ENTRY_NAME_(base, id, HN_LEVEL)

#define X(id, bits, subs, scale, min, off)                                                         \
    static void HN_ENTRY_NAME(unpack_f32, id)(const void *units, int64_t n_units, float *out) {    \
        unpack_codes((hn_layout){bits, subs, scale, min, off}, units, n_units, out);               \
    }                                                                                              \
    static void HN_ENTRY_NAME(unpack_f32_t, id)(const void *unit, int block, float *out,           \
                                                int64_t out_panel) {                               \
        unpack_codes_t((hn_layout){bits, subs, scale, min, off}, unit, block, out, out_panel);     \
    }
HN_LAYOUT_LIST(X)
#undef X

#define X(id)                                                                                      \
    static void HN_ENTRY_NAME(unpack_f32, id)(const void *units, int64_t n_units, float *out) {    \
        unpack_floats(HN_##id, units, n_units, out);                                               \
    }
X(F16)
X(BF16)
#undef X
#define X(id)                                                                                      \
    static void HN_ENTRY_NAME(unpack_f32_t, id)(const void *unit, int block, float *out,           \
                                                int64_t out_panel) {                               \
        unpack_floats_t(HN_##id, unit, block, out, out_panel);                                     \
    }
X(F16)
X(BF16)
X(F32)
#undef X

static void put_unpacking(hn_kernels *table) {
#define X(id, ...)                                                                                 \
    table->unpack_f32[HN_##id] = HN_ENTRY_NAME(unpack_f32, id);                                    \
    table->unpack_f32_t[HN_##id] = HN_ENTRY_NAME(unpack_f32_t, id);
    HN_LAYOUT_LIST(X)
    X(F16)
    X(BF16)
#undef X
    table->unpack_f32_t[HN_F32] = HN_ENTRY_NAME(unpack_f32_t, F32);
}
