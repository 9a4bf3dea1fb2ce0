/* What a model can do besides the job it is taught: perplexity on a text, and how far its
 * predictions have moved from the base's there. */
#include "model/dora.h"
#include "model/perplexity.h"
#include "train/loop.h"

/* As much text as says something and costs little beside an epoch. */
enum { CONTEXT = 256, MOST_CHUNKS = 8 };

hn_status hn_train_general(const hn_trainer *trainer, hn_adapter *adapter, const char *text,
                           size_t n_bytes, hn_eval_metrics *m, hn_error *err) {
    hn_perplexity result;
    hn_progress quiet = {.cancel = trainer->progress ? trainer->progress->cancel : NULL};
    hn_model *base = NULL; /* when the base's own weights are trained there is none left */
    if (adapter) {
        hn_params_store(&trainer->params, trainer->params.values, adapter);
        HN_TRY(hn_adapter_fit(adapter, trainer->model, err));
        base = trainer->model;
    }
    HN_TRY(hn_perplexity_run(trainer->model, adapter, base, NULL, text, n_bytes, CONTEXT,
                             MOST_CHUNKS, &quiet, &result, err));
    hn_values_add(&m->values, "general_perplexity", result.ppl);
    if (base)
        hn_values_add(&m->values, "general_kl", result.mean_kl);
    return HN_OK;
}
