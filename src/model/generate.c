/* The generation loop: prefill what the cache lacks, draw, show text as soon as it is safe. */
#include "model/generate.h"

#include "base/clock.h"
#include "base/mem.h"
#include "model/sampling.h"

#include <string.h>

typedef struct run {
    hn_model *model;
    hn_kv *kv;
    int seq;
    const hn_generate_options *options;
    hn_sampler sampler;
    hn_decoder decoder;
    float *logits;
    hn_buf text;     /* all that was decoded */
    size_t released; /* bytes of it that were shown */
    size_t searched; /* no stop string begins before this */
    bool stopped;    /* a stop string was found; text is cut before it */
    bool cancelled;  /* by on_text or from outside */
    hn_generation out;
} run;

/* Leaves the last one's logits, unless it was cancelled. */
static hn_status feed(run *r, const int32_t *tokens, int n, hn_error *err) {
    enum { BATCH = 512 };
    hn_batch_row rows[BATCH];
    for (int first = 0; first < n; first += BATCH) {
        if (r->options->cancel && atomic_load(r->options->cancel)) {
            r->cancelled = true;
            return HN_OK;
        }
        int count = n - first < BATCH ? n - first : BATCH;
        for (int i = 0; i < count; i++)
            rows[i] = (hn_batch_row){.token = tokens[first + i],
                                     .seq = r->seq,
                                     .adapter = r->options->adapter ? 0 : -1,
                                     .wants_logits = first + i == n - 1};
        HN_TRY(hn_forward(r->model, r->kv, &r->options->adapter, r->options->adapter ? 1 : 0, rows,
                          count, r->logits, NULL, err));
    }
    return HN_OK;
}

/* Looks for the first stop string in the text that wasn't searched yet and cuts there. */
static void find_stop(run *r) {
    const hn_generate_options *o = r->options;
    for (; r->searched < r->text.size; r->searched++) {
        size_t left = r->text.size - r->searched;
        for (int i = 0; i < o->n_stop; i++) {
            size_t n = strlen(o->stop[i]);
            const char *at = r->text.data + r->searched;
            if (n == 0 || memcmp(at, o->stop[i], n < left ? n : left))
                continue;
            if (n > left)
                return; /* may still become one: wait here */
            r->text.size = r->searched;
            r->text.data[r->text.size] = 0;
            r->stopped = true;
            return;
        }
    }
}

static void release_text(run *r, bool at_end) {
    size_t safe = at_end || r->stopped ? r->text.size : r->searched;
    if (safe <= r->released)
        return;
    const hn_generate_options *o = r->options;
    if (o->on_text && !o->on_text(o->context, r->text.data + r->released, safe - r->released))
        r->cancelled = true;
    r->released = safe;
}

/* Begins the text, feeds the prompt, and leaves its last logits. */
static hn_status start(run *r, const int32_t *prompt, int n_prompt, hn_error *err) {
    const hn_generate_options *o = r->options;
    if (n_prompt < 1)
        return hn_fail(err, HN_USAGE, "there is nothing to continue: the prompt has no tokens");
    int32_t known = hn_kv_common_prefix(r->kv, r->seq, o->adapter, prompt, n_prompt);
    known = known == n_prompt ? n_prompt - 1 : known; /* the last one's logits are wanted */
    hn_kv_truncate(r->kv, r->seq, known);
    r->out.n_prompt = n_prompt;
    r->out.n_reused = known;
    if (hn_kv_room(r->kv, r->seq) < n_prompt - known)
        return hn_fail(err, HN_BAD_INPUT,
                       "the prompt has %d tokens, but the context has room for %lld: shorten it or "
                       "enlarge the context",
                       n_prompt, (long long)(hn_kv_room(r->kv, r->seq) + known));
    for (int i = 0; i < n_prompt; i++)
        hn_sampler_accept(&r->sampler, prompt[i], false);
    hn_decoder_init(&r->decoder, r->model->ckpt.tokenizer, false);
    if (o->constraint)
        HN_TRY(hn_constraint_start(o->constraint, err));
    return feed(r, prompt + known, n_prompt - known, err);
}

