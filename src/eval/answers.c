#include "eval/answers.h"

#include "base/mem.h"
#include "engine/together.h"

#include <string.h>

typedef struct answer_run {
    const hn_tokenizer *tokenizer;
    hn_answer *answers;
} answer_run;

static hn_status take(void *context, size_t index, const hn_job_result *said, hn_error *err) {
    const answer_run *run = context;
    hn_answer *answer = &run->answers[index];
    hn_buf text = {0};
    hn_status status = hn_decode(run->tokenizer, said->ids, (size_t)said->n_ids, false, &text, err);
    if (status == HN_OK)
        status = hn_buf_check(&text, err);
    if (status == HN_OK) {
        answer->log_prob = said->log_prob;
        answer->text = text.size ? hn_buf_take(&text) : hn_strdup("");
        status = answer->text ? HN_OK : hn_fail_no_memory(err, 1);
    }
    hn_buf_done(&text);
    return status;
}

hn_status hn_answers_generate(hn_model *model, const hn_adapter *adapter, const hn_ids *prompts,
                              size_t n, const hn_answers_options *options,
                              const hn_progress *progress, hn_answer *answers, hn_error *err) {
    answer_run run = {model->ckpt.tokenizer, answers};
    hn_together how = {.prompts = prompts,
                       .n = n,
                       .options = hn_job_options_default(),
                       .context = &run,
                       .take = take,
                       .label = options->label};
    how.options.max_tokens = options->max_tokens;
    how.options.adapter = adapter;
    how.options.log_prob = true;
    how.options.made_constraint = options->constraint;
    return hn_answer_together(model, &how, progress, err);
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
