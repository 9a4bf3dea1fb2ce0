/* OpenAI's responses: items (reasoning, message, function_call), each with events of its own. */
#include "serve/exchange.h"

#include "base/mem.h"
#include "serve/json_text.h"
#include "serve/translate.h"

#include <string.h>

enum { NOT_OPEN = -1 };

/* What answers say again of the request; and where a stream stands. An item's place in the output
 * is that of its first event. */
typedef struct stream {
    json_t *echo;
    int sequence, n_items;
    int reasoning, message; /* places, or NOT_OPEN */
    int *calls;             /* (n_calls) places */
    int n_calls;
    size_t n_logprobs; /* bytes of the choice's list that were sent with a delta */
} stream;

/* ---- parts ---- */

static void put_item_id(const hn_exchange *x, const char *prefix, int place, hn_buf *out) {
    hn_buf_printf(out, "\"%s_%s_%d\"", prefix, x->id + strlen(x->dialect->id_prefix), place);
}

static void put_usage(const hn_exchange *x, hn_buf *out) {
    const hn_reply_usage u = hn_exchange_usage(x);
    hn_json_put_key(out, "usage");
    hn_buf_printf(out,
                  "{\"input_tokens\":%lld,\"input_tokens_details\":{\"cached_tokens\":%lld,\"cache_"
                  "write_tokens\":0},"
                  "\"output_tokens\":%lld,\"output_tokens_details\":{\"reasoning_tokens\":0},"
                  "\"total_tokens\":%lld}",
                  (long long)u.n_prompt, (long long)u.n_cached, (long long)u.n_generated,
                  (long long)(u.n_prompt + u.n_generated));
}

/* "logprobs" of the tokens whose JSON begins at byte `from` of the choice's list. Nobody takes them
 * from there: the whole answer has all of them once more. */
static void put_logprobs(const hn_exchange *x, size_t from, hn_buf *out) {
    const hn_buf *list = &x->choices[0].logprobs.lists[0];
    from += from && from < list->size; /* the comma */
    hn_json_put_key(out, "logprobs");
    hn_buf_putc(out, '[');
    hn_buf_append(out, hn_buf_text(list) + from, list->size - from);
    hn_buf_putc(out, ']');
}

/* NULL = the part that has just been opened. */
static void put_part(const hn_exchange *x, const hn_buf *text, hn_buf *out) {
    hn_buf_puts(out, "{\"type\":\"output_text\",\"annotations\":[]");
    put_logprobs(x, text ? 0 : x->choices[0].logprobs.lists[0].size, out);
    hn_json_put_key(out, "text");
    hn_json_put_string(out, text ? hn_buf_text(text) : "", text ? text->size : 0);
    hn_buf_putc(out, '}');
}

static void put_reasoning(const hn_exchange *x, int place, const hn_buf *text, hn_buf *out) {
    hn_buf_puts(out, "{\"id\":");
    put_item_id(x, "rs", place, out);
    hn_buf_puts(out, ",\"type\":\"reasoning\",\"summary\":[],\"content\":[");
    if (text) {
        hn_buf_puts(out, "{\"type\":\"reasoning_text\",\"text\":");
        hn_json_put_string(out, hn_buf_text(text), text->size);
        hn_buf_putc(out, '}');
    }
    hn_buf_puts(out, "]}");
}

static void put_message(const hn_exchange *x, int place, const hn_buf *text, hn_buf *out) {
    hn_buf_puts(out, "{\"id\":");
    put_item_id(x, "msg", place, out);
    hn_buf_printf(out,
                  ",\"type\":\"message\",\"role\":\"assistant\",\"status\":\"%s\",\"content\":[",
                  text ? "completed" : "in_progress");
    if (text)
        put_part(x, text, out);
    hn_buf_puts(out, "]}");
}

static void put_call(const hn_exchange *x, int place, const char *id, const char *name,
                     const hn_buf *arguments, hn_buf *out) {
    hn_buf_puts(out, "{\"id\":");
    put_item_id(x, "fc", place, out);
    hn_buf_printf(out, ",\"type\":\"function_call\",\"status\":\"%s\",\"call_id\":",
                  arguments ? "completed" : "in_progress");
    hn_json_put_text(out, id);
    hn_json_put_key(out, "name");
    hn_json_put_text(out, name);
    hn_json_put_key(out, "arguments");
    hn_json_put_string(out, arguments ? hn_buf_text(arguments) : "",
                       arguments ? arguments->size : 0);
    hn_buf_putc(out, '}');
}

