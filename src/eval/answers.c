/* Continuous batching over a queue of prompts: the common beginning is computed once and forked,
 * finished sequences make room for the next prompts. */
#include "eval/answers.h"

#include "base/mem.h"
#include "model/vmath.h"

#include <string.h>

enum {
    MAX_SLOTS = 16,
    MAX_ROWS = 256,        /* of a batch: prefill goes in chunks */
    MAX_POSITIONS = 16384, /* of all slots together: bounds the cache */
};

typedef struct answer_slot {
    size_t index; /* which prompt; valid while busy */
    bool busy;
    int32_t fed;     /* prompt tokens in the cache */
    int32_t pending; /* the token to feed next once the prompt is in */
    hn_ids out;
    double log_prob;
} answer_slot;

typedef struct answer_run {
    hn_model *model;
    const hn_adapter *adapter;
    const hn_ids *prompts;
    size_t n, next, n_done;
    int max_tokens;
    hn_constraint *constraint; /* or NULL; it goes from slot to slot */
    hn_answer *answers;
    hn_kv *kv;      /* sequence 0 holds the common beginning, slot i is sequence i + 1 */
    int32_t common; /* tokens that all prompts begin with */
    int n_slots;
    answer_slot slots[MAX_SLOTS];
    hn_batch_row rows[MAX_ROWS];
    int n_rows;
    int wanting[MAX_SLOTS]; /* slots whose logits the batch gives, in order */
    int n_wanting;
    float *logits; /* (n_slots, n_vocab) */
} answer_run;

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

static hn_status forward(answer_run *run, hn_error *err) {
    return hn_forward(run->model, run->kv, &run->adapter, run->adapter ? 1 : 0, run->rows,
                      run->n_rows, run->logits, NULL, err);
}

static void push_row(answer_run *run, int32_t token, int seq, bool wants_logits) {
    run->rows[run->n_rows++] = (hn_batch_row){
        .token = token, .seq = seq, .adapter = run->adapter ? 0 : -1, .wants_logits = wants_logits};
}

static hn_status feed_common(answer_run *run, hn_error *err) {
    const hn_ids *first = run->prompts;
    while (run->common && !first->size)
        first++;
    for (int32_t at = 0; at < run->common;) {
        run->n_rows = 0;
        while (at < run->common && run->n_rows < MAX_ROWS)
            push_row(run, first->data[at++], 0, false);
        HN_TRY(forward(run, err));
    }
    return HN_OK;
}

static hn_status open_cache(answer_run *run, hn_error *err) {
    int64_t longest = 1;
    for (size_t i = 0; i < run->n; i++)
        if ((int64_t)run->prompts[i].size > longest)
            longest = (int64_t)run->prompts[i].size;
    enum { BLOCK_SLACK = 64 }; /* a fork copies a partly filled block */
    int64_t each = longest - run->common + run->max_tokens + BLOCK_SLACK;
    int64_t fits = MAX_POSITIONS / each;
    run->n_slots = fits < 1 ? 1 : fits > MAX_SLOTS ? MAX_SLOTS : (int)fits;
    size_t bytes = (size_t)run->n_slots * (size_t)run->model->arch.n_vocab * sizeof(float);
    run->logits = hn_malloc(bytes);
    if (!run->logits)
        return hn_fail_no_memory(err, bytes);
    HN_TRY(hn_kv_new(&run->kv, run->model, run->n_slots + 1,
                     run->common + BLOCK_SLACK + each * run->n_slots, err));
    return feed_common(run, err);
}

static hn_status admit(answer_run *run, int s, hn_error *err) {
    while (run->next < run->n && !run->prompts[run->next].size) {
        run->next++;
        run->n_done++;
    }
    if (run->next == run->n)
        return HN_OK;
    answer_slot *slot = &run->slots[s];
    slot->index = run->next++;
    slot->busy = true;
    slot->fed = run->common;
    slot->out.size = 0;
    slot->log_prob = 0;
    return hn_kv_fork(run->kv, 0, s + 1, run->common, err);
}

/* The next rows of each busy slot: a piece of its prompt, or its last token. */
static void gather(answer_run *run) {
    run->n_rows = run->n_wanting = 0;
    for (int s = 0; s < run->n_slots; s++) {
        answer_slot *slot = &run->slots[s];
        if (!slot->busy || run->n_rows == MAX_ROWS)
            continue;
        const hn_ids *prompt = &run->prompts[slot->index];
        bool wants = true;
        if (slot->fed < (int32_t)prompt->size) {
            while (slot->fed < (int32_t)prompt->size && run->n_rows < MAX_ROWS) {
                push_row(run, prompt->data[slot->fed], s + 1, false);
                slot->fed++;
            }
            wants = slot->fed == (int32_t)prompt->size;
            run->rows[run->n_rows - 1].wants_logits = wants;
        } else {
            push_row(run, slot->pending, s + 1, true);
        }
        if (wants)
            run->wanting[run->n_wanting++] = s;
    }
}

