#include "train/on_policy.h"

#include "base/mem.h"
#include "model/dora.h"
#include "model/generate.h"

#include <string.h>

struct hn_sampler {
    hn_kv *kv;
    int max_tokens;
    float temperature;
    hn_document *docs; /* (n_docs) of the last call; grown */
    size_t n_docs;
};

hn_status hn_sampler_new(hn_sampler **out, const hn_model *model, int max_tokens, float temperature,
                         int longest, hn_error *err) {
    hn_sampler *sampler = hn_calloc(1, sizeof *sampler);
    if (!sampler)
        return hn_fail_no_memory(err, sizeof *sampler);
    sampler->max_tokens = max_tokens;
    sampler->temperature = temperature;
    hn_status status = hn_kv_new(&sampler->kv, model, 1, (int64_t)longest + max_tokens, err);
    if (status == HN_OK)
        *out = sampler;
    else
        hn_free(sampler);
    return status;
}

static void forget(hn_sampler *sampler) {
    for (size_t i = 0; i < sampler->n_docs; i++)
        hn_free(sampler->docs[i].ids); /* labels lie behind them */
    hn_free(sampler->docs);
    sampler->docs = NULL;
    sampler->n_docs = 0;
}

void hn_sampler_free(hn_sampler *sampler) {
    if (!sampler)
        return;
    forget(sampler);
    hn_kv_free(sampler->kv);
    hn_free(sampler);
}

/* The token that ends the document's own completion, or the vocabulary's. */
static int32_t end_of(const hn_tokenizer *tokenizer, const hn_document *doc) {
    int32_t last = -1;
    for (int32_t i = 0; i < doc->n; i++)
        last = doc->labels[i] >= 0 ? doc->labels[i] : last;
    return last >= 0 && hn_tokenizer_is_end(tokenizer, last) ? last : hn_tokenizer_eos(tokenizer);
}

/* The prompt, what was sampled, and, where it ended, the end; every token behind the prompt is
 * learned. */
static hn_status make_document(const hn_document *from, int32_t n_prompt,
                               const hn_generation *sampled, int32_t end, hn_document *out,
                               hn_error *err) {
    bool ended = end >= 0 && (sampled->finish == HN_FINISH_STOP || sampled->ids.size == 0);
    size_t n = (size_t)n_prompt + sampled->ids.size + ended;
    int32_t *ids = hn_malloc(2 * n * sizeof *ids);
    if (!ids)
        return hn_fail_no_memory(err, 2 * n * sizeof *ids);
    memcpy(ids, from->ids, (size_t)n_prompt * sizeof *ids);
    if (sampled->ids.size)
        memcpy(ids + n_prompt, sampled->ids.data, sampled->ids.size * sizeof *ids);
    if (ended)
        ids[n - 1] = end;
    *out = (hn_document){.ids = ids,
                         .labels = ids + n,
                         .n = (int32_t)n,
                         .n_supervised = (int32_t)n - n_prompt,
                         .line = from->line};
    for (int32_t i = 0; i < out->n; i++)
        out->labels[i] = i + 1 >= n_prompt && i + 1 < out->n ? ids[i + 1] : -1;
    return HN_OK;
}

static hn_status sample(hn_sampler *sampler, const hn_trainer *trainer, const hn_document *doc,
                        uint64_t seed, hn_document *out, hn_error *err) {
    int32_t n_prompt = 0;
    hn_generation sampled;
    hn_generate_options options = {.sampling = hn_sampling_default(),
                                   .max_tokens = sampler->max_tokens,
                                   .adapter = trainer->adapter};
    options.sampling.temperature = sampler->temperature;
    options.sampling.seed = seed;
    while (n_prompt < doc->n && doc->labels[n_prompt] < 0)
        n_prompt++;
    n_prompt++; /* the position that predicts the first learned token belongs to the prompt */
    HN_TRY(
        hn_generate(trainer->model, sampler->kv, 0, doc->ids, n_prompt, &options, &sampled, err));
    hn_status status = make_document(doc, n_prompt, &sampled,
                                     end_of(trainer->model->ckpt.tokenizer, doc), out, err);
    hn_generation_done(&sampled);
    return status;
}

hn_status hn_sampler_run(hn_sampler *sampler, const hn_trainer *trainer,
                         const hn_document *const *docs, size_t n, uint64_t key,
                         const hn_document **out, hn_error *err) {
    forget(sampler);
    sampler->docs = hn_calloc(n, sizeof *sampler->docs);
    if (!sampler->docs)
        return hn_fail_no_memory(err, n * sizeof *sampler->docs);
    sampler->n_docs = n;
    if (trainer->adapter) {
        hn_params_store(&trainer->params, trainer->params.values, trainer->adapter);
        HN_TRY(hn_adapter_fit(trainer->adapter, trainer->model, err));
    }
    hn_kv_truncate(sampler->kv, 0, 0); /* what it holds was computed with other weights */
    for (size_t i = 0; i < n; i++) {
        HN_TRY(sample(sampler, trainer, docs[i], key + i, &sampler->docs[i], err));
        if (hn_progress_cancelled(trainer->progress))
            return HN_CANCELLED;
        out[i] = &sampler->docs[i];
    }
    return HN_OK;
}
