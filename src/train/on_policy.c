#include "train/on_policy.h"

#include "base/mem.h"
#include "engine/together.h"
#include "model/dora.h"

#include <string.h>

void hn_on_policy_done(hn_on_policy *policy) {
    for (size_t i = 0; i < policy->n_docs; i++)
        hn_free(policy->docs[i].ids); /* labels lie behind them */
    hn_free(policy->docs);
    policy->docs = NULL;
    policy->n_docs = 0;
}

/* The token that ends the document's own completion, or the vocabulary's. */
static int32_t end_of(const hn_tokenizer *tokenizer, const hn_document *doc) {
    int32_t last = -1;
    for (int32_t i = 0; i < doc->n; i++)
        last = doc->labels[i] >= 0 ? doc->labels[i] : last;
    return last >= 0 && hn_tokenizer_is_end(tokenizer, last) ? last : hn_tokenizer_eos(tokenizer);
}

/* The prompt, what was sampled, and the end, where it is not below 0; every token behind the prompt
 * is learned. */
static hn_status make_document(const hn_document *from, size_t n_prompt,
                               const hn_job_result *sampled, int32_t end, hn_document *out,
                               hn_error *err) {
    const bool ended = end >= 0;
    const size_t n_sampled = (size_t)sampled->n_ids, n = n_prompt + n_sampled + ended;
    int32_t *ids = hn_malloc(2 * n * sizeof *ids);
    if (!ids)
        return hn_fail_no_memory(err, 2 * n * sizeof *ids);
    memcpy(ids, from->ids, n_prompt * sizeof *ids);
    memcpy(ids + n_prompt, sampled->ids, n_sampled * sizeof *ids);
    if (ended)
        ids[n - 1] = end;
    *out = (hn_document){.ids = ids,
                         .labels = ids + n,
                         .n = (int32_t)n,
                         .n_supervised = (int32_t)(n - n_prompt),
                         .line = from->line};
    for (size_t i = 0; i < n; i++)
        out->labels[i] = i + 1 >= n_prompt && i + 1 < n ? ids[i + 1] : -1;
    return HN_OK;
}

/* Of one call. */
typedef struct sampling {
    const hn_tokenizer *tokenizer;
    const hn_document *const *from;
    hn_ids *prompts;  /* (n) borrowed */
    uint64_t *seeds;  /* (n) each document's own */
    hn_document *out; /* (n) */
} sampling;

static hn_status take(void *context, size_t index, const hn_job_result *answer, hn_error *err) {
    const sampling *s = context;
    const hn_document *from = s->from[index];
    const bool cut = answer->finish == HN_FINISH_LENGTH;
    return make_document(from, s->prompts[index].size, answer,
                         cut ? -1 : end_of(s->tokenizer, from), &s->out[index], err);
}

/* The position that predicts the first learned token belongs to the prompt. */
static hn_ids prompt_of(const hn_document *doc) {
    size_t n = 0;
    while (n < (size_t)doc->n && doc->labels[n] < 0)
        n++;
    return (hn_ids){.data = doc->ids, .size = n + 1};
}

static hn_status sample_all(hn_on_policy *policy, const hn_trainer *trainer, sampling *s, size_t n,
                            uint64_t key, hn_error *err) {
    hn_together how = {.prompts = s->prompts,
                       .n = n,
                       .options = hn_job_options_default(),
                       .seeds = s->seeds,
                       .context = s,
                       .take = take};
    hn_progress quiet = {.cancel = trainer->progress ? trainer->progress->cancel : NULL};
    how.options.sampling.temperature = policy->temperature;
    how.options.max_tokens = policy->max_tokens;
    how.options.adapter = trainer->adapter;
    for (size_t i = 0; i < n; i++) {
        s->prompts[i] = prompt_of(s->from[i]);
        s->seeds[i] = key + s->from[i]->line;
    }
    return hn_answer_together(trainer->model, &how, &quiet, err);
}

hn_status hn_on_policy_sample(hn_on_policy *policy, const hn_trainer *trainer,
                              const hn_document *const *docs, size_t n, uint64_t key,
                              const hn_document **out, hn_error *err) {
    sampling s = {.tokenizer = trainer->model->ckpt.tokenizer, .from = docs};
    hn_status status = HN_OK;
    hn_on_policy_done(policy);
    policy->docs = s.out = hn_calloc(n, sizeof *s.out);
    s.prompts = hn_malloc(n * sizeof *s.prompts);
    s.seeds = hn_malloc(n * sizeof *s.seeds);
    if (!s.out || !s.prompts || !s.seeds)
        HN_GO(hn_fail_no_memory(err, n * sizeof *s.out));
    policy->n_docs = n;
    if (trainer->adapter) {
        hn_params_store(&trainer->params, trainer->params.values, trainer->adapter);
        HN_GO(hn_adapter_fit(trainer->adapter, trainer->model, err));
    }
    HN_GO(sample_all(policy, trainer, &s, n, key, err));
    for (size_t i = 0; i < n; i++)
        out[i] = &policy->docs[i];
done:
    hn_free(s.prompts);
    hn_free(s.seeds);
    return status;
}
