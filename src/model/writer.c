/* An answer being written: tokens from logits, until it is over. */
#include "model/writer.h"

#include "base/clock.h"
#include "base/mem.h"
#include "model/vmath.h"

#include <math.h>
#include <string.h>

static hn_status find_ends(hn_writer *w, hn_error *err) {
    const hn_tokenizer *tokenizer = w->model->ckpt.tokenizer;
    const int32_t size = (int32_t)hn_tokenizer_size(tokenizer);
    int n = 0;
    for (int32_t id = 0; id < size; id++)
        n += hn_tokenizer_is_end(tokenizer, id);
    w->ends = hn_malloc(((size_t)n + 1) * sizeof *w->ends);
    if (!w->ends)
        return hn_fail_no_memory(err, (size_t)n * sizeof *w->ends);
    for (int32_t id = 0; id < size; id++)
        if (hn_tokenizer_is_end(tokenizer, id))
            w->ends[w->n_ends++] = id;
    return HN_OK;
}

static hn_status start(hn_writer *w, const int32_t *prompt, int n_prompt, hn_error *err) {
    hn_writer_options *o = &w->options;
    for (int i = 0; i < n_prompt; i++) {
        HN_TRY(hn_ids_push(&w->text, prompt[i], err));
        hn_sampler_accept(&w->sampler, prompt[i], false);
    }
    hn_decoder_init(&w->decoder, w->model->ckpt.tokenizer, false);
    if (o->min_tokens > 0 && !o->ignore_eos)
        HN_TRY(find_ends(w, err));
    if (o->speculator)
        hn_speculator_start(o->speculator);
    const hn_sampling *s = &o->sampling;
    if (o->n_logprobs >= 0 && (s->n_bias || w->sampler.generated)) {
        w->raw = hn_malloc(w->sampler.n_vocab * sizeof *w->raw);
        if (!w->raw)
            return hn_fail_no_memory(err, w->sampler.n_vocab * sizeof *w->raw);
    }
    if (!o->constraint)
        return HN_OK;
    if (o->n_logprobs < 0) { /* else all logits count */
        w->wanted = hn_calloc(((size_t)w->model->arch.n_vocab + 63) / 64, sizeof *w->wanted);
        if (!w->wanted)
            return hn_fail_no_memory(err, (size_t)w->model->arch.n_vocab / 8);
    }
    HN_TRY(hn_constraint_start(o->constraint, err));
    if (hn_constraint_is_over(o->constraint))
        hn_writer_stop(w, HN_FINISH_STOP); /* only the empty answer is allowed */
    return HN_OK;
}

hn_status hn_writer_init(hn_writer *out, const hn_model *model, const int32_t *prompt, int n_prompt,
                         const hn_writer_options *options, hn_error *err) {
    if (n_prompt < 1)
        return hn_fail(err, HN_USAGE, "there is nothing to continue: the prompt has no tokens");
    if (options->n_logprobs < -1 || options->n_logprobs > HN_WRITER_MAX_LOGPROBS)
        return hn_fail(err, HN_USAGE,
                       "log-probabilities of the %d likeliest tokens: 0 to %d are possible",
                       options->n_logprobs, HN_WRITER_MAX_LOGPROBS);
    hn_writer w = {.model = model,
                   .options = *options,
                   .n_prompt = n_prompt,
                   .n_to_score = options->prompt_logprobs ? n_prompt : 0,
                   .stop = -1};
    HN_TRY(hn_sampler_init_with(&w.sampler, &options->sampling,
                                hn_tokenizer_size(model->ckpt.tokenizer), options->candidates,
                                err));
    hn_status status = start(&w, prompt, n_prompt, err);
    if (status == HN_OK)
        *out = w;
    else
        hn_writer_done(&w);
    return status;
}

void hn_writer_done(hn_writer *w) {
    hn_sampler_done(&w->sampler);
    hn_ids_done(&w->text);
    hn_writer_text_done(w);
    hn_free(w->ends);
    hn_free(w->wanted);
    hn_free(w->raw);
    *w = (hn_writer){0};
}