static hn_status generate_loop(run *r, uint64_t began, hn_error *err) {
    const hn_generate_options *o = r->options;
    if (o->constraint && hn_constraint_is_over(o->constraint)) {
        r->out.finish = HN_FINISH_STOP; /* only the empty answer is allowed */
        return HN_OK;
    }
    r->out.finish = HN_FINISH_LENGTH;
    for (int made = 0; o->max_tokens <= 0 || made < o->max_tokens; made++) {
        if (r->cancelled) {
            r->out.finish = HN_FINISH_CANCELLED;
            return HN_OK;
        }
        if (o->constraint)
            HN_TRY(hn_constraint_apply(o->constraint, r->logits, o->ignore_eos, err));
        int32_t token = hn_sampler_draw(&r->sampler, r->logits);
        if (made == 0)
            r->out.first_token_ns = hn_clock_ns() - began;
        if (!o->ignore_eos && hn_tokenizer_is_end(r->model->ckpt.tokenizer, token)) {
            r->out.finish = HN_FINISH_STOP;
            break;
        }
        hn_sampler_accept(&r->sampler, token, true);
        if (o->constraint)
            HN_TRY(hn_constraint_accept(o->constraint, token, err));
        HN_TRY(hn_ids_push(&r->out.ids, token, err));
        HN_TRY(hn_decoder_push(&r->decoder, token, &r->text, err));
        find_stop(r);
        release_text(r, false);
        if (r->stopped || r->cancelled) {
            r->out.finish = r->stopped ? HN_FINISH_STOP : HN_FINISH_CANCELLED;
            return HN_OK;
        }
        bool more = o->max_tokens <= 0 || made + 1 < o->max_tokens;
        if (o->constraint && hn_constraint_is_over(o->constraint)) {
            r->out.finish = HN_FINISH_STOP; /* nothing but an end could follow */
            break;
        }
        if (!more || hn_kv_room(r->kv, r->seq) < 1)
            break;
        HN_TRY(feed(r, &token, 1, err));
    }
    HN_TRY(hn_decoder_finish(&r->decoder, &r->text, err));
    find_stop(r);
    if (r->stopped)
        r->out.finish = HN_FINISH_STOP;
    release_text(r, true);
    if (r->cancelled && r->out.finish == HN_FINISH_LENGTH)
        r->out.finish = HN_FINISH_CANCELLED;
    return HN_OK;
}

static hn_status take_text(run *r, hn_error *err) {
    HN_TRY(hn_buf_check(&r->text, err));
    r->out.n_bytes = r->text.size;
    r->out.text = r->text.data ? hn_buf_take(&r->text) : hn_strdup("");
    return r->out.text ? HN_OK : hn_fail_no_memory(err, 1);
}

hn_status hn_generate(hn_model *model, hn_kv *kv, int seq, const int32_t *prompt, int n_prompt,
                      const hn_generate_options *options, hn_generation *out, hn_error *err) {
    uint64_t began = hn_clock_ns();
    run r = {.model = model, .kv = kv, .seq = seq, .options = options};
    hn_status status = HN_OK;
    if (seq < 0 || seq >= hn_kv_seqs(kv))
        return hn_fail(err, HN_USAGE, "sequence %d: the cache has %d", seq, hn_kv_seqs(kv));
    HN_TRY(hn_sampler_init(&r.sampler, &options->sampling, hn_tokenizer_size(model->ckpt.tokenizer),
                           err));
    size_t bytes = (size_t)model->arch.n_vocab * sizeof *r.logits;
    r.logits = hn_malloc(bytes);
    HN_GO(r.logits ? HN_OK : hn_fail_no_memory(err, bytes));
    HN_GO(start(&r, prompt, n_prompt, err));
    HN_GO(generate_loop(&r, began, err));
    HN_GO(take_text(&r, err));
    r.out.total_ns = hn_clock_ns() - began;
    *out = r.out;
    r.out = (hn_generation){0};
done:
    hn_sampler_done(&r.sampler);
    hn_free(r.logits);
    hn_buf_done(&r.text);
    hn_generation_done(&r.out);
    return status;
}

void hn_generation_done(hn_generation *generation) {
    hn_free(generation->text);
    hn_ids_done(&generation->ids);
    *generation = (hn_generation){0};
}
