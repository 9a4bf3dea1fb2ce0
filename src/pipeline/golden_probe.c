/* Scores of a golden set during training: the rows are read once and answered in batches, in float
 * or as the base is computed while it learns. */
#include "pipeline/golden_probe.h"

#include "base/hash.h"

#include <string.h>

static hn_status score(void *context, hn_model *model, const hn_adapter *adapter,
                       const hn_progress *progress, double *out, hn_error *err) {
    hn_golden_probe *probe = context;
    hn_scores scores;
    HN_TRY(hn_eval_run(model, adapter, &probe->golden, &probe->options, progress, &scores, err));
    *out = json_number_value(json_object_get(scores.results, "mean"));
    hn_scores_done(&scores);
    return HN_OK;
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
