/* Weight matrices in hone's own packed layout, and products with them. One storage serves decode,
 * prefill and training (forward and transposed); see DESIGN.md items 2, 4 and 6.
 *
 * A matrix W has `rows` outputs and `cols` inputs; a linear layer is Y = X W^T with X (n, cols) and
 * Y (n, rows), all row-major f32. A row of Y depends on its row of X and on W alone: never on n, on
 * the number of threads, or on its place in the batch. */
#pragma once

#include "base/cpu.h"
#include "base/dtype.h"
#include "base/file.h"
#include "base/pool.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct hn_kernels hn_kernels; /* table of functions, kernels.h */

/* Everything a computation needs from its surroundings. One per engine; a hn_compute runs one call
 * at a time. */
typedef struct hn_compute hn_compute;

HN_MUST_CHECK hn_status hn_compute_new(hn_compute **out, hn_isa isa, int n_threads, hn_error *err);
void hn_compute_free(hn_compute *compute);
hn_pool *hn_compute_pool(hn_compute *compute);
const hn_kernels *hn_compute_kernels(const hn_compute *compute);
hn_isa hn_compute_isa(const hn_compute *compute);

/* What the products are computed in. F32: dequantised weights, f32 activations, f32 sums (what
 * PyTorch computes on the dequantised model). INT8: activations rounded to int8 a block of 32,
 * integer dot products, f32 sums over blocks (what llama.cpp computes). A matrix of float type is
 * computed in f32 either way, but for bf16 with INT8 on levels that multiply bf16 (avx512bf16,
 * amx): there its activations are rounded to bf16 too. */
typedef enum hn_numerics { HN_NUMERICS_F32, HN_NUMERICS_INT8 } hn_numerics;

typedef struct hn_matrix {
    hn_dtype dtype; /* of the file */
    int64_t rows;   /* outputs */
    int64_t cols;   /* inputs */
    void *packed;   /* the layout is private to kernels/ */
    size_t packed_bytes;
    bool borrowed; /* `packed` belongs to a hn_weights, otherwise to the matrix */
} hn_matrix;

/* A matrix as it lies in a file, to be packed. */
typedef struct hn_matrix_source {
    const char *name; /* for messages */
    hn_dtype dtype;
    int64_t rows, cols;
    const void *data; /* unaligned, row after row as in GGUF and safetensors; isn't kept */
    hn_matrix *out;
    const hn_map *map; /* where `data` lies: given back as it is packed; NULL = it stays */
} hn_matrix_source;

/* The memory of matrices that were packed together. */
typedef struct hn_weights {
    void *data;
    size_t bytes;
} hn_weights;

/* Something else to be done while matrices are packed, on one of the threads. */
typedef struct hn_errand {
    void (*run)(void *context);
    void *context;
} hn_errand;

/* Packs all matrices of a model in one go, `errand` (NULL = none) running meanwhile; each source's
 * `out` is set when all succeeded and is valid until hn_weights_done. Non-finite scales or values
 * are HN_BAD_INPUT naming the source. */
HN_MUST_CHECK hn_status hn_matrices_pack(hn_compute *compute, const hn_matrix_source *sources,
                                         int n, const hn_errand *errand, hn_weights *out,
                                         hn_error *err);
void hn_weights_done(hn_weights *weights);

/* The same for packed bytes that shall lie elsewhere, in a file say: how many they are, packing
 * piece by piece, and using them from where they were put. */
HN_MUST_CHECK hn_status hn_matrices_bytes(const hn_matrix_source *sources, int n, size_t *bytes,
                                          hn_error *err);
/* Is handed each piece once, from any thread and in any order: `size` bytes that belong `offset`
 * bytes from the beginning. All pieces but the first and the last have piece_bytes, and end where
 * lead_bytes + offset is a multiple of it; both are multiples of 64. False = give up. */
typedef struct hn_pack_sink {
    bool (*put)(void *context, const void *data, size_t offset, size_t size);
    void *context;
    size_t piece_bytes, lead_bytes;
} hn_pack_sink;
/* HN_IO when the sink gave up. */
HN_MUST_CHECK hn_status hn_matrices_pack_to(hn_compute *compute, const hn_matrix_source *sources,
                                            int n, const hn_errand *errand,
                                            const hn_pack_sink *sink, hn_error *err);
/* Sets each source's `out` to matrices within `packed` (aligned to 64 bytes), which stays the
 * caller's. */
void hn_matrices_bind(const hn_matrix_source *sources, int n, const void *packed);

/* Packs one matrix into memory of its own; freed with hn_matrix_done. */
HN_MUST_CHECK hn_status hn_matrix_pack(hn_compute *compute, hn_matrix *out, hn_dtype dtype,
                                       int64_t rows, int64_t cols, const void *data, hn_error *err);
void hn_matrix_done(hn_matrix *matrix);

/* Dequantises row `row` into out (cols). For embeddings, merges and tests. */
void hn_matrix_row(const hn_matrix *matrix, int64_t row, float *out);

