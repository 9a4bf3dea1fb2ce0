#include "teacher/request.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* A cap of 150 tokens is about 110 English words; teachers run over a little. */
static const double WORDS_PER_TOKEN = 2.0 / 3;
enum { TAG_TOKENS = 64 /* <think>, </think> and what a chat template puts round them */ };

static const char ANSWER_THINKING[] =
    "Answer the user's last message. First think: between <think> and </think>, write down in "
    "your own words the few facts or steps that lead to the answer, in at most %d words. After "
    "</think> write the answer itself, in at most %d words, and nothing else.";
static const char ANSWER_PLAIN[] = "Answer in at most %d words.";
static const char CRITIQUE[] =
    "You judge answers to a question. Say in a few sentences what is right and what is wrong with "
    "each, then rank them all, the best one first. Reply with JSON alone: {\"critique\": \"...\", "
    "\"ranking\": [numbers of the answers, best first]}";
static const char NEGATIVE[] =
    "You write wrong answers, from which others learn what to avoid. Rewrite the answer to the "
    "question so that it's wrong in one point that matters, yet as sure, as plausible and as long, "
    "and in the same style. Reply with the rewritten answer alone.";

static int default_max_tokens(const hn_distil_options *options) {
    if (options->max_tokens > 0)
        return options->max_tokens;
    return (options->plain ? 1 : 2) * options->max_field_tokens + TAG_TOKENS;
}

/* One more key of a request; `value` is taken, and may be NULL for no memory. */
static bool put(json_t *request, const char *key, json_t *value) {
    return json_object_set_new(request, key, value) == 0;
}

static bool put_extra(json_t *request, const json_t *extra) {
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)extra, key, value) {
        if (json_is_null(value))
            json_object_del(request, key);
        else if (json_object_set(request, key, value))
            return false;
    }
    return true;
}

static hn_status key_of(const json_t *request, int sample, char key[HN_SHA256_HEX], hn_error *err) {
    char *text = json_dumps(request, JSON_COMPACT | JSON_SORT_KEYS);
    hn_buf whole = {0};
    if (text)
        hn_buf_printf(&whole, "%s#%d", text, sample);
    free(text); /* jansson's own memory */
    hn_status status = !whole.size || whole.failed
                           ? hn_fail_no_memory(err, 1)
                           : hn_sha256_data(whole.data, whole.size, key, err);
    hn_buf_done(&whole);
    return status;
}

/* `messages` is taken. */
static hn_status finish(const hn_distil_options *options, json_t *messages, double temperature,
                        int sample, hn_question *out, hn_error *err) {
    json_t *request = json_object();
    bool ok = put(request, "model", json_string(options->model));
    ok = put(request, "messages", messages) && ok;
    ok = ok && put(request, "temperature", json_real(temperature)) &&
         put(request, "max_tokens", json_integer(default_max_tokens(options)));
    if (ok && options->top_p < 1)
        ok = put(request, "top_p", json_real(options->top_p));
    if (ok && options->seeded)
        ok = put(request, "seed", json_integer(options->seed + sample));
    ok = ok && put_extra(request, options->extra);
    hn_status status =
        ok ? key_of(request, sample, out->key, err) : hn_fail_no_memory(err, sizeof *request);
    if (status == HN_OK)
        out->request = request;
    else
        json_decref(request);
    return status;
}

hn_status hn_question_answer(const hn_distil_options *options, const json_t *prompt, int sample,
                             hn_question *out, hn_error *err) {
    int words = (int)(options->max_field_tokens * WORDS_PER_TOKEN);
    hn_buf ours = {0};
    if (!options->system && options->plain)
        hn_buf_printf(&ours, ANSWER_PLAIN, words);
    else if (!options->system)
        hn_buf_printf(&ours, ANSWER_THINKING, words, words);
    const char *system = options->system ? options->system : hn_buf_text(&ours);
    json_t *messages = ours.failed ? NULL : hn_prompt_messages(prompt, *system ? system : NULL);
    hn_buf_done(&ours);
    return finish(options, messages, options->temperature, sample, out, err);
}

static json_t *two_turns(const char *system, const char *user) {
    return json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "system", "content", system, "role",
                     "user", "content", user);
}

char *hn_question_candidates_text(const hn_distil_candidates *candidates) {
    hn_buf text = {0};
    int number = 0;
    char *prompt = hn_prompt_text(candidates->prompt);
    hn_buf_printf(&text, "Question:\n%s\n\nAnswers:", prompt ? prompt : "");
    for (size_t i = 0; i < candidates->n; i++)
        if (!candidates->items[i].repeats)
            hn_buf_printf(&text, "\n%d. %s", ++number, candidates->items[i].response);
    char *out = prompt ? hn_buf_take(&text) : NULL;
    hn_buf_done(&text);
    hn_free(prompt);
    return out;
}

hn_status hn_question_critique(const hn_distil_options *options,
                               const hn_distil_candidates *candidates, hn_question *out,
                               hn_error *err) {
    char *text = hn_question_candidates_text(candidates);
    json_t *messages = text ? two_turns(CRITIQUE, text) : NULL;
    hn_free(text);
    return finish(options, messages, 0, 0, out, err);
}

hn_status hn_question_negative(const hn_distil_options *options, const json_t *prompt,
                               const char *response, hn_question *out, hn_error *err) {
    hn_buf text = {0};
    char *question = hn_prompt_text(prompt);
    if (question)
        hn_buf_printf(&text, "Question:\n%s\n\nAnswer:\n%s", question, response);
    json_t *messages = question && !text.failed ? two_turns(NEGATIVE, hn_buf_text(&text)) : NULL;
    hn_buf_done(&text);
    hn_free(question);
    return finish(options, messages, options->temperature, 0, out, err);
}

json_t *hn_question_sampling(const json_t *request) {
    json_t *sampling = json_copy((json_t *)request);
    if (sampling) {
        json_object_del(sampling, "model");
        json_object_del(sampling, "messages");
    }
    return sampling;
}
