#include "train/sums.h"

void hn_sums_start(hn_sums *sums) {
    sums->begun = sums->params->n_layer;
}

/* Every rank's ranges are these, from the last layer down, however far it came by itself. */
static void begin_from(hn_sums *sums, int layer) {
    while (sums->begun > layer) {
        const hn_span *span = &sums->params->layers[--sums->begun];
        hn_ranks_sum_begin(sums->ranks, sums->params->grads + span->first, span->end - span->first);
    }
}

void hn_sums_layer(hn_sums *sums, int layer) {
    if (sums->ranks && !sums->late)
        begin_from(sums, layer);
}

double hn_sums_finish(hn_sums *sums) {
    const hn_params *p = sums->params;
    if (!sums->ranks)
        return 0;
    begin_from(sums, 0);
    /* what belongs to no layer, on either side of them */
    size_t end = p->layers[p->n_layer - 1].end;
    hn_ranks_sum_begin(sums->ranks, p->grads, p->layers[0].first);
    hn_ranks_sum_begin(sums->ranks, p->grads + end, p->n - end);
    return hn_ranks_sum_wait(sums->ranks);
}
