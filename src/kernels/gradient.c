/* hn_matrix_gradient: dW += dY^T X, straight into the packed layout: a group of 16 rows of an f32
 * matrix is a plain (cols, 16) matrix, X^T times 16 columns of dY. */
#include "kernels/compute.h"

typedef struct gradient_job {
    const hn_compute *compute;
    const hn_matrix *w;
    const float *dy, *x;
    float *grad;
    int64_t n, dy_stride, x_stride;
    uint8_t *panels;
} gradient_job;

static int64_t group_floats(const hn_matrix *w) {
    return (int64_t)(hn_layout_group_bytes(HN_LAYOUTS[HN_F32], w->cols) / sizeof(float));
}

static void group_gradient(const gradient_job *job, int64_t group, float *panel) {
    const hn_kernels *kernels = job->compute->kernels;
    const int64_t row = group * HN_UNIT_ROWS, chunk = hn_f32_chunk(job->n);
    const int64_t width = hn_min_i64(HN_UNIT_ROWS, job->w->rows - row);
    float *grad = job->grad + group * group_floats(job->w);
    for (int64_t k = 0; k < job->n; k += chunk) {
        const int64_t n_k = hn_min_i64(chunk, job->n - k);
        const float *x = job->x + k * job->x_stride;
        kernels->panel_copy(n_k, width, job->dy + k * job->dy_stride + row, job->dy_stride, panel);
        for (int64_t c = 0; c < job->w->cols; c += HN_ROW_CHUNK)
            kernels->gemm_f32(hn_min_i64(HN_ROW_CHUNK, job->w->cols - c), width, n_k, x + c, 1,
                              job->x_stride, panel, HN_PANEL_STRIDE, grad + c * HN_UNIT_ROWS,
                              HN_UNIT_ROWS, 1, 1);
    }
}

static void gradient_share(void *arg, int thread, int n_threads) {
    const gradient_job *job = arg;
    float *panel = (float *)(void *)(job->panels + (size_t)thread * HN_PANELS_BYTES);
    long first, last;
    hn_pool_share((long)((job->w->rows + HN_UNIT_ROWS - 1) / HN_UNIT_ROWS), 1, thread, n_threads,
                  &first, &last);
    for (long group = first; group < last; group++)
        group_gradient(job, group, panel);
}

hn_status hn_matrix_gradient(hn_compute *compute, const hn_matrix *w, const float *dy, int64_t n,
                             int64_t dy_stride, const float *x, int64_t x_stride, float *grad,
                             hn_error *err) {
    void *panels;
    size_t bytes = (size_t)hn_pool_threads(compute->pool) * HN_PANELS_BYTES;
    HN_TRY(hn_compute_scratch(compute, HN_SCRATCH_PANELS, bytes, &panels, err));
    gradient_job job = {.compute = compute,
                        .w = w,
                        .dy = dy,
                        .x = x,
                        .grad = grad,
                        .n = n,
                        .dy_stride = dy_stride,
                        .x_stride = x_stride,
                        .panels = panels};
    hn_pool_run(compute->pool, gradient_share, &job);
    return HN_OK;
}

void hn_matrix_gradient_row(const hn_matrix *w, int64_t row, const float *dx, float scale,
                            float *grad) {
    float *at = grad + row / HN_UNIT_ROWS * group_floats(w) + row % HN_UNIT_ROWS;
    for (int64_t c = 0; c < w->cols; c++)
        at[c * HN_UNIT_ROWS] += scale * dx[c];
}