static hn_status finish(answer_run *run, answer_slot *slot, hn_error *err) {
    hn_buf text = {0};
    hn_status status =
        hn_decode(run->model->ckpt.tokenizer, slot->out.data, slot->out.size, false, &text, err);
    if (status == HN_OK)
        status = hn_buf_check(&text, err);
    if (status == HN_OK) {
        char *own = text.size ? hn_buf_take(&text) : hn_strdup("");
        run->answers[slot->index] = (hn_answer){own, slot->log_prob};
        status = own ? HN_OK : hn_fail_no_memory(err, 1);
    }
    hn_buf_done(&text);
    slot->busy = false;
    run->n_done++;
    return status;
}

/* One constraint, and one set of its masks, for all slots: it follows the slot's answer from the
 * start, which takes microseconds where a pass takes milliseconds. */
static hn_status constrain(hn_constraint *constraint, const answer_slot *slot, float *logits,
                           bool *over, hn_error *err) {
    HN_TRY(hn_constraint_start(constraint, err));
    for (size_t i = 0; i < slot->out.size; i++)
        HN_TRY(hn_constraint_accept(constraint, slot->out.data[i], err));
    *over = hn_constraint_is_over(constraint);
    return *over ? HN_OK : hn_constraint_apply(constraint, logits, false, err);
}

/* The slot's next token from its logits; *ends: the answer is whole or long enough. */
static hn_status take_token(answer_run *run, answer_slot *slot, float *logits, bool *ends,
                            hn_error *err) {
    const hn_tokenizer *tokenizer = run->model->ckpt.tokenizer;
    int n_vocab = run->model->arch.n_vocab;
    *ends = false;
    if (run->constraint) {
        hn_status status = constrain(run->constraint, slot, logits, ends, err);
        if (status != HN_OK)
            return hn_error_prefix(err, "answer %zu", slot->index + 1);
        if (*ends) /* nothing may follow */
            return HN_OK;
        n_vocab = (int)hn_tokenizer_size(tokenizer);
    }
    int32_t token = (int32_t)hn_argmax(logits, hn_tokenizer_size(tokenizer));
    slot->log_prob += (double)logits[token] - hn_log_sum_exp(logits, n_vocab);
    *ends = hn_tokenizer_is_end(tokenizer, token);
    if (!*ends)
        HN_TRY(hn_ids_push(&slot->out, token, err));
    slot->pending = token;
    *ends = *ends || slot->out.size >= (size_t)run->max_tokens;
    return HN_OK;
}

static hn_status take_tokens(answer_run *run, hn_error *err) {
    for (int i = 0; i < run->n_wanting; i++) {
        answer_slot *slot = &run->slots[run->wanting[i]];
        float *logits = run->logits + (size_t)i * (size_t)run->model->arch.n_vocab;
        bool ends;
        HN_TRY(take_token(run, slot, logits, &ends, err));
        if (ends)
            HN_TRY(finish(run, slot, err));
    }
    return HN_OK;
}

static hn_status answer_all(answer_run *run, const char *label, const hn_progress *progress,
                            hn_error *err) {
    while (run->n_done < run->n) {
        if (hn_progress_cancelled(progress))
            return hn_fail(err, HN_CANCELLED, "stopped after %zu of %zu answers", run->n_done,
                           run->n);
        for (int s = 0; s < run->n_slots; s++)
            if (!run->slots[s].busy)
                HN_TRY(admit(run, s, err));
        gather(run);
        if (!run->n_rows)
            break;
        HN_TRY(forward(run, err));
        HN_TRY(take_tokens(run, err));
        hn_progress_update(progress, label, run->n_done, run->n, "rows", NULL);
    }
    return HN_OK;
}

hn_status hn_answers_generate(hn_model *model, const hn_adapter *adapter, const hn_ids *prompts,
                              size_t n, const hn_answers_options *options,
                              const hn_progress *progress, hn_answer *answers, hn_error *err) {
    answer_run *run = hn_calloc(1, sizeof *run);
    if (!run)
        return hn_fail_no_memory(err, sizeof *run);
    run->model = model;
    run->adapter = adapter;
    run->prompts = prompts;
    run->n = n;
    run->max_tokens = options->max_tokens;
    run->constraint = options->constraint;
    run->answers = answers;
    run->common = common_prefix(prompts, n);
    hn_status status;
    HN_GO(open_cache(run, err));
    HN_GO(answer_all(run, options->label, progress, err));
done:
    for (int s = 0; s < MAX_SLOTS; s++)
        hn_ids_done(&run->slots[s].out);
    hn_kv_free(run->kv);
    hn_free(run->logits);
    hn_free(run);
    return status;
}

const char *hn_answer_spoken(const char *text, const char **thought, size_t *n_thought) {
    static const char OPEN[] = "<think>", CLOSE[] = "</think>", BLANKS[] = " \t\r\n";
    const char *at = text + strspn(text, BLANKS), *end = NULL;
    bool has_thought = !strncmp(at, OPEN, sizeof OPEN - 1);
    size_t n = 0;
    if (has_thought) {
        at += sizeof OPEN - 1;
        end = strstr(at, CLOSE);
        n = end ? (size_t)(end - at) : strlen(at);
    }
    if (thought) {
        *thought = has_thought ? at : NULL;
        *n_thought = n;
    }
    if (!has_thought)
        return text;
    if (!end)
        return at + n;
    end += sizeof CLOSE - 1;
    return end + strspn(end, BLANKS);
}
