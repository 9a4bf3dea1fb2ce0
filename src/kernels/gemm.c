/* hn_gemm_run: f32 products of plain matrices, thin ones above all (LoRA: one side is the rank).
 * B goes into panels of 16 columns; threads share the longer of C's sides. */
#include "kernels/compute.h"

typedef struct gemm_job {
    const hn_compute *compute;
    const hn_gemm *g;
    uint8_t *panels;
} gemm_job;

/* Rows [i0, i1) of C, columns [j, j + width), width <= 16 * HN_PANEL_GROUPS. */
static void multiply_columns(const gemm_job *job, int64_t i0, int64_t i1, int64_t j, int64_t width,
                             float *panels) {
    const hn_kernels *kernels = job->compute->kernels;
    const hn_gemm *g = job->g;
    const int64_t chunk = hn_f32_chunk(g->k);
    const int64_t a_row = g->a_transposed ? 1 : g->a_stride;
    const int64_t a_k = g->a_transposed ? g->a_stride : 1;
    float beta = g->beta;
    for (int64_t k = 0; k < g->k; k += chunk, beta = 1) {
        const int64_t n_k = hn_min_i64(chunk, g->k - k);
        for (int64_t p = 0; p < width; p += HN_UNIT_ROWS) {
            float *out = panels + p / HN_UNIT_ROWS * HN_PANEL_STRIDE;
            if (g->b_transposed)
                kernels->panel_transpose(n_k, width - p, g->b + (j + p) * g->b_stride + k,
                                         g->b_stride, out);
            else
                kernels->panel_copy(n_k, width - p, g->b + k * g->b_stride + j + p, g->b_stride,
                                    out);
        }
        for (int64_t i = i0; i < i1; i += HN_ROW_CHUNK)
            kernels->gemm_f32(hn_min_i64(HN_ROW_CHUNK, i1 - i), width, n_k,
                              g->a + i * a_row + k * a_k, a_row, a_k, panels, HN_PANEL_STRIDE,
                              g->c + i * g->c_stride + j, g->c_stride, g->alpha, beta);
    }
}

enum { TURNED_COLS = HN_PANEL_GROUPS * HN_UNIT_ROWS };

/* C = alpha * turned^T + beta * C for rows [i, i + height) and columns [j, j + width) of C. */
static void put_turned(const hn_gemm *g, int64_t i, int64_t height, int64_t j, int64_t width,
                       const float *turned) {
    for (int64_t r = 0; r < height; r++)
        for (int64_t c = 0; c < width; c++) {
            float *to = g->c + (i + r) * g->c_stride + j + c;
            const float sum = g->alpha * turned[c * TURNED_COLS + r];
            *to = g->beta == 0 ? sum : sum + g->beta * *to;
        }
}

/* Rows [i, i + height) of C, height <= TURNED_COLS, as columns of C's transpose: A, stored (k, m),
 * is read by rows. Down its columns each value would cost a cache line. */
static void multiply_turned(const gemm_job *job, int64_t i, int64_t height, float *panels) {
    const hn_kernels *kernels = job->compute->kernels;
    const hn_gemm *g = job->g;
    const int64_t chunk = hn_f32_chunk(g->k);
    float turned[HN_ROW_CHUNK * TURNED_COLS];
    for (int64_t j = 0; j < g->n; j += HN_ROW_CHUNK) {
        const int64_t width = hn_min_i64(HN_ROW_CHUNK, g->n - j);
        for (int64_t k = 0; k < g->k; k += chunk) {
            const int64_t n_k = hn_min_i64(chunk, g->k - k);
            for (int64_t p = 0; p < height; p += HN_UNIT_ROWS)
                kernels->panel_copy(n_k, height - p, g->a + k * g->a_stride + i + p, g->a_stride,
                                    panels + p / HN_UNIT_ROWS * HN_PANEL_STRIDE);
            kernels->gemm_f32(width, height, n_k, g->b + k * g->b_stride + j, 1, g->b_stride,
                              panels, HN_PANEL_STRIDE, turned, TURNED_COLS, 1, k > 0 ? 1 : 0);
        }
        put_turned(g, i, height, j, width, turned);
    }
}

/* A is to be read down its columns, and C is high and narrow, as the gradient of LoRA's B. */
static bool is_turned(const hn_gemm *g) {
    return g->a_transposed && !g->b_transposed && g->m > g->n;
}

static void gemm_share(void *arg, int thread, int n_threads) {
    const gemm_job *job = arg;
    const hn_gemm *g = job->g;
    const int64_t step = HN_PANEL_GROUPS * HN_UNIT_ROWS;
    float *panels = (float *)(void *)(job->panels + (size_t)thread * HN_PANELS_BYTES);
    long i0 = 0, i1 = (long)g->m, j0 = 0, j1 = (long)g->n;
    if (is_turned(g)) {
        hn_pool_share((long)g->m, HN_UNIT_ROWS, thread, n_threads, &i0, &i1);
        for (int64_t i = i0; i < i1; i += TURNED_COLS)
            multiply_turned(job, i, hn_min_i64(TURNED_COLS, i1 - i), panels);
        return;
    }
    if (g->n > g->m)
        hn_pool_share((long)g->n, HN_UNIT_ROWS, thread, n_threads, &j0, &j1);
    else
        hn_pool_share((long)g->m, 1, thread, n_threads, &i0, &i1);
    if (i0 == i1)
        return;
    for (int64_t j = j0; j < j1; j += step)
        multiply_columns(job, i0, i1, j, hn_min_i64(step, j1 - j), panels);
}

/* k = 0: nothing to add up. */
static void scale_only(const hn_gemm *g) {
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++) {
            float *c = g->c + i * g->c_stride + j;
            *c = g->beta == 0 ? 0 : *c * g->beta;
        }
}

hn_status hn_gemm_run(hn_compute *compute, const hn_gemm *gemm, hn_error *err) {
    if (gemm->k <= 0) {
        scale_only(gemm);
        return HN_OK;
    }
    void *panels;
    size_t bytes = (size_t)hn_pool_threads(compute->pool) * HN_PANELS_BYTES;
    HN_TRY(hn_compute_scratch(compute, HN_SCRATCH_PANELS, bytes, &panels, err));
    gemm_job job = {compute, gemm, panels};
    hn_pool_run(compute->pool, gemm_share, &job);
    return HN_OK;
}
