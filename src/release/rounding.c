/* All rows of a batch take each step together, a chunk of columns at a time: what a chunk does to
 * itself is worked out row by row, what it does to the other columns is one matrix product. */
#include "release/rounding.h"

#include "base/mem.h"
#include "release/feedback.h"
#include "release/row_ops.h"

#include <math.h>
#include <string.h>

enum {
    CHUNK = 128, /* columns; of K types a block */
    MAX_CHUNK = HN_GRID_MAX_VALUES,
    BATCH_VALUES = 4 << 20, /* of rows rounded together */
    MAX_ROWS = 8192,
    N_SWEEPS = 3 /* of the descent: later ones change hardly anything */
};

struct hn_rounding {
    hn_compute *compute;
    const hn_row_ops *ops;
    int64_t max_cols, cols;
    float *gram, *factor; /* (cols, cols): borrowed; owned, of hn_feedback_prepare */
    float *weights;       /* (cols) importance of columns for the choice of grids */

    /* of the batch: */
    hn_dtype dtype;
    int64_t rows, block, chunk_first, chunk_cols;
    const float *target; /* (rows, cols) */
    float *work;         /* (rows, cols): first targets with feedback, then the gradient */
    float *error;        /* (rows, cols): target - value when the descent begins */
    float *delta;        /* (rows, MAX_CHUNK): what a step did in its chunk */
    hn_grid *grids;      /* (rows, cols / block) */
    uint8_t *codes;      /* (rows, cols) */
    uint8_t *out;
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
    r->delta = hn_reallocarray(NULL, MAX_ROWS * MAX_CHUNK, sizeof *r->delta);
    r->grids = hn_reallocarray(NULL, n / smallest_block, sizeof *r->grids);
    r->codes = hn_malloc(n);
    if (!r->factor || !r->weights || !r->work || !r->error || !r->delta || !r->grids || !r->codes) {
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
                          .a_stride = MAX_CHUNK,
                          .b = m + r->chunk_first * r->cols + first,
                          .b_stride = r->cols,
                          .c = r->work + first,
                          .c_stride = r->cols,
                          .alpha = -1,
                          .beta = 1};
    return first < r->cols ? hn_gemm_run(r->compute, &gemm, err) : HN_OK;
}

