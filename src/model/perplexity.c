/* Perplexity and KL divergence over chunks of a text, as llama.cpp's perplexity tool defines them
 * (tools/perplexity/perplexity.cpp): each chunk begins afresh, its first token is replaced by BOS
 * where the tokenizer adds one, and the second half is scored. */
#include "model/perplexity.h"

#include "base/mem.h"
#include "model/vmath.h"

#include <math.h>

/* Rows of logits held at a time: 128 x 49,152 f32 are 25 MB. */
enum { SCORE_ROWS = 128 };

/* One model walking through the chunks. */
typedef struct walker {
    hn_model *model;
    const hn_adapter *adapter;
    hn_kv *kv;
    float *logits; /* (SCORE_ROWS, n_vocab) */
} walker;

typedef struct scored_row {
    double nll, kl;
    bool agrees;
} scored_row;

typedef struct meter {
    walker model, reference; /* reference.model NULL when there is none */
    const int32_t *targets;  /* of the rows at hand */
    int n_rows;
    scored_row rows[SCORE_ROWS];
    double nll, nll_squares, kl, kl_squares;
    int64_t n_scored, n_agree;
} meter;

static hn_status walker_open(walker *w, hn_model *model, const hn_adapter *adapter, int n_ctx,
                             hn_error *err) {
    if (!model)
        return HN_OK;
    *w = (walker){.model = model, .adapter = adapter};
    HN_TRY(hn_kv_new(&w->kv, model, 1, n_ctx, err));
    size_t bytes = SCORE_ROWS * (size_t)model->arch.n_vocab * sizeof *w->logits;
    w->logits = hn_malloc(bytes);
    return w->logits ? HN_OK : hn_fail_no_memory(err, bytes);
}

static void walker_close(walker *w) {
    hn_kv_free(w->kv);
    hn_free(w->logits);
}

static hn_status walk(walker *w, const int32_t *tokens, int n, bool wants_logits, hn_error *err) {
    hn_batch_row rows[SCORE_ROWS];
    if (!w->model)
        return HN_OK;
    for (int i = 0; i < n; i++)
        rows[i] = (hn_batch_row){
            .token = tokens[i], .adapter = w->adapter ? 0 : -1, .wants_logits = wants_logits};
    return hn_forward(w->model, w->kv, &w->adapter, w->adapter ? 1 : 0, rows, n, w->logits, NULL,
                      err);
}

static void score_row(meter *m, long row) {
    long n_vocab = m->model.model->arch.n_vocab;
    const float *logits = m->model.logits + row * n_vocab;
    double log_sum = hn_log_sum_exp(logits, n_vocab);
    scored_row *out = &m->rows[row];
    *out = (scored_row){.nll = log_sum - (double)logits[m->targets[row]]};
    if (!m->reference.model)
        return;
    const float *reference = m->reference.logits + row * n_vocab;
    double reference_sum = hn_log_sum_exp(reference, n_vocab);
    for (long i = 0; i < n_vocab; i++) {
        double log_p = (double)reference[i] - reference_sum;
        if (log_p > -40) /* e^-40: what lies below adds nothing that a double could hold */
            out->kl += exp(log_p) * (log_p - ((double)logits[i] - log_sum));
    }
    out->agrees = hn_argmax(logits, n_vocab) == hn_argmax(reference, n_vocab);
}

static void score_share(void *arg, int thread, int n_threads) {
    meter *m = arg;
    long first, last;
    hn_pool_share(m->n_rows, 1, thread, n_threads, &first, &last);
    for (long row = first; row < last; row++)
        score_row(m, row);
}

static hn_status measure_rows(meter *m, const int32_t *tokens, int n, hn_error *err) {
    HN_TRY(walk(&m->model, tokens, n, true, err));
    HN_TRY(walk(&m->reference, tokens, n, true, err));
    m->targets = tokens + 1;
    m->n_rows = n;
    hn_pool_run(hn_compute_pool(m->model.model->compute), score_share, m);
    for (int i = 0; i < n; i++) {
        m->nll += m->rows[i].nll;
        m->nll_squares += m->rows[i].nll * m->rows[i].nll;
        m->kl += m->rows[i].kl;
        m->kl_squares += m->rows[i].kl * m->rows[i].kl;
        m->n_agree += m->rows[i].agrees;
    }
    m->n_scored += n;
    return HN_OK;
}

