/* hn_linear_run: norm, then products of up to three matrices with the same rows. */
#include "kernels/compute.h"

#include <string.h>

typedef struct linear_job {
    hn_compute *compute;
    const hn_linear *linear;
    float *normed; /* (n, cols), NULL when there is no norm */
    uint8_t *panels;
} linear_job;

static int64_t groups_of(const hn_matrix *w) {
    return (w->rows + HN_UNIT_ROWS - 1) / HN_UNIT_ROWS;
}

static int64_t min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* y = bias (+ y), so that products can be added to it. */
static void put_bias(const hn_linear *l, int o, int64_t col, int64_t width) {
    for (int64_t i = 0; i < l->n; i++) {
        float *y = l->output[o].y + i * l->output[o].y_stride + col;
        const float *bias = l->output[o].bias + col;
        for (int64_t j = 0; j < width; j++)
            y[j] = l->output[o].accumulate ? y[j] + bias[j] : bias[j];
    }
}

/* Groups [first, first + count) of output o, count <= HN_PANEL_GROUPS. */
static void multiply_groups(const hn_compute *compute, const hn_linear *l, int o, const float *x,
                            int64_t x_stride, int64_t first, int64_t count, float *panels) {
    const hn_kernels *kernels = compute->kernels;
    const hn_matrix *w = l->output[o].w;
    const hn_layout layout = HN_LAYOUTS[w->dtype];
    const size_t unit_bytes = hn_layout_unit_bytes(layout);
    const size_t group_bytes = hn_layout_group_bytes(layout, w->cols);
    const uint8_t *group = (const uint8_t *)w->packed + (size_t)first * group_bytes;
    const int64_t col = first * HN_UNIT_ROWS;
    const int64_t width = min_i64(count * HN_UNIT_ROWS, w->rows - col);
    const int64_t chunk = hn_f32_chunk(w->cols);
    bool add = l->output[o].accumulate;
    if (l->output[o].bias) {
        put_bias(l, o, col, width);
        add = true;
    }
    for (int64_t k = 0; k < w->cols; k += chunk, add = true) {
        const int64_t n_k = min_i64(chunk, w->cols - k);
        const uint8_t *units = group + (size_t)(k / HN_UNIT_COLS) * unit_bytes;
        const float *b = panels;
        int64_t b_panel = HN_PANEL_STRIDE;
        if (w->dtype == HN_F32) {
            b = (const float *)(const void *)units;
            b_panel = (int64_t)(group_bytes / sizeof(float));
        } else {
            for (int64_t g = 0; g < count; g++)
                kernels->unpack_f32[w->dtype](units + (size_t)g * group_bytes, hn_layout_units(n_k),
                                              panels + g * HN_PANEL_STRIDE);
        }
        for (int64_t i = 0; i < l->n; i += HN_ROW_CHUNK)
            kernels->gemm_f32(min_i64(HN_ROW_CHUNK, l->n - i), width, n_k, x + i * x_stride + k,
                              x_stride, 1, b, b_panel,
                              l->output[o].y + i * l->output[o].y_stride + col,
                              l->output[o].y_stride, 1, add ? 1 : 0);
    }
}

void hn_linear_f32_share(const hn_compute *compute, const hn_linear *l, const float *x,
                         int64_t x_stride, float *panels, int thread, int n_threads) {
    int64_t total = 0;
    for (int o = 0; o < l->n_outputs; o++)
        total += groups_of(l->output[o].w);
    long first, last;
    hn_pool_share((long)total, 1, thread, n_threads, &first, &last);
    int64_t base = 0; /* of output o's groups within all of them */
    for (int o = 0; o < l->n_outputs; o++) {
        int64_t n_groups = groups_of(l->output[o].w);
        int64_t g = first > base ? first - base : 0, end = min_i64(last - base, n_groups);
        for (; g < end; g += HN_PANEL_GROUPS)
            multiply_groups(compute, l, o, x, x_stride, g, min_i64(HN_PANEL_GROUPS, end - g),
                            panels);
        base += n_groups;
    }
}

static void linear_share(void *arg, int thread, int n_threads) {
    const linear_job *job = arg;
    const hn_linear *l = job->linear;
    const float *x = l->x;
    int64_t x_stride = l->x_stride;
    if (l->norm) {
        const int64_t cols = l->output[0].w->cols;
        long first, last;
        hn_pool_share((long)l->n, 1, thread, n_threads, &first, &last);
        for (long i = first; i < last; i++)
            job->compute->kernels->rms_norm(cols, x + i * x_stride, l->norm, l->norm_eps,
                                            job->normed + i * cols);
        hn_pool_barrier(job->compute->pool);
        x = job->normed;
        x_stride = cols;
    }
    float *panels = (float *)(void *)(job->panels + (size_t)thread * HN_PANELS_BYTES);
    hn_linear_f32_share(job->compute, l, x, x_stride, panels, thread, n_threads);
}

hn_status hn_linear_run(hn_compute *compute, const hn_linear *l, hn_error *err) {
    linear_job job = {.compute = compute, .linear = l};
    void *scratch;
    if (l->norm) {
        size_t bytes = (size_t)l->n * (size_t)l->output[0].w->cols * sizeof(float);
        HN_TRY(hn_compute_scratch(compute, HN_SCRATCH_ROWS, bytes, &scratch, err));
        job.normed = scratch;
    }
    size_t bytes = (size_t)hn_pool_threads(compute->pool) * HN_PANELS_BYTES;
    HN_TRY(hn_compute_scratch(compute, HN_SCRATCH_PANELS, bytes, &scratch, err));
    job.panels = scratch;
    hn_pool_run(compute->pool, linear_share, &job);
    return HN_OK;
}
