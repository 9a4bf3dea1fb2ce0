/* What a model can do besides predicting the rows it is taught, by the inference engine with the
 * parameters as they are: perplexity on a text, how far its predictions have moved from the base's
 * there, and the score of the job's golden set. Ranks share out the chunks and the golden rows;
 * what they find is summed row by row, so that every rank has the value of one process alone. */
#include "base/clock.h"
#include "model/dora.h"
#include "model/perplexity.h"
#include "train/loop.h"

/* As much text as says something and costs little beside an epoch. */
enum { CONTEXT = 256, MOST_CHUNKS = 8 };

hn_status hn_train_fit(const hn_trainer *trainer, hn_adapter *adapter, hn_error *err) {
    if (!adapter)
        return HN_OK;
    hn_params_store(&trainer->params, trainer->params.values, adapter);
    return hn_adapter_fit(adapter, trainer->model, err);
}

hn_status hn_train_general(const hn_trainer *trainer, const hn_adapter *adapter, const char *text,
                           size_t n_bytes, hn_eval_metrics *m, hn_error *err) {
    hn_perplexity result;
    hn_progress quiet = {.cancel = trainer->progress ? trainer->progress->cancel : NULL};
    const hn_share share = hn_ranks_share(trainer->options->ranks);
    const hn_perplexity_job job = {
        .model = trainer->model,
        .adapter = adapter,
        /* when the base's own weights are trained there is none left */
        .reference = adapter ? trainer->model : NULL,
        .text = text,
        .n_bytes = n_bytes,
        .n_ctx = CONTEXT,
        .n_chunks = MOST_CHUNKS,
        .share = &share,
    };
    HN_TRY(hn_perplexity_run(&job, &quiet, &result, err));
    hn_values_add(&m->values, "general_perplexity", result.ppl);
    if (job.reference)
        hn_values_add(&m->values, "general_kl", result.mean_kl);
    return HN_OK;
}

hn_status hn_train_golden_score(const hn_trainer *trainer, const hn_adapter *adapter,
                                hn_eval_metrics *m, hn_error *err) {
    const hn_train_golden *golden = trainer->options->golden;
    const hn_share share = hn_ranks_share(trainer->options->ranks);
    hn_progress silent = trainer->progress ? *trainer->progress : (hn_progress){0};
    double began = hn_clock_seconds(), score;
    silent.note = NULL; /* what there is to say of the set is the same each time */
    HN_TRY(golden->score(golden->context, trainer->model, adapter, &share, &silent, &score, err));
    hn_values_add(&m->values, HN_METRIC_GOLDEN, score);
    m->golden_seconds = hn_clock_seconds() - began;
    return HN_OK;
}
