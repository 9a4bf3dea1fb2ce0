/* Routes, small requests, start and end. */
#include "serve/exchange.h"

#include "base/mem.h"
#include "serve/json_text.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* ---- ids ---- */

uint64_t hn_api_random(hn_api *api) {
    pthread_mutex_lock(&api->lock);
    uint64_t value = hn_rng_u64(&api->rng);
    pthread_mutex_unlock(&api->lock);
    return value;
}

void hn_api_new_id(hn_api *api, const char *prefix, char *out, size_t size) {
    static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    enum { LENGTH = 24 };
    size_t n = (size_t)snprintf(out, size, "%s", prefix);
    pthread_mutex_lock(&api->lock);
    for (int i = 0; i < LENGTH && n + 1 < size; i++)
        out[n++] = LETTERS[hn_rng_below(&api->rng, sizeof LETTERS - 1)];
    pthread_mutex_unlock(&api->lock);
    out[n] = '\0';
}

void hn_api_enter(hn_api *api) {
    pthread_mutex_lock(&api->lock);
    api->n_under_way++;
    pthread_mutex_unlock(&api->lock);
}

void hn_api_leave(hn_api *api) {
    pthread_mutex_lock(&api->lock);
    if (--api->n_under_way == 0)
        pthread_cond_broadcast(&api->idle);
    pthread_mutex_unlock(&api->lock);
}

/* ---- answers ---- */

void hn_api_reply_json(hn_http_call *call, int status, const hn_buf *body) {
    hn_http_reply(call, status, "application/json", hn_buf_text(body), body->size, NULL);
}

void hn_api_reply_problem(hn_http_call *call, const hn_problem *problem,
                          void (*write)(const hn_problem *, hn_buf *)) {
    hn_buf body = {0};
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%d", problem->retry_after_s);
    const hn_http_field fields[] = {{problem->retry_after_s ? "Retry-After" : NULL, seconds}, {0}};
    (write ? write : hn_problem_json)(problem, &body);
    hn_http_reply(call, problem->http, "application/json", hn_buf_text(&body), body.size,
                  problem->retry_after_s ? fields : NULL);
    hn_buf_done(&body);
}

/* ---- small requests ---- */

typedef struct small {
    hn_api *api;
    hn_http_call *call; /* held */
    hn_api_small *work;
    bool of_model, may_wait; /* for its model: an opener does it */
} small;

static void end_small(small *s) {
    hn_http_unref(s->call);
    hn_api_leave(s->api);
    hn_free(s);
}

static void refuse_busy(hn_http_call *call) {
    hn_problem problem;
    (void)hn_problem_too_many(&problem);
    hn_api_reply_problem(call, &problem, NULL);
}

static hn_status read_small(const small *s, json_t **body, hn_problem *problem) {
    size_t n_bytes;
    const char *text = hn_http_body(s->call, &n_bytes);
    if (strcmp(hn_http_method(s->call), "POST") != 0)
        return HN_OK;
    /* An array is what POST /lora-adapters takes. */
    return s->work == hn_api_loras_set ? hn_api_any_parse(text, n_bytes, body, problem)
                                       : hn_api_body_parse(text, n_bytes, body, problem);
}

static void do_small(void *context);

/* Whether an opener does it. Without a model in the body the query may name it. */
static bool hand_over(small *s, const json_t *body) {
    const hn_api_name queried = hn_api_queried_model(s->call);
    const char *named = json_string_value(hn_api_field(body, "model"));
    if (s->may_wait || !s->of_model || !hn_api_waits_long(s->api, named ? named : queried.text))
        return false;
    s->may_wait = true;
    if (hn_workers_add(s->api->openers, do_small, s))
        return true;
    refuse_busy(s->call);
    end_small(s);
    return true;
}

static void do_small(void *context) {
    small *s = context;
    hn_problem problem = {0};
    hn_buf out = {0};
    json_t *body = NULL;
    hn_status status = read_small(s, &body, &problem);
    if (status == HN_OK && hand_over(s, body)) {
        json_decref(body);
        return;
    }
    if (status == HN_OK && !hn_http_is_gone(s->call))
        status = s->work(s->api, s->call, body, &out, &problem);
    if (status == HN_OK && out.failed)
        status = hn_problem_no_memory(&problem);
    if (status == HN_OK)
        hn_api_reply_json(s->call, 200, &out);
    else
        hn_api_reply_problem(s->call, &problem, NULL);
    json_decref(body);
    hn_buf_done(&out);
    end_small(s);
}

void hn_api_small_begin(hn_api *api, hn_http_call *call, hn_api_small *work, bool of_model) {
    small *s = hn_calloc(1, sizeof *s);
    if (s) {
        *s = (small){.api = api, .call = hn_http_ref(call), .work = work, .of_model = of_model};
        hn_api_enter(api);
        if (hn_workers_add(api->workers, do_small, s))
            return;
        end_small(s);
    }
    refuse_busy(call);
}

bool hn_api_waits_long(hn_api *api, const char *model) {
    return !hn_models_is_open(api->models, model);
}

