/* Cross-entropy over the supervised rows. */
#include "train/loss.h"

static double entropy_row(void *context, const hn_loss_rows *r, int64_t i) {
    int64_t best;
    (void)context;
    r->logps[i] = -r->ops->cross_entropy(r->logits + i * r->n_vocab, r->n_vocab, r->labels[i],
                                         r->weights[i], &best);
    r->hits[i] = best == r->labels[i];
    return r->logps[i];
}

static void entropy_add(void *context, const hn_loss_rows *r, int64_t i, double logp) {
    double *sum = context;
    *sum -= logp * (double)r->weights[i];
}

hn_status hn_loss_cross_entropy(void *context, const hn_loss_rows *rows, double *value,
                                hn_error *err) {
    (void)context, (void)err;
    double sum = 0;
    hn_loss_rows_run(rows, &(hn_loss_each){&sum, entropy_row, entropy_add});
    *value += sum;
    return HN_OK;
}

hn_loss hn_loss_sft(float weight) {
    return (hn_loss){.weight = weight, .rows = hn_loss_cross_entropy};
}
