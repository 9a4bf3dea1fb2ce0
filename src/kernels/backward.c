/* hn_matrix_backward: dX = dY W. The packed units are dequantised transposed, two panels of 16
 * columns of W a block, and multiplied as in the forward pass. */
#include "kernels/compute.h"

typedef struct backward_job {
    const hn_compute *compute;
    const hn_matrix *w;
    const float *dy;
    float *dx;
    int64_t n, dy_stride, dx_stride;
    bool accumulate;
    uint8_t *panels;
} backward_job;

static int64_t min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

enum { PANELS_A_BLOCK = HN_BLOCK_COLS / HN_UNIT_ROWS };

/* Columns of blocks [first, first + count) of 32, count * 2 <= HN_PANEL_GROUPS. */
static void multiply_blocks(const backward_job *job, int64_t first, int64_t count, float *panels) {
    const hn_kernels *kernels = job->compute->kernels;
    const hn_matrix *w = job->w;
    const hn_layout layout = HN_LAYOUTS[w->dtype];
    const size_t unit_bytes = hn_layout_unit_bytes(layout);
    const size_t group_bytes = hn_layout_group_bytes(layout, w->cols);
    const int64_t col = first * HN_BLOCK_COLS;
    const int64_t width = min_i64(count * HN_BLOCK_COLS, w->cols - col);
    const int64_t chunk = hn_f32_chunk(w->rows);
    bool add = job->accumulate;
    for (int64_t r = 0; r < w->rows; r += chunk, add = true) {
        const int64_t n_r = min_i64(chunk, w->rows - r);
        for (int64_t b = first; b < first + count; b++) {
            const uint8_t *unit = (const uint8_t *)w->packed +
                                  (size_t)(r / HN_UNIT_ROWS) * group_bytes +
                                  (size_t)(b / HN_UNIT_BLOCKS) * unit_bytes;
            float *out = panels + (b - first) * PANELS_A_BLOCK * HN_PANEL_STRIDE;
            for (int64_t i = 0; i < n_r; i += HN_UNIT_ROWS, unit += group_bytes)
                kernels->unpack_f32_t[w->dtype](unit, (int)(b % HN_UNIT_BLOCKS),
                                                out + i * HN_UNIT_ROWS, HN_PANEL_STRIDE);
        }
        for (int64_t i = 0; i < job->n; i += HN_ROW_CHUNK)
            kernels->gemm_f32(min_i64(HN_ROW_CHUNK, job->n - i), width, n_r,
                              job->dy + i * job->dy_stride + r, job->dy_stride, 1, panels,
                              HN_PANEL_STRIDE, job->dx + i * job->dx_stride + col, job->dx_stride,
                              1, add ? 1 : 0);
    }
}

static void backward_share(void *arg, int thread, int n_threads) {
    const backward_job *job = arg;
    const int64_t n_blocks = (job->w->cols + HN_BLOCK_COLS - 1) / HN_BLOCK_COLS;
    const int64_t step = HN_PANEL_GROUPS / PANELS_A_BLOCK;
    float *panels = (float *)(void *)(job->panels + (size_t)thread * HN_PANELS_BYTES);
    long first, last;
    hn_pool_share((long)n_blocks, 1, thread, n_threads, &first, &last);
    for (int64_t b = first; b < last; b += step)
        multiply_blocks(job, b, min_i64(step, last - b), panels);
}

hn_status hn_matrix_backward(hn_compute *compute, const hn_matrix *w, const float *dy, int64_t n,
                             int64_t dy_stride, float *dx, int64_t dx_stride, bool accumulate,
                             hn_error *err) {
    void *panels;
    size_t bytes = (size_t)hn_pool_threads(compute->pool) * HN_PANELS_BYTES;
    HN_TRY(hn_compute_scratch(compute, HN_SCRATCH_PANELS, bytes, &panels, err));
    backward_job job = {.compute = compute,
                        .w = w,
                        .dy = dy,
                        .dx = dx,
                        .n = n,
                        .dy_stride = dy_stride,
                        .dx_stride = dx_stride,
                        .accumulate = accumulate,
                        .panels = panels};
    hn_pool_run(compute->pool, backward_share, &job);
    return HN_OK;
}
