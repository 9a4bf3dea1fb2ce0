/* With H = R R^T (R upper triangular), the inverse's Cholesky factor that GPTQ needs is U = R^-1:
 * H^-1 = U^T U. Column i's error, divided by U[i][i], is taken off the later columns times
 * U[i][j]. */
#include "release/feedback.h"

#include <math.h>
#include <string.h>

typedef struct factor_job {
    float *h, *u;
    int64_t cols, k;
} factor_job;

/* Takes column k of R out of the rows before it. Row k of h holds R[0..k][k]. */
static void eliminate(void *arg, int thread, int n_threads) {
    const factor_job *job = arg;
    const float *column = job->h + job->k * job->cols;
    for (int64_t i = thread; i < job->k; i += n_threads) {
        float factor = column[i], *row = job->h + i * job->cols;
        for (int64_t j = 0; j <= i; j++)
            row[j] -= factor * column[j];
    }
}

static float dot(const float *a, const float *b, int64_t n) {
    enum { LANES = 8 };
    float sums[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            sums[j] += a[i + j] * b[i + j];
    for (; i < n; i++)
        sum += a[i] * b[i];
    for (int j = 0; j < LANES; j++)
        sum += sums[j];
    return sum;
}

/* Row i of U from U R = 1. */
static void invert(void *arg, int thread, int n_threads) {
    const factor_job *job = arg;
    int64_t n = job->cols;
    for (int64_t i = thread; i < n; i += n_threads) {
        float *row = job->u + i * n;
        memset(row, 0, (size_t)n * sizeof *row);
        row[i] = 1 / job->h[i * n + i];
        for (int64_t j = i + 1; j < n; j++) {
            const float *column = job->h + j * n;
            row[j] = -dot(row + i, column + i, j - i) / column[j];
        }
    }
}

bool hn_feedback_prepare(hn_pool *pool, float *h, float *factor, float *diagonal, int64_t cols) {
    const float damping = 0.01f; /* of the mean diagonal, as in the paper */
    double sum = 0;
    for (int64_t i = 0; i < cols; i++)
        sum += (double)h[i * cols + i];
    float extra = damping * (float)(sum / (double)cols);
    if (!(extra > 0) || !isfinite(extra))
        return false;
    for (int64_t i = 0; i < cols; i++)
        diagonal[i] = h[i * cols + i] += extra;
    factor_job job = {.h = h, .u = factor, .cols = cols};
    bool positive = true;
    for (int64_t k = cols - 1; k >= 0 && positive; k--) {
        float *column = h + k * cols;
        positive = column[k] > 0;
        column[k] = sqrtf(column[k]);
        for (int64_t i = 0; i < k; i++)
            column[i] /= column[k];
        job.k = k;
        hn_pool_run(k > 64 ? pool : NULL, eliminate, &job); /* short rows: one thread is faster */
    }
    if (positive)
        hn_pool_run(pool, invert, &job);
    for (int64_t i = 0; i < cols; i++) { /* R has used up the lower triangle */
        h[i * cols + i] = diagonal[i];
        for (int64_t j = 0; j < i; j++)
            h[i * cols + j] = h[j * cols + i];
    }
    return positive;
}
