/* The functions of the table are wrapped. A thread looks at the clock at the first piece of weights
 * that it unpacks and around the product over them, not around each piece: unpacking one takes
 * hardly longer than the looks would. Weights are told from other panels by where they begin. */
#include "products.h"

#include "base/clock.h"
#include "kernels/compute.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { MAX_THREADS = 256 };

/* A thread's own. */
typedef struct counter {
    _Alignas(64) products sum;
    const float *unpacked; /* where the panels of weights begin that were unpacked last */
    uint64_t began;        /* when; 0: a product was over them since */
} counter;

static counter counters[MAX_THREADS];
static atomic_int n_counters;
static _Thread_local counter *mine;
static const hn_kernels *inner;
static hn_kernels outer;

static counter *own(void) {
    if (!mine) {
        int index = atomic_fetch_add(&n_counters, 1);
        if (index >= MAX_THREADS)
            abort();
        mine = &counters[index];
    }
    return mine;
}

static void note_unpacking(const float *out) {
    counter *c = own();
    if (c->began) /* the first piece's address is the panels' */
        return;
    c->began = hn_clock_ns();
    c->unpacked = out;
}

/* Panels that aren't weights take the place of weights. */
static void note_other(const float *out) {
    counter *c = own();
    if (c->unpacked == out)
        c->unpacked = NULL;
}

#define X(id, ...)                                                                                 \
    static void unpack_##id(const void *units, int64_t n_units, float *out) {                      \
        note_unpacking(out);                                                                       \
        inner->unpack_f32[HN_##id](units, n_units, out);                                           \
    }                                                                                              \
    static void unpack_t_##id(const void *unit, int block, float *out, int64_t out_panel) {        \
        note_unpacking(out);                                                                       \
        inner->unpack_f32_t[HN_##id](unit, block, out, out_panel);                                 \
    }
HN_LAYOUT_LIST(X)
X(F16)
X(BF16)
X(F32)
#undef X

static void panel_copy(int64_t k, int64_t width, const float *src, int64_t stride, float *out) {
    note_other(out);
    inner->panel_copy(k, width, src, stride, out);
}

static void panel_transpose(int64_t k, int64_t width, const float *src, int64_t stride,
                            float *out) {
    note_other(out);
    inner->panel_transpose(k, width, src, stride, out);
}

static void gemm_f32(int64_t m, int64_t width, int64_t k, const float *a, int64_t a_row,
                     int64_t a_k, const float *b, int64_t b_panel, float *c, int64_t c_stride,
                     float alpha, float beta) {
    counter *own_counter = own();
    const bool weights = b == own_counter->unpacked;
    const uint64_t called = hn_clock_ns();
    const uint64_t began = weights && own_counter->began ? own_counter->began : called;
    inner->gemm_f32(m, width, k, a, a_row, a_k, b, b_panel, c, c_stride, alpha, beta);
    const double seconds = (double)(hn_clock_ns() - began) * 1e-9;
    products *sum = &own_counter->sum;
    *(weights ? &sum->seconds : &sum->other_seconds) += seconds;
    sum->unpacking += (double)(called - began) * 1e-9;
    *(weights ? &sum->multiply_adds : &sum->other_multiply_adds) +=
        (double)m * (double)width * (double)k;
    if (weights)
        own_counter->began = 0;
}

void products_watch(hn_compute *compute) {
    inner = compute->kernels;
    outer = *inner;
    outer.gemm_f32 = gemm_f32;
    outer.panel_copy = panel_copy;
    outer.panel_transpose = panel_transpose;
#define X(id, ...)                                                                                 \
    if (inner->unpack_f32[HN_##id])                                                                \
        outer.unpack_f32[HN_##id] = unpack_##id;                                                   \
    if (inner->unpack_f32_t[HN_##id])                                                              \
        outer.unpack_f32_t[HN_##id] = unpack_t_##id;
    HN_LAYOUT_LIST(X)
    X(F16)
    X(BF16)
    X(F32)
#undef X
    compute->kernels = &outer;
}

void products_reset(void) {
    for (int i = 0; i < MAX_THREADS; i++)
        counters[i].sum = (products){0};
}

products products_sum(void) {
    products all = {0};
    for (int i = 0; i < MAX_THREADS; i++) {
        all.multiply_adds += counters[i].sum.multiply_adds;
        all.seconds += counters[i].sum.seconds;
        all.unpacking += counters[i].sum.unpacking;
        all.other_multiply_adds += counters[i].sum.other_multiply_adds;
        all.other_seconds += counters[i].sum.other_seconds;
    }
    return all;
}
