/* Jobs of an exchange. A request may mean more of them than the engine's queue takes: as many as
 * fit are submitted, the others as those end. */
#include "serve/exchange.h"

#include "base/mem.h"

enum {
    WINDOW = 64,   /* jobs of one exchange with the engine at a time */
    AT_A_TIME = 4, /* submitted by one callback, so that no answer waits for it */
};

static hn_job_options job_options(hn_choice *c) {
    const hn_exchange *x = c->x;
    const hn_api_request *r = &x->request;
    const double timeout_s = r->timeout_s > 0 ? r->timeout_s : x->api->options.timeout_s;
    const bool embeds = r->kind == HN_API_EMBEDDING;
    const uint64_t sample = (uint64_t)c->index % (uint64_t)r->n;
    return (hn_job_options){.prompt = x->prompts[c->prompt].data,
                            .n_prompt = (int)x->prompts[c->prompt].size,
                            .sampling = {.temperature = (float)r->temperature,
                                         .top_k = (int)r->top_k,
                                         .top_p = (float)r->top_p,
                                         .min_p = (float)r->min_p,
                                         .repetition_penalty = (float)r->repeat_penalty,
                                         .presence_penalty = (float)r->presence_penalty,
                                         .frequency_penalty = (float)r->frequency_penalty,
                                         .bias = r->bias,
                                         .n_bias = r->n_bias,
                                         .seed = x->seed + sample},
                            .max_tokens = embeds ? 0 : (int)r->max_tokens,
                            .min_tokens = (int)r->min_tokens,
                            .stop = r->stop,
                            .n_stop = r->n_stop,
                            .ignore_eos = r->ignore_eos,
                            .adapter = x->adapter,
                            .constraint = x->calls ? x->calls : r->constraint,
                            .n_constraint = x->calls ? x->n_calls : r->n_constraint,
                            .constraint_kind = x->calls ? HN_CONSTRAINT_CALLS : r->constraint_kind,
                            .constraint_name = x->calls ? "tools" : r->constraint_param,
                            .priority = (int)r->priority,
                            .deadline_ns = timeout_s > 0 ? hn_http_arrival_ns(x->call) +
                                                               (uint64_t)(timeout_s * 1e9)
                                                         : 0,
                            .n_logprobs = r->n_logprobs,
                            .prompt_logprobs = r->echo && r->n_logprobs >= 0,
                            .no_cache = !r->cache_prompt,
                            .pooling = embeds ? HN_POOLING_MEAN : HN_POOLING_NONE,
                            .events = hn_choice_events(c)};
}

static hn_status submit(hn_choice *c, hn_problem *problem) {
    hn_exchange *x = c->x;
    hn_error err = {0};
    hn_job *job = NULL;
    hn_exchange_ref(x); /* the job's, until it is done */
    const hn_job_options options = job_options(c);
    hn_status status = hn_engine_submit(x->served->engine, &options, &job, &err);
    if (status != HN_OK) {
        hn_exchange_unref(x);
        if (status == HN_BUSY && hn_engine_draining(x->served->engine))
            return hn_problem_http(problem, 503, "the server is stopping");
        return hn_problem_from(problem, x->calls ? "tools" : x->request.constraint_param, &err);
    }
    pthread_mutex_lock(&x->lock);
    c->job = job;
    if (x->gone || x->failed)
        hn_job_cancel(job);
    pthread_mutex_unlock(&x->lock);
    return HN_OK;
}

/* One more, if there is one; *more: another may follow. A queue that is full is no failure while
 * jobs of this exchange will end. */
static hn_status submit_next(hn_exchange *x, bool *more, hn_problem *problem) {
    pthread_mutex_lock(&x->lock);
    *more = !x->failed && !x->gone && x->n_submitted < x->n_choices && x->n_in_flight < WINDOW;
    const int i = x->n_submitted;
    x->n_submitted += *more;
    x->n_in_flight += *more;
    pthread_mutex_unlock(&x->lock);
    if (!*more)
        return HN_OK;
    hn_status status = submit(&x->choices[i], problem);
    if (status == HN_OK)
        return HN_OK;
    *more = false;
    pthread_mutex_lock(&x->lock);
    x->n_submitted--;
    x->n_in_flight--;
    bool waits = status == HN_BUSY && x->n_in_flight > 0;
    x->submitted |= waits; /* those in flight go on with it */
    pthread_mutex_unlock(&x->lock);
    return waits ? HN_OK : status;
}

/* What only the preparation needed goes here, not on the engine's thread. Tools' names stay. */
static void drop_body(hn_api_request *r) {
    json_decref(r->messages);
    r->messages = NULL;
    r->model = NULL;
    r->tools = r->template_kwargs = NULL;
    if (r->n_tools)
        return;
    json_decref(r->body);
    r->body = NULL;
}

hn_status hn_exchange_submit(hn_exchange *x, hn_problem *problem) {
    bool more = true;
    while (more)
        HN_TRY(submit_next(x, &more, problem));
    pthread_mutex_lock(&x->lock);
    x->submitted = true;
    bool all = x->n_submitted == x->n_choices;
    pthread_mutex_unlock(&x->lock);
    if (all)
        drop_body(&x->request);
    return HN_OK;
}

void hn_exchange_submit_more(hn_exchange *x) {
    hn_problem problem = {0};
    bool more = true;
    for (int i = 0; more && i < AT_A_TIME; i++) {
        if (submit_next(x, &more, &problem) == HN_OK)
            continue;
        pthread_mutex_lock(&x->lock);
        hn_exchange_fail(x, &problem);
        pthread_mutex_unlock(&x->lock);
        return;
    }
}
