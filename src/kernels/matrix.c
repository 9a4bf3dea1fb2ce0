#include "kernels/matrix.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

struct hn_compute {
    hn_pool *pool;
    hn_isa isa;
};

hn_status hn_compute_new(hn_compute **out, hn_isa isa, int n_threads, hn_error *err) {
    hn_compute *compute = hn_calloc(1, sizeof *compute);
    if (!compute)
        return hn_fail_no_memory(err, sizeof *compute);
    compute->isa = isa;
    hn_status status = hn_pool_new(&compute->pool, n_threads, err);
    if (status != HN_OK) {
        hn_free(compute);
        return status;
    }
    *out = compute;
    return HN_OK;
}

void hn_compute_free(hn_compute *compute) {
    if (!compute)
        return;
    hn_pool_free(compute->pool);
    hn_free(compute);
}

hn_pool *hn_compute_pool(hn_compute *compute) {
    return compute->pool;
}

hn_isa hn_compute_isa(const hn_compute *compute) {
    return compute->isa;
}

hn_status hn_matrix_pack(hn_compute *compute, hn_matrix *out, hn_dtype dtype, int64_t rows,
                         int64_t cols, const void *data, hn_error *err) {
    (void)compute;
    size_t bytes = (size_t)rows * (size_t)cols * sizeof(float);
    float *values = hn_alloc_aligned(bytes);
    if (!values)
        return hn_fail_no_memory(err, bytes);
    hn_blocks_dequantise(dtype, data, rows * cols, values);
    *out = (hn_matrix){
        .dtype = dtype, .rows = rows, .cols = cols, .packed = values, .packed_bytes = bytes};
    return HN_OK;
}

void hn_matrix_done(hn_matrix *matrix) {
    hn_free_aligned(matrix->packed, matrix->packed_bytes);
    *matrix = (hn_matrix){0};
}

void hn_matrix_row(const hn_matrix *matrix, int64_t row, float *out) {
    memcpy(out, (const float *)matrix->packed + row * matrix->cols,
           (size_t)matrix->cols * sizeof *out);
}

typedef struct linear_job {
    const hn_linear *linear;
    const float *x; /* normed, or the caller's */
    int64_t x_stride;
} linear_job;

static void linear_share(void *arg, int thread, int n_threads) {
    const linear_job *job = arg;
    const hn_linear *l = job->linear;
    for (int o = 0; o < l->n_outputs; o++) {
        const hn_matrix *w = l->output[o].w;
        long first, last;
        hn_pool_share(w->rows, 16, thread, n_threads, &first, &last);
        for (int64_t i = 0; i < l->n; i++) {
            const float *x = job->x + i * job->x_stride;
            float *y = l->output[o].y + i * l->output[o].y_stride;
            for (long r = first; r < last; r++) {
                const float *row = (const float *)w->packed + r * w->cols;
                float sum[8] = {0};
                int64_t k = 0;
                for (; k + 8 <= w->cols; k += 8)
                    for (int j = 0; j < 8; j++)
                        sum[j] += x[k + j] * row[k + j];
                float tail = 0;
                for (; k < w->cols; k++)
                    tail += x[k] * row[k];
                float dot = ((sum[0] + sum[4]) + (sum[1] + sum[5])) +
                            ((sum[2] + sum[6]) + (sum[3] + sum[7])) + tail;
                if (l->output[o].bias)
                    dot += l->output[o].bias[r];
                y[r] = l->output[o].accumulate ? y[r] + dot : dot;
            }
        }
    }
}

hn_status hn_linear_run(hn_compute *compute, const hn_linear *l, hn_error *err) {
    int64_t cols = l->output[0].w->cols;
    float *normed = NULL;
    size_t bytes = (size_t)l->n * (size_t)cols * sizeof *normed;
    linear_job job = {.linear = l, .x = l->x, .x_stride = l->x_stride};
    if (l->norm) {
        normed = hn_alloc_aligned(bytes);
        if (!normed)
            return hn_fail_no_memory(err, bytes);
        for (int64_t i = 0; i < l->n; i++) {
            const float *x = l->x + i * l->x_stride;
            double sum = 0;
            for (int64_t k = 0; k < cols; k++)
                sum += (double)x[k] * (double)x[k];
            float scale = 1.0f / sqrtf((float)(sum / (double)cols) + l->norm_eps);
            for (int64_t k = 0; k < cols; k++)
                normed[i * cols + k] = x[k] * scale * l->norm[k];
        }
        job.x = normed;
        job.x_stride = cols;
    }
    hn_pool_run(compute->pool, linear_share, &job);
    hn_free_aligned(normed, bytes);
    return HN_OK;
}

typedef struct backward_job {
    const hn_matrix *w;
    const float *dy;
    float *dx;
    int64_t n, dy_stride, dx_stride;
    bool accumulate;
} backward_job;

static void backward_share(void *arg, int thread, int n_threads) {
    const backward_job *job = arg;
    long first, last;
    hn_pool_share((long)job->n, 1, thread, n_threads, &first, &last);
    for (long i = first; i < last; i++) {
        float *dx = job->dx + i * job->dx_stride;
        if (!job->accumulate)
            memset(dx, 0, (size_t)job->w->cols * sizeof *dx);
        for (int64_t r = 0; r < job->w->rows; r++) {
            const float *row = (const float *)job->w->packed + r * job->w->cols;
            float dy = job->dy[i * job->dy_stride + r];
            for (int64_t k = 0; k < job->w->cols; k++)
                dx[k] += dy * row[k];
        }
    }
}

hn_status hn_matrix_backward(hn_compute *compute, const hn_matrix *w, const float *dy, int64_t n,
                             int64_t dy_stride, float *dx, int64_t dx_stride, bool accumulate,
                             hn_error *err) {
    (void)err;
    backward_job job = {w, dy, dx, n, dy_stride, dx_stride, accumulate};
    hn_pool_run(compute->pool, backward_share, &job);
    return HN_OK;
}

static void gemm_share(void *arg, int thread, int n_threads) {
    const hn_gemm *g = arg;
    long first, last;
    hn_pool_share((long)g->m, 1, thread, n_threads, &first, &last);
    for (long i = first; i < last; i++) {
        for (int64_t j = 0; j < g->n; j++) {
            float sum = 0;
            for (int64_t k = 0; k < g->k; k++)
                sum += (g->a_transposed ? g->a[k * g->a_stride + i] : g->a[i * g->a_stride + k]) *
                       (g->b_transposed ? g->b[j * g->b_stride + k] : g->b[k * g->b_stride + j]);
            float *c = g->c + i * g->c_stride + j;
            *c = g->beta == 0 ? g->alpha * sum : g->alpha * sum + g->beta * *c;
        }
    }
}

hn_status hn_gemm_run(hn_compute *compute, const hn_gemm *gemm, hn_error *err) {
    (void)err;
    hn_pool_run(compute->pool, gemm_share, (void *)(uintptr_t)gemm);
    return HN_OK;
}
