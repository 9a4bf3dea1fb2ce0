/* An exchange's life: begun by a handler, prepared by a worker, written on the engine's thread,
 * stopped by a hang-up. */
#include "serve/exchange.h"

#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

static void add_to_list(hn_exchange *x) {
    hn_api *api = x->api;
    pthread_mutex_lock(&api->lock);
    x->next = api->exchanges;
    if (x->next)
        x->next->previous = x;
    api->exchanges = x;
    pthread_mutex_unlock(&api->lock);
}

static void take_from_list(hn_exchange *x) {
    hn_api *api = x->api;
    pthread_mutex_lock(&api->lock);
    if (x->next)
        x->next->previous = x->previous;
    if (x->previous)
        x->previous->next = x->next;
    else
        api->exchanges = x->next;
    pthread_mutex_unlock(&api->lock);
}

void hn_exchanges_ping(hn_api *api) {
    static const char PING[] = ": ping\n\n";
    const uint64_t wait_ns = (uint64_t)(api->options.ping_s * 1e9), now = hn_clock_ns();
    for (hn_exchange *x = api->exchanges; x; x = x->next) {
        if (now - hn_http_arrival_ns(x->call) < wait_ns)
            continue;
        pthread_mutex_lock(&x->lock);
        if (x->submitted && x->request.stream && !x->gone && !x->failed && !x->begun) {
            hn_exchange_open_stream(x);
            hn_http_send(x->call, PING, sizeof PING - 1);
        }
        pthread_mutex_unlock(&x->lock);
    }
}

static void free_exchange(hn_exchange *x) {
    hn_api *api = x->api;
    take_from_list(x);
    for (int i = 0; i < x->n_choices; i++) {
        hn_choice *c = &x->choices[i];
        hn_job_release(c->job);
        hn_answer_parser_done(&c->parser);
        hn_reply_answer_done(&c->answer);
        hn_logprobs_done(&c->logprobs);
        hn_free(c->embedding);
    }
    for (size_t i = 0; i < x->n_prompts; i++) {
        hn_ids_done(&x->prompts[i]);
        if (x->echoes)
            hn_buf_done(&x->echoes[i]);
    }
    if (x->served)
        hn_models_give(api->models, x->served);
    hn_api_request_done(&x->request);
    hn_http_unref(x->call);
    hn_buf_done(&x->out);
    hn_free(x->choices);
    hn_free(x->echoes);
    hn_free(x->prompts);
    hn_free(x->calls);
    hn_free(x->model);
    if (x->state && x->dialect->forget)
        x->dialect->forget(x->state);
    hn_free(x->state);
    pthread_mutex_destroy(&x->lock);
    hn_free(x);
    hn_api_leave(api);
}

void hn_exchange_ref(hn_exchange *x) {
    atomic_fetch_add(&x->refs, 1);
}

void hn_exchange_unref(hn_exchange *x) {
    if (atomic_fetch_sub(&x->refs, 1) == 1)
        free_exchange(x);
}

static void cancel_all(hn_exchange *x) {
    for (int i = 0; i < x->n_choices; i++)
        if (x->choices[i].job)
            hn_job_cancel(x->choices[i].job);
}

/* The server's loop: the exchange has ended for the client. */
static void on_over(void *context, bool gone) {
    hn_exchange *x = context;
    pthread_mutex_lock(&x->lock);
    if (gone) {
        x->gone = true;
        cancel_all(x);
    }
    pthread_mutex_unlock(&x->lock);
    hn_exchange_unref(x);
}

void hn_exchange_fail(hn_exchange *x, const hn_problem *problem) {
    if (x->failed)
        return;
    x->failed = true;
    if (!x->gone && !x->begun) {
        hn_api_reply_problem(x->call, problem, x->dialect->problem);
    } else if (!x->gone) {
        hn_buf out = {0};
        x->dialect->error(problem, &out);
        hn_http_send(x->call, out.data, out.size);
        hn_http_end(x->call);
        hn_buf_done(&out);
    }
    cancel_all(x);
}

/* How a request ended that never became jobs; the others are told by their jobs. */
static void tell_refused(const hn_exchange *x) {
    const hn_api_observer *o = &x->api->options.observer;
    const hn_api_outcome outcome = {.model = x->served ? x->served->name : "",
                                    .finish = "error",
                                    .e2e_s = (double)(hn_clock_ns() - hn_http_arrival_ns(x->call)) *
                                             1e-9};
    if (o->outcome)
        o->outcome(o->context, &outcome);
}

static void refuse(hn_exchange *x, const hn_problem *problem) {
    pthread_mutex_lock(&x->lock);
    hn_exchange_fail(x, problem);
    pthread_mutex_unlock(&x->lock);
    tell_refused(x);
}

static bool is_gone(hn_exchange *x) {
    pthread_mutex_lock(&x->lock);
    const bool gone = x->gone;
    pthread_mutex_unlock(&x->lock);
    return gone;
}

static void prepare(void *context) {
    hn_exchange *x = context;
    hn_problem problem = {0};
    if (!is_gone(x) && hn_exchange_prepare(x, &problem) != HN_OK)
        refuse(x, &problem);
    hn_exchange_unref(x);
}

/* A worker's part: one whose model must be opened first is handed over to the openers. */
static void work(void *context) {
    hn_exchange *x = context;
    hn_problem problem = {0};
    hn_status status = is_gone(x) ? HN_OK : hn_exchange_read(x, &problem);
    const bool waits = status == HN_OK && hn_api_waits_long(x->api, x->request.model);
    if (waits && hn_workers_add(x->api->openers, prepare, x))
        return;
    if (waits)
        status = hn_problem_too_many(&problem);
    if (status == HN_OK) {
        prepare(x);
        return;
    }
    refuse(x, &problem);
    hn_exchange_unref(x);
}

void hn_exchange_begin(hn_api *api, hn_http_call *call, const hn_dialect *dialect) {
    hn_problem problem;
    hn_exchange *x = hn_calloc(1, sizeof *x);
    if (!x) {
        (void)hn_problem_no_memory(&problem);
        hn_api_reply_problem(call, &problem, dialect->problem);
        return;
    }
    hn_api_enter(api);
    x->api = api;
    x->call = hn_http_ref(call);
    x->dialect = dialect;
    pthread_mutex_init(&x->lock, NULL);
    atomic_init(&x->refs, 2); /* the worker's and the watch's */
    hn_api_new_id(api, dialect->id_prefix, x->id, sizeof x->id);
    add_to_list(x);
    hn_http_watch(call, on_over, x);
    if (hn_workers_add(api->workers, work, x))
        return;
    (void)hn_problem_too_many(&problem);
    refuse(x, &problem);
    hn_exchange_unref(x);
}

hn_reply_usage hn_exchange_usage(const hn_exchange *x) {
    hn_reply_usage sum = {0};
    for (int i = 0; i < x->n_choices; i++) {
        const hn_choice *c = &x->choices[i];
        sum.n_generated += c->usage.n_generated;
        if (i > 0 && c->prompt == x->choices[i - 1].prompt)
            continue;
        sum.n_prompt += c->usage.n_prompt;
        sum.n_cached += c->usage.n_cached;
    }
    return sum;
}
