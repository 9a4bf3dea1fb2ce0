/* The generation loop: prefill what the cache lacks, draw, show text as soon as it is safe. */
#include "model/generate.h"

#include "base/clock.h"
#include "base/mem.h"
#include "model/ahead.h"
#include "model/sampling.h"

#include <string.h>

typedef struct run {
    hn_model *model;
    const hn_generate_options *options;
    hn_sampler sampler;
    hn_decoder decoder;
    hn_ahead ahead;
    hn_buf text;     /* all that was decoded */
    size_t released; /* bytes of it that were shown */
    size_t searched; /* no stop string begins before this */
    bool stopped;    /* a stop string was found; text is cut before it */
    bool cancelled;  /* by on_text or from outside */
    hn_generation out;
} run;

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

/* Begins the text: nothing is computed yet. */
static hn_status start(run *r, const int32_t *prompt, int n_prompt, hn_error *err) {
    const hn_generate_options *o = r->options;
    r->out.n_prompt = n_prompt;
    HN_TRY(hn_ahead_begin(&r->ahead, prompt, n_prompt, &r->out.n_reused, err));
    for (int i = 0; i < n_prompt; i++)
        hn_sampler_accept(&r->sampler, prompt[i], false);
    hn_decoder_init(&r->decoder, r->model->ckpt.tokenizer, false);
    return o->constraint ? hn_constraint_start(o->constraint, err) : HN_OK;
}

/* Draws the token that follows `made` others. False when cancelled before it was known. */
static hn_status draw(run *r, int made, int32_t *token, bool *drawn, hn_error *err) {
    const hn_generate_options *o = r->options;
    const int64_t left = o->max_tokens > 0 ? o->max_tokens - made - 1 : INT64_MAX;
    float *logits;
    *drawn = true;
    /* What a grammar leaves no choice about is taken without its logits, and computed with what
     * follows. The first token waits for the prompt all the same. */
    if (o->constraint && made > 0) {
        HN_TRY(hn_constraint_only(o->constraint, o->ignore_eos, token, err));
        if (*token >= 0) {
            hn_sampler_skip(&r->sampler);
            return HN_OK;
        }
    }
    /* The first token should come soon: nothing is guessed with the prompt. */
    HN_TRY(hn_ahead_logits(&r->ahead, made ? left : 0, o->cancel, &logits, err));
    *drawn = logits != NULL;
    if (!logits)
        return HN_OK;
    if (o->constraint)
        HN_TRY(hn_constraint_apply(o->constraint, logits, o->ignore_eos, err));
    *token = hn_sampler_draw(&r->sampler, logits);
    return hn_drawn_check(logits[*token], err);
}

/* The token is part of the answer: tells everybody. */
static hn_status take(run *r, int32_t token, hn_error *err) {
    const hn_generate_options *o = r->options;
    hn_sampler_accept(&r->sampler, token, true);
    if (o->constraint)
        HN_TRY(hn_constraint_accept(o->constraint, token, err));
    HN_TRY(hn_ids_push(&r->out.ids, token, err));
    HN_TRY(hn_ahead_push(&r->ahead, token, err));
    HN_TRY(hn_decoder_push(&r->decoder, token, &r->text, err));
    find_stop(r);
    release_text(r, false);
    return HN_OK;
}

static hn_status generate_loop(run *r, uint64_t began, hn_error *err) {
    const hn_generate_options *o = r->options;
    if (o->constraint && hn_constraint_is_over(o->constraint)) {
        r->out.finish = HN_FINISH_STOP; /* only the empty answer is allowed */
        return HN_OK;
    }
    r->out.finish = HN_FINISH_LENGTH;
    for (int made = 0; o->max_tokens <= 0 || made < o->max_tokens; made++) {
        int32_t token = 0;
        bool drawn;
        if (made > 0 && hn_ahead_room(&r->ahead) < 0)
            break; /* the last token has no place in the context */
        HN_TRY(draw(r, made, &token, &drawn, err));
        if (!drawn) {
            r->out.finish = HN_FINISH_CANCELLED;
            return HN_OK;
        }
        if (made == 0)
            r->out.first_token_ns = hn_clock_ns() - began;
        if (!o->ignore_eos && hn_tokenizer_is_end(r->model->ckpt.tokenizer, token)) {
            r->out.finish = HN_FINISH_STOP;
            break;
        }
        HN_TRY(take(r, token, err));
        if (r->stopped || r->cancelled) {
            r->out.finish = r->stopped ? HN_FINISH_STOP : HN_FINISH_CANCELLED;
            return HN_OK;
        }
        if (o->constraint && hn_constraint_is_over(o->constraint)) {
            r->out.finish = HN_FINISH_STOP; /* nothing but an end could follow */
            break;
        }
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
    run r = {.model = model, .options = options};
    hn_status status = HN_OK;
    if (seq < 0 || seq >= hn_kv_seqs(kv))
        return hn_fail(err, HN_USAGE, "sequence %d: the cache has %d", seq, hn_kv_seqs(kv));
    HN_TRY(hn_sampler_init(&r.sampler, &options->sampling, hn_tokenizer_size(model->ckpt.tokenizer),
                           err));
    HN_GO(hn_ahead_init(&r.ahead, model, kv, seq, options, err));
    HN_GO(start(&r, prompt, n_prompt, err));
    HN_GO(generate_loop(&r, began, err));
    HN_GO(take_text(&r, err));
    hn_ahead_settle(&r.ahead);
    r.out.n_drafted = r.ahead.n_drafted;
    r.out.n_accepted = r.ahead.n_accepted;
    r.out.total_ns = hn_clock_ns() - began;
    *out = r.out;
    r.out = (hn_generation){0};
done:
    hn_sampler_done(&r.sampler);
    hn_ahead_done(&r.ahead);
    hn_buf_done(&r.text);
    hn_generation_done(&r.out);
    return status;
}

void hn_generation_done(hn_generation *generation) {
    hn_free(generation->text);
    hn_ids_done(&generation->ids);
    *generation = (hn_generation){0};
}