int hn_writer_resume(hn_writer *w, int n_known) {
    int most = (int)w->text.size - 1; /* the last one's logits are wanted */
    if (w->n_scored < w->n_to_score && most > w->n_scored - 1)
        most = w->n_scored > 0 ? w->n_scored - 1 : 0;
    w->base = n_known < most ? n_known : most;
    w->n_drafts = w->n_used = 0;
    return w->base;
}

void hn_writer_stop(hn_writer *w, hn_finish finish) {
    w->over = true;
    w->finish = finish;
}

/* Nothing more is drawn: shows what was held back. */
static hn_status end(hn_writer *w, hn_finish finish, hn_error *err) {
    HN_TRY(hn_writer_text_finish(w, err));
    if (w->stop >= 0)
        finish = HN_FINISH_STOP;
    else if (w->cancelled && finish == HN_FINISH_LENGTH)
        finish = HN_FINISH_CANCELLED;
    hn_writer_stop(w, finish);
    return HN_OK;
}

static bool ends_are_barred(const hn_writer *w) {
    return w->options.ignore_eos || w->n_drawn < w->options.min_tokens;
}

static void find_top(const hn_writer *w, const float *logits, double log_sum,
                     hn_token_chance *top) {
    hn_candidate best[HN_WRITER_MAX_LOGPROBS];
    const int n = w->options.n_logprobs;
    if (n < 1)
        return;
    const int found = (int)hn_candidates_best(best, logits, w->sampler.n_vocab, (uint32_t)n);
    for (int i = 0; i < n; i++) { /* fewer are found among NaN only */
        const hn_candidate *c = &best[i < found ? i : found - 1];
        top[i] = (hn_token_chance){c->id, (float)((double)c->logit - log_sum)};
    }
}

/* Draws from one row of logits, which change. */
static hn_status draw(hn_writer *w, float *logits, int32_t *token, float *logprob,
                      hn_token_chance *top, hn_error *err) {
    const hn_writer_options *o = &w->options;
    double log_sum = 0;
    if (o->n_logprobs >= 0) {
        log_sum = hn_log_sum_exp(logits, w->model->arch.n_vocab);
        find_top(w, logits, log_sum, top);
        if (w->raw)
            memcpy(w->raw, logits, w->sampler.n_vocab * sizeof *w->raw);
    }
    if (o->constraint)
        HN_TRY(hn_constraint_apply(o->constraint, logits, ends_are_barred(w), err));
    if (w->n_drawn < o->min_tokens)
        for (int i = 0; i < w->n_ends; i++)
            logits[w->ends[i]] = -INFINITY;
    *token = hn_sampler_draw(&w->sampler, logits);
    if (o->n_logprobs >= 0)
        *logprob = (float)((double)(w->raw ? w->raw : logits)[*token] - log_sum);
    HN_TRY(hn_drawn_check(logits[*token], err));
    if (o->log_prob) { /* a grammar says nothing of rows of the head that are no tokens */
        const long n = o->constraint ? (long)w->sampler.n_vocab : w->model->arch.n_vocab;
        w->log_prob += (double)logits[*token] - hn_log_sum_exp(logits, n);
    }
    return HN_OK;
}

/* The token is part of the answer: tells everybody. */
static hn_status push(hn_writer *w, int32_t token, float logprob, const hn_token_chance *top,
                      hn_error *err) {
    const bool foreseen = (int)w->text.size == hn_writer_computed(w) && w->n_used < w->n_drafts &&
                          w->drafts[w->n_used] == token;
    hn_sampler_accept(&w->sampler, token, true);
    if (w->options.constraint)
        HN_TRY(hn_constraint_accept(w->options.constraint, token, err));
    HN_TRY(hn_ids_push(&w->text, token, err));
    w->n_used += foreseen;
    return hn_writer_text_push(w, token, logprob, top, err);
}

