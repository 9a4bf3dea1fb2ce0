/* Cross-entropy over the supervised rows. */
#include "train/loss.h"

enum { GROUP_ROWS = 64 };

/* Rows are handled in groups whose results are added in order, so that the sum is the same for any
 * number of threads. */
typedef struct entropy_job {
    const hn_loss_rows *rows;
    int32_t first, n;
} entropy_job;

static void entropy_share(void *arg, int thread, int n_threads) {
    const entropy_job *job = arg;
    const hn_loss_rows *r = job->rows;
    long from, to;
    hn_pool_share(job->n, 1, thread, n_threads, &from, &to);
    for (long i = from; i < to; i++) {
        int64_t best, row = job->first + i;
        r->logps[row] = -r->ops->cross_entropy(r->logits + row * r->n_vocab, r->n_vocab,
                                               r->labels[row], r->weights[row], &best);
        r->hits[row] = best == r->labels[row];
    }
}

hn_status hn_loss_cross_entropy(void *context, const hn_loss_rows *rows, double *value,
                                hn_error *err) {
    (void)context, (void)err;
    double sum = 0;
    entropy_job job = {.rows = rows};
    for (job.first = 0; job.first < rows->n; job.first += GROUP_ROWS) {
        job.n = rows->n - job.first < GROUP_ROWS ? rows->n - job.first : GROUP_ROWS;
        hn_pool_run(rows->pool, entropy_share, &job);
        for (int32_t i = job.first; i < job.first + job.n; i++)
            sum -= rows->logps[i] * (double)rows->weights[i];
    }
    *value += sum;
    return HN_OK;
}

hn_loss hn_loss_sft(float weight) {
    return (hn_loss){.weight = weight, .rows = hn_loss_cross_entropy};
}
