/* Scores of a golden set during training: the rows are read once and answered in batches, in float
 * or as the base is computed while it learns. */
#include "pipeline/golden_probe.h"

#include "base/hash.h"
#include "base/mem.h"

#include <string.h>

/* The scores of this share's rows, each at its row's place. */
static hn_status score_rows(hn_golden_probe *probe, hn_model *model, const hn_adapter *adapter,
                            const hn_share *share, const hn_progress *progress, double *values,
                            hn_error *err) {
    const hn_golden *golden = &probe->golden;
    hn_golden own = *golden; /* what it holds stays the whole set's */
    hn_scores scores = {0};
    size_t k = 0;
    hn_status status = HN_OK;
    own.n = 0;
    own.items = hn_malloc(golden->n * sizeof *own.items);
    if (!own.items)
        return hn_fail_no_memory(err, golden->n * sizeof *own.items);
    for (size_t i = 0; i < golden->n; i++)
        if (hn_share_has(share, i))
            own.items[own.n++] = golden->items[i];
    if (own.n) /* there may be more processes than rows */
        HN_GO(hn_eval_run(model, adapter, &own, &probe->options, progress, &scores, err));
    for (size_t i = 0; i < golden->n && k < own.n; i++)
        if (hn_share_has(share, i))
            values[i] = scores.samples[k++].score;
done:
    hn_scores_done(&scores);
    hn_free(own.items);
    return status;
}

static hn_status score(void *context, hn_model *model, const hn_adapter *adapter,
                       const hn_share *share, const hn_progress *progress, double *out,
                       hn_error *err) {
    hn_golden_probe *probe = context;
    const size_t n = probe->golden.n;
    double *values = hn_calloc(n, sizeof *values), sum = 0, weights = 0;
    hn_status status = values ? score_rows(probe, model, adapter, share, progress, values, err)
                              : hn_fail_no_memory(err, n * sizeof *values);
    status = hn_share_gather(share, status, values, n, err);
    for (size_t i = 0; i < n && status == HN_OK; i++) { /* as hn_scores_summarise has the mean */
        sum += probe->golden.items[i].weight * values[i];
        weights += probe->golden.items[i].weight;
    }
    if (status == HN_OK)
        *out = sum / weights;
    hn_free(values);
    return status;
}

static uint64_t hash_text(const char *text, uint64_t hash) {
    size_t n = text ? strlen(text) : 0;
    return hn_hash64(text ? text : "", n, hash + (text != NULL));
}

static uint64_t hash_of(const hn_golden_probe *probe, uint64_t salt) {
    const hn_eval_options *o = &probe->options;
    const double numbers[] = {(double)probe->golden.n, o->max_tokens, o->abstain_below};
    uint64_t hash = hn_hash64(numbers, sizeof numbers, salt);
    return hash_text(probe->golden.sha256, hash_text(o->system, hash_text(o->abstain_as, hash)));
}

hn_status hn_golden_probe_open(hn_golden_probe *probe, const char *path, size_t max_rows,
                               const hn_eval_options *options, uint64_t salt, hn_error *err) {
    hn_golden golden;
    HN_TRY(hn_golden_read(&golden, path, err));
    if (max_rows)
        hn_golden_thin(&golden, max_rows);
    *probe = (hn_golden_probe){.golden = golden, .options = *options};
    probe->options.label = "the golden set";
    probe->options.latency_rows = -1;
    probe->call = (hn_train_golden){probe, score, hash_of(probe, salt)};
    return HN_OK;
}

void hn_golden_probe_done(hn_golden_probe *probe) {
    hn_golden_done(&probe->golden);
    *probe = (hn_golden_probe){0};
}