/* One token more, if what it takes is computed; *drawn tells. */
static hn_status write_token(hn_writer *w, float *logits, bool *drawn, hn_error *err) {
    const hn_writer_options *o = &w->options;
    hn_token_chance top[HN_WRITER_MAX_LOGPROBS];
    float logprob = NAN;
    int32_t token = -1;
    /* What a grammar leaves no choice about is taken without its logits, and computed with what
     * follows. The first token waits for the prompt all the same. */
    if (w->wanted && w->n_drawn > 0)
        HN_TRY(hn_constraint_only(o->constraint, ends_are_barred(w), &token, err));
    if (token >= 0) {
        hn_sampler_skip(&w->sampler);
    } else if ((int)w->text.size == hn_writer_computed(w)) {
        float *row = logits + (size_t)w->n_used * (size_t)w->model->arch.n_vocab;
        HN_TRY(draw(w, row, &token, &logprob, top, err));
    } else {
        *drawn = false;
        return HN_OK;
    }
    if (w->n_drawn++ == 0)
        w->first_ns = hn_clock_ns();
    if (!o->ignore_eos && hn_tokenizer_is_end(w->model->ckpt.tokenizer, token))
        return end(w, HN_FINISH_STOP, err);
    HN_TRY(push(w, token, logprob, top, err));
    if (w->stop >= 0 || w->cancelled)
        hn_writer_stop(w, w->stop >= 0 ? HN_FINISH_STOP : HN_FINISH_CANCELLED);
    else if (o->constraint && hn_constraint_is_over(o->constraint))
        return end(w, HN_FINISH_STOP, err); /* nothing but an end could follow */
    return HN_OK;
}

/* What became of the guesses: those that didn't come true were never computed. */
static void settle(hn_writer *w) {
    if (w->n_drafts) {
        const bool refuted = w->n_used < w->n_drafts && (int)w->text.size > hn_writer_computed(w);
        hn_speculator_learn(w->options.speculator, w->n_used + refuted, w->n_used);
        w->n_drafted += w->n_drafts;
        w->n_accepted += w->n_used;
    }
    w->base = hn_writer_computed(w);
    w->n_drafts = w->n_used = 0;
}

/* Log-probabilities of prompt tokens: row i of logits follows token first + i. */
static void score_prompt(hn_writer *w, const float *logits, int first, int n_rows) {
    const size_t n_vocab = (size_t)w->model->arch.n_vocab;
    hn_token_chance top[HN_WRITER_MAX_LOGPROBS];
    hn_piece_token token = {.id = w->text.data[0], .logprob = NAN};
    if (w->n_scored == 0) {
        w->n_scored = 1;
        if (w->options.on_prompt)
            w->options.on_prompt(w->options.context, &token, 1);
    }
    for (int i = w->n_scored - 1 - first; i < n_rows && w->n_scored < w->n_to_score; i++) {
        const float *row = logits + (size_t)i * n_vocab;
        const double log_sum = hn_log_sum_exp(row, (long)n_vocab);
        find_top(w, row, log_sum, top);
        token.id = w->text.data[w->n_scored++];
        token.logprob = (float)((double)row[token.id] - log_sum);
        token.top = top;
        token.n_top = w->options.n_logprobs > 0 ? w->options.n_logprobs : 0;
        if (w->options.on_prompt)
            w->options.on_prompt(w->options.context, &token, 1);
    }
}

hn_status hn_writer_follow(hn_writer *w, hn_error *err) {
    hn_constraint *constraint = w->options.constraint;
    if (!w->options.shares_constraint)
        return HN_OK;
    HN_TRY(hn_constraint_start(constraint, err));
    for (size_t i = (size_t)w->n_prompt; i < w->text.size; i++)
        HN_TRY(hn_constraint_accept(constraint, w->text.data[i], err));
    return HN_OK;
}

hn_status hn_writer_take(hn_writer *w, float *logits, int64_t positions, hn_error *err) {
    const int max = w->options.max_tokens;
    if (w->n_scored < w->n_to_score) {
        score_prompt(w, logits, w->base, w->n_certain);
        if (w->reaches_end) /* the last certain row's is where to draw */
            logits += (size_t)(w->n_certain - 1) * (size_t)w->model->arch.n_vocab;
    }
    w->base += w->n_certain;
    if (!w->reaches_end)
        return HN_OK;
    HN_TRY(hn_writer_follow(w, err));
    for (bool drawn = true; drawn && !w->over;) {
        /* The last token may have no place in the context. */
        if ((max >= 0 && w->n_drawn >= max) ||
            (w->n_drawn > 0 && positions < (int64_t)w->text.size))
            HN_TRY(end(w, HN_FINISH_LENGTH, err));
        else
            HN_TRY(write_token(w, logits, &drawn, err));
    }
    settle(w);
    return HN_OK;
}
