/* Loops over rows of activations that aren't products of the model's own matrices: activations and
 * adapters. One table an instruction set. */
#pragma once

#include "base/cpu.h"
#include "kernels/matrix.h"
#include "model/adapter.h"

#include <stdint.h>

enum {
    LORA_DOTS = 8,   /* dot products at once: as many sums as hide the latency of an addition */
    LORA_RANKS = 64, /* ranks of B turned at once, 2 KB on the stack */
};

/* Rows that share an adapter, for the second half of its product. */
typedef struct hn_lora_rows {
    const hn_lora *lora;
    const float *u; /* (n, r), scaled */
    float *y;       /* (n, out), added to */
    int64_t u_stride, y_stride;
    int n;
} hn_lora_rows;

typedef struct hn_row_kernels {
    hn_activation_fn *silu_mul;
    hn_activation_fn *gelu_tanh_mul;
    /* Turns n pairs of x by angles (n), a cosine and a sine each. Pair i is values 2i and 2i + 1,
     * or i and i + n. */
    void (*rotate_pairs)(float *x, const float *angles, int n);
    void (*rotate_halves)(float *x, const float *angles, int n);
    /* u[first..last) = scale * A x for one row x (in) */
    void (*lora_down)(const hn_lora *lora, const float *x, float *u, int first, int last);
    /* y[first..last) += B u for all rows; sums run over the ranks in order */
    void (*lora_up)(const hn_lora_rows *rows, int64_t first, int64_t last);
} hn_row_kernels;

const hn_row_kernels *hn_row_kernels_get(hn_isa isa);

extern const hn_row_kernels hn_row_kernels_portable;
#if defined(__x86_64__)
extern const hn_row_kernels hn_row_kernels_avx2;
#elif defined(__aarch64__)
extern const hn_row_kernels hn_row_kernels_neon;
#endif