hn_status hn_rounding_times_gram(hn_rounding *r, const float *x, int64_t rows, float *out,
                                 hn_error *err) {
    const hn_gemm gemm = {.m = rows,
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
    float *x = r->work + row * r->cols, *errors = r->delta + row * MAX_CHUNK - first;
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

/* The chunk's own part of the gradient follows a change of `n` values from column `at` on: less
 * holds the change with its sign turned. */
static void follow(const hn_rounding *r, float *gradient, const float *less, int64_t at,
                   int64_t n) {
    r->ops->add_rows(gradient, less, r->gram + at * r->cols + r->chunk_first, n, r->cols,
                     r->chunk_cols);
}

static float product(const float *x, const float *y, int64_t n) {
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* hx = x times the block's own part of gram. */
static void times_block(const hn_rounding *r, int64_t at, const float *x, float *hx) {
    memset(hx, 0, (size_t)r->block * sizeof *hx);
    r->ops->add_rows(hx, x, r->gram + at * r->cols + at, r->block, r->cols, r->block);
}

/* The scale and minimum (or the factors of both) that leave the least error, all else being fixed.
 * gradient: of the block. change: (block) what values moved by. False when nothing is gained. */
static bool improve_scales(const hn_rounding *r, hn_grid *grid, const uint8_t *codes, int64_t at,
                           const float *gradient, float *change) {
    float p[MAX_CHUNK], q[MAX_CHUNK], hp[MAX_CHUNK], hq[MAX_CHUNK];
    const int64_t n = r->block;
    bool affine = hn_grid_basis(grid, codes, p, q);
    times_block(r, at, p, hp);
    float pp = product(p, hp, n), pg = product(p, gradient, n), dd, dm = 0;
    if (!(pp > 0))
        return false;
    dd = pg / pp;
    if (affine) {
        times_block(r, at, q, hq);
        float pq = product(p, hq, n), qq = product(q, hq, n), qg = product(q, gradient, n);
        float det = pp * qq - pq * pq;
        if (det > 1e-6f * pp * qq) {
            dd = (pg * qq - qg * pq) / det;
            dm = (qg * pp - pg * pq) / det;
        }
    }
    hn_grid better = *grid;
    if (!hn_grid_rescale(&better, dd, dm))
        return false;
    for (int64_t i = 0; i < n; i++)
        change[i] =
            hn_grid_value(&better, (int)i, codes[i]) - hn_grid_value(grid, (int)i, codes[i]);
    times_block(r, at, change, hp);
    float gain = 2 * product(change, gradient, n) - product(change, hp, n);
    if (!(gain > 0))
        return false;
    *grid = better;
    return true;
}

/* One step of descent over the chunk's blocks: scales, then each code. */
static void descend(hn_rounding *r, int64_t row) {
    enum { N_PASSES = 2 };
    const int64_t first = r->chunk_first;
    float gradient[MAX_CHUNK], change[MAX_CHUNK];
    float *delta = r->delta + row * MAX_CHUNK;
    memcpy(gradient, r->work + row * r->cols + first, (size_t)r->chunk_cols * sizeof *gradient);
    memset(delta, 0, (size_t)r->chunk_cols * sizeof *delta);
    for (int64_t block = 0; block < r->chunk_cols; block += r->block) {
        hn_grid *grid = r->grids + (row * r->cols + first + block) / r->block;
        uint8_t *codes = r->codes + row * r->cols + first + block;
        for (int pass = 0; pass < N_PASSES; pass++) {
            bool moved = false;
            if (improve_scales(r, grid, codes, first + block, gradient + block, change)) {
                for (int64_t i = 0; i < r->block; i++) {
                    delta[block + i] += change[i];
                    change[i] = -change[i];
                }
                follow(r, gradient, change, first + block, r->block);
            }
            for (int64_t i = 0; i < r->block; i++) {
                const float value = hn_grid_value(grid, (int)i, codes[i]);
                const int64_t col = first + block + i;
                float wish = value + gradient[block + i] / r->gram[col * r->cols + col];
                float code = hn_grid_code(grid, (int)i, wish);
                float step = hn_grid_value(grid, (int)i, code) - value;
                if (code == codes[i])
                    continue;
                codes[i] = (uint8_t)code;
                delta[block + i] += step;
                step = -step;
                follow(r, gradient, &step, col, 1);
                moved = true;
            }
            if (!moved)
                break;
        }
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

hn_status hn_rounding_run(hn_rounding *r, hn_dtype dtype, const float *target, int64_t rows,
                          uint8_t *out, hn_error *err) {
    r->block = hn_dtype_get(dtype)->block_values;
    if (!hn_grid_supports(dtype) || r->cols % r->block)
        return hn_fail(err, HN_UNSUPPORTED, "%lld values can't be quantised to %s",
                       (long long)r->cols, hn_dtype_name(dtype));
    r->dtype = dtype;
    r->rows = rows;
    r->target = target;
    r->out = out;
    memcpy(r->work, target, (size_t)(rows * r->cols) * sizeof *r->work);
    for (first_chunk(r); r->chunk_cols > 0; next_chunk(r)) {
        for_rows(r, feed_back);
        HN_TRY(take_off(r, r->factor, r->chunk_first + r->chunk_cols, err));
    }
    for_rows(r, start_descent);
    HN_TRY(hn_rounding_times_gram(r, r->error, rows, r->work, err));
    for (int sweep = 0; sweep < N_SWEEPS; sweep++) {
        for (first_chunk(r); r->chunk_cols > 0; next_chunk(r)) {
            for_rows(r, descend);
            HN_TRY(take_off(r, r->gram, 0, err));
        }
    }
    for_rows(r, pack);
    return HN_OK;
}
