/* Chat, completions and embeddings, as OpenAI has them. */
#include "serve/exchange.h"

#include "base/clock.h"
#include "serve/json_text.h"

#include <math.h>
#include <openssl/evp.h>
#include <string.h>

/* ---- shared ---- */

/* Takes the tokens that wait; "" when there are none. */
static const char *take_logprobs(hn_choice *c, hn_buf *text) {
    bool some = hn_logprobs_take(&c->logprobs, c->x->request.kind == HN_API_CHAT, text);
    return some ? hn_buf_text(text) : NULL;
}

/* The timings so far, while it is being written. */
static hn_reply_timings timings_now(const hn_choice *c) {
    hn_reply_timings t = c->timings;
    t.generated_ns = c->last_ns - c->first_ns;
    return t;
}

static void put_error(const hn_problem *problem, hn_buf *out) {
    hn_sse_open(out);
    hn_problem_json(problem, out);
    hn_sse_close(out);
}

static void put_end(hn_exchange *x, hn_buf *out) {
    const hn_reply_usage usage = hn_exchange_usage(x);
    if (x->request.include_usage) {
        const hn_reply_extra extra = {.usage = &usage, .timings = &x->choices[0].timings};
        hn_reply_chunk_usage(&x->head, &extra, out);
    }
    hn_sse_done(out);
}

static hn_reply_extra extra_of(const hn_choice *c, hn_reply_timings *timings) {
    *timings = timings_now(c);
    return (hn_reply_extra){.usage_null = c->x->request.include_usage,
                            .timings = c->x->request.timings_per_token ? timings : NULL};
}

/* The last chunk of a choice always carries its timings. */
static hn_reply_extra last_extra(const hn_choice *c) {
    return (hn_reply_extra){.usage_null = c->x->request.include_usage, .timings = &c->timings};
}

/* ---- chat ---- */

static void chat_open(hn_choice *c, hn_buf *out) {
    const hn_reply_extra extra = {.usage_null = c->x->request.include_usage};
    hn_reply_chunk_role(&c->x->head, c->index, &extra, out);
}

static void chat_delta(hn_choice *c, const hn_delta *delta, hn_buf *out) {
    hn_buf logprobs = {0};
    hn_reply_timings timings;
    const hn_reply_extra extra = extra_of(c, &timings);
    hn_reply_chunk_delta(&c->x->head, c->index, delta, take_logprobs(c, &logprobs), &extra, out);
    hn_buf_done(&logprobs);
}

static void chat_close(hn_choice *c, hn_buf *out) {
    hn_buf logprobs = {0};
    const hn_reply_extra extra = last_extra(c);
    hn_reply_chunk_finish(&c->x->head, c->index, c->finish, take_logprobs(c, &logprobs), &extra,
                          out);
    hn_buf_done(&logprobs);
}

static void chat_whole(hn_exchange *x, hn_buf *out) {
    const hn_reply_usage usage = hn_exchange_usage(x);
    hn_reply_open(&x->head, out);
    for (int i = 0; i < x->n_choices; i++) {
        hn_choice *c = &x->choices[i];
        hn_buf logprobs = {0};
        const char *text = take_logprobs(c, &logprobs);
        if (!text && x->request.n_logprobs >= 0)
            text = "{\"content\":[],\"refusal\":null}";
        hn_reply_message(i, &c->answer, text, c->finish, out);
        hn_buf_done(&logprobs);
    }
    hn_reply_close(&usage, &x->choices[0].timings, out);
}

const hn_dialect hn_dialect_chat = {.kind = HN_API_CHAT,
                                    .id_prefix = "chatcmpl-",
                                    .open = chat_open,
                                    .delta = chat_delta,
                                    .close = chat_close,
                                    .end = put_end,
                                    .error = put_error,
                                    .whole = chat_whole};

/* ---- completions ---- */

static void text_open(hn_choice *c, hn_buf *out) {
    const hn_exchange *x = c->x;
    const hn_reply_extra extra = {.usage_null = x->request.include_usage};
    const hn_buf *echo = x->echoes ? &x->echoes[c->prompt] : NULL;
    hn_buf logprobs = {0};
    if (!echo)
        return;
    /* What waits may hold the answer's first tokens too: they come with the echo. */
    hn_reply_chunk_text(&x->head, c->index, hn_buf_text(echo), echo->size, NULL,
                        take_logprobs(c, &logprobs), &extra, out);
    hn_buf_done(&logprobs);
}

