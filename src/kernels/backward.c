/* hn_backward_run: dX = sum of dY W. The packed units are dequantised transposed, two panels of 16
 * columns of W a block, and multiplied as in the forward pass. */
#include "kernels/low_rank.h"
#include "kernels/work_left.h"

typedef struct backward_job {
    const hn_compute *compute;
    const hn_backward *b;
    uint8_t *panels; /* thread_bytes a thread: HN_PANELS_BYTES, then the low-rank factor's */
    size_t thread_bytes;
    hn_work_left *left; /* blocks of columns */
} backward_job;

enum { PANELS_A_BLOCK = HN_BLOCK_COLS / HN_UNIT_ROWS };

/* Rows [r, r + n_r) of W, as the panels of columns of blocks [first, first + count). */
static void unpack_blocks(const hn_kernels *kernels, const hn_matrix *w, int64_t r, int64_t n_r,
                          int64_t first, int64_t count, float *panels) {
    const hn_layout layout = HN_LAYOUTS[w->dtype];
    const size_t unit_bytes = hn_layout_unit_bytes(layout);
    const size_t group_bytes = hn_layout_group_bytes(layout, w->cols);
    for (int64_t b = first; b < first + count; b++) {
        const uint8_t *unit = (const uint8_t *)w->packed +
                              (size_t)(r / HN_UNIT_ROWS) * group_bytes +
                              (size_t)(b / HN_UNIT_BLOCKS) * unit_bytes;
        float *out = panels + (b - first) * PANELS_A_BLOCK * HN_PANEL_STRIDE;
        for (int64_t i = 0; i < n_r; i += HN_UNIT_ROWS, unit += group_bytes)
            kernels->unpack_f32_t[w->dtype](unit, (int)(b % HN_UNIT_BLOCKS), out + i * HN_UNIT_ROWS,
                                            HN_PANEL_STRIDE);
    }
}

/* Columns of blocks [first, first + count) of 32, count * 2 <= HN_PANEL_GROUPS. */
static void multiply_blocks(const backward_job *job, int64_t first, int64_t count, float *panels) {
    const hn_kernels *kernels = job->compute->kernels;
    const hn_backward *b = job->b;
    const int64_t col = first * HN_BLOCK_COLS, cols = b->input[0].w->cols;
    const int64_t width = hn_min_i64(count * HN_BLOCK_COLS, cols - col);
    float *ranks = panels + HN_PANELS_BYTES / (int)sizeof *panels;
    bool add = b->accumulate;
    if (b->low_rank.t)
        hn_low_rank_unpack(kernels, &b->low_rank, cols, col, width, ranks);
    for (int m = 0; m < b->n_inputs; m++) {
        const hn_matrix *w = b->input[m].w;
        const int64_t chunk = hn_f32_chunk(w->rows), stride = b->input[m].dy_stride;
        for (int64_t r = 0; r < w->rows; r += chunk, add = true) {
            const int64_t n_r = hn_min_i64(chunk, w->rows - r);
            const bool last = m == b->n_inputs - 1 && r + n_r == w->rows;
            unpack_blocks(kernels, w, r, n_r, first, count, panels);
            for (int64_t i = 0; i < b->n; i += HN_ROW_CHUNK) {
                const int64_t n = hn_min_i64(HN_ROW_CHUNK, b->n - i);
                float *dx = b->dx + i * b->dx_stride + col;
                kernels->gemm_f32(n, width, n_r, b->input[m].dy + i * stride + r, stride, 1, panels,
                                  HN_PANEL_STRIDE, dx, b->dx_stride, 1, add ? 1 : 0);
                if (last && b->low_rank.t)
                    hn_low_rank_add(kernels, &b->low_rank, i, n, width, ranks, dx, b->dx_stride);
            }
        }
    }
}

static void backward_share(void *arg, int thread, int n_threads) {
    const backward_job *job = arg;
    const int64_t step = HN_PANEL_GROUPS / PANELS_A_BLOCK;
    float *panels = (float *)(void *)(job->panels + (size_t)thread * job->thread_bytes);
    long first, last;
    while (hn_work_take(job->left, thread, n_threads, step, &first, &last))
        multiply_blocks(job, first, last - first, panels);
}

hn_status hn_backward_run(hn_compute *compute, const hn_backward *backward, hn_error *err) {
    void *panels;
    backward_job job = {.compute = compute,
                        .b = backward,
                        .thread_bytes = HN_PANELS_BYTES + hn_low_rank_bytes(backward->low_rank.r)};
    size_t bytes = (size_t)hn_pool_threads(compute->pool) * job.thread_bytes;
    HN_TRY(hn_compute_scratch(compute, HN_SCRATCH_PANELS, bytes, &panels, err));
    job.panels = panels;
    const int64_t cols = backward->input[0].w->cols;
    HN_TRY(hn_work_share(compute, (cols + HN_BLOCK_COLS - 1) / HN_BLOCK_COLS, &job.left, err));
    hn_pool_run(compute->pool, backward_share, &job);
    return HN_OK;
}
