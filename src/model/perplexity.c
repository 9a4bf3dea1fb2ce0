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

/* Doubles alone: what parts of the work gather. */
typedef struct scored_row {
    double nll, kl, agrees; /* agrees: 0 or 1 */
} scored_row;

typedef struct meter {
    const hn_perplexity_job *job;
    walker model, reference; /* reference.model NULL when there is none */
    hn_ids ids;
    size_t n_chunks, rows_per_chunk;
    scored_row *all; /* (n_chunks, rows_per_chunk) */
    double nll;      /* of the n_scored rows so far, for people */
    int64_t n_scored;
    /* the rows at hand */
    const int32_t *targets;
    scored_row *rows;
    int n_rows;
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

static hn_status measure_rows(meter *m, const int32_t *tokens, int n, scored_row *rows,
                              hn_error *err) {
    HN_TRY(walk(&m->model, tokens, n, true, err));
    HN_TRY(walk(&m->reference, tokens, n, true, err));
    m->targets = tokens + 1;
    m->rows = rows;
    m->n_rows = n;
    hn_pool_run(hn_compute_pool(m->model.model->compute), score_share, m);
    for (int i = 0; i < n; i++)
        m->nll += rows[i].nll;
    m->n_scored += n;
    return HN_OK;
}

static hn_status measure_chunk(meter *m, const int32_t *tokens, scored_row *rows, hn_error *err) {
    const int n_ctx = m->job->n_ctx;
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
        HN_TRY(measure_rows(m, tokens + at, n, rows, err));
        rows += n;
        at += n;
    }
    return HN_OK;
}

static double standard_error(double sum, double squares, int64_t n) {
    double mean = sum / (double)n, variance = squares / (double)n - mean * mean;
    return n > 1 && variance > 0 ? sqrt(variance / (double)(n - 1)) : 0;
}

/* Row by row, in their order, whoever has measured which. */
static void summarise(const meter *m, hn_perplexity *out) {
    const size_t n = m->n_chunks * m->rows_per_chunk;
    double nll = 0, nll_squares = 0, kl = 0, kl_squares = 0, agree = 0;
    for (size_t i = 0; i < n; i++) {
        const scored_row *row = &m->all[i];
        nll += row->nll;
        nll_squares += row->nll * row->nll;
        kl += row->kl;
        kl_squares += row->kl * row->kl;
        agree += row->agrees;
    }
    *out = (hn_perplexity){.ppl = exp(nll / (double)n), .n_scored = (int64_t)n};
    out->standard_error = out->ppl * standard_error(nll, nll_squares, out->n_scored);
    if (!m->job->reference)
        return;
    out->mean_kl = kl / (double)n;
    out->kl_standard_error = standard_error(kl, kl_squares, out->n_scored);
    out->top_token_agreement = agree / (double)n;
}

static hn_status run_chunks(meter *m, const hn_progress *progress, hn_error *err) {
    const hn_tokenizer *tokenizer = m->job->model->ckpt.tokenizer;
    for (size_t c = 0; c < m->n_chunks; c++) {
        if (hn_progress_cancelled(progress))
            return hn_fail(err, HN_CANCELLED, "stopped after %zu of %zu chunks", c, m->n_chunks);
        if (!hn_share_has(m->job->share, c))
            continue;
        int32_t *tokens = m->ids.data + c * (size_t)m->job->n_ctx;
        if (hn_tokenizer_adds_bos(tokenizer))
            tokens[0] = hn_tokenizer_bos(tokenizer);
        HN_TRY(measure_chunk(m, tokens, m->all + c * m->rows_per_chunk, err));
        char detail[48];
        snprintf(detail, sizeof detail, "perplexity %.4f", exp(m->nll / (double)m->n_scored));
        hn_progress_update(progress, "perplexity", c + 1, m->n_chunks, "chunk", detail);
    }
    return HN_OK;
}

static hn_status check(const hn_perplexity_job *job, hn_error *err) {
    enum { MIN_CTX = 8, MAX_CTX = 1 << 20 };
    const hn_model *model = job->model, *reference = job->reference;
    if (job->n_ctx < MIN_CTX || job->n_ctx > MAX_CTX || job->n_chunks < 0)
        return hn_fail(err, HN_USAGE, "chunks of %d tokens: %d to %d are possible", job->n_ctx,
                       MIN_CTX, MAX_CTX);
    if (reference && reference->arch.n_vocab != model->arch.n_vocab)
        return hn_fail(err, HN_BAD_INPUT,
                       "the reference has %d tokens and the model %d: they can't be compared",
                       reference->arch.n_vocab, model->arch.n_vocab);
    return HN_OK;
}

/* The text's tokens, and room for what is found of them. */
static hn_status prepare(meter *m, hn_error *err) {
    const hn_perplexity_job *job = m->job;
    HN_TRY(check(job, err));
    HN_TRY(hn_encode(job->model->ckpt.tokenizer, job->text, job->n_bytes, HN_ENCODE_ADD_SPECIAL,
                     &m->ids, err));
    const size_t n_ctx = (size_t)job->n_ctx, most = (size_t)job->n_chunks;
    size_t chunks = m->ids.size / n_ctx;
    if (chunks < 1)
        return hn_fail(err, HN_BAD_INPUT,
                       "the text has %zu tokens, one chunk takes %d: give more text or a shorter "
                       "context",
                       m->ids.size, job->n_ctx);
    m->n_chunks = most && most < chunks ? most : chunks;
    m->rows_per_chunk = n_ctx - 1 - n_ctx / 2;
    m->all = hn_calloc(m->n_chunks * m->rows_per_chunk, sizeof *m->all);
    return m->all ? HN_OK : hn_fail_no_memory(err, m->n_chunks * n_ctx * sizeof *m->all);
}

static hn_status measure(meter *m, const hn_progress *progress, hn_error *err) {
    const hn_perplexity_job *job = m->job;
    HN_TRY(prepare(m, err));
    HN_TRY(walker_open(&m->model, job->model, job->adapter, job->n_ctx, err));
    HN_TRY(walker_open(&m->reference, job->reference, job->reference_adapter, job->n_ctx, err));
    return run_chunks(m, progress, err);
}

hn_status hn_perplexity_run(const hn_perplexity_job *job, const hn_progress *progress,
                            hn_perplexity *out, hn_error *err) {
    enum { VALUES = sizeof(scored_row) / sizeof(double) };
    meter m = {.job = job};
    hn_status status = measure(&m, progress, err);
    status = hn_share_gather(job->share, status, (double *)(void *)m.all,
                             m.n_chunks * m.rows_per_chunk * VALUES, err);
    if (status == HN_OK)
        summarise(&m, out);
    walker_close(&m.model);
    walker_close(&m.reference);
    hn_free(m.all);
    hn_ids_done(&m.ids);
    return status;
}
