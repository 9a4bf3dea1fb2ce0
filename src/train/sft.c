/* Supervised fine-tuning: an item is a document, and its loss the cross-entropy of its supervised
 * tokens, over the number of those of the whole step. */
#include "base/mem.h"
#include "base/rng.h"
#include "train/loop.h"
#include "train/state.h"

enum { STREAM_REPLAY = 16 }; /* beyond those of loop.c */

typedef struct sft {
    const hn_documents *docs, *eval, *replay;
    uint32_t *order; /* (replay->n) of this round through the replayed rows */
    uint64_t round;  /* UINT64_MAX = none yet */
} sft;

static uint64_t line_of(const void *context, uint32_t item) {
    const sft *s = context;
    return s->docs->items[item].line;
}

/* Replayed rows before step `step` (from 0): with them `share` of all rows are replayed. */
static uint64_t replayed_before(const hn_train_options *o, uint64_t step) {
    double share = (double)o->replay_share;
    return (uint64_t)((double)step * o->batch_rows * share / (1 - share) + 1e-6);
}

/* The i-th replayed row of the run: round after round, each in an order of its own. */
static const hn_document *replayed(sft *s, const hn_train_options *o, uint64_t i) {
    uint64_t round = i / s->replay->n;
    if (round != s->round) {
        for (size_t d = 0; d < s->replay->n; d++)
            s->order[d] = (uint32_t)d;
        hn_rng rng = hn_rng_new(o->seed, round << 8 | STREAM_REPLAY);
        hn_rng_shuffle(&rng, s->order, (uint32_t)s->replay->n);
        s->round = round;
    }
    return &s->replay->items[s->order[i % s->replay->n]];
}

static hn_status step(void *context, const hn_trainer *trainer, const uint32_t *items, size_t n,
                      uint64_t key, hn_step_metrics *m, hn_error *err) {
    sft *s = context;
    const hn_train_options *o = trainer->options;
    uint64_t first = s->replay ? replayed_before(o, m->step - 1) : 0;
    size_t n_replayed = s->replay ? (size_t)(replayed_before(o, m->step) - first) : 0;
    const hn_document **batch = hn_malloc((n + n_replayed) * sizeof *batch);
    if (!batch)
        return hn_fail_no_memory(err, (n + n_replayed) * sizeof *batch);
    for (size_t i = 0; i < n; i++)
        batch[i] = &s->docs->items[items[i]];
    for (size_t i = 0; i < n_replayed; i++)
        batch[n++] = replayed(s, o, first + i);
    for (size_t i = 0; i < n; i++) {
        m->tokens += (uint64_t)batch[i]->n;
        m->supervised += (uint64_t)batch[i]->n_supervised;
    }
    hn_loss loss = hn_loss_sft((float)(1.0 / (double)m->supervised));
    hn_pass pass = {.loss = &loss, .dropout_key = key, .backward = true, .final = true};
    hn_net_loss sum = {0};
    hn_status status = hn_train_own_documents(trainer, batch, &n, err);
    if (status == HN_OK)
        status = hn_train_passes(trainer, batch, n, &pass, &sum, &m->rows, err);
    m->loss = sum.loss;
    hn_values_add(&m->values, "accuracy", sum.correct / (double)m->supervised);
    if (s->replay)
        hn_values_add_whole(&m->values, "replayed_rows", (double)n_replayed);
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
    HN_GO(hn_train_own_documents(trainer, all, &n, err));
    HN_GO(hn_train_passes(trainer, all, n, &pass, &sum, NULL, err));
    for (size_t i = 0; i < n; i++)
        n_missed += sum.missed[i];
    m->loss = sum.loss;
    hn_values_add(&m->values, "accuracy", sum.correct / (double)docs->n_supervised);
    /* documents whose every learned token would be chosen greedily */
    hn_values_add(&m->values, "row_accuracy", (double)(n - n_missed) / (double)docs->n);
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
    sft s = {.docs = docs, .eval = eval, .replay = options->replay, .round = UINT64_MAX};
    hn_status status = HN_OK;
    if (s.replay && !(s.order = hn_malloc(s.replay->n * sizeof *s.order)))
        status = hn_fail_no_memory(err, s.replay->n * sizeof *s.order);
    status = hn_ranks_agree(options->ranks, status, err);
    hn_task task = {.context = &s,
                    .n_items = docs->n,
                    .path = docs->path,
                    .data_hash = hn_train_hash_documents(eval, hn_train_hash_documents(docs, 0)),
                    .evaluates = eval != NULL,
                    .line = line_of,
                    .step = step,
                    .evaluate = evaluate};
    if (status == HN_OK)
        status = hn_train_run(model, &task, options, progress, result, err);
    hn_free(s.order);
    return status;
}
