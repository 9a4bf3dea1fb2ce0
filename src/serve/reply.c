#include "serve/reply.h"

#include "base/mem.h"
#include "serve/json_text.h"

#include <stdio.h>
#include <string.h>

/* ---- collecting ---- */

static hn_reply_call *add_call(hn_reply_answer *a, const hn_delta *delta) {
    hn_reply_call *calls = hn_reallocarray(a->calls, a->n_calls + 1, sizeof *calls);
    if (!calls)
        return NULL;
    a->calls = calls;
    hn_reply_call *call = &calls[a->n_calls++];
    *call = (hn_reply_call){.name = delta->name};
    snprintf(call->id, sizeof call->id, "%s", delta->id);
    return call;
}

void hn_reply_answer_add(void *answer, const hn_delta *delta) {
    hn_reply_answer *a = answer;
    hn_buf *to = NULL;
    if (delta->kind == HN_DELTA_CONTENT)
        to = &a->content;
    else if (delta->kind == HN_DELTA_REASONING)
        to = &a->reasoning;
    else if (delta->kind == HN_DELTA_CALL)
        a->failed |= !add_call(a, delta);
    else if (!a->failed)
        to = &a->calls[delta->call].arguments;
    if (to && !hn_buf_append(to, delta->text, delta->n_bytes))
        a->failed = true;
}

void hn_reply_answer_done(hn_reply_answer *answer) {
    hn_buf_done(&answer->content);
    hn_buf_done(&answer->reasoning);
    for (size_t i = 0; i < answer->n_calls; i++)
        hn_buf_done(&answer->calls[i].arguments);
    hn_free(answer->calls);
    *answer = (hn_reply_answer){0};
}

const char *hn_reply_finish(hn_finish finish, bool has_calls) {
    if (finish != HN_FINISH_STOP)
        return "length";
    return has_calls ? "tool_calls" : "stop";
}

/* ---- parts ---- */

static void put_key_text(hn_buf *out, const char *key, const char *text) {
    hn_json_put_key(out, key);
    hn_json_put_text(out, text);
}

static void put_key_int(hn_buf *out, const char *key, int64_t value) {
    hn_json_put_key(out, key);
    hn_json_put_int(out, value);
}

static void put_key_real(hn_buf *out, const char *key, double value) {
    hn_json_put_key(out, key);
    hn_json_put_real(out, value);
}

static void put_key_raw(hn_buf *out, const char *key, const char *json) {
    hn_json_put_key(out, key);
    hn_buf_puts(out, json ? json : "null");
}

static void put_head(const hn_reply_head *head, const char *object, hn_buf *out) {
    hn_buf_putc(out, '{');
    put_key_text(out, "id", head->id);
    put_key_text(out, "object", object);
    put_key_int(out, "created", head->created);
    put_key_text(out, "model", head->model);
    put_key_text(out, "system_fingerprint", head->fingerprint);
    hn_buf_puts(out, ",\"choices\":[");
}

static void put_usage(const hn_reply_usage *u, hn_buf *out) {
    hn_json_put_key(out, "usage");
    hn_buf_printf(out,
                  "{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld,"
                  "\"prompt_tokens_details\":{\"cached_tokens\":%lld}}",
                  (long long)u->n_prompt, (long long)u->n_generated,
                  (long long)(u->n_prompt + u->n_generated), (long long)u->n_cached);
}

/* n things in so many nanoseconds, under "<what>_n", "_ms", "_per_token_ms" and "_per_second". */
static void put_rate(const char *what, int64_t n, uint64_t ns, hn_buf *out) {
    static const char *const SUFFIX[] = {"_n", "_ms", "_per_token_ms", "_per_second"};
    const double ms = (double)ns * 1e-6, seconds = (double)ns * 1e-9;
    const double values[] = {(double)n, ms, n ? ms / (double)n : 0, ns ? (double)n / seconds : 0};
    char key[32];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        snprintf(key, sizeof key, "%s%s", what, SUFFIX[i]);
        put_key_real(out, key, values[i]);
    }
}

static void put_timings(const hn_reply_timings *t, hn_buf *out) {
    hn_json_put_key(out, "timings");
    hn_buf_putc(out, '{');
    put_key_int(out, "cache_n", t->n_cached);
    put_rate("prompt", t->n_prompt, t->prompt_ns, out);
    put_rate("predicted", t->n_generated, t->generated_ns, out);
    if (t->n_drafted) {
        put_key_int(out, "draft_n", t->n_drafted);
        put_key_int(out, "draft_n_accepted", t->n_accepted);
    }
    hn_buf_putc(out, '}');
}

static void put_call(size_t index, const char *id, const char *name, const char *arguments,
                     size_t n_bytes, bool with_index, hn_buf *out) {
    hn_json_put_comma(out);
    hn_buf_putc(out, '{');
    if (with_index)
        put_key_int(out, "index", (int64_t)index);
    if (id) {
        put_key_text(out, "id", id);
        put_key_text(out, "type", "function");
    }
    hn_json_put_key(out, "function");
    hn_buf_putc(out, '{');
    if (name)
        put_key_text(out, "name", name);
    hn_json_put_key(out, "arguments");
    hn_json_put_string(out, arguments, n_bytes);
    hn_buf_puts(out, "}}");
}

/* ---- whole objects ---- */

void hn_reply_open(const hn_reply_head *head, hn_buf *out) {
    put_head(head, head->kind == HN_API_CHAT ? "chat.completion" : "text_completion", out);
}

