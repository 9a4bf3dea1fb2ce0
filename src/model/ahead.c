/* Passes over the model for the generation loop: what is certain, and guesses on trial. */
#include "model/ahead.h"

#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

enum { BATCH = 512 };

static size_t mask_words(const hn_ahead *a) {
    return ((size_t)a->model->arch.n_vocab + 63) / 64;
}

hn_status hn_ahead_init(hn_ahead *out, hn_model *model, hn_kv *kv, int seq,
                        const hn_generate_options *options, hn_error *err) {
    hn_ahead a = {.model = model,
                  .kv = kv,
                  .seq = seq,
                  .adapter = options->adapter,
                  .speculator = options->speculator,
                  .constraint = options->constraint};
    const size_t rows = a.speculator ? 1 + HN_DRAFT_MAX : 1;
    const size_t bytes = rows * (size_t)model->arch.n_vocab * sizeof *a.logits;
    a.logits = hn_malloc(bytes);
    if (a.constraint)
        a.wanted = hn_calloc(mask_words(&a), sizeof *a.wanted);
    if (!a.logits || (a.constraint && !a.wanted)) {
        hn_free(a.logits);
        hn_free(a.wanted);
        return hn_fail_no_memory(err, bytes);
    }
    *out = a;
    return HN_OK;
}

/* Tokens of the text that the cache holds. */
static int computed(const hn_ahead *a) {
    return a->base + a->n_used;
}

void hn_ahead_settle(hn_ahead *a) {
    if (a->n_drafts) {
        bool refuted = a->n_used < a->n_drafts && (int)a->text.size > computed(a);
        hn_speculator_learn(a->speculator, a->n_used + refuted, a->n_used);
        a->n_accepted += a->n_used;
    }
    hn_kv_truncate(a->kv, a->seq, computed(a));
    a->base = computed(a);
    a->n_drafts = a->n_used = 0;
}

void hn_ahead_done(hn_ahead *a) {
    if (a->begun)
        hn_ahead_settle(a);
    hn_ids_done(&a->text);
    hn_free(a->logits);
    hn_free(a->wanted);
    *a = (hn_ahead){0};
}

hn_status hn_ahead_begin(hn_ahead *a, const int32_t *prompt, int n_prompt, int *n_known,
                         hn_error *err) {
    if (n_prompt < 1)
        return hn_fail(err, HN_USAGE, "there is nothing to continue: the prompt has no tokens");
    for (int i = 0; i < n_prompt; i++)
        HN_TRY(hn_ids_push(&a->text, prompt[i], err));
    int32_t known = hn_kv_common_prefix(a->kv, a->seq, a->adapter, prompt, n_prompt);
    a->base = known == n_prompt ? n_prompt - 1 : known; /* the last one's logits are wanted */
    a->begun = true;
    if (a->speculator)
        hn_speculator_start(a->speculator);
    hn_ahead_settle(a);
    *n_known = a->base;
    if (hn_ahead_room(a) < 0)
        return hn_fail(err, HN_BAD_INPUT,
                       "the prompt has %d tokens, but the context has room for %lld: shorten it or "
                       "enlarge the context",
                       n_prompt, (long long)(hn_ahead_room(a) + n_prompt));
    return HN_OK;
}

int64_t hn_ahead_room(const hn_ahead *a) {
    return hn_kv_room(a->kv, a->seq) + hn_kv_length(a->kv, a->seq) - (int64_t)a->text.size;
}

hn_status hn_ahead_push(hn_ahead *a, int32_t token, hn_error *err) {
    bool foreseen = (int)a->text.size == computed(a) && a->n_used < a->n_drafts &&
                    a->drafts[a->n_used] == token;
    HN_TRY(hn_ids_push(&a->text, token, err));
    a->n_used += foreseen;
    return HN_OK;
}

/* The guesses that may be drawn: up to what is no token, an end, or what the grammar forbids. */
static hn_status cut_guesses(hn_ahead *a, int made, int *n, hn_error *err) {
    const hn_tokenizer *tokenizer = a->model->ckpt.tokenizer;
    *n = 0;
    while (*n < made && a->drafts[*n] >= 0 &&
           (uint32_t)a->drafts[*n] < hn_tokenizer_size(tokenizer) &&
           !hn_tokenizer_is_end(tokenizer, a->drafts[*n]))
        ++*n;
    return a->constraint ? hn_constraint_foresee(a->constraint, a->drafts, *n, n, err) : HN_OK;
}

