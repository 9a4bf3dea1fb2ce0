/* What the engine's thread does with a job's events: takes the text apart, writes chunks, and at
 * the end the whole. Nothing here waits. */
#include "serve/exchange.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const hn_tokenizer *tokenizer_of(const hn_exchange *x) {
    return x->served->model->ckpt.tokenizer;
}

/* ---- streams ---- */

static void send(hn_exchange *x) {
    if (x->out.size)
        hn_http_send(x->call, x->out.data, x->out.size);
    hn_buf_reset(&x->out);
}

/* The head of the answer: from here on an error is an event. */
void hn_exchange_open_stream(hn_exchange *x) {
    static const hn_http_field FIELDS[] = {
        {"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}, {0}};
    if (x->begun)
        return;
    x->begun = true;
    hn_http_begin(x->call, 200, "text/event-stream", FIELDS, x->api->options.ping_s);
}

static void open_choice(hn_choice *c) {
    hn_exchange *x = c->x;
    hn_exchange_open_stream(x);
    if (!x->started && x->dialect->start)
        x->dialect->start(x, &x->out);
    x->started = true;
    if (!c->opened && x->dialect->open)
        x->dialect->open(c, &x->out);
    c->opened = true;
}

/* From the parser: kept, and passed on where it streams. */
static void on_delta(void *context, const hn_delta *delta) {
    hn_choice *c = context;
    hn_reply_answer_add(&c->answer, delta);
    if (c->x->request.stream)
        c->x->dialect->delta(c, delta, &c->x->out);
}

static void note_delta(hn_choice *c, const char *text, size_t n) {
    if (n)
        on_delta(c, &(hn_delta){.kind = HN_DELTA_CONTENT, .text = text, .n_bytes = n});
}

/* ---- text ---- */

/* Text goes through the parser in chats, and on as it is in completions. */
static hn_status feed(hn_choice *c, const char *text, size_t n, hn_error *err) {
    if (c->x->request.kind == HN_API_CHAT)
        return hn_answer_parser_push(&c->parser, text, n, err);
    note_delta(c, text, n);
    return HN_OK;
}

/* Tags that are control tokens ([TOOL_CALLS], <|python_tag|>) aren't in the text: they are put back
 * where they stood, so that the parser sees them. */
static hn_status feed_piece(hn_choice *c, const hn_piece *piece, hn_error *err) {
    const hn_tokenizer *tokenizer = tokenizer_of(c->x);
    size_t at = 0;
    for (int i = 0; i < piece->n_tokens; i++) {
        const char *tag;
        size_t n, begin = piece->tokens[i].offset;
        if (!hn_tokenizer_is_control(tokenizer, piece->tokens[i].id))
            continue;
        hn_token_bytes(tokenizer, piece->tokens[i].id, true, &tag, &n);
        if (!hn_answer_parser_reads(&c->parser, tag, n))
            continue;
        begin = begin < c->n_bytes + at ? at : begin - c->n_bytes;
        begin = begin > piece->n_bytes ? piece->n_bytes : begin;
        HN_TRY(feed(c, piece->text + at, begin - at, err));
        HN_TRY(feed(c, tag, n, err));
        at = begin;
    }
    HN_TRY(feed(c, piece->text + at, piece->n_bytes - at, err));
    c->n_bytes += piece->n_bytes;
    return HN_OK;
}

static void add_logprobs(hn_choice *c, const hn_piece_token *tokens, int n) {
    const hn_api_request *r = &c->x->request;
    for (int i = 0; r->n_logprobs >= 0 && i < n; i++)
        hn_logprobs_add(&c->logprobs, r->kind == HN_API_CHAT, tokenizer_of(c->x), &tokens[i],
                        r->n_logprobs);
}

static void note_time(hn_choice *c, int n_tokens) {
    const hn_api_observer *o = &c->x->api->options.observer;
    const uint64_t now = hn_clock_ns();
    if (!c->first_ns) {
        c->first_ns = now;
        if (o->first_token)
            o->first_token(o->context, c->x->served->name,
                           (double)(now - hn_http_arrival_ns(c->x->call)) * 1e-9);
    } else if (n_tokens && o->next_token) {
        for (int i = 0; i < n_tokens; i++)
            o->next_token(o->context, c->x->served->name,
                          (double)(now - c->last_ns) * 1e-9 / n_tokens);
    }
    c->last_ns = now;
    c->timings.n_generated += n_tokens;
}

static void fail_memory(hn_exchange *x) {
    hn_problem problem;
    (void)hn_problem_no_memory(&problem);
    hn_exchange_fail(x, &problem);
}

/* ---- events ---- */

static void on_progress(void *context, int n_done, int n_prompt, int n_cached) {
    hn_choice *c = context;
    hn_exchange *x = c->x;
    pthread_mutex_lock(&x->lock);
    c->usage.n_cached = n_cached;
    if (x->request.stream && !x->failed && !x->gone) {
        hn_exchange_open_stream(x); /* pings flow while a long prompt is read */
        if (x->request.return_progress && c->index == 0) {
            char progress[128];
            snprintf(progress, sizeof progress,
                     "{\"total\":%d,\"cache\":%d,\"processed\":%d,\"time_ms\":%llu}", n_prompt,
                     n_cached, n_done,
                     (unsigned long long)((hn_clock_ns() - hn_http_arrival_ns(x->call)) / 1000000));
            hn_reply_chunk_usage(&x->head, &(hn_reply_extra){.progress = progress}, &x->out);
            send(x);
        }
    }
    pthread_mutex_unlock(&x->lock);
}

static void on_prompt(void *context, const hn_piece_token *tokens, int n_tokens) {
    hn_choice *c = context;
    pthread_mutex_lock(&c->x->lock);
    if (c->x->request.echo)
        add_logprobs(c, tokens, n_tokens);
    pthread_mutex_unlock(&c->x->lock);
}

static bool on_piece(void *context, const hn_piece *piece) {
    hn_choice *c = context;
    hn_exchange *x = c->x;
    hn_error err;
    pthread_mutex_lock(&x->lock);
    bool go_on = !x->failed && !x->gone && !c->over;
    if (go_on) {
        note_time(c, piece->n_tokens);
        add_logprobs(c, piece->tokens, piece->n_tokens);
        if (x->request.stream)
            open_choice(c);
        bool ok = feed_piece(c, piece, &err) == HN_OK && !x->out.failed && !c->answer.failed &&
                  !hn_logprobs_failed(&c->logprobs);
        if (ok)
            send(x);
        else
            fail_memory(x);
        c->over = x->request.kind == HN_API_CHAT && hn_answer_parser_is_over(&c->parser);
        go_on = ok && !c->over;
    }
    pthread_mutex_unlock(&x->lock);
    return go_on;
}

static void take_numbers(hn_choice *c, const hn_job_result *r) {
    const hn_job_times *t = &r->times;
    c->usage = (hn_reply_usage){r->n_prompt, r->n_cached, r->n_generated};
    c->timings = (hn_reply_timings){.n_prompt = r->n_prompt - r->n_cached,
                                    .n_cached = r->n_cached,
                                    .n_generated = r->n_generated,
                                    .n_drafted = r->n_drafted,
                                    .n_accepted = r->n_accepted};
    if (t->started && t->first_token)
        c->timings.prompt_ns = t->first_token - t->started;
    if (t->first_token && t->ended)
        c->timings.generated_ns = t->ended - t->first_token;
}

static bool take_embedding(hn_choice *c, const hn_job_result *r) {
    if (!r->embedding)
        return true;
    c->embedding = hn_calloc((size_t)r->n_embd, sizeof *c->embedding);
    if (c->embedding)
        memcpy(c->embedding, r->embedding, (size_t)r->n_embd * sizeof *c->embedding);
    c->n_embd = r->n_embd;
    return c->embedding != NULL;
}

/* Whether there is an answer; otherwise why not. */
static hn_status judge(const hn_choice *c, const hn_job_result *r, hn_problem *problem) {
    if (r->status != HN_OK) {
        hn_error err = {.status = r->status};
        snprintf(err.message, sizeof err.message, "%s", r->message);
        return hn_problem_from(problem, NULL, &err);
    }
    if (r->finish == HN_FINISH_DEADLINE && r->n_generated == 0)
        return hn_problem_http(problem, 408, "the request's timeout passed before the first token");
    if (r->finish == HN_FINISH_CANCELLED && !c->over)
        return hn_problem_http(problem, 503, "the server is stopping");
    return HN_OK;
}

static void finish_choice(hn_choice *c, const hn_job_result *r) {
    hn_exchange *x = c->x;
    hn_error err;
    bool ok = take_embedding(c, r);
    if (x->request.stream)
        open_choice(c);
    if (x->request.kind == HN_API_CHAT)
        ok &= hn_answer_parser_finish(&c->parser, &err) == HN_OK;
    c->finish = hn_reply_finish(c->over ? HN_FINISH_STOP : r->finish, c->answer.n_calls > 0);
    c->stop = r->stop;
    if (x->request.stream)
        x->dialect->close(c, &x->out);
    if (!ok || x->out.failed || c->answer.failed)
        fail_memory(x);
    else
        send(x);
}

static void finish_exchange(hn_exchange *x) {
    if (x->request.stream)
        x->dialect->end(x, &x->out);
    else
        x->dialect->whole(x, &x->out);
    if (x->out.failed) {
        fail_memory(x);
    } else if (x->request.stream) {
        send(x);
        hn_http_end(x->call);
    } else {
        hn_api_reply_json(x->call, 200, &x->out);
    }
}

static void tell(const hn_choice *c, const hn_job_result *r) {
    const hn_api_observer *o = &c->x->api->options.observer;
    const uint64_t arrival = hn_http_arrival_ns(c->x->call), now = hn_clock_ns();
    hn_api_outcome outcome = {.model = c->x->served->name,
                              .finish = c->finish ? c->finish : "error",
                              .n_prompt = r->n_prompt,
                              .n_cached = r->n_cached,
                              .n_generated = r->n_generated,
                              .e2e_s = (double)(now - arrival) * 1e-9};
    if (!c->finish && r->finish == HN_FINISH_CANCELLED)
        outcome.finish = "cancelled";
    outcome.queue_s =
        r->times.started > arrival ? (double)(r->times.started - arrival) * 1e-9 : outcome.e2e_s;
    if (o->outcome)
        o->outcome(o->context, &outcome);
}

static void on_done(void *context, const hn_job_result *r) {
    hn_choice *c = context;
    hn_exchange *x = c->x;
    hn_problem problem;
    pthread_mutex_lock(&x->lock);
    take_numbers(c, r);
    if (!x->failed && !x->gone) {
        if (judge(c, r, &problem) == HN_OK)
            finish_choice(c, r);
        else
            hn_exchange_fail(x, &problem);
    }
    tell(c, r); /* before the client can know that it is over */
    if (--x->n_left == 0 && !x->failed && !x->gone)
        finish_exchange(x);
    x->n_in_flight--;
    bool more = x->submitted && x->n_submitted < x->n_choices;
    pthread_mutex_unlock(&x->lock);
    if (more)
        hn_exchange_submit_more(x);
    hn_exchange_unref(x);
}

hn_job_events hn_choice_events(hn_choice *choice) {
    choice->parser.options.emit = on_delta;
    choice->parser.options.context = choice;
    return (hn_job_events){.context = choice,
                           .progress = on_progress,
                           .prompt = on_prompt,
                           .piece = on_piece,
                           .done = on_done};
}
