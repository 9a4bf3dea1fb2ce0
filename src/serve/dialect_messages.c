/* Anthropic's messages: a list of blocks (thinking, text, tool_use), streamed one after the other.
 */
#include "serve/exchange.h"

#include "base/mem.h"
#include "serve/json_text.h"
#include "serve/translate.h"

#include <string.h>

typedef enum block_kind { BLOCK_NONE, BLOCK_THINKING, BLOCK_TEXT, BLOCK_TOOL } block_kind;

/* Where a stream stands. */
typedef struct stream {
    block_kind open;
    int index; /* of the open block, or of the next */
    int call;  /* of the open tool_use */
} stream;

/* ---- parts ---- */

static void event_open(const char *type, hn_buf *out) {
    hn_buf_printf(out, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static void event_close(hn_buf *out) {
    hn_buf_puts(out, "}\n\n");
}

static const char *stop_reason(const hn_choice *c) {
    if (strcmp(c->finish, "length") == 0)
        return "max_tokens";
    if (strcmp(c->finish, "tool_calls") == 0)
        return "tool_use";
    return c->stop >= 0 ? "stop_sequence" : "end_turn";
}

static void put_stop(const hn_choice *c, hn_buf *out) {
    const hn_api_request *r = &c->x->request;
    hn_json_put_key(out, "stop_reason");
    hn_json_put_text(out, c->finish ? stop_reason(c) : NULL);
    hn_json_put_key(out, "stop_sequence");
    hn_json_put_text(out,
                     c->finish && c->stop >= 0 && c->stop < r->n_stop ? r->stop[c->stop] : NULL);
}

static void put_usage(const hn_choice *c, hn_buf *out) {
    const hn_reply_usage *u = &c->usage;
    hn_json_put_key(out, "usage");
    hn_buf_printf(out,
                  "{\"input_tokens\":%lld,\"cache_creation_input_tokens\":0,"
                  "\"cache_read_input_tokens\":%lld,\"output_tokens\":%lld}",
                  (long long)(u->n_prompt - u->n_cached), (long long)u->n_cached,
                  (long long)u->n_generated);
}

/* {id, type, role, model, content: [ */
static void put_head(const hn_exchange *x, hn_buf *out) {
    hn_buf_puts(out, "{\"id\":");
    hn_json_put_text(out, x->id);
    hn_buf_puts(out, ",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    hn_json_put_text(out, x->model);
    hn_buf_puts(out, ",\"content\":[");
}

/* ---- streams ---- */

static void start(hn_exchange *x, hn_buf *out) {
    const hn_choice *c = &x->choices[0];
    x->state = hn_calloc(1, sizeof(stream));
    out->failed |= !x->state;
    event_open("message_start", out);
    hn_json_put_key(out, "message");
    put_head(x, out);
    hn_buf_putc(out, ']');
    put_stop(c, out);
    put_usage(c, out);
    hn_buf_putc(out, '}');
    event_close(out);
}

static void close_block(stream *s, hn_buf *out) {
    if (s->open == BLOCK_NONE)
        return;
    event_open("content_block_stop", out);
    hn_buf_printf(out, ",\"index\":%d", s->index++);
    event_close(out);
    s->open = BLOCK_NONE;
}

static void open_block(stream *s, block_kind kind, const hn_delta *d, hn_buf *out) {
    close_block(s, out);
    s->open = kind;
    s->call = d->call;
    event_open("content_block_start", out);
    hn_buf_printf(out, ",\"index\":%d,\"content_block\":{\"type\":", s->index);
    if (kind == BLOCK_TOOL) {
        hn_buf_puts(out, "\"tool_use\",\"id\":");
        hn_json_put_text(out, d->id);
        hn_json_put_key(out, "name");
        hn_json_put_text(out, d->name);
        hn_buf_puts(out, ",\"input\":{}}");
    } else {
        hn_buf_puts(out, kind == BLOCK_TEXT ? "\"text\",\"text\":\"\"}"
                                            : "\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
    }
    event_close(out);
}

static void delta(hn_choice *c, const hn_delta *d, hn_buf *out) {
    static const char *const TYPES[] = {[BLOCK_THINKING] = "thinking_delta\",\"thinking",
                                        [BLOCK_TEXT] = "text_delta\",\"text",
                                        [BLOCK_TOOL] = "input_json_delta\",\"partial_json"};
    stream *s = c->x->state;
    const block_kind kind = d->kind == HN_DELTA_REASONING ? BLOCK_THINKING
                            : d->kind == HN_DELTA_CONTENT ? BLOCK_TEXT
                                                          : BLOCK_TOOL;
    if (!s)
        return;
    if (s->open != kind || d->kind == HN_DELTA_CALL)
        open_block(s, kind, d, out);
    if (d->kind == HN_DELTA_CALL)
        return;
    event_open("content_block_delta", out);
    hn_buf_printf(out, ",\"index\":%d,\"delta\":{\"type\":\"%s\":", s->index, TYPES[kind]);
    hn_json_put_string(out, d->text, d->n_bytes);
    hn_buf_putc(out, '}');
    event_close(out);
}

static void close_choice(hn_choice *c, hn_buf *out) {
    stream *s = c->x->state;
    if (!s)
        return;
    if (s->index == 0 && s->open == BLOCK_NONE) /* clients expect at least one */
        open_block(s, BLOCK_TEXT, &(hn_delta){.kind = HN_DELTA_CONTENT}, out);
    close_block(s, out);
    event_open("message_delta", out);
    hn_buf_puts(out, ",\"delta\":{");
    put_stop(c, out);
    hn_buf_putc(out, '}');
    put_usage(c, out);
    event_close(out);
}

static void end(hn_exchange *x, hn_buf *out) {
    (void)x;
    event_open("message_stop", out);
    event_close(out);
}

/* ---- errors ---- */

static void put_problem(const hn_problem *problem, hn_buf *out) {
    const char *type = problem->http == 429   ? "rate_limit_error"
                       : problem->http == 503 ? "overloaded_error"
                       : problem->http >= 500 ? "api_error"
                       : problem->http == 404 ? "not_found_error"
                                              : "invalid_request_error";
    hn_buf_puts(out, "{\"type\":\"error\",\"error\":{\"type\":");
    hn_json_put_text(out, type);
    hn_json_put_key(out, "message");
    hn_json_put_text(out, problem->message);
    hn_buf_puts(out, "}}");
}

static void put_error(const hn_problem *problem, hn_buf *out) {
    hn_buf_puts(out, "event: error\ndata: ");
    put_problem(problem, out);
    hn_sse_close(out);
}

/* ---- the whole ---- */

static void put_text_block(const char *type, const hn_buf *text, hn_buf *out) {
    hn_json_put_comma(out);
    hn_buf_printf(out, "{\"type\":\"%s\",\"%s\":", type, type);
    hn_json_put_string(out, hn_buf_text(text), text->size);
    hn_buf_puts(out, *type == 't' && type[1] == 'h' ? ",\"signature\":\"\"}" : "}");
}

/* Arguments that are no JSON (an answer that was cut) are passed on as a text. */
static void put_input(const hn_buf *arguments, hn_buf *out) {
    json_t *value = json_loadb(hn_buf_text(arguments), arguments->size, 0, NULL);
    hn_json_put_key(out, "input");
    if (value)
        hn_json_put_value(out, value);
    else {
        hn_buf_puts(out, "{\"partial_json\":");
        hn_json_put_string(out, hn_buf_text(arguments), arguments->size);
        hn_buf_putc(out, '}');
    }
    json_decref(value);
}

static void whole(hn_exchange *x, hn_buf *out) {
    const hn_choice *c = &x->choices[0];
    const hn_reply_answer *a = &c->answer;
    put_head(x, out);
    if (a->reasoning.size)
        put_text_block("thinking", &a->reasoning, out);
    if (a->content.size || !a->n_calls)
        put_text_block("text", &a->content, out);
    for (size_t i = 0; i < a->n_calls; i++) {
        hn_json_put_comma(out);
        hn_buf_puts(out, "{\"type\":\"tool_use\",\"id\":");
        hn_json_put_text(out, a->calls[i].id);
        hn_json_put_key(out, "name");
        hn_json_put_text(out, a->calls[i].name);
        put_input(&a->calls[i].arguments, out);
        hn_buf_putc(out, '}');
    }
    hn_buf_putc(out, ']');
    put_stop(c, out);
    put_usage(c, out);
    hn_buf_putc(out, '}');
}

/* ---- requests ---- */

static hn_status read_body(hn_exchange *x, json_t *body, hn_problem *problem) {
    json_t *chat = NULL;
    hn_status status = hn_translate_messages(body, &chat, problem);
    if (status == HN_OK && !hn_api_field(body, "max_tokens"))
        status = hn_problem_bad(problem, "max_tokens", "'max_tokens' is missing");
    json_decref(body);
    if (status != HN_OK) {
        json_decref(chat);
        return status;
    }
    return hn_api_request_read(&x->request, HN_API_CHAT, chat, problem);
}

const hn_dialect hn_dialect_messages = {.kind = HN_API_CHAT,
                                        .id_prefix = "msg_",
                                        .read = read_body,
                                        .start = start,
                                        .delta = delta,
                                        .close = close_choice,
                                        .end = end,
                                        .error = put_error,
                                        .whole = whole,
                                        .problem = put_problem};
