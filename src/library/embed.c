/* Embeddings: the mean over a text's tokens of the last norm's output. */
#include "library/library.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { ROWS = 256 }; /* tokens a pass: the kernels' full speed, and a turn that isn't long */

void hone_embed_options_init(hone_embed_options *options, size_t size) {
    const hone_embed_options defaults = {.normalise = 1};
    hn_library_options_write(options, size, &defaults, sizeof defaults);
}

/* Adds up the hidden states of all tokens, in their order. hidden: (ROWS, n_embd); sum: (n_embd).
 */
static hn_status sum_hidden(hone_session *session, const hn_ids *ids, float *hidden, double *sum,
                            hn_error *err) {
    const size_t n_embd = (size_t)session->engine->model->arch.n_embd;
    const hn_adapter *adapter = hn_library_session_lora(session);
    hn_batch_row rows[ROWS];
    for (size_t first = 0; first < ids->size; first += ROWS) {
        if (atomic_load(&session->cancel))
            return hn_fail(err, HN_CANCELLED, "cancelled after %zu of %zu tokens", first,
                           ids->size);
        const size_t n = ids->size - first < ROWS ? ids->size - first : ROWS;
        for (size_t i = 0; i < n; i++)
            rows[i] = (hn_batch_row){
                .token = ids->data[first + i], .adapter = adapter ? 0 : -1, .wants_logits = true};
        HN_TRY(hn_forward(session->engine->model, session->kv, &adapter, adapter ? 1 : 0, rows,
                          (int)n, NULL, hidden, err));
        for (size_t i = 0; i < n; i++)
            for (size_t d = 0; d < n_embd; d++)
                sum[d] += (double)hidden[i * n_embd + d];
    }
    return HN_OK;
}

/* out = sum / n, or sum / |sum|. */
static void write_mean(const double *sum, size_t n_embd, double n, bool normalise, float *out) {
    double squares = 0;
    for (size_t d = 0; d < n_embd; d++)
        squares += sum[d] * sum[d];
    const double divisor = normalise && squares > 0 ? sqrt(squares) : n;
    for (size_t d = 0; d < n_embd; d++)
        out[d] = (float)(sum[d] / divisor);
}

static hn_status embed_text(hone_session *session, const char *text, bool normalise, float *out,
                            hn_error *err) {
    const hn_model *model = session->engine->model;
    const size_t n_embd = (size_t)model->arch.n_embd;
    hn_ids ids = {0};
    double *sum = hn_calloc(n_embd, sizeof *sum);
    float *hidden = hn_reallocarray(NULL, ROWS, n_embd * sizeof *hidden);
    hn_status status = HN_OK;
    if (!sum || !hidden)
        HN_GO(hn_fail_no_memory(err, ROWS * n_embd * sizeof *hidden));
    HN_GO(hn_encode(model->ckpt.tokenizer, text, strlen(text), HN_ENCODE_ADD_SPECIAL, &ids, err));
    if (ids.size == 0)
        HN_GO(hn_fail(err, HN_BAD_INPUT, "the text is empty: it has no tokens to embed"));
    hn_kv_truncate(session->kv, 0, 0);
    const int64_t room = hn_kv_room(session->kv, 0);
    if (ids.size > (size_t)room)
        HN_GO(
            hn_fail(err, HN_BAD_INPUT,
                    "the text has %zu tokens, but the context has room for %lld: cut it, or open a "
                    "session with a larger context",
                    ids.size, (long long)room));
    HN_GO(sum_hidden(session, &ids, hidden, sum, err));
    write_mean(sum, n_embd, (double)ids.size, normalise, out);
done:
    hn_ids_done(&ids);
    hn_free(sum);
    hn_free(hidden);
    return status;
}

static hn_status embed(hone_session *session, const char *text, const hone_embed_options *given,
                       float *out, size_t n_out, hn_error *err) {
    hone_embed_options options;
    hone_embed_options_init(&options, sizeof options);
    HN_TRY(hn_library_need(text, "text", err));
    HN_TRY(hn_library_need(out, "out", err));
    HN_TRY(hn_library_options_read(&options, sizeof options, given, "hone_embed_options", err));
    HN_TRY(hn_library_session_take(session, err));
    const int n_embd = session->engine->model->arch.n_embd;
    hn_status status = n_out == (size_t)n_embd
                           ? embed_text(session, text, options.normalise != 0, out, err)
                           : hn_fail(err, HN_USAGE,
                                     "out has %zu floats, an embedding of this model has %d "
                                     "(hone_engine_n_embd)",
                                     n_out, n_embd);
    hn_library_session_give(session);
    return status;
}

hone_status hone_embed(hone_session *session, const char *text, const hone_embed_options *options,
                       float *out, size_t n_out, hone_error *err) {
    hn_error why;
    return hn_library_report(embed(session, text, options, out, n_out, &why), &why, err);
}
