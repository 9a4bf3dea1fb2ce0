/* Row norms of adapted weights: |W_i|^2 + 2 s B_i (A W_i^T) + s^2 B_i (A A^T) B_i^T, so that no
 * merged matrix is ever made. */
#include "model/dora.h"

#include "base/mem.h"

#include <math.h>

typedef struct squares_job {
    const hn_matrix *w;
    double *squares;
    float *rows; /* (threads, cols) */
} squares_job;

static void squares_share(void *arg, int thread, int n_threads) {
    const squares_job *j = arg;
    float *row = j->rows + (int64_t)thread * j->w->cols;
    long first, last;
    hn_pool_share((long)j->w->rows, 1, thread, n_threads, &first, &last);
    for (long i = first; i < last; i++) {
        double sum = 0;
        hn_matrix_row(j->w, i, row);
        for (int64_t c = 0; c < j->w->cols; c++)
            sum += (double)row[c] * (double)row[c];
        j->squares[i] = sum;
    }
}

hn_status hn_dora_squares(hn_compute *compute, const hn_matrix *w, double *squares, hn_error *err) {
    hn_pool *pool = hn_compute_pool(compute);
    size_t n = (size_t)hn_pool_threads(pool) * (size_t)w->cols;
    squares_job job = {.w = w, .squares = squares, .rows = hn_malloc(n * sizeof *job.rows)};
    if (!job.rows)
        return hn_fail_no_memory(err, n * sizeof *job.rows);
    hn_pool_run(pool, squares_share, &job);
    hn_free(job.rows);
    return HN_OK;
}

/* A A^T */
static void gram(const hn_dora *d, double *g) {
    int64_t cols = d->w->cols;
    for (int i = 0; i < d->r; i++)
        for (int j = 0; j <= i; j++) {
            double sum = 0;
            for (int64_t c = 0; c < cols; c++)
                sum += (double)d->a[i * cols + c] * (double)d->a[j * cols + c];
            g[i * d->r + j] = g[j * d->r + i] = sum;
        }
}

/* aw (r, rows) = A W^T, g = A A^T. */
static void add_up(const hn_dora *d, const float *aw, const double *g, float *norms) {
    double scale = (double)d->scale;
    for (int64_t row = 0; row < d->w->rows; row++) {
        const float *b = d->b + row * d->r;
        double cross = 0, own = 0;
        for (int i = 0; i < d->r; i++) {
            double sum = 0;
            for (int j = 0; j < d->r; j++)
                sum += g[i * d->r + j] * (double)b[j];
            cross += (double)b[i] * (double)aw[i * d->w->rows + row];
            own += (double)b[i] * sum;
        }
        double square = d->squares[row] + 2 * scale * cross + scale * scale * own;
        norms[row] = (float)sqrt(fmax(square, 1e-30)); /* a row of zeros stays one */
    }
}

hn_status hn_dora_norms(hn_compute *compute, const hn_dora *d, float *norms, hn_error *err) {
    size_t n = (size_t)d->r * (size_t)d->w->rows, n_gram = (size_t)d->r * (size_t)d->r;
    float *aw = hn_malloc(n * sizeof *aw);
    double *g = hn_malloc(n_gram * sizeof *g);
    hn_status status = HN_OK;
    if (!aw || !g)
        HN_GO(hn_fail_no_memory(err, n * sizeof *aw + n_gram * sizeof *g));
    hn_linear linear = {.x = d->a,
                        .n = d->r,
                        .x_stride = d->w->cols,
                        .n_outputs = 1,
                        .output = {{.w = d->w, .y = aw, .y_stride = d->w->rows}},
                        .numerics = HN_NUMERICS_F32};
    HN_GO(hn_linear_run(compute, &linear, err));
    gram(d, g);
    add_up(d, aw, g, norms);
done:
    hn_free(aw);
    hn_free(g);
    return status;
}

static hn_status norms_of(hn_model *model, const hn_lora *lora, const hn_matrix *w, float *norms,
                          hn_error *err) {
    double *squares = hn_malloc((size_t)w->rows * sizeof *squares);
    hn_dora dora = {
        .w = w, .squares = squares, .r = lora->r, .scale = lora->scale, .a = lora->a, .b = lora->b};
    if (!squares)
        return hn_fail_no_memory(err, (size_t)w->rows * sizeof *squares);
    hn_status status = hn_dora_squares(model->compute, w, squares, err);
    if (status == HN_OK)
        status = hn_dora_norms(model->compute, &dora, norms, err);
    hn_free(squares);
    return status;
}

hn_status hn_adapter_add_magnitudes(hn_adapter *adapter, hn_model *model, hn_error *err) {
    for (int l = 0; l < adapter->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            hn_lora *lora = &adapter->layers[l][m];
            if (lora->r == 0)
                continue;
            if (!lora->magnitude)
                lora->magnitude = hn_alloc_aligned((size_t)lora->out * sizeof(float));
            if (!lora->magnitude)
                return hn_fail_no_memory(err, (size_t)lora->out * sizeof(float));
            HN_TRY(norms_of(model, lora, &model->layers[l].w[m], lora->magnitude, err));
        }
    adapter->dora = true;
    adapter->fitted = false;
    return HN_OK;
}

static hn_status fit(hn_lora *lora, hn_model *model, const hn_matrix *w, hn_error *err) {
    if (!lora->factors)
        lora->factors = hn_alloc_aligned((size_t)lora->out * sizeof(float));
    if (!lora->factors)
        return hn_fail_no_memory(err, (size_t)lora->out * sizeof(float));
    HN_TRY(norms_of(model, lora, w, lora->factors, err));
    for (int64_t i = 0; i < lora->out; i++)
        lora->factors[i] = lora->magnitude[i] / lora->factors[i];
    return HN_OK;
}

hn_status hn_adapter_fit(hn_adapter *adapter, hn_model *model, hn_error *err) {
    if (!adapter->dora)
        return HN_OK;
    adapter->fitted = false;
    hn_turns_begin(&model->turns);
    hn_status status = HN_OK;
    for (int l = 0; status == HN_OK && l < adapter->n_layer; l++)
        for (int m = 0; status == HN_OK && m < HN_MODULE_COUNT; m++)
            if (adapter->layers[l][m].r)
                status = fit(&adapter->layers[l][m], model, &model->layers[l].w[m], err);
    hn_turns_end(&model->turns);
    adapter->fitted = status == HN_OK;
    return status;
}

hn_status hn_adapter_load(hn_adapter **out, const char *path, hn_model *model, hn_error *err) {
    hn_adapter *adapter;
    HN_TRY(hn_adapter_open(&adapter, path, &model->arch, err));
    hn_status status = hn_adapter_fit(adapter, model, err);
    if (status == HN_OK)
        *out = adapter;
    else
        hn_adapter_free(adapter);
    return status;
}
