/* Some sequences at a time, a token of each a step. A model that ended its answer goes on with the
 * next one. */
#include "release/self_text.h"

#include "base/mem.h"
#include "model/sampling.h"

#include <string.h>

enum {
    N_TOGETHER = 8, /* sequences: their caches are in memory at once */
    KV_BLOCK = 32,
};

typedef struct writer {
    hn_model *model;
    hn_kv *kv;
    hn_sampler sampler;
    float *logits; /* (N_TOGETHER, n_vocab) */
    int32_t length;
    const hn_progress *progress;
} writer;

/* A token as a text begins with, so that the model chooses what it is about. */
static int32_t first_token(const hn_tokenizer *tokenizer) {
    int32_t bos = hn_tokenizer_bos(tokenizer), eos = hn_tokenizer_eos(tokenizer);
    return bos >= 0 ? bos : eos >= 0 ? eos : 0;
}

/* ids: (n, length) */
static hn_status write_together(writer *w, int n, int32_t *ids, hn_error *err) {
    const hn_tokenizer *tokenizer = w->model->ckpt.tokenizer;
    for (int seq = 0; seq < n; seq++) {
        hn_kv_truncate(w->kv, seq, 0);
        ids[seq * w->length] = first_token(tokenizer);
    }
    for (int32_t at = 0; at + 1 < w->length; at++) {
        hn_batch_row rows[N_TOGETHER];
        for (int seq = 0; seq < n; seq++)
            rows[seq] = (hn_batch_row){.token = ids[seq * w->length + at],
                                       .seq = seq,
                                       .adapter = -1,
                                       .wants_logits = true};
        if (hn_progress_cancelled(w->progress))
            return hn_fail(err, HN_CANCELLED, "stopped; nothing was written");
        HN_TRY(hn_forward(w->model, w->kv, NULL, 0, rows, n, w->logits, NULL, err));
        for (int seq = 0; seq < n; seq++) {
            float *logits = w->logits + (size_t)seq * (size_t)w->model->arch.n_vocab;
            int32_t token = hn_sampler_draw(&w->sampler, logits);
            HN_TRY(hn_drawn_check(logits[token], err));
            ids[seq * w->length + at + 1] = token;
        }
    }
    return HN_OK;
}

hn_status hn_self_text(hn_model *model, int n_sequences, int32_t length,
                       const hn_progress *progress, hn_ids *out, hn_error *err) {
    writer w = {.model = model, .length = length, .progress = progress};
    hn_sampling sampling = hn_sampling_default();
    size_t n_logits = N_TOGETHER * (size_t)model->arch.n_vocab;
    hn_ids ids = {.size = (size_t)n_sequences * (size_t)length};
    hn_status status;
    sampling.temperature = 1;
    HN_TRY(hn_sampler_init(&w.sampler, &sampling, hn_tokenizer_size(model->ckpt.tokenizer), err));
    w.logits = hn_reallocarray(NULL, n_logits, sizeof *w.logits);
    ids.data = hn_reallocarray(NULL, ids.size, sizeof *ids.data);
    ids.capacity = ids.size;
    if (!w.logits || !ids.data) {
        status = hn_fail_no_memory(err, n_logits * sizeof *w.logits);
        goto done;
    }
    HN_GO(hn_kv_new(&w.kv, model, N_TOGETHER, (int64_t)N_TOGETHER * (length + KV_BLOCK), err));
    for (int first = 0; first < n_sequences; first += N_TOGETHER) {
        int n = n_sequences - first < N_TOGETHER ? n_sequences - first : N_TOGETHER;
        hn_progress_update(progress, "write", (uint64_t)first, (uint64_t)n_sequences, "sequences",
                           NULL);
        HN_GO(write_together(&w, n, ids.data + (size_t)first * (size_t)length, err));
    }
    hn_ids_done(out);
    *out = ids;
    ids = (hn_ids){0};
done:
    hn_ids_done(&ids);
    hn_free(w.logits);
    hn_kv_free(w.kv);
    hn_sampler_done(&w.sampler);
    return status;
}
