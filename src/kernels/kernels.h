/* The table of kernels. Each is declared once, in the lists below; scalar C in ref/ implements all
 * of them and is the oracle, the folders of instruction sets replace what they can do better.
 * hn_kernels_get fills a table from the bottom up. Lengths are in values, strides too.
 *
 * Kernels read and write what their arguments span and nothing else, unless said otherwise. */
#pragma once

#include "base/cpu.h"
#include "kernels/layout.h"

#include <math.h>

enum {
    /* Columns of a unit are summed in chunks of this many in f32 products; one value for all
     * levels, so that scratch is laid out alike. A panel of 16 x 256 f32 takes half an L1 cache. */
    HN_F32_CHUNK = 256,
};

/* 32 activations of a row rounded to int8, with what the sums over them need: one cache line.
 * scale = absmax / 127, rounded to 22 significant bits so that scale * sum is an exact product for
 * every kernel that adds 1.5 * 2^23 to turn an integer into a float. A block with a value that
 * isn't finite is HN_ACT_NOT_FINITE: so are the sums over it. */
typedef struct hn_act_block {
    int8_t q[HN_BLOCK_COLS];   /* -127 to 127, nearest even of x / scale */
    float scale;               /* of q */
    float scaled_sum;          /* scale * sum */
    float scaled_half_sums[2]; /* scale * half_sums */
    int32_t sum;               /* of q */
    int32_t half_sums[2];      /* of q[0..15] and q[16..31] */
    int16_t pair_sums[2];      /* of q[k] with k % 4 < 2, and the others */
} hn_act_block;

/* Zeros times NaN. */
#define HN_ACT_NOT_FINITE                                                                          \
    ((hn_act_block){.scale = NAN, .scaled_sum = NAN, .scaled_half_sums = {NAN, NAN}})

/* A smaller scale counts as 0, lest its inverse overflow. */
#define HN_ACT_MIN_SCALE 0x1p-100f

/* The scale of a block whose largest absolute value is `largest`: to 22 significant bits, nearest,
 * ties up. */
static inline float hn_act_scale(float largest) {
    const uint32_t unit = 1u << 2; /* of the 24 bits of an f32 */
    union {
        float f;
        uint32_t u;
    } scale = {largest * (1.0f / 127.0f)};
    scale.u = (scale.u + unit / 2) & ~(unit - 1);
    return scale.f < HN_ACT_MIN_SCALE ? 0 : scale.f;
}

/* X(return type, name, arguments) */
#define HN_KERNEL_LIST(X)                                                                          \
    /* C (m, width) = alpha * A B + beta * C; beta 0 doesn't read C. A's element (i, k) is at      \
     * a[i * a_row + k * a_k]. B is in panels of 16 columns: element (k, j) at                     \
     * b[j / 16 * b_panel + k * 16 + j % 16], 64-byte aligned, readable to the end of its last     \
     * panel. Each element is one chain of fused multiply-adds in ascending k. */                  \
    X(void, gemm_f32,                                                                              \
      (int64_t m, int64_t width, int64_t k, const float *a, int64_t a_row, int64_t a_k,            \
       const float *b, int64_t b_panel, float *c, int64_t c_stride, float alpha, float beta))      \
    /* A panel of B for gemm_f32 from a plain matrix: out[k * 16 + j] = src[k * stride + j], with  \
     * zeros from column `width` on. */                                                            \
    X(void, panel_copy, (int64_t k, int64_t width, const float *src, int64_t stride, float *out))  \
    /* The same from the transpose: out[k * 16 + j] = src[j * stride + k]. */                      \
    X(void, panel_transpose,                                                                       \
      (int64_t k, int64_t width, const float *src, int64_t stride, float *out))                    \
    /* out = x * weight / sqrt(mean(x^2) + eps); out may be x. */                                  \
    X(void, rms_norm, (int64_t n, const float *x, const float *weight, float eps, float *out))     \
    /* A row of n values to hn_layout_units(n) * 2 blocks; zeros beyond n. */                      \
    X(void, round_i8, (int64_t n, const float *x, hn_act_block *out))                              \
    /* n steps, at most 2^20, of the level's widest multiply-adds in registers, as fast as the     \
     * processor can, to know the limit. Every product is 1 * 1: their sum, which is returned, is  \
     * how many there were, a multiple of n. */                                                    \
    X(int64_t, peak_f32, (int64_t n))                                                              \
    X(int64_t, peak_i8, (int64_t n))                                                               \
    /* A row of n values to hn_layout_units(n) * 64 bf16, nearest even, subnormals as zeros; zeros \
     * beyond n. */                                                                                \
    X(void, round_bf16, (int64_t n, const float *x, uint16_t *out))                                \
    /* Y (m, width) = X W^T, added to Y when `add`, over bf16 weights and activations. w: groups   \
     * of n_units units of HN_BF16; x: m rows, x_stride values apart. Products are exact; they are \
     * summed in f32 in the level's own order, whatever m is. */                                   \
    X(void, gemm_bf16,                                                                             \
      (int64_t m, int64_t width, int64_t n_units, const void *w, const uint16_t *x,                \
       int64_t x_stride, float *y, int64_t y_stride, bool add))

