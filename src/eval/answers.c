#include "eval/answers.h"

#include "base/mem.h"
#include "model/continue.h"
#include "model/sampling.h"
#include "model/vmath.h"

#include <string.h>

typedef struct answer_run {
    const hn_model *model;
    hn_constraint *constraint; /* or NULL; it goes from answer to answer */
    hn_answer *answers;
} answer_run;

/* One constraint, and one set of its masks, for all answers: it follows each from the start, which
 * takes microseconds where a pass takes milliseconds. */
static hn_status constrain(hn_constraint *constraint, const hn_ids *so_far, float *logits,
                           bool *over, hn_error *err) {
    HN_TRY(hn_constraint_start(constraint, err));
    for (size_t i = 0; i < so_far->size; i++)
        HN_TRY(hn_constraint_accept(constraint, so_far->data[i], err));
    *over = hn_constraint_is_over(constraint);
    return *over ? HN_OK : hn_constraint_apply(constraint, logits, false, err);
}

static hn_status choose(void *context, size_t index, const hn_ids *so_far, float *logits,
                        int32_t *token, hn_error *err) {
    answer_run *run = context;
    const hn_tokenizer *tokenizer = run->model->ckpt.tokenizer;
    int n_vocab = run->model->arch.n_vocab;
    if (run->constraint) {
        bool over;
        hn_status status = constrain(run->constraint, so_far, logits, &over, err);
        if (status != HN_OK)
            return hn_error_prefix(err, "answer %zu", index + 1);
        *token = -1;
        if (over) /* nothing may follow */
            return HN_OK;
        n_vocab = (int)hn_tokenizer_size(tokenizer);
    }
    *token = (int32_t)hn_argmax(logits, hn_tokenizer_size(tokenizer));
    HN_TRY(hn_drawn_check(logits[*token], err));
    run->answers[index].log_prob += (double)logits[*token] - hn_log_sum_exp(logits, n_vocab);
    if (hn_tokenizer_is_end(tokenizer, *token))
        *token = -1;
    return HN_OK;
}

static hn_status finish(void *context, size_t index, hn_ids *tokens, bool cut, hn_error *err) {
    (void)cut;
    answer_run *run = context;
    hn_buf text = {0};
    hn_status status =
        hn_decode(run->model->ckpt.tokenizer, tokens->data, tokens->size, false, &text, err);
    if (status == HN_OK)
        status = hn_buf_check(&text, err);
    if (status == HN_OK) {
        char *own = text.size ? hn_buf_take(&text) : hn_strdup("");
        run->answers[index].text = own;
        status = own ? HN_OK : hn_fail_no_memory(err, 1);
    }
    hn_buf_done(&text);
    return status;
}

hn_status hn_answers_generate(hn_model *model, const hn_adapter *adapter, const hn_ids *prompts,
                              size_t n, const hn_answers_options *options,
                              const hn_progress *progress, hn_answer *answers, hn_error *err) {
    answer_run run = {model, options->constraint, answers};
    hn_continue_options how = {.adapter = adapter,
                               .max_tokens = options->max_tokens,
                               .context = &run,
                               .choose = choose,
                               .finish = finish,
                               .label = options->label};
    return hn_continue(model, prompts, n, &how, progress, err);
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