/* Guesses at most `wanted` tokens: what the grammar forces, or else what the speculator has. */
static hn_status guess(hn_ahead *a, int64_t wanted, int *n, hn_error *err) {
    const int64_t room = hn_ahead_room(a);
    int made = 0;
    *n = 0;
    if (!a->speculator || room < 1 || wanted < 1)
        return HN_OK;
    wanted = wanted < room ? wanted : room;
    const int max = wanted < HN_DRAFT_MAX ? (int)wanted : HN_DRAFT_MAX;
    if (a->constraint) {
        HN_TRY(hn_constraint_forced(a->constraint, a->drafts, max, &made, err));
        HN_TRY(cut_guesses(a, made, n, err));
    }
    if (*n > 0) {
        *n = hn_speculator_forced(a->speculator, *n);
        return HN_OK;
    }
    HN_TRY(hn_speculator_draft(a->speculator, a->text.data, (int)a->text.size, max, a->drafts,
                               &made, err));
    return cut_guesses(a, made, n, err);
}

/* Logits of the first n_wanted rows are needed for the tokens in a->wanted alone. */
static hn_status forward(hn_ahead *a, const hn_batch_row *rows, int n, int n_wanted,
                         hn_error *err) {
    return hn_forward_wanted(a->model, a->kv, &a->adapter, a->adapter ? 1 : 0, rows, n, a->wanted,
                             n_wanted, a->logits, NULL, err);
}

/* Notes the tokens that may be drawn behind the text and the guesses; returns for how many of these
 * places, from the first on. */
static int note_wanted(hn_ahead *a, int n_drafts) {
    if (!a->constraint)
        return 0;
    memset(a->wanted, 0, mask_words(a) * sizeof *a->wanted);
    return hn_constraint_wanted(a->constraint, a->drafts, n_drafts, a->wanted);
}

/* Computes the end of the text that the cache lacks, at most BATCH tokens, and guesses behind it.
 */
static hn_status last_pass(hn_ahead *a, int64_t max_drafts, hn_error *err) {
    hn_batch_row rows[BATCH + HN_DRAFT_MAX];
    const int certain = (int)a->text.size - a->base;
    int n_drafts;
    HN_TRY(guess(a, max_drafts, &n_drafts, err));
    const int n = certain + n_drafts;
    for (int i = 0; i < n; i++)
        rows[i] = (hn_batch_row){.token = i < certain ? a->text.data[a->base + i]
                                                      : a->drafts[i - certain],
                                 .seq = a->seq,
                                 .adapter = a->adapter ? 0 : -1,
                                 .wants_logits = i >= certain - 1};
    const uint64_t began = hn_clock_ns();
    HN_TRY(forward(a, rows, n, note_wanted(a, n_drafts), err));
    if (a->speculator && certain == 1)
        hn_speculator_time(a->speculator, n, hn_clock_ns() - began);
    a->base = (int)a->text.size;
    a->n_drafts = n_drafts;
    a->n_drafted += n_drafts;
    return HN_OK;
}

hn_status hn_ahead_logits(hn_ahead *a, int64_t max_drafts, const atomic_bool *cancel,
                          float **logits, hn_error *err) {
    *logits = NULL;
    const bool needed = (int)a->text.size > computed(a);
    if (needed)
        hn_ahead_settle(a);
    while ((int)a->text.size - a->base > BATCH) {
        hn_batch_row rows[BATCH];
        if (cancel && atomic_load(cancel))
            return HN_OK;
        for (int i = 0; i < BATCH; i++)
            rows[i] = (hn_batch_row){
                .token = a->text.data[a->base + i], .seq = a->seq, .adapter = a->adapter ? 0 : -1};
        HN_TRY(forward(a, rows, BATCH, 0, err));
        a->base += BATCH;
    }
    if (needed) {
        if (cancel && atomic_load(cancel))
            return HN_OK;
        HN_TRY(last_pass(a, max_drafts, err));
    }
    *logits = a->logits + (size_t)a->n_used * (size_t)a->model->arch.n_vocab;
    return HN_OK;
}