/* All items, at the places that a stream gave them (NULL: in their natural order). */
static void put_output(const hn_exchange *x, const stream *s, hn_buf *out) {
    const hn_reply_answer *a = &x->choices[0].answer;
    int n_items = 0;
    int reasoning = s ? s->reasoning : a->reasoning.size ? n_items++ : NOT_OPEN;
    int message = s ? s->message : a->content.size || !a->n_calls ? n_items++ : NOT_OPEN;
    int first_call = n_items;
    n_items = s ? s->n_items : n_items + (int)a->n_calls;
    hn_buf_putc(out, '[');
    for (int place = 0; place < n_items; place++) {
        hn_json_put_comma(out);
        if (place == reasoning)
            put_reasoning(x, place, &a->reasoning, out);
        else if (place == message)
            put_message(x, place, &a->content, out);
        for (size_t i = 0; i < a->n_calls; i++)
            if (place == (s ? s->calls[i] : first_call + (int)i))
                put_call(x, place, a->calls[i].id, a->calls[i].name, &a->calls[i].arguments, out);
    }
    hn_buf_putc(out, ']');
}

static const char *status_of(const hn_exchange *x) {
    const char *finish = x->choices[0].finish;
    if (!finish)
        return "in_progress";
    return strcmp(finish, "length") == 0 ? "incomplete" : "completed";
}

static void put_echo(const hn_exchange *x, hn_buf *out) {
    const stream *s = x->state;
    const char *key;
    json_t *value;
    json_object_foreach (s->echo, key, value) {
        hn_json_put_key(out, key);
        hn_json_put_value(out, value);
    }
}

/* With the items at the places that the stream s gave them; NULL = in their natural order. */
static void put_response(const hn_exchange *x, const stream *s, hn_buf *out) {
    const char *status = status_of(x);
    const bool over = x->choices[0].finish != NULL;
    hn_buf_puts(out, "{\"id\":");
    hn_json_put_text(out, x->id);
    hn_buf_printf(out,
                  ",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\",\"error\":null,",
                  (long long)x->head.created, status);
    hn_buf_puts(out, *status == 'i' && over
                         ? "\"incomplete_details\":{\"reason\":\"max_output_tokens\"},\"model\":"
                         : "\"incomplete_details\":null,\"model\":");
    hn_json_put_text(out, x->model);
    put_echo(x, out);
    hn_json_put_key(out, "parallel_tool_calls");
    hn_buf_puts(out, x->request.parallel_tool_calls ? "true" : "false");
    hn_json_put_key(out, "temperature");
    hn_json_put_real(out, x->request.temperature);
    hn_json_put_key(out, "top_p");
    hn_json_put_real(out, x->request.top_p);
    hn_json_put_key(out, "output");
    if (over)
        put_output(x, s, out);
    else
        hn_buf_puts(out, "[]");
    if (over)
        put_usage(x, out);
    else
        hn_buf_puts(out, ",\"usage\":null");
    hn_buf_putc(out, '}');
}

/* ---- streams ---- */

static void event_open(stream *s, const char *type, hn_buf *out) {
    hn_buf_printf(out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%d", type, type,
                  s->sequence++);
}

static void event_close(hn_buf *out) {
    hn_buf_puts(out, "}\n\n");
}

/* An event about an item: its id and place, and the part of it that there is. */
static void item_event(const hn_exchange *x, stream *s, const char *type, const char *prefix,
                       int place, bool part, hn_buf *out) {
    event_open(s, type, out);
    hn_json_put_key(out, "item_id");
    put_item_id(x, prefix, place, out);
    hn_buf_printf(out, ",\"output_index\":%d", place);
    if (part)
        hn_buf_puts(out, ",\"content_index\":0");
}

static void response_event(hn_exchange *x, const char *type, hn_buf *out) {
    event_open(x->state, type, out);
    hn_json_put_key(out, "response");
    put_response(x, x->state, out);
    event_close(out);
}

static void start(hn_exchange *x, hn_buf *out) {
    response_event(x, "response.created", out);
    response_event(x, "response.in_progress", out);
}

/* "response.output_item.added" up to the item. */
static void open_item(stream *s, const char *type, int place, hn_buf *out) {
    event_open(s, type, out);
    hn_buf_printf(out, ",\"output_index\":%d", place);
    hn_json_put_key(out, "item");
}

static void text_delta(const hn_exchange *x, stream *s, const hn_delta *d, hn_buf *out) {
    const bool thought = d->kind == HN_DELTA_REASONING;
    int *place = thought ? &s->reasoning : &s->message;
    if (*place == NOT_OPEN) {
        *place = s->n_items++;
        open_item(s, "response.output_item.added", *place, out);
        (thought ? put_reasoning : put_message)(x, *place, NULL, out);
        event_close(out);
        if (!thought) {
            item_event(x, s, "response.content_part.added", "msg", *place, true, out);
            hn_json_put_key(out, "part");
            put_part(x, NULL, out);
            event_close(out);
        }
    }
    item_event(x, s, thought ? "response.reasoning_text.delta" : "response.output_text.delta",
               thought ? "rs" : "msg", *place, true, out);
    hn_json_put_key(out, "delta");
    hn_json_put_string(out, d->text, d->n_bytes);
    if (!thought)
        put_logprobs(x, s->n_logprobs, out);
    s->n_logprobs = x->choices[0].logprobs.lists[0].size;
    event_close(out);
}

