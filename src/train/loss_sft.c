/* Cross-entropy over the supervised rows. */
#include "train/loss.h"

enum { GROUP_ROWS = 64 };

/* Rows are handled in groups whose results are added in order, so that the sum is the same for any
 * number of threads. */
typedef struct sft_job {
    const hn_loss_rows *rows;
    int32_t first, n;
    double loss[GROUP_ROWS];
} sft_job;

static void sft_share(void *arg, int thread, int n_threads) {
    sft_job *job = arg;
    const hn_loss_rows *r = job->rows;
    long from, to;
    hn_pool_share(job->n, 1, thread, n_threads, &from, &to);
    for (long i = from; i < to; i++) {
        int64_t best, row = job->first + i;
        job->loss[i] = r->ops->cross_entropy(r->logits + row * r->n_vocab, r->n_vocab,
                                             r->labels[row], r->weight, &best);
        r->hits[row] = best == r->labels[row];
    }
}

double hn_loss_sft(const hn_loss_rows *rows) {
    double sum = 0;
    sft_job job = {.rows = rows};
    for (job.first = 0; job.first < rows->n; job.first += GROUP_ROWS) {
        job.n = rows->n - job.first < GROUP_ROWS ? rows->n - job.first : GROUP_ROWS;
        hn_pool_run(rows->pool, sft_share, &job);
        for (int32_t i = 0; i < job.n; i++)
            sum += job.loss[i];
    }
    return sum * (double)rows->weight;
}
