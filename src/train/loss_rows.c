/* Rows of a tile on all threads, their values added in their order, so that the sums are the same
 * for any number of threads. */
#include "train/loss.h"

enum { GROUP_ROWS = 64 };

typedef struct group {
    const hn_loss_rows *rows;
    const hn_loss_each *each;
    int32_t first, n;
    double values[GROUP_ROWS];
} group;

static void share(void *arg, int thread, int n_threads) {
    group *g = arg;
    long from, to;
    hn_pool_share(g->n, 1, thread, n_threads, &from, &to);
    for (long i = from; i < to; i++)
        g->values[i] = g->each->row(g->each->context, g->rows, g->first + i);
}

void hn_loss_rows_run(const hn_loss_rows *rows, const hn_loss_each *each) {
    group g = {.rows = rows, .each = each};
    for (; g.first < rows->n; g.first += GROUP_ROWS) {
        g.n = rows->n - g.first < GROUP_ROWS ? rows->n - g.first : GROUP_ROWS;
        hn_pool_run(rows->pool, share, &g);
        for (int32_t i = 0; i < g.n; i++)
            each->add(each->context, rows, g.first + i, g.values[i]);
    }
}