static void call_delta(const hn_exchange *x, stream *s, const hn_delta *d, hn_buf *out) {
    if (d->kind == HN_DELTA_CALL) {
        int *calls = hn_reallocarray(s->calls, (size_t)s->n_calls + 1, sizeof *calls);
        if (!calls) {
            out->failed = true;
            return;
        }
        s->calls = calls;
        s->calls[s->n_calls++] = s->n_items++;
        open_item(s, "response.output_item.added", s->calls[d->call], out);
        put_call(x, s->calls[d->call], d->id, d->name, NULL, out);
        event_close(out);
        return;
    }
    item_event(x, s, "response.function_call_arguments.delta", "fc", s->calls[d->call], false, out);
    hn_json_put_key(out, "delta");
    hn_json_put_string(out, d->text, d->n_bytes);
    event_close(out);
}

static void delta(hn_choice *c, const hn_delta *d, hn_buf *out) {
    stream *s = c->x->state;
    if (out->failed)
        return;
    if (d->kind == HN_DELTA_CONTENT || d->kind == HN_DELTA_REASONING)
        text_delta(c->x, s, d, out);
    else
        call_delta(c->x, s, d, out);
}

static void close_message(const hn_exchange *x, stream *s, hn_buf *out) {
    const hn_buf *text = &x->choices[0].answer.content;
    item_event(x, s, "response.output_text.done", "msg", s->message, true, out);
    hn_json_put_key(out, "text");
    hn_json_put_string(out, hn_buf_text(text), text->size);
    put_logprobs(x, 0, out);
    event_close(out);
    item_event(x, s, "response.content_part.done", "msg", s->message, true, out);
    hn_json_put_key(out, "part");
    put_part(x, text, out);
    event_close(out);
    open_item(s, "response.output_item.done", s->message, out);
    put_message(x, s->message, text, out);
    event_close(out);
}

static void close_choice(hn_choice *c, hn_buf *out) {
    const hn_exchange *x = c->x;
    const hn_reply_answer *a = &c->answer;
    stream *s = x->state;
    if (s->reasoning != NOT_OPEN) {
        open_item(s, "response.output_item.done", s->reasoning, out);
        put_reasoning(x, s->reasoning, &a->reasoning, out);
        event_close(out);
    }
    if (s->message != NOT_OPEN)
        close_message(x, s, out);
    for (int i = 0; i < s->n_calls; i++) {
        const hn_reply_call *call = &a->calls[i];
        item_event(x, s, "response.function_call_arguments.done", "fc", s->calls[i], false, out);
        hn_json_put_key(out, "name");
        hn_json_put_text(out, call->name);
        hn_json_put_key(out, "arguments");
        hn_json_put_string(out, hn_buf_text(&call->arguments), call->arguments.size);
        event_close(out);
        open_item(s, "response.output_item.done", s->calls[i], out);
        put_call(x, s->calls[i], call->id, call->name, &call->arguments, out);
        event_close(out);
    }
}

static void end(hn_exchange *x, hn_buf *out) {
    bool cut = strcmp(status_of(x), "incomplete") == 0;
    response_event(x, cut ? "response.incomplete" : "response.completed", out);
}

static void forget(void *state) {
    stream *s = state;
    json_decref(s->echo);
    hn_free(s->calls);
}

static void put_error(const hn_problem *problem, hn_buf *out) {
    hn_buf_puts(out, "event: error\ndata: {\"type\":\"error\",\"sequence_number\":0,\"code\":");
    hn_json_put_text(out, problem->code ? problem->code : problem->type);
    hn_json_put_key(out, "message");
    hn_json_put_text(out, problem->message);
    hn_buf_puts(out, ",\"param\":null");
    event_close(out);
}

static void whole(hn_exchange *x, hn_buf *out) {
    put_response(x, NULL, out);
}

/* ---- requests ---- */

static hn_status keep_echo(hn_exchange *x, const json_t *body, hn_problem *problem) {
    stream *s = hn_calloc(1, sizeof *s);
    x->state = s;
    if (!s)
        return hn_problem_no_memory(problem);
    s->reasoning = s->message = NOT_OPEN;
    return hn_responses_echo(body, &s->echo, problem);
}

static hn_status read_body(hn_exchange *x, json_t *body, hn_problem *problem) {
    json_t *chat = NULL;
    hn_status status = keep_echo(x, body, problem);
    if (status == HN_OK)
        status = hn_translate_responses(body, &chat, problem);
    json_decref(body);
    if (status == HN_OK)
        status = hn_api_request_read(&x->request, HN_API_CHAT, chat, problem);
    return status;
}

const hn_dialect hn_dialect_responses = {.kind = HN_API_CHAT,
                                         .id_prefix = "resp_",
                                         .read = read_body,
                                         .start = start,
                                         .delta = delta,
                                         .close = close_choice,
                                         .end = end,
                                         .error = put_error,
                                         .whole = whole,
                                         .forget = forget};