static hn_status measure_chunk(meter *m, const int32_t *tokens, int n_ctx, hn_error *err) {
    hn_kv_truncate(m->model.kv, 0, 0);
    if (m->reference.kv)
        hn_kv_truncate(m->reference.kv, 0, 0);
    int at = 0, scored_from = n_ctx / 2;
    while (at < scored_from) {
        int n = scored_from - at < SCORE_ROWS ? scored_from - at : SCORE_ROWS;
        HN_TRY(walk(&m->model, tokens + at, n, false, err));
        HN_TRY(walk(&m->reference, tokens + at, n, false, err));
        at += n;
    }
    while (at < n_ctx - 1) {
        int n = n_ctx - 1 - at < SCORE_ROWS ? n_ctx - 1 - at : SCORE_ROWS;
        HN_TRY(measure_rows(m, tokens + at, n, err));
        at += n;
    }
    return HN_OK;
}

static double standard_error(double sum, double squares, int64_t n) {
    double mean = sum / (double)n, variance = squares / (double)n - mean * mean;
    return n > 1 && variance > 0 ? sqrt(variance / (double)(n - 1)) : 0;
}

static void summarise(const meter *m, hn_perplexity *out) {
    double n = (double)m->n_scored;
    *out = (hn_perplexity){.ppl = exp(m->nll / n), .n_scored = m->n_scored};
    out->standard_error = out->ppl * standard_error(m->nll, m->nll_squares, m->n_scored);
    if (!m->reference.model)
        return;
    out->mean_kl = m->kl / n;
    out->kl_standard_error = standard_error(m->kl, m->kl_squares, m->n_scored);
    out->top_token_agreement = (double)m->n_agree / n;
}

static hn_status run_chunks(meter *m, hn_ids *ids, int n_ctx, long n_chunks,
                            const hn_progress *progress, hn_error *err) {
    const hn_tokenizer *tokenizer = m->model.model->ckpt.tokenizer;
    for (long c = 0; c < n_chunks; c++) {
        if (hn_progress_cancelled(progress))
            return hn_fail(err, HN_CANCELLED, "stopped after %ld of %ld chunks", c, n_chunks);
        int32_t *tokens = ids->data + c * n_ctx;
        if (hn_tokenizer_adds_bos(tokenizer))
            tokens[0] = hn_tokenizer_bos(tokenizer);
        HN_TRY(measure_chunk(m, tokens, n_ctx, err));
        char detail[48];
        snprintf(detail, sizeof detail, "perplexity %.4f", exp(m->nll / (double)m->n_scored));
        hn_progress_update(progress, "perplexity", (uint64_t)c + 1, (uint64_t)n_chunks, "chunk",
                           detail);
    }
    return HN_OK;
}

hn_status hn_perplexity_run(hn_model *model, const hn_adapter *adapter, hn_model *reference,
                            const hn_adapter *reference_adapter, const char *text, size_t n_bytes,
                            int n_ctx, int n_chunks, const hn_progress *progress,
                            hn_perplexity *out, hn_error *err) {
    enum { MIN_CTX = 8, MAX_CTX = 1 << 20 };
    if (n_ctx < MIN_CTX || n_ctx > MAX_CTX || n_chunks < 0)
        return hn_fail(err, HN_USAGE, "chunks of %d tokens: %d to %d are possible", n_ctx, MIN_CTX,
                       MAX_CTX);
    if (reference && reference->arch.n_vocab != model->arch.n_vocab)
        return hn_fail(err, HN_BAD_INPUT,
                       "the reference has %d tokens and the model %d: they can't be compared",
                       reference->arch.n_vocab, model->arch.n_vocab);
    hn_ids ids = {0};
    hn_status status = HN_OK;
    meter *m = hn_calloc(1, sizeof *m);
    if (!m)
        return hn_fail_no_memory(err, sizeof *m);
    HN_GO(hn_encode(model->ckpt.tokenizer, text, n_bytes, HN_ENCODE_ADD_SPECIAL, &ids, err));
    long chunks = (long)(ids.size / (size_t)n_ctx);
    if (chunks < 1)
        HN_GO(hn_fail(
            err, HN_BAD_INPUT,
            "the text has %zu tokens, one chunk takes %d: give more text or a shorter context",
            ids.size, n_ctx));
    chunks = n_chunks && n_chunks < chunks ? n_chunks : chunks;
    HN_GO(walker_open(&m->model, model, adapter, n_ctx, err));
    HN_GO(walker_open(&m->reference, reference, reference_adapter, n_ctx, err));
    HN_GO(run_chunks(m, &ids, n_ctx, chunks, progress, err));
    summarise(m, out);
done:
    walker_close(&m->model);
    walker_close(&m->reference);
    hn_free(m);
    hn_ids_done(&ids);
    return status;
}