hn_status hn_api_take_model(hn_api *api, const json_t *body, hn_served **served, int *adapter,
                            hn_problem *problem) {
    const json_t *model = hn_api_field(body, "model");
    const char *name = NULL;
    if (model)
        HN_TRY(hn_api_plain_text(model, "model", &name, problem));
    return hn_models_take(api->models, name, served, adapter, problem);
}

/* ---- housekeeping ---- */

static void *keep(void *context) {
    enum { EVERY_S = 1 };
    hn_api *api = context;
    pthread_mutex_lock(&api->lock);
    while (!api->ending) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += EVERY_S;
        pthread_cond_timedwait(&api->end, &api->lock, &until);
        hn_exchanges_ping(api);
        pthread_mutex_unlock(&api->lock);
        hn_models_sweep(api->models);
        pthread_mutex_lock(&api->lock);
    }
    pthread_mutex_unlock(&api->lock);
    return NULL;
}

static hn_status start_keeper(hn_api *api, hn_error *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    api->has_keeper = pthread_create(&api->keeper, NULL, keep, api) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return api->has_keeper ? HN_OK : hn_fail(err, HN_FAILED, "a thread can't be started");
}

/* ---- routes ---- */

#define EXCHANGE(name)                                                                             \
    static void name##_route(hn_http_call *call, void *api) {                                      \
        hn_exchange_begin(api, call, &hn_dialect_##name);                                          \
    }
EXCHANGE(chat)
EXCHANGE(completion)
EXCHANGE(embedding)
EXCHANGE(responses)
EXCHANGE(messages)

#define SMALL(name, of_model)                                                                      \
    static void name##_route(hn_http_call *call, void *api) {                                      \
        hn_api_small_begin(api, call, hn_api_##name, of_model);                                    \
    }
SMALL(tokenize, true)
SMALL(detokenize, true)
SMALL(apply_template, true)
SMALL(count_tokens, true)
SMALL(props, true)
SMALL(models, false)
SMALL(model, false)
SMALL(slots, false)
SMALL(loras, false)
SMALL(loras_set, false)

static const hn_http_route ROUTES[] = {
    {.method = "POST", .path = "/v1/chat/completions", .handler = chat_route},
    {.method = "POST", .path = "/v1/completions", .handler = completion_route},
    {.method = "POST", .path = "/v1/embeddings", .handler = embedding_route},
    {.method = "POST", .path = "/v1/responses", .handler = responses_route},
    {.method = "POST", .path = "/v1/messages", .handler = messages_route},
    {.method = "POST", .path = "/v1/messages/count_tokens", .handler = count_tokens_route},
    {.method = "GET", .path = "/v1/models", .handler = models_route},
    {.method = "GET", .path = "/v1/models/*", .handler = model_route},
    {.method = "POST", .path = "/tokenize", .handler = tokenize_route},
    {.method = "POST", .path = "/detokenize", .handler = detokenize_route},
    {.method = "POST", .path = "/apply-template", .handler = apply_template_route},
    {.method = "GET", .path = "/props", .handler = props_route},
    {.method = "GET", .path = "/slots", .handler = slots_route},
    {.method = "GET", .path = "/lora-adapters", .handler = loras_route},
    {.method = "POST", .path = "/lora-adapters", .handler = loras_set_route},
};

hn_status hn_api_new(hn_api **out, hn_http_server *server, hn_models *models,
                     const hn_api_options *options, hn_error *err) {
    enum { WORKERS = 2, OPENERS = 2, MAX_WAITING = 4096 };
    const double ping_s = 5;
    hn_api *api = hn_calloc(1, sizeof *api);
    uint64_t seed = 0;
    hn_status status = HN_OK;
    if (!api)
        return hn_fail_no_memory(err, sizeof *api);
    api->server = server;
    api->models = models;
    api->options = *options;
    if (api->options.ping_s <= 0)
        api->options.ping_s = ping_s;
    pthread_mutex_init(&api->lock, NULL);
    pthread_cond_init(&api->idle, NULL);
    pthread_cond_init(&api->end, NULL);
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        HN_GO(hn_fail_errno(err, "no random numbers"));
    api->rng = hn_rng_new(seed, 0);
    HN_GO(hn_workers_new(&api->workers, options->n_workers ? options->n_workers : WORKERS,
                         MAX_WAITING, err));
    HN_GO(hn_workers_new(&api->openers, OPENERS, MAX_WAITING, err));
    HN_GO(start_keeper(api, err));
    HN_GO(hn_http_routes_add(server, ROUTES, sizeof ROUTES / sizeof *ROUTES, api, err));
done:
    if (status == HN_OK)
        *out = api;
    else
        hn_api_free(api);
    return status;
}

void hn_api_free(hn_api *api) {
    if (!api)
        return;
    hn_workers_free(api->workers); /* which hand over to the openers */
    hn_workers_free(api->openers);
    pthread_mutex_lock(&api->lock);
    while (api->n_under_way)
        pthread_cond_wait(&api->idle, &api->lock);
    api->ending = true;
    pthread_cond_broadcast(&api->end);
    pthread_mutex_unlock(&api->lock);
    if (api->has_keeper)
        pthread_join(api->keeper, NULL);
    pthread_cond_destroy(&api->end);
    pthread_cond_destroy(&api->idle);
    pthread_mutex_destroy(&api->lock);
    hn_free(api);
}
