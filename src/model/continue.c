#include "model/continue.h"

#include "base/mem.h"

enum {
    MAX_SLOTS = 16,
    MAX_ROWS = 256,        /* of a batch: prefill goes in chunks */
    MAX_POSITIONS = 16384, /* of all slots together: bounds the cache */
};

typedef struct continuation {
    size_t index; /* which prompt; valid while busy */
    bool busy;
    int32_t fed;     /* prompt tokens in the cache */
    int32_t pending; /* the token to feed next once the prompt is in */
    hn_ids out;
} continuation;

typedef struct run {
    hn_model *model;
    const hn_continue_options *options;
    const hn_ids *prompts;
    size_t n, next, n_done;
    hn_kv *kv;      /* sequence 0 holds the common beginning, slot i is sequence i + 1 */
    int32_t common; /* tokens that all prompts begin with */
    int n_slots;
    continuation slots[MAX_SLOTS];
    hn_batch_row rows[MAX_ROWS];
    int n_rows;
    int wanting[MAX_SLOTS]; /* slots whose logits the batch gives, in order */
    int n_wanting;
    float *logits; /* (n_slots, n_vocab) */
} run;

/* How many tokens all prompts share, leaving each at least one of its own. */
static int32_t common_prefix(const hn_ids *prompts, size_t n) {
    const hn_ids *first = NULL;
    size_t common = 0;
    for (size_t i = 0; i < n; i++) {
        if (!prompts[i].size)
            continue;
        if (!first) {
            first = &prompts[i];
            common = first->size - 1;
        }
        size_t k = 0, limit = prompts[i].size - 1 < common ? prompts[i].size - 1 : common;
        while (k < limit && prompts[i].data[k] == first->data[k])
            k++;
        common = k;
    }
    return (int32_t)common;
}

static hn_status forward(run *r, hn_error *err) {
    const hn_adapter *adapter = r->options->adapter;
    return hn_forward(r->model, r->kv, &adapter, adapter ? 1 : 0, r->rows, r->n_rows, r->logits,
                      NULL, err);
}

static void push_row(run *r, int32_t token, int seq, bool wants_logits) {
    r->rows[r->n_rows++] = (hn_batch_row){.token = token,
                                          .seq = seq,
                                          .adapter = r->options->adapter ? 0 : -1,
                                          .wants_logits = wants_logits};
}

static hn_status feed_common(run *r, hn_error *err) {
    const hn_ids *first = r->prompts;
    while (r->common && !first->size)
        first++;
    for (int32_t at = 0; at < r->common;) {
        r->n_rows = 0;
        while (at < r->common && r->n_rows < MAX_ROWS)
            push_row(r, first->data[at++], 0, false);
        HN_TRY(forward(r, err));
    }
    return HN_OK;
}

static hn_status open_cache(run *r, hn_error *err) {
    int64_t longest = 1;
    for (size_t i = 0; i < r->n; i++)
        if ((int64_t)r->prompts[i].size > longest)
            longest = (int64_t)r->prompts[i].size;
    enum { BLOCK_SLACK = 64 }; /* a fork copies a partly filled block */
    int64_t each = longest - r->common + r->options->max_tokens + BLOCK_SLACK;
    int64_t fits = MAX_POSITIONS / each, most = r->n < MAX_SLOTS ? (int64_t)r->n : MAX_SLOTS;
    r->n_slots = fits < 1 ? 1 : fits > most ? (int)most : (int)fits;
    size_t bytes = (size_t)r->n_slots * (size_t)r->model->arch.n_vocab * sizeof(float);
    r->logits = hn_malloc(bytes);
    if (!r->logits)
        return hn_fail_no_memory(err, bytes);
    HN_TRY(hn_kv_new(&r->kv, r->model, r->n_slots + 1, r->common + BLOCK_SLACK + each * r->n_slots,
                     err));
    return feed_common(r, err);
}

static hn_status admit(run *r, int s, hn_error *err) {
    while (r->next < r->n && !r->prompts[r->next].size) {
        r->next++;
        r->n_done++;
    }
    if (r->next == r->n)
        return HN_OK;
    continuation *slot = &r->slots[s];
    slot->index = r->next++;
    slot->busy = true;
    slot->fed = r->common;
    slot->out.size = 0;
    return hn_kv_fork(r->kv, 0, s + 1, r->common, err);
}

/* The next rows of each busy slot: a piece of its prompt, or its last token. */
static void gather(run *r) {
    r->n_rows = r->n_wanting = 0;
    for (int s = 0; s < r->n_slots; s++) {
        continuation *slot = &r->slots[s];
        if (!slot->busy || r->n_rows == MAX_ROWS)
            continue;
        const hn_ids *prompt = &r->prompts[slot->index];
        bool wants = true;
        if (slot->fed < (int32_t)prompt->size) {
            while (slot->fed < (int32_t)prompt->size && r->n_rows < MAX_ROWS) {
                push_row(r, prompt->data[slot->fed], s + 1, false);
                slot->fed++;
            }
            wants = slot->fed == (int32_t)prompt->size;
            r->rows[r->n_rows - 1].wants_logits = wants;
        } else {
            push_row(r, slot->pending, s + 1, true);
        }
        if (wants)
            r->wanting[r->n_wanting++] = s;
    }
}

static hn_status take_token(run *r, continuation *slot, float *logits, hn_error *err) {
    const hn_continue_options *o = r->options;
    int32_t token;
    HN_TRY(o->choose(o->context, slot->index, &slot->out, logits, &token, err));
    if (token >= 0) {
        HN_TRY(hn_ids_push(&slot->out, token, err));
        slot->pending = token;
        if (slot->out.size < (size_t)o->max_tokens)
            return HN_OK;
    }
    slot->busy = false;
    r->n_done++;
    return o->finish(o->context, slot->index, &slot->out, token >= 0, err);
}

static hn_status take_tokens(run *r, hn_error *err) {
    for (int i = 0; i < r->n_wanting; i++)
        HN_TRY(take_token(r, &r->slots[r->wanting[i]],
                          r->logits + (size_t)i * (size_t)r->model->arch.n_vocab, err));
    return HN_OK;
}

static hn_status continue_all(run *r, const hn_progress *progress, hn_error *err) {
    while (r->n_done < r->n) {
        if (hn_progress_cancelled(progress))
            return hn_fail(err, HN_CANCELLED, "stopped after %zu of %zu answers", r->n_done, r->n);
        for (int s = 0; s < r->n_slots; s++)
            if (!r->slots[s].busy)
                HN_TRY(admit(r, s, err));
        gather(r);
        if (!r->n_rows)
            break;
        HN_TRY(forward(r, err));
        HN_TRY(take_tokens(r, err));
        if (r->options->label)
            hn_progress_update(progress, r->options->label, r->n_done, r->n, "rows", NULL);
    }
    return HN_OK;
}

hn_status hn_continue(hn_model *model, const hn_ids *prompts, size_t n,
                      const hn_continue_options *options, const hn_progress *progress,
                      hn_error *err) {
    run *r = hn_calloc(1, sizeof *r);
    if (!r)
        return hn_fail_no_memory(err, sizeof *r);
    *r = (run){.model = model, .options = options, .prompts = prompts, .n = n};
    r->common = common_prefix(prompts, n);
    hn_status status;
    HN_GO(open_cache(r, err));
    HN_GO(continue_all(r, progress, err));
done:
    for (int s = 0; s < MAX_SLOTS; s++)
        hn_ids_done(&r->slots[s].out);
    hn_kv_free(r->kv);
    hn_free(r->logits);
    hn_free(r);
    return status;
}
