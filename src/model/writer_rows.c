/* Which rows an answer wants computed next: what is certain, and guesses on trial behind it. */
#include "model/writer.h"

#include <string.h>

/* The guesses that may be drawn: up to what is no token, an end, or what the grammar forbids. */
static hn_status cut_guesses(hn_writer *w, int made, int *n, hn_error *err) {
    const hn_tokenizer *tokenizer = w->model->ckpt.tokenizer;
    *n = 0;
    while (*n < made && w->drafts[*n] >= 0 &&
           (uint32_t)w->drafts[*n] < hn_tokenizer_size(tokenizer) &&
           !hn_tokenizer_is_end(tokenizer, w->drafts[*n]))
        ++*n;
    hn_constraint *constraint = w->options.constraint;
    return constraint ? hn_constraint_foresee(constraint, w->drafts, *n, n, err) : HN_OK;
}

/* Guesses at most `max` tokens: what the grammar forces, or else what the speculator has. */
static hn_status guess(hn_writer *w, int max, int *n, hn_error *err) {
    hn_speculator *speculator = w->options.speculator;
    int made = 0;
    *n = 0;
    if (w->options.constraint) {
        HN_TRY(hn_constraint_forced(w->options.constraint, w->drafts, max, &made, err));
        HN_TRY(cut_guesses(w, made, n, err));
    }
    if (*n > 0) {
        *n = hn_speculator_forced(speculator, *n);
        return HN_OK;
    }
    HN_TRY(hn_speculator_draft(speculator, w->text.data, (int)w->text.size, max, w->drafts, &made,
                               err));
    return cut_guesses(w, made, n, err);
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* How many guesses there is room for behind the certain rows, of which n_logits want logits. */
static int guesses_allowed(const hn_writer *w, const hn_writer_room *room, int n_logits) {
    /* The first token should come soon: nothing is guessed with the prompt. */
    if (!w->options.speculator || w->n_drawn == 0)
        return 0;
    int64_t max = least(room->drafts, HN_DRAFT_MAX);
    max = least(max, room->logits - n_logits);
    max = least(max, room->positions - (int64_t)w->text.size);
    if (w->options.max_tokens >= 0)
        max = least(max, w->options.max_tokens - w->n_drawn - 1);
    return max > 0 ? (int)max : 0;
}

/* Notes the tokens that may be drawn behind the text and the guesses; returns for how many of these
 * places, from the first on. */
static int note_wanted(hn_writer *w) {
    if (!w->wanted)
        return 0;
    memset(w->wanted, 0, ((size_t)w->model->arch.n_vocab + 63) / 64 * sizeof *w->wanted);
    return hn_constraint_wanted(w->options.constraint, w->drafts, w->n_drafts, w->wanted);
}

hn_status hn_writer_next(hn_writer *w, const hn_writer_room *room, int32_t *tokens,
                         hn_writer_rows *out, hn_error *err) {
    const int pending = hn_writer_pending(w);
    const bool scores = w->n_scored < w->n_to_score;
    const int most = scores ? (int)least(room->rows, room->logits) : room->rows;
    *out = (hn_writer_rows){0};
    w->n_drafts = 0;
    w->n_certain = (int)least(pending, most);
    w->reaches_end = w->n_certain == pending;
    if (w->reaches_end) {
        HN_TRY(hn_writer_follow(w, err));
        out->n_logits = scores ? pending : w->options.max_tokens != 0;
        const int max = guesses_allowed(w, room, out->n_logits);
        if (max > 0)
            HN_TRY(guess(w, max, &w->n_drafts, err));
        out->n_wanted = note_wanted(w);
        out->n_logits += w->n_drafts;
    } else {
        out->n_logits = scores ? w->n_certain : 0;
    }
    out->n = w->n_certain + w->n_drafts;
    for (int i = 0; i < out->n; i++)
        tokens[i] = i < w->n_certain ? w->text.data[w->base + i] : w->drafts[i - w->n_certain];
    return HN_OK;
}

void hn_writer_time(hn_writer *w, uint64_t ns) {
    if (w->options.speculator && w->reaches_end && w->n_certain == 1)
        hn_speculator_time(w->options.speculator, 1 + w->n_drafts, ns);
}