/* Rows [first, first + n) as a matrix of their own, borrowed from `matrix`: n is cut to what there
 * is. `first` must be a multiple of HN_MATRIX_GRAIN. */
enum { HN_MATRIX_GRAIN = 16 };
hn_matrix hn_matrix_view(const hn_matrix *matrix, int64_t first, int64_t n);

enum { HN_LINEAR_MAX_OUTPUTS = 3 };

/* What an adapter adds to a product while the results are still in a cache: scale * T M, M being
 * the second factor of rank r. */
typedef struct hn_low_rank {
    const float *t; /* (n, r), row stride t_stride floats; NULL = nothing is added */
    const float *m; /* M^T (outputs, r) for hn_linear, M (r, cols) for hn_backward; contiguous */
    int64_t r, t_stride;
    float scale;
} hn_low_rank;

/* out = activation(gate) * up, n values; nothing overlaps but for out, which may be gate. */
typedef void hn_activation_fn(const float *gate, const float *up, float *out, long n);

/* One step of a model: up to three matrices over the same input, with what comes just before and
 * after fused in. Y_i = norm(X) W_i^T (+ bias_i) (+ Y_i) (+ low_rank_i), or activate(X, up) instead
 * of norm(X). */
typedef struct hn_linear {
    const float *x; /* (n, cols), row stride x_stride floats */
    int64_t n;
    int64_t x_stride;
    const float *norm; /* (cols) RMS-norm weight applied to x first; NULL = none */
    float norm_eps;
    /* NULL = none, or where there is a norm; up: like x. Rows may be activated more than once. */
    hn_activation_fn *activate;
    const float *up;
    int n_outputs;
    struct {
        const hn_matrix *w;
        const float *bias; /* (rows) or NULL */
        float *y;          /* (n, rows), row stride y_stride floats; must not alias x */
        int64_t y_stride;
        bool accumulate; /* add to y instead of setting it */
        hn_low_rank low_rank;
    } output[HN_LINEAR_MAX_OUTPUTS];
    hn_numerics numerics;
} hn_linear;

/* Scratch is kept inside `compute` and grows as needed: HN_NO_MEMORY is the only failure. */
HN_MUST_CHECK hn_status hn_linear_run(hn_compute *compute, const hn_linear *linear, hn_error *err);
/* Grows it now for such a step and any with fewer rows; of `linear` the matrices, n, whether there
 * is a norm or an activation, the ranks and numerics count. */
HN_MUST_CHECK hn_status hn_linear_reserve(hn_compute *compute, const hn_linear *linear,
                                          hn_error *err);

/* The backward pass of up to three matrices that had the same input: dX (n, cols) (+)= sum of
 * dY_i (n, rows_i) W_i (+ low_rank), in f32 over dequantised weights. */
typedef struct hn_backward {
    int64_t n;
    float *dx; /* row stride dx_stride floats */
    int64_t dx_stride;
    bool accumulate; /* add to dx instead of setting it */
    int n_inputs;
    struct {
        const hn_matrix *w; /* all with the same cols */
        const float *dy;    /* (n, rows), row stride dy_stride floats */
        int64_t dy_stride;
    } input[HN_LINEAR_MAX_OUTPUTS];
    hn_low_rank low_rank;
} hn_backward;
HN_MUST_CHECK hn_status hn_backward_run(hn_compute *compute, const hn_backward *backward,
                                        hn_error *err);

/* dW += dY^T X for a weight matrix of type f32: dy (n, rows), x (n, cols); grad lies like
 * w->packed, whose padding stays as it is. Sums run over n in ascending order. */
HN_MUST_CHECK hn_status hn_matrix_gradient(hn_compute *compute, const hn_matrix *w, const float *dy,
                                           int64_t n, int64_t dy_stride, const float *x,
                                           int64_t x_stride, float *grad, hn_error *err);
/* grad += the outer product of a one-hot row and dx (cols): the gradient of an embedding's row. */
void hn_matrix_gradient_row(const hn_matrix *w, int64_t row, const float *dx, float scale,
                            float *grad);

/* General small f32 products for adapters and their gradients, row-major with strides:
 * C (m, n) = alpha * op(A) op(B) + beta * C, op being the transpose where the flag says so.
 * Sums run over k in ascending order whatever m, n and the thread count. */
typedef struct hn_gemm {
    int64_t m, n, k;
    bool a_transposed, b_transposed; /* stored A is (k, m), stored B is (n, k) */
    const float *a, *b;
    float *c;
    int64_t a_stride, b_stride, c_stride;
    float alpha, beta;
} hn_gemm;
HN_MUST_CHECK hn_status hn_gemm_run(hn_compute *compute, const hn_gemm *gemm, hn_error *err);

/* Blocks as they lie in files: dequantise n values (a multiple of the block). Scalar, exact. */
void hn_blocks_dequantise(hn_dtype dtype, const void *blocks, int64_t n, float *out);
