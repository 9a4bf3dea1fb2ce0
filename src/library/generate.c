/* Answers: a conversation through the chat template, or a text continued. */
#include "library/library.h"

#include "base/mem.h"
#include "base/text.h"

#include <limits.h>
#include <string.h>

void hone_generate_options_init(hone_generate_options *options, size_t size) {
    const hn_sampling plain = hn_sampling_default();
    const hone_generate_options defaults = {.temperature = plain.temperature,
                                            .top_p = plain.top_p,
                                            .repetition_penalty = plain.repetition_penalty,
                                            .speculate = 1};
    hn_library_options_write(options, size, &defaults, sizeof defaults);
}

void hone_result_init(hone_result *result, size_t size) {
    const hone_result empty = {0};
    hn_library_options_write(result, size, &empty, sizeof empty);
}

/* The caller's struct may be an older, shorter one; the owned fields are in every version. */
void hone_result_done(hone_result *result) {
    if (!result)
        return;
    hn_free(result->text);
    hn_free(result->tokens);
    hone_result_init(result, result->size);
}

/* One call's path from the caller's terms to the model's. */
typedef struct answer {
    hone_session *session;
    const hone_message *messages; /* of hone_chat */
    size_t n_messages;
    const char *text; /* of hone_complete */
    hone_generate_options options;
    hn_ids prompt;
    hn_pooled_constraint constraint;
    hn_generation generation;
} answer;

static bool on_text(void *context, const char *text, size_t n_bytes) {
    const hone_generate_options *options = context;
    return options->on_text(options->on_text_context, text, n_bytes) == 0;
}

/* What the model's own functions don't look at. */
static hn_status check_options(const hone_generate_options *options, hn_error *err) {
    if (options->max_tokens < 0)
        return hn_fail(err, HN_USAGE, "max_tokens %d: it must be 0 (no limit) or more",
                       options->max_tokens);
    if (options->n_stop > INT_MAX)
        return hn_fail(err, HN_USAGE, "%zu stop texts are not possible", options->n_stop);
    if (options->n_stop)
        HN_TRY(hn_library_need(options->stop, "stop", err));
    for (size_t i = 0; i < options->n_stop; i++)
        if (!options->stop[i])
            return hn_fail(err, HN_USAGE, "stop[%zu] is NULL", i);
    if (options->grammar && options->json_schema)
        return hn_fail(err, HN_USAGE, "grammar and json_schema exclude each other");
    if (options->n_logit_bias > INT_MAX)
        return hn_fail(err, HN_USAGE, "%zu logit biases are not possible", options->n_logit_bias);
    if (options->n_logit_bias)
        HN_TRY(hn_library_need(options->logit_bias, "logit_bias", err));
    return HN_OK;
}

_Static_assert(sizeof(hone_logit_bias) == sizeof(hn_logit_bias) &&
                   offsetof(hone_logit_bias, bias) == offsetof(hn_logit_bias, bias),
               "hone_logit_bias is hn_logit_bias");

static hn_status take_constraint(answer *a, hn_error *err) {
    const hone_generate_options *o = &a->options;
    const char *text = o->grammar ? o->grammar : o->json_schema;
    if (!text)
        return HN_OK;
    return hn_constraint_pool_take(
        a->session->engine->constraints, o->grammar ? HN_CONSTRAINT_GBNF : HN_CONSTRAINT_SCHEMA,
        text, strlen(text), o->grammar ? "grammar" : "json_schema", &a->constraint, err);
}

static hn_status generate(answer *a, hn_error *err) {
    hone_generate_options *o = &a->options;
    if (a->prompt.size > INT_MAX)
        return hn_fail(err, HN_BAD_INPUT, "a prompt of %zu tokens is too long", a->prompt.size);
    HN_TRY(take_constraint(a, err));
    const hn_generate_options options = {
        .sampling = {.temperature = o->temperature,
                     .top_k = o->top_k,
                     .top_p = o->top_p,
                     .min_p = o->min_p,
                     .repetition_penalty = o->repetition_penalty,
                     .presence_penalty = o->presence_penalty,
                     .frequency_penalty = o->frequency_penalty,
                     .bias = (const hn_logit_bias *)(const void *)o->logit_bias,
                     .n_bias = (int)o->n_logit_bias,
                     .seed = o->seed},
        .max_tokens = o->max_tokens,
        .stop = o->stop,
        .n_stop = (int)o->n_stop,
        .ignore_eos = o->ignore_end != 0,
        .adapter = hn_library_session_lora(a->session),
        .constraint = a->constraint.constraint,
        .speculator = o->speculate ? a->session->speculator : NULL,
        .on_text = o->on_text ? on_text : NULL,
        .context = o,
        .cancel = &a->session->cancel};
    return hn_generate(a->session->engine->model, a->session->kv, 0, a->prompt.data,
                       (int)a->prompt.size, &options, &a->generation, err);
}

