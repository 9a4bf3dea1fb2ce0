/* All rows of a batch take each step together, a chunk of columns at a time: what a chunk does to
 * itself is worked out row by row, what it does to the other columns is one matrix product. */
#include "base/mem.h"
#include "release/feedback.h"
#include "release/rounding_internal.h"

#include <math.h>
#include <string.h>

enum {
    CHUNK = 128,            /* columns; of K types a block */
    BATCH_VALUES = 4 << 20, /* of rows rounded together */
    MAX_ROWS = 8192,
    N_SWEEPS = 3, /* of the descent: later ones change hardly anything */
    N_AIMS = 4    /* after them, each followed by a sweep */
};

size_t hn_rounding_batch_values(const hn_rounding *r) {
    return r->max_cols > BATCH_VALUES ? (size_t)r->max_cols : BATCH_VALUES;
}

hn_status hn_rounding_new(hn_rounding **out, hn_compute *compute, int64_t max_cols, hn_error *err) {
    const size_t smallest_block = 32;
    hn_rounding *r = hn_calloc(1, sizeof *r);
    if (!r)
        return hn_fail_no_memory(err, sizeof *r);
    r->compute = compute;
    r->ops = hn_row_ops_get();
    r->max_cols = max_cols;
    const size_t n = hn_rounding_batch_values(r);
    r->factor = hn_reallocarray(NULL, (size_t)max_cols * (size_t)max_cols, sizeof *r->factor);
    r->weights = hn_reallocarray(NULL, (size_t)max_cols, sizeof *r->weights);
    r->work = hn_reallocarray(NULL, n, sizeof *r->work);
    r->error = hn_reallocarray(NULL, n, sizeof *r->error);
    r->change_gram = hn_reallocarray(NULL, n, sizeof *r->change_gram);
    r->beyond = hn_reallocarray(NULL, MAX_ROWS, sizeof *r->beyond);
    r->delta = hn_reallocarray(NULL, MAX_ROWS * HN_GRID_MAX_VALUES, sizeof *r->delta);
    r->grids = hn_reallocarray(NULL, n / smallest_block, sizeof *r->grids);
    r->codes = hn_malloc(n);
    if (!r->factor || !r->weights || !r->work || !r->error || !r->change_gram || !r->beyond ||
        !r->delta || !r->grids || !r->codes) {
        hn_rounding_free(r);
        return hn_fail_no_memory(err, n * sizeof *r->work);
    }
    *out = r;
    return HN_OK;
}

void hn_rounding_free(hn_rounding *r) {
    if (!r)
        return;
    hn_free(r->factor);
    hn_free(r->weights);
    hn_free(r->work);
    hn_free(r->error);
    hn_free(r->change_gram);
    hn_free(r->beyond);
    hn_free(r->delta);
    hn_free(r->grids);
    hn_free(r->codes);
    hn_free(r);
}

int64_t hn_rounding_max_rows(const hn_rounding *r, int64_t cols) {
    int64_t rows = (int64_t)hn_rounding_batch_values(r) / cols;
    return rows < MAX_ROWS ? rows : MAX_ROWS;
}

const float *hn_rounding_gradient(const hn_rounding *r) {
    return r->work;
}

const float *hn_rounding_change_gram(const hn_rounding *r) {
    return r->change_gram;
}

hn_status hn_rounding_inputs(hn_rounding *r, float *gram, int64_t cols, hn_error *err) {
    r->gram = gram;
    r->cols = cols;
    for (int64_t i = 0; i < cols; i++)
        r->work[i] = gram[i * cols + i];
    HN_TRY(hn_importance_weights(r->work, cols, r->weights, err));
    if (!hn_feedback_prepare(hn_compute_pool(r->compute), gram, r->factor, r->work, cols))
        return hn_fail(err, HN_BAD_INPUT,
                       "the calibration text leaves its inputs at zero or infinite; give more "
                       "text");
    return HN_OK;
}

/* work (rows, cols from `first` on) -= delta (rows, chunk) m[chunk's rows][columns from first] */
static hn_status take_off(hn_rounding *r, const float *m, int64_t first, hn_error *err) {
    const hn_gemm gemm = {.m = r->rows,
                          .n = r->cols - first,
                          .k = r->chunk_cols,
                          .a = r->delta,
                          .a_stride = HN_GRID_MAX_VALUES,
                          .b = m + r->chunk_first * r->cols + first,
                          .b_stride = r->cols,
                          .c = r->work + first,
                          .c_stride = r->cols,
                          .alpha = -1,
                          .beta = 1};
    return first < r->cols ? hn_gemm_run(r->compute, &gemm, err) : HN_OK;
}

/* out (rows, cols) = x (rows, cols) times gram */
static hn_status times_gram(hn_rounding *r, const float *x, float *out, hn_error *err) {
    const hn_gemm gemm = {.m = r->rows,
                          .n = r->cols,
                          .k = r->cols,
                          .a = x,
                          .b = r->gram,
                          .c = out,
                          .a_stride = r->cols,
                          .b_stride = r->cols,
                          .c_stride = r->cols,
                          .alpha = 1};
    return hn_gemm_run(r->compute, &gemm, err);
}

/* Runs a step on every row of the batch's chunk. */
typedef void row_fn(hn_rounding *r, int64_t row);
typedef struct row_job {
    hn_rounding *r;
    row_fn *fn;
} row_job;

static void run_share(void *arg, int thread, int n_threads) {
    const row_job *job = arg;
    long first, last;
    hn_pool_share((long)job->r->rows, 8, thread, n_threads, &first, &last);
    for (long row = first; row < last; row++)
        job->fn(job->r, row);
}

static void for_rows(hn_rounding *r, row_fn *fn) {
    row_job job = {r, fn};
    hn_pool_run(hn_compute_pool(r->compute), run_share, &job);
}

