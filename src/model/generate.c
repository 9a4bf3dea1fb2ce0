/* One answer alone: the rows that its writer wants, pass by pass. */
#include "model/generate.h"

#include "base/clock.h"
#include "base/mem.h"
#include "model/writer.h"

enum { BATCH = 512 }; /* tokens of the prompt a pass */

typedef struct run {
    hn_model *model;
    hn_kv *kv;
    int seq;
    const hn_generate_options *options;
    hn_writer writer;
    float *logits; /* (1 + HN_DRAFT_MAX, n_vocab); one row without a speculator */
} run;

static bool on_piece(void *context, const hn_piece *piece) {
    const hn_generate_options *o = context;
    return piece->n_bytes == 0 || o->on_text(o->context, piece->text, piece->n_bytes);
}

static int64_t positions(const run *r) {
    return hn_kv_room(r->kv, r->seq) + hn_kv_length(r->kv, r->seq);
}

/* Cuts the cache to what it has in common with the prompt, at least one token less than that. */
static hn_status begin(run *r, const int32_t *prompt, int n_prompt, int *n_known, hn_error *err) {
    const hn_generate_options *o = r->options;
    const hn_writer_options options = {.sampling = o->sampling,
                                       .max_tokens = o->max_tokens > 0 ? o->max_tokens : -1,
                                       .stop = o->stop,
                                       .n_stop = o->n_stop,
                                       .ignore_eos = o->ignore_eos,
                                       .constraint = o->constraint,
                                       .speculator = o->speculator,
                                       .n_logprobs = -1,
                                       .context = (void *)(uintptr_t)o,
                                       .on_piece = o->on_text ? on_piece : NULL};
    HN_TRY(hn_writer_init(&r->writer, r->model, prompt, n_prompt, &options, err));
    *n_known = hn_writer_resume(&r->writer,
                                hn_kv_common_prefix(r->kv, r->seq, o->adapter, prompt, n_prompt));
    hn_kv_truncate(r->kv, r->seq, *n_known);
    if (positions(r) < n_prompt)
        return hn_fail(err, HN_BAD_INPUT,
                       "the prompt has %d tokens, but the context has room for %lld: shorten it or "
                       "enlarge the context",
                       n_prompt, (long long)positions(r));
    const size_t rows = o->speculator ? 1 + HN_DRAFT_MAX : 1;
    const size_t bytes = rows * (size_t)r->model->arch.n_vocab * sizeof *r->logits;
    r->logits = hn_malloc(bytes);
    return r->logits ? HN_OK : hn_fail_no_memory(err, bytes);
}

/* One pass over the model. */
static hn_status step(run *r, hn_error *err) {
    hn_writer *w = &r->writer;
    const hn_adapter *adapter = r->options->adapter;
    const hn_writer_room room = {.rows = BATCH,
                                 .logits = 1 + HN_DRAFT_MAX,
                                 .drafts = HN_DRAFT_MAX,
                                 .positions = positions(r)};
    int32_t tokens[BATCH + HN_DRAFT_MAX];
    hn_batch_row rows[BATCH + HN_DRAFT_MAX];
    hn_writer_rows next;
    HN_TRY(hn_writer_next(w, &room, tokens, &next, err));
    for (int i = 0; i < next.n; i++)
        rows[i] = (hn_batch_row){.token = tokens[i],
                                 .seq = r->seq,
                                 .adapter = adapter ? 0 : -1,
                                 .wants_logits = i >= next.n - next.n_logits};
    const uint64_t began = hn_clock_ns();
    HN_TRY(hn_forward_wanted(r->model, r->kv, &adapter, adapter ? 1 : 0, rows, next.n, w->wanted,
                             next.n_wanted, r->logits, NULL, err));
    hn_writer_time(w, hn_clock_ns() - began);
    hn_status status = hn_writer_take(w, r->logits, room.positions, err);
    hn_kv_truncate(r->kv, r->seq, hn_writer_computed(w));
    return status;
}

static hn_status write_answer(run *r, hn_error *err) {
    const atomic_bool *cancel = r->options->cancel;
    while (!r->writer.over) {
        if (cancel && atomic_load(cancel))
            hn_writer_stop(&r->writer, HN_FINISH_CANCELLED);
        else
            HN_TRY(step(r, err));
    }
    return HN_OK;
}

/* The text and the drawn ids are the caller's from now on. */
static hn_status hand_over(hn_writer *w, hn_generation *out, hn_error *err) {
    HN_TRY(hn_buf_check(&w->bytes, err));
    for (size_t i = (size_t)w->n_prompt; i < w->text.size; i++)
        HN_TRY(hn_ids_push(&out->ids, w->text.data[i], err));
    out->n_bytes = w->bytes.size;
    out->text = w->bytes.data ? hn_buf_take(&w->bytes) : hn_strdup("");
    return out->text ? HN_OK : hn_fail_no_memory(err, 1);
}

hn_status hn_generate(hn_model *model, hn_kv *kv, int seq, const int32_t *prompt, int n_prompt,
                      const hn_generate_options *options, hn_generation *out, hn_error *err) {
    const uint64_t began = hn_clock_ns();
    run r = {.model = model, .kv = kv, .seq = seq, .options = options};
    hn_generation made = {.n_prompt = n_prompt};
    hn_status status = HN_OK;
    if (seq < 0 || seq >= hn_kv_seqs(kv))
        return hn_fail(err, HN_USAGE, "sequence %d: the cache has %d", seq, hn_kv_seqs(kv));
    HN_GO(begin(&r, prompt, n_prompt, &made.n_reused, err));
    HN_GO(write_answer(&r, err));
    HN_GO(hand_over(&r.writer, &made, err));
    made.finish = r.writer.finish;
    made.n_drafted = r.writer.n_drafted;
    made.n_accepted = r.writer.n_accepted;
    made.first_token_ns = r.writer.first_ns ? r.writer.first_ns - began : 0;
    made.total_ns = hn_clock_ns() - began;
    *out = made;
    made = (hn_generation){0};
done:
    hn_writer_done(&r.writer);
    hn_free(r.logits);
    hn_generation_done(&made);
    return status;
}

void hn_generation_done(hn_generation *generation) {
    hn_free(generation->text);
    hn_ids_done(&generation->ids);
    *generation = (hn_generation){0};
}