static void text_delta(hn_choice *c, const hn_delta *delta, hn_buf *out) {
    hn_buf logprobs = {0};
    hn_reply_timings timings;
    const hn_reply_extra extra = extra_of(c, &timings);
    hn_reply_chunk_text(&c->x->head, c->index, delta->text, delta->n_bytes, NULL,
                        take_logprobs(c, &logprobs), &extra, out);
    hn_buf_done(&logprobs);
}

static void text_close(hn_choice *c, hn_buf *out) {
    hn_buf logprobs = {0};
    const hn_reply_extra extra = last_extra(c);
    hn_reply_chunk_text(&c->x->head, c->index, "", 0, c->finish, take_logprobs(c, &logprobs),
                        &extra, out);
    hn_buf_done(&logprobs);
}

static void text_whole(hn_exchange *x, hn_buf *out) {
    const hn_reply_usage usage = hn_exchange_usage(x);
    hn_reply_open(&x->head, out);
    for (int i = 0; i < x->n_choices; i++) {
        hn_choice *c = &x->choices[i];
        hn_buf logprobs = {0}, text = {0};
        if (x->echoes)
            hn_buf_append(&text, x->echoes[c->prompt].data, x->echoes[c->prompt].size);
        hn_buf_append(&text, c->answer.content.data, c->answer.content.size);
        hn_reply_text(i, hn_buf_text(&text), text.size, take_logprobs(c, &logprobs), c->finish,
                      out);
        out->failed |= text.failed;
        hn_buf_done(&logprobs);
        hn_buf_done(&text);
    }
    hn_reply_close(&usage, &x->choices[0].timings, out);
}

const hn_dialect hn_dialect_completion = {.kind = HN_API_COMPLETION,
                                          .id_prefix = "cmpl-",
                                          .open = text_open,
                                          .delta = text_delta,
                                          .close = text_close,
                                          .end = put_end,
                                          .error = put_error,
                                          .whole = text_whole};

/* ---- embeddings ---- */

/* Little-endian floats, as numpy.frombuffer(dtype="float32") reads them. */
static void put_base64(const float *values, int n, hn_buf *out) {
    enum { GROUP = 3, LETTERS = 4 };
    size_t n_bytes = (size_t)n * sizeof *values, room = (n_bytes + GROUP - 1) / GROUP * LETTERS + 1;
    hn_buf_putc(out, '"');
    if (hn_buf_reserve(out, room)) {
        int written = EVP_EncodeBlock((unsigned char *)out->data + out->size,
                                      (const unsigned char *)values, (int)n_bytes);
        out->size += (size_t)written;
    }
    hn_buf_putc(out, '"');
}

static void embedding_whole(hn_exchange *x, hn_buf *out) {
    const hn_reply_usage usage = hn_exchange_usage(x);
    hn_buf_puts(out, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < x->n_choices; i++) {
        const hn_choice *c = &x->choices[i];
        hn_json_put_comma(out);
        hn_buf_printf(out, "{\"object\":\"embedding\",\"index\":%d,\"embedding\":", i);
        if (x->request.base64)
            put_base64(c->embedding, c->n_embd, out);
        else
            hn_buf_putc(out, '[');
        for (int j = 0; !x->request.base64 && j < c->n_embd; j++) {
            hn_json_put_comma(out);
            hn_json_put_real(out, (double)c->embedding[j]);
        }
        hn_buf_puts(out, x->request.base64 ? "}" : "]}");
    }
    hn_buf_puts(out, "],\"model\":");
    hn_json_put_text(out, x->model);
    hn_buf_printf(out, ",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}}",
                  (long long)usage.n_prompt, (long long)usage.n_prompt);
}

const hn_dialect hn_dialect_embedding = {
    .kind = HN_API_EMBEDDING, .id_prefix = "emb-", .error = put_error, .whole = embedding_whole};
