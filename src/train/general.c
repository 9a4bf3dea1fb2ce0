/* What a model can do besides predicting the rows it is taught, by the inference engine with the
 * parameters as they are: perplexity on a text, how far its predictions have moved from the base's
 * there, and the score of the job's golden set. */
#include "base/clock.h"
#include "model/dora.h"
#include "model/perplexity.h"
#include "train/loop.h"

/* As much text as says something and costs little beside an epoch. */
enum { CONTEXT = 256, MOST_CHUNKS = 8 };

static hn_status fit(const hn_trainer *trainer, hn_adapter *adapter, hn_error *err) {
    if (!adapter)
        return HN_OK;
    hn_params_store(&trainer->params, trainer->params.values, adapter);
    return hn_adapter_fit(adapter, trainer->model, err);
}

hn_status hn_train_general(const hn_trainer *trainer, hn_adapter *adapter, const char *text,
                           size_t n_bytes, hn_eval_metrics *m, hn_error *err) {
    hn_perplexity result;
    hn_progress quiet = {.cancel = trainer->progress ? trainer->progress->cancel : NULL};
    /* when the base's own weights are trained there is none left */
    hn_model *base = adapter ? trainer->model : NULL;
    HN_TRY(fit(trainer, adapter, err));
    HN_TRY(hn_perplexity_run(trainer->model, adapter, base, NULL, text, n_bytes, CONTEXT,
                             MOST_CHUNKS, &quiet, &result, err));
    hn_values_add(&m->values, "general_perplexity", result.ppl);
    if (base)
        hn_values_add(&m->values, "general_kl", result.mean_kl);
    return HN_OK;
}

hn_status hn_train_golden_score(const hn_trainer *trainer, hn_adapter *adapter, hn_eval_metrics *m,
                                hn_error *err) {
    const hn_train_golden *golden = trainer->options->golden;
    hn_progress silent = trainer->progress ? *trainer->progress : (hn_progress){0};
    double began = hn_clock_seconds(), score;
    silent.note = NULL; /* what there is to say of the set is the same each time */
    HN_TRY(fit(trainer, adapter, err));
    HN_TRY(golden->score(golden->context, trainer->model, adapter, &silent, &score, err));
    hn_values_add(&m->values, HN_METRIC_GOLDEN, score);
    m->golden_seconds = hn_clock_seconds() - began;
    return HN_OK;
}
