/* The inside of hn_compute: the pool, the kernels, and scratch that grows and stays. */
#pragma once

#include "kernels/kernels.h"
#include "kernels/matrix.h"

typedef enum hn_scratch_slot {
    HN_SCRATCH_INPUT,  /* rows of a call after the norm or the activation */
    HN_SCRATCH_ACTS,   /* the same, rounded to int8 */
    HN_SCRATCH_BF16,   /* the same, rounded to bf16 */
    HN_SCRATCH_PANELS, /* each thread's unpacked weights, then its low-rank factor's */
    HN_SCRATCH_LEFT,   /* what each thread still has to do of a product */
    HN_SCRATCH_COUNT,
} hn_scratch_slot;

struct hn_compute {
    hn_pool *pool;
    hn_isa isa;
    const hn_kernels *kernels;
    struct {
        void *data;
        size_t bytes;
    } scratch[HN_SCRATCH_COUNT];
};

/* At least `bytes` of 64-byte-aligned scratch, contents undefined, valid until the next call for
 * the same slot. */
HN_MUST_CHECK hn_status hn_compute_scratch(hn_compute *compute, hn_scratch_slot slot, size_t bytes,
                                           void **out, hn_error *err);

/* k is summed in equal chunks of whole units, at most HN_F32_CHUNK, so that a sum's order depends
 * on k alone. */
static inline int64_t hn_f32_chunk(int64_t k) {
    int64_t chunks = (k + HN_F32_CHUNK - 1) / HN_F32_CHUNK;
    return hn_round_up((k + chunks - 1) / chunks, HN_UNIT_COLS);
}

enum {
    HN_PANEL_GROUPS = 4, /* groups of 16 columns unpacked at a time */
    HN_PANEL_STRIDE = HN_F32_CHUNK * HN_UNIT_ROWS,
    HN_PANELS_BYTES = HN_PANEL_GROUPS * HN_PANEL_STRIDE * (int)sizeof(float),
    /* Rows of activations that go through the unpacked groups before the next rows do: 120 x 256
     * f32 stay in half an L2 cache. A multiple of every kernel's tile height. */
    HN_ROW_CHUNK = 120,
};