/* The generation's text and ids go over to the result. */
static void fill_result(hone_result *out, hn_generation *g) {
    const double seconds = 1e-9;
    hone_result result = {.text = g->text,
                          .n_bytes = g->n_bytes,
                          .tokens = g->ids.data,
                          .n_tokens = g->ids.size,
                          .finish = (hone_finish)g->finish,
                          .n_prompt = g->n_prompt,
                          .n_reused = g->n_reused,
                          .first_token_s = (double)g->first_token_ns * seconds,
                          .total_s = (double)g->total_ns * seconds,
                          .n_drafted = g->n_drafted,
                          .n_accepted = g->n_accepted};
    *g = (hn_generation){0};
    const size_t size = out->size;
    hone_result_done(out);
    hn_library_options_write(out, size, &result, sizeof result);
}

static hn_status add_text(json_t *message, size_t index, const char *key, const char *text,
                          hn_error *err) {
    if (!text)
        return hn_fail(err, HN_USAGE, "messages[%zu].%s is NULL", index, key);
    if (!hn_utf8_valid(text, strlen(text)))
        return hn_fail(err, HN_BAD_INPUT, "messages[%zu].%s is no valid UTF-8", index, key);
    if (json_object_set_new(message, key, json_string(text)) != 0)
        return hn_fail_no_memory(err, strlen(text));
    return HN_OK;
}

/* "messages": what the template sees. */
static hn_status messages_json(const hone_message *messages, size_t n, json_t **out,
                               hn_error *err) {
    json_t *list = json_array();
    hn_status status = HN_OK;
    for (size_t i = 0; i < n; i++) {
        json_t *message = json_object();
        if (json_array_append_new(list, message) != 0)
            HN_GO(hn_fail_no_memory(err, n * sizeof *messages));
        HN_GO(add_text(message, i, "role", messages[i].role, err));
        HN_GO(add_text(message, i, "content", messages[i].content, err));
    }
    *out = list;
    list = NULL;
done:
    json_decref(list);
    return status;
}

static hn_status encode_chat(answer *a, hn_error *err) {
    json_t *list = NULL;
    HN_TRY(hn_library_need(a->messages, "messages", err));
    if (!a->n_messages)
        return hn_fail(err, HN_USAGE, "n_messages is 0: there is nothing to answer");
    HN_TRY(messages_json(a->messages, a->n_messages, &list, err));
    hn_status status = hn_chat_encode(a->session->engine->model, list, NULL, true, &a->prompt, err);
    json_decref(list);
    return status;
}

static hn_status encode_text(answer *a, hn_error *err) {
    HN_TRY(hn_library_need(a->text, "text", err));
    return hn_encode(a->session->engine->model->ckpt.tokenizer, a->text, strlen(a->text),
                     HN_ENCODE_ADD_SPECIAL, &a->prompt, err);
}

static hn_status check_result(const hone_result *result, hn_error *err) {
    if (result && !hn_library_size_ok(result->size))
        return hn_fail(err, HN_USAGE,
                       "hone_result wasn't initialised: call hone_result_init first");
    return HN_OK;
}

static hn_status run(answer *a, hn_status (*encode)(answer *, hn_error *),
                     const hone_generate_options *options, hone_result *result, hn_error *err) {
    hn_status status;
    HN_TRY(check_result(result, err));
    hone_generate_options_init(&a->options, sizeof a->options);
    HN_TRY(hn_library_options_read(&a->options, sizeof a->options, options, "hone_generate_options",
                                   err));
    HN_TRY(check_options(&a->options, err));
    HN_TRY(hn_library_session_take(a->session, err));
    HN_GO(encode(a, err));
    HN_GO(generate(a, err));
    if (result)
        fill_result(result, &a->generation);
done:
    hn_constraint_pool_give(a->session->engine->constraints, &a->constraint);
    hn_generation_done(&a->generation);
    hn_ids_done(&a->prompt);
    hn_library_session_give(a->session);
    return status;
}

hone_status hone_chat(hone_session *session, const hone_message *messages, size_t n_messages,
                      const hone_generate_options *options, hone_result *result, hone_error *err) {
    hn_error why;
    answer a = {.session = session, .messages = messages, .n_messages = n_messages};
    return hn_library_report(run(&a, encode_chat, options, result, &why), &why, err);
}

hone_status hone_complete(hone_session *session, const char *text,
                          const hone_generate_options *options, hone_result *result,
                          hone_error *err) {
    hn_error why;
    answer a = {.session = session, .text = text};
    return hn_library_report(run(&a, encode_text, options, result, &why), &why, err);
}
