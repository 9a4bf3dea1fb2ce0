/* Supervised fine-tuning: an item is a document, and its loss the cross-entropy of its supervised
 * tokens, over the number of those of the whole step. */
#include "base/mem.h"
#include "train/loop.h"
#include "train/state.h"

typedef struct sft {
    const hn_documents *docs, *eval;
} sft;

static uint64_t line_of(const void *context, uint32_t item) {
    const sft *s = context;
    return s->docs->items[item].line;
}

static hn_status step(void *context, const hn_trainer *trainer, const uint32_t *items, size_t n,
                      uint64_t key, hn_step_metrics *m, hn_error *err) {
    const sft *s = context;
    const hn_document **batch = hn_malloc(n * sizeof *batch);
    if (!batch)
        return hn_fail_no_memory(err, n * sizeof *batch);
    for (size_t i = 0; i < n; i++) {
        batch[i] = &s->docs->items[items[i]];
        m->tokens += (uint64_t)batch[i]->n;
        m->supervised += (uint64_t)batch[i]->n_supervised;
    }
    hn_loss loss = hn_loss_sft((float)(1.0 / (double)m->supervised));
    hn_pass pass = {.loss = &loss, .dropout_key = key, .backward = true};
    hn_net_loss sum = {0};
    hn_status status = hn_train_passes(trainer, batch, n, &pass, &sum, &m->rows, err);
    m->loss = sum.loss;
    hn_values_add(&m->values, "accuracy", sum.correct / (double)m->supervised);
    hn_free(batch);
    return status;
}

hn_status hn_train_evaluate(const hn_trainer *trainer, const hn_documents *docs,
                            const hn_loss *loss, hn_eval_metrics *m, hn_error *err) {
    size_t n = docs->n, n_missed = 0;
    hn_pass pass = {.loss = loss};
    const hn_document **all = hn_malloc(n * sizeof *all);
    hn_net_loss sum = {.missed = hn_calloc(n, sizeof *sum.missed)};
    hn_status status = HN_OK;
    if (!all || !sum.missed)
        HN_GO(hn_fail_no_memory(err, n * sizeof *all));
    for (size_t i = 0; i < n; i++)
        all[i] = &docs->items[i];
    HN_GO(hn_train_passes(trainer, all, n, &pass, &sum, NULL, err));
    for (size_t i = 0; i < n; i++)
        n_missed += sum.missed[i];
    m->loss = sum.loss;
    hn_values_add(&m->values, "accuracy", sum.correct / (double)docs->n_supervised);
    /* documents whose every learned token would be chosen greedily */
    hn_values_add(&m->values, "row_accuracy", 1.0 - (double)n_missed / (double)n);
done:
    hn_free(all);
    hn_free(sum.missed);
    return status;
}

static hn_status evaluate(void *context, const hn_trainer *trainer, hn_eval_metrics *m,
                          hn_error *err) {
    const sft *s = context;
    hn_loss loss = hn_loss_sft((float)(1.0 / (double)s->eval->n_supervised));
    return hn_train_evaluate(trainer, s->eval, &loss, m, err);
}

hn_status hn_train_sft(hn_model *model, const hn_documents *docs, const hn_documents *eval,
                       const hn_train_options *options, const hn_progress *progress,
                       hn_train_result *result, hn_error *err) {
    sft s = {.docs = docs, .eval = eval};
    hn_task task = {.context = &s,
                    .n_items = docs->n,
                    .path = docs->path,
                    .data_hash = hn_train_hash_documents(eval, hn_train_hash_documents(docs, 0)),
                    .evaluates = eval != NULL,
                    .line = line_of,
                    .step = step,
                    .evaluate = evaluate};
    return hn_train_run(model, &task, options, progress, result, err);
}