/* Error feedback within the chunk; delta: each column's error over its factor's diagonal. */
static void feed_back(hn_rounding *r, int64_t row) {
    const int64_t first = r->chunk_first, last = first + r->chunk_cols;
    float *x = r->work + row * r->cols, *errors = r->delta + row * HN_GRID_MAX_VALUES - first;
    hn_grid *grid = r->grids + (row * r->cols + first) / r->block;
    for (int64_t block = first; block < last; block += r->block, grid++) {
        hn_grid_fit(grid, r->dtype, x + block, r->weights + block, true);
        for (int64_t col = block; col < block + r->block; col++) {
            const float *u = r->factor + col * r->cols;
            int i = (int)(col - block);
            float code = hn_grid_code(grid, i, x[col]);
            errors[col] = (x[col] - hn_grid_value(grid, i, code)) / u[col];
            r->codes[row * r->cols + col] = (uint8_t)code;
            for (int64_t j = col + 1; j < last; j++)
                x[j] -= errors[col] * u[j];
        }
    }
}

/* error = target - value */
static void start_descent(hn_rounding *r, int64_t row) {
    const float *target = r->target + row * r->cols;
    const uint8_t *codes = r->codes + row * r->cols;
    float *error = r->error + row * r->cols;
    const hn_grid *grid = r->grids + row * r->cols / r->block;
    for (int64_t col = 0; col < r->cols; col++) {
        int i = (int)(col % r->block);
        error[col] = target[col] - hn_grid_value(grid + col / r->block, i, codes[col]);
    }
}

static void pack(hn_rounding *r, int64_t row) {
    const size_t block_bytes = hn_dtype_get(r->dtype)->block_bytes;
    const int64_t n_blocks = r->cols / r->block;
    for (int64_t b = 0; b < n_blocks; b++)
        hn_grid_pack(r->grids + row * n_blocks + b, r->codes + row * r->cols + b * r->block,
                     r->out + (size_t)(row * n_blocks + b) * block_bytes);
}

static void next_chunk(hn_rounding *r) {
    int64_t width = r->block > CHUNK ? r->block : CHUNK;
    r->chunk_first += r->chunk_cols;
    r->chunk_cols = r->cols - r->chunk_first < width ? r->cols - r->chunk_first : width;
}

static void first_chunk(hn_rounding *r) {
    r->chunk_first = r->chunk_cols = 0;
    next_chunk(r);
}

static hn_status sweep(hn_rounding *r, hn_error *err) {
    for (first_chunk(r); r->chunk_cols > 0; next_chunk(r)) {
        for_rows(r, hn_rounding_descend);
        HN_TRY(take_off(r, r->gram, 0, err));
    }
    return HN_OK;
}

/* Aims further by what is missing of the row's change in its outputs. */
static void aim(hn_rounding *r, int64_t row) {
    const float most = 1; /* beyond: twice the change, of a row that rounding swallows */
    const float *change = r->change + row * r->cols, *gram = r->change_gram + row * r->cols;
    float *gradient = r->work + row * r->cols;
    double wanted = 0, missing = 0;
    for (int64_t i = 0; i < r->cols; i++) {
        wanted += (double)change[i] * (double)gram[i];
        missing += (double)change[i] * ((double)gradient[i] - (double)(r->beyond[row] * gram[i]));
    }
    if (!(wanted > 0))
        return;
    float next = r->beyond[row] + (float)(missing / wanted);
    next = next > most ? most : next < -most ? -most : next;
    for (int64_t i = 0; i < r->cols; i++)
        gradient[i] += (next - r->beyond[row]) * gram[i];
    r->beyond[row] = next;
}

static void aim_at_target(hn_rounding *r, int64_t row) {
    for (int64_t i = row * r->cols; i < (row + 1) * r->cols; i++)
        r->work[i] -= r->beyond[row] * r->change_gram[i];
}

/* Where the target lies near a grid that was there before the change, descent ends on that grid's
 * side: the error has the direction of the change, in every row, and adds up over layers as noise
 * does not. Aiming beyond the target by what is missing takes that part of the error away. */
static hn_status keep_change(hn_rounding *r, hn_error *err) {
    memset(r->beyond, 0, (size_t)r->rows * sizeof *r->beyond);
    HN_TRY(times_gram(r, r->change, r->change_gram, err));
    for (int n = 0; n < N_AIMS; n++) {
        for_rows(r, aim);
        HN_TRY(sweep(r, err));
    }
    for_rows(r, aim_at_target);
    return HN_OK;
}

hn_status hn_rounding_run(hn_rounding *r, hn_dtype dtype, const float *target, const float *change,
                          int64_t rows, uint8_t *out, hn_error *err) {
    r->block = hn_dtype_get(dtype)->block_values;
    if (!hn_grid_supports(dtype) || r->cols % r->block)
        return hn_fail(err, HN_UNSUPPORTED, "%lld values can't be quantised to %s",
                       (long long)r->cols, hn_dtype_name(dtype));
    r->dtype = dtype;
    r->rows = rows;
    r->target = target;
    r->change = change;
    r->out = out;
    memcpy(r->work, target, (size_t)(rows * r->cols) * sizeof *r->work);
    for (first_chunk(r); r->chunk_cols > 0; next_chunk(r)) {
        for_rows(r, feed_back);
        HN_TRY(take_off(r, r->factor, r->chunk_first + r->chunk_cols, err));
    }
    for_rows(r, start_descent);
    HN_TRY(times_gram(r, r->error, r->work, err));
    for (int n = 0; n < N_SWEEPS; n++)
        HN_TRY(sweep(r, err));
    if (change)
        HN_TRY(keep_change(r, err));
    for_rows(r, pack);
    return HN_OK;
}