static void put_calls(const hn_reply_answer *a, hn_buf *out) {
    hn_json_put_key(out, "tool_calls");
    hn_buf_putc(out, '[');
    for (size_t i = 0; i < a->n_calls; i++) {
        const hn_reply_call *c = &a->calls[i];
        put_call(i, c->id, c->name, hn_buf_text(&c->arguments), c->arguments.size, false, out);
    }
    hn_buf_putc(out, ']');
}

void hn_reply_message(int index, const hn_reply_answer *a, const char *logprobs, const char *finish,
                      hn_buf *out) {
    hn_json_put_comma(out);
    hn_buf_putc(out, '{');
    put_key_int(out, "index", index);
    hn_buf_puts(out, ",\"message\":{\"role\":\"assistant\",\"content\":");
    if (a->n_calls && !a->content.size)
        hn_buf_puts(out, "null");
    else
        hn_json_put_string(out, hn_buf_text(&a->content), a->content.size);
    if (a->reasoning.size) {
        hn_json_put_key(out, "reasoning_content");
        hn_json_put_string(out, hn_buf_text(&a->reasoning), a->reasoning.size);
    }
    if (a->n_calls)
        put_calls(a, out);
    hn_buf_putc(out, '}');
    put_key_raw(out, "logprobs", logprobs);
    put_key_text(out, "finish_reason", finish);
    hn_buf_putc(out, '}');
}

void hn_reply_text(int index, const char *text, size_t n_bytes, const char *logprobs,
                   const char *finish, hn_buf *out) {
    hn_json_put_comma(out);
    hn_buf_puts(out, "{\"text\":");
    hn_json_put_string(out, text, n_bytes);
    put_key_int(out, "index", index);
    put_key_raw(out, "logprobs", logprobs);
    put_key_text(out, "finish_reason", finish);
    hn_buf_putc(out, '}');
}

void hn_reply_close(const hn_reply_usage *usage, const hn_reply_timings *timings, hn_buf *out) {
    hn_buf_putc(out, ']');
    put_usage(usage, out);
    if (timings)
        put_timings(timings, out);
    hn_buf_putc(out, '}');
}

/* ---- chunks ---- */

void hn_sse_open(hn_buf *out) {
    hn_buf_puts(out, "data: ");
}

void hn_sse_close(hn_buf *out) {
    hn_buf_puts(out, "\n\n");
}

void hn_sse_done(hn_buf *out) {
    hn_buf_puts(out, "data: [DONE]\n\n");
}

static void chunk_open(const hn_reply_head *head, hn_buf *out) {
    hn_sse_open(out);
    put_head(head, head->kind == HN_API_CHAT ? "chat.completion.chunk" : "text_completion", out);
}

static void chunk_close(const hn_reply_extra *extra, hn_buf *out) {
    hn_buf_putc(out, ']');
    if (extra && extra->usage)
        put_usage(extra->usage, out);
    else if (extra && extra->usage_null)
        put_key_raw(out, "usage", NULL);
    if (extra && extra->timings)
        put_timings(extra->timings, out);
    if (extra && extra->progress)
        put_key_raw(out, "prompt_progress", extra->progress);
    hn_buf_putc(out, '}');
    hn_sse_close(out);
}

static void delta_open(const hn_reply_head *head, int index, hn_buf *out) {
    chunk_open(head, out);
    hn_buf_putc(out, '{');
    put_key_int(out, "index", index);
    hn_buf_puts(out, ",\"delta\":{");
}

static void delta_close(const char *logprobs, const char *finish, const hn_reply_extra *extra,
                        hn_buf *out) {
    hn_buf_putc(out, '}');
    put_key_raw(out, "logprobs", logprobs);
    put_key_text(out, "finish_reason", finish);
    hn_buf_putc(out, '}');
    chunk_close(extra, out);
}

void hn_reply_chunk_role(const hn_reply_head *head, int index, const hn_reply_extra *extra,
                         hn_buf *out) {
    delta_open(head, index, out);
    hn_buf_puts(out, "\"role\":\"assistant\",\"content\":\"\"");
    delta_close(NULL, NULL, extra, out);
}

void hn_reply_chunk_delta(const hn_reply_head *head, int index, const hn_delta *d,
                          const char *logprobs, const hn_reply_extra *extra, hn_buf *out) {
    delta_open(head, index, out);
    if (d->kind == HN_DELTA_CONTENT || d->kind == HN_DELTA_REASONING) {
        hn_json_put_key(out, d->kind == HN_DELTA_CONTENT ? "content" : "reasoning_content");
        hn_json_put_string(out, d->text, d->n_bytes);
    } else {
        hn_json_put_key(out, "tool_calls");
        hn_buf_putc(out, '[');
        put_call((size_t)d->call, d->id, d->name, d->text, d->n_bytes, true, out);
        hn_buf_putc(out, ']');
    }
    delta_close(logprobs, NULL, extra, out);
}

void hn_reply_chunk_finish(const hn_reply_head *head, int index, const char *finish,
                           const char *logprobs, const hn_reply_extra *extra, hn_buf *out) {
    delta_open(head, index, out);
    delta_close(logprobs, finish, extra, out);
}

void hn_reply_chunk_text(const hn_reply_head *head, int index, const char *text, size_t n_bytes,
                         const char *finish, const char *logprobs, const hn_reply_extra *extra,
                         hn_buf *out) {
    chunk_open(head, out);
    hn_reply_text(index, text, n_bytes, logprobs, finish, out);
    chunk_close(extra, out);
}

void hn_reply_chunk_usage(const hn_reply_head *head, const hn_reply_extra *extra, hn_buf *out) {
    chunk_open(head, out);
    chunk_close(extra, out);
}