/* X(return type, name, arguments): one function a dtype. */
#define HN_KERNEL_DTYPE_LIST(X)                                                                    \
    /* Values of n_units units of a group, as a panel of B for Y = X W^T:                          \
     * out[k * 16 + r], k from 0 to 64 * n_units - 1. f32 lies like that already. */               \
    X(void, unpack_f32, (const void *units, int64_t n_units, float *out))                          \
    /* Values of block `block` (0, 1) of one unit, transposed, as two panels for dX = dY W:        \
     * out[c / 16 * out_panel + r * 16 + c % 16], c from 0 to 31. */                               \
    X(void, unpack_f32_t, (const void *unit, int block, float *out, int64_t out_panel))            \
    /* Y (m, width) = X W^T, added to Y when `add`, over int8 activations. w: the first of the     \
     * groups, one after another; x: m rows of 2 * n_units blocks, x_stride blocks apart.          \
     * A sum goes over the sub-blocks s in ascending order, whatever m is:                         \
     *   t = float(sum of q * (code - offset)) * scale_x;  y = fma(t, scale_w, y)                  \
     * and where the type has minima, y = fma(scaled sum of q, min, y) after each. NULL for        \
     * float types. */                                                                             \
    X(void, gemm_i8,                                                                               \
      (int64_t m, int64_t width, int64_t n_units, const void *w, const hn_act_block *x,            \
       int64_t x_stride, float *y, int64_t y_stride, bool add))

#define X(ret, name, args) typedef ret hn_k_##name##_fn args;
HN_KERNEL_LIST(X)
HN_KERNEL_DTYPE_LIST(X)
#undef X

typedef struct hn_kernels {
#define X(ret, name, args) hn_k_##name##_fn *name;
    HN_KERNEL_LIST(X)
#undef X
#define X(ret, name, args) hn_k_##name##_fn *name[HN_DTYPE_COUNT];
    HN_KERNEL_DTYPE_LIST(X)
#undef X
    bool has_fast_bf16; /* gemm_bf16 is quicker than gemm_f32 */
} hn_kernels;

/* The table of a level that this machine supports; static storage, safe from any thread. */
const hn_kernels *hn_kernels_get(hn_isa isa);

/* Each family of kernels of a level puts itself into the table. */
void hn_k_f32_init_ref(hn_kernels *table);
void hn_k_unpack_init_ref(hn_kernels *table);
void hn_k_i8_init_ref(hn_kernels *table);
void hn_k_peak_init_ref(hn_kernels *table);
void hn_k_bf16_init_ref(hn_kernels *table);
#if defined(__x86_64__)
void hn_k_f32_init_avx2(hn_kernels *table);
void hn_k_unpack_init_avx2(hn_kernels *table);
void hn_k_i8_init_avx2(hn_kernels *table);
void hn_k_peak_init_avx2(hn_kernels *table);
void hn_k_i8_init_avxvnni(hn_kernels *table);
void hn_k_peak_init_avxvnni(hn_kernels *table);
void hn_k_f32_init_avx512(hn_kernels *table);
void hn_k_unpack_init_avx512(hn_kernels *table); /* over the level below */
void hn_k_i8_init_avx512vnni(hn_kernels *table);
void hn_k_round_init_avx512vnni(hn_kernels *table);
void hn_k_peak_init_avx512vnni(hn_kernels *table);
void hn_k_bf16_init_avx512bf16(hn_kernels *table);
void hn_k_i8_init_amx(hn_kernels *table); /* over the level below */
void hn_k_bf16_init_amx(hn_kernels *table);
void hn_k_peak_init_amx(hn_kernels *table);
#elif defined(__aarch64__)
void hn_k_f32_init_neon(hn_kernels *table);
void hn_k_unpack_init_neon(hn_kernels *table);
void hn_k_i8_init_neon(hn_kernels *table);
void hn_k_peak_init_neon(hn_kernels *table);
void hn_k_i8_init_dotprod(hn_kernels *table);
void hn_k_peak_init_dotprod(hn_kernels *table);
void hn_k_i8_init_i8mm(hn_kernels *table);
void hn_k_peak_init_i8mm(hn_kernels *table);
#endif
