/* The three rounds: what is asked, and what an answer to it is worth. */
#include "teacher/run.h"

#include "base/json.h"
#include "base/mem.h"
#include "teacher/verdict.h"

#include <string.h>

hn_status hn_distil_put(json_t *row, const char *key, json_t *value, hn_error *err) {
    return json_object_set_new(row, key, value) ? hn_fail_no_memory(err, 1) : HN_OK;
}

static hn_status start_row(hn_distil *r, hn_distil_job *j, const char *kind, json_int_t line,
                           int sample, const json_t *prompt, hn_error *err) {
    j->row = json_pack("{s:s, s:s, s:I, s:i, s:s, s:o, s:O}", "key", j->question.key, "kind", kind,
                       "line", line, "sample", sample, "model", r->options->model, "sampling",
                       hn_question_sampling(j->question.request), "prompt", prompt);
    return j->row ? HN_OK : hn_fail_no_memory(err, 1);
}

static hn_status make_answer(hn_distil *r, size_t i, hn_distil_job *j, hn_error *err) {
    size_t samples = (size_t)r->options->samples;
    const hn_prompt *prompt = &r->prompts->items[i / samples];
    int sample = (int)(i % samples);
    HN_TRY(hn_question_answer(r->options, prompt->value, sample, &j->question, err));
    return start_row(r, j, "answer", (json_int_t)prompt->line, sample, prompt->value, err);
}

static hn_status judge(const hn_distil *r, const hn_teacher_reply *reply, bool wants_thought,
                       const char *thought, const char *response, const char **reason,
                       hn_error *err) {
    hn_verdict_options options = {.max_field_tokens = r->options->max_field_tokens,
                                  .tokenizer = r->options->tokenizer,
                                  .wants_thought = wants_thought};
    return hn_verdict(reply, thought, response, &options, reason, err);
}

static hn_status take_answer(hn_distil *r, hn_distil_job *j, const hn_teacher_reply *reply,
                             const char **reason, hn_error *err) {
    char *thought = NULL, *response = NULL;
    bool plain = r->options->plain;
    hn_status status;
    HN_TRY(hn_teacher_reply_split(reply, &thought, &response, err));
    if (!plain || *thought)
        HN_GO(hn_distil_put(j->row, "thought", json_string(thought), err));
    HN_GO(hn_distil_put(j->row, "response", json_string(response), err));
    status = judge(r, reply, !plain, thought, response, reason, err);
done:
    hn_free(thought);
    hn_free(response);
    return status;
}

static json_int_t line_of(const hn_distil_candidates *c) {
    return json_integer_value(json_object_get(c->items[0].row, "line"));
}

static hn_status make_critique(hn_distil *r, size_t i, hn_distil_job *j, hn_error *err) {
    const hn_distil_candidates *c = &r->candidates.items[i];
    if (hn_distil_candidates_different(c) < 2)
        return HN_OK;
    j->about = c;
    HN_TRY(hn_question_critique(r->options, c, &j->question, err));
    return start_row(r, j, "critique", line_of(c), 0, c->prompt, err);
}

/* Numbers of candidates, best first, as their keys; NULL when they aren't each named once. */
static json_t *ranking_of(const json_t *numbers, const hn_distil_candidates *c) {
    size_t n = hn_distil_candidates_different(c), place;
    const json_t *number;
    json_t *keys = json_array();
    if (json_array_size(numbers) != n) {
        json_decref(keys);
        return NULL;
    }
    json_array_foreach (numbers, place, number) {
        json_int_t wanted = json_integer_value(number), seen = 0;
        const char *key = NULL;
        for (size_t i = 0; i < c->n && !key; i++)
            if (!c->items[i].repeats && ++seen == wanted)
                key = c->items[i].key;
        for (size_t k = 0; k < json_array_size(keys); k++)
            if (key && strcmp(json_string_value(json_array_get(keys, k)), key) == 0)
                key = NULL;
        if (!key || json_array_append_new(keys, json_string(key))) {
            json_decref(keys);
            return NULL;
        }
    }
    return keys;
}

/* Teachers put fences and words round their JSON. */
static json_t *object_in(const char *text) {
    const char *from = strchr(text, '{'), *to = strrchr(text, '}');
    json_t *value = NULL;
    hn_error ignored;
    if (!from || !to || to < from ||
        hn_json_parse(from, (size_t)(to - from) + 1, "", &value, &ignored) != HN_OK)
        return NULL;
    return value;
}

static hn_status take_critique(hn_distil *r, hn_distil_job *j, const hn_teacher_reply *reply,
                               const char **reason, hn_error *err) {
    (void)r;
    char *thought = NULL, *response = NULL;
    HN_TRY(hn_teacher_reply_split(reply, &thought, &response, err));
    json_t *said = object_in(response);
    json_t *ranking = said ? ranking_of(json_object_get(said, "ranking"), j->about) : NULL;
    const char *critique = json_string_value(json_object_get(said, "critique"));
    hn_status status = hn_distil_put(j->row, "response", json_string(response), err);
    if (reply->refused || hn_verdict_refuses(response))
        *reason = "refusal";
    else if (reply->cut)
        *reason = "cut";
    else if (!ranking)
        *reason = "no ranking";
    if (status == HN_OK && ranking)
        status = hn_distil_put(j->row, "ranking", json_incref(ranking), err);
    if (status == HN_OK && critique)
        status = hn_distil_put(j->row, "critique", json_string(critique), err);
    json_decref(said);
    json_decref(ranking);
    hn_free(thought);
    hn_free(response);
    return status;
}

static hn_status make_negative(hn_distil *r, size_t i, hn_distil_job *j, hn_error *err) {
    const hn_distil_candidates *c = &r->candidates.items[i];
    const hn_distil_candidate *best = &c->items[c->best];
    j->about = c;
    HN_TRY(hn_question_negative(r->options, c->prompt, best->response, &j->question, err));
    HN_TRY(start_row(r, j, "negative", line_of(c), 0, c->prompt, err));
    return hn_distil_put(j->row, "of", json_string(best->key), err);
}

static hn_status take_negative(hn_distil *r, hn_distil_job *j, const hn_teacher_reply *reply,
                               const char **reason, hn_error *err) {
    char *thought = NULL, *response = NULL, *wrong = NULL, *right = NULL;
    hn_status status;
    HN_TRY(hn_teacher_reply_split(reply, &thought, &response, err));
    HN_GO(hn_distil_put(j->row, "response", json_string(response), err));
    HN_GO(judge(r, reply, false, thought, response, reason, err));
    wrong = hn_vote_normal(response, false);
    right = hn_vote_normal(j->about->items[j->about->best].response, false);
    if (!wrong || !right)
        status = hn_fail_no_memory(err, 1);
    else if (!*reason && strcmp(wrong, right) == 0)
        *reason = "the same";
done:
    hn_free(thought);
    hn_free(response);
    hn_free(wrong);
    hn_free(right);
    return status;
}

static size_t count_answers(const hn_distil *r) {
    return r->prompts->n * (size_t)r->options->samples;
}

static size_t count_critiques(const hn_distil *r) {
    return r->options->critique ? r->candidates.n : 0;
}

static size_t count_negatives(const hn_distil *r) {
    return r->options->hard_negatives ? r->candidates.n : 0;
}

const hn_distil_round HN_DISTIL_ROUND[HN_DISTIL_ROUNDS] = {
    {"answers", count_answers, make_answer, take_answer},
    {"critiques", count_critiques, make_critique, take_critique},
    {"wrong rewrites", count_negatives, make_negative, take_negative},
};
