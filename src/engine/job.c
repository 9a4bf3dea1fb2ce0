/* A job's life: checked and copied by whoever submits it, ended on the compute thread. */
#include "engine/internal.h"

#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

hn_job_options hn_job_options_default(void) {
    return (hn_job_options){.sampling = hn_sampling_default(), .max_tokens = -1, .n_logprobs = -1};
}

bool hn_engine_fits(const hn_engine *engine, int64_t n_prompt) {
    return n_prompt <= engine->options.n_context;
}

static hn_status check_stops(const hn_job_options *o, size_t *n_bytes, hn_error *err) {
    *n_bytes = 0;
    if (o->n_stop < 0 || o->n_stop > HN_JOB_MAX_STOP)
        return hn_fail(err, HN_BAD_INPUT, "%d stop strings: at most %d are possible", o->n_stop,
                       HN_JOB_MAX_STOP);
    for (int i = 0; i < o->n_stop; i++)
        *n_bytes += strlen(o->stop[i]) + 1;
    if (*n_bytes > HN_JOB_MAX_STOP_BYTES)
        return hn_fail(err, HN_BAD_INPUT,
                       "the stop strings have %zu bytes: at most %d are possible", *n_bytes,
                       HN_JOB_MAX_STOP_BYTES);
    return HN_OK;
}

static hn_status check_prompt(const hn_engine *engine, const hn_job_options *o, hn_error *err) {
    const int n_vocab = engine->model->arch.n_vocab;
    if (o->n_prompt < 1)
        return hn_fail(err, HN_BAD_INPUT, "the prompt is empty: it has no tokens");
    if (!hn_engine_fits(engine, o->n_prompt))
        return hn_fail(err, HN_BAD_INPUT,
                       "the prompt has %d tokens, but the context has room for %d: shorten it",
                       o->n_prompt, engine->options.n_context);
    for (int i = 0; i < o->n_prompt; i++)
        if (o->prompt[i] < 0 || o->prompt[i] >= n_vocab)
            return hn_fail(err, HN_BAD_INPUT, "token %d of the prompt is %d: the vocabulary has %d",
                           i, o->prompt[i], n_vocab);
    return HN_OK;
}

static hn_status check_options(const hn_engine *engine, const hn_job_options *o, size_t *stop_bytes,
                               hn_error *err) {
    HN_TRY(check_prompt(engine, o, err));
    HN_TRY(check_stops(o, stop_bytes, err));
    HN_TRY(hn_sampling_check(&o->sampling, hn_tokenizer_size(engine->model->ckpt.tokenizer), err));
    if (o->n_logprobs < -1 || o->n_logprobs > HN_WRITER_MAX_LOGPROBS)
        return hn_fail(err, HN_USAGE, "log-probabilities of %d tokens: 0 to %d are possible",
                       o->n_logprobs, HN_WRITER_MAX_LOGPROBS);
    if (o->adapter && o->adapter->dora && !o->adapter->fitted)
        return hn_fail(err, HN_USAGE, "an adapter with DoRA hasn't been fitted to the model");
    if (!o->events.done)
        return hn_fail(err, HN_USAGE, "a job needs somebody who is told when it is done");
    return HN_OK;
}

/* One block of memory for all that the options point to. */
static hn_status copy_options(hn_job *job, const hn_job_options *o, size_t stop_bytes,
                              hn_error *err) {
    const size_t n_bias = (size_t)(o->sampling.n_bias > 0 ? o->sampling.n_bias : 0);
    const size_t n_prompt = (size_t)o->n_prompt, n_stop = (size_t)o->n_stop;
    const size_t bytes = n_stop * sizeof(char *) + n_bias * sizeof(hn_logit_bias) +
                         n_prompt * sizeof(int32_t) + stop_bytes;
    char *at = hn_malloc(bytes);
    if (!at)
        return hn_fail_no_memory(err, bytes);
    job->copies = at;
    job->options = *o;
    const char **stops = (const char **)(void *)at;
    at += n_stop * sizeof *stops;
    hn_logit_bias *bias = (hn_logit_bias *)(void *)at;
    at += n_bias * sizeof *bias;
    int32_t *prompt = (int32_t *)(void *)at;
    at += n_prompt * sizeof *prompt;
    if (n_bias)
        memcpy(bias, o->sampling.bias, n_bias * sizeof *bias);
    memcpy(prompt, o->prompt, n_prompt * sizeof *prompt);
    for (size_t i = 0; i < n_stop; i++) {
        const size_t n = strlen(o->stop[i]) + 1;
        stops[i] = memcpy(at, o->stop[i], n);
        at += n;
    }
    job->options.sampling.bias = bias;
    job->options.prompt = prompt;
    job->options.stop = stops;
    return HN_OK;
}

/* Gives back all but the handle itself. */
static void empty_job(hn_job *job) {
    hn_writer_done(&job->writer);
    hn_constraint_pool_give(job->engine->constraints, &job->constraint);
    hn_free(job->copies);
    hn_free(job->sums);
    hn_free(job->embedding);
    job->copies = job->sums = NULL;
    job->embedding = NULL;
}

void hn_job_drop(hn_job *job) {
    empty_job(job);
    hn_free(job);
}

hn_status hn_job_new(hn_engine *engine, const hn_job_options *options, hn_job **out,
                     hn_error *err) {
    size_t stop_bytes;
    HN_TRY(check_options(engine, options, &stop_bytes, err));
    hn_job *job = hn_calloc(1, sizeof *job);
    if (!job)
        return hn_fail_no_memory(err, sizeof *job);
    job->engine = engine;
    atomic_init(&job->holds, 1);
    atomic_init(&job->cancelled, false);
    atomic_init(&job->ended, false);
    hn_status status = copy_options(job, options, stop_bytes, err);
    const hn_job_options *o = &job->options;
    if (status == HN_OK && o->constraint) {
        const char *usual = o->constraint_kind == HN_CONSTRAINT_GBNF ? "grammar" : "json_schema";
        status = hn_constraint_pool_take(
            engine->constraints, o->constraint_kind, o->constraint, o->n_constraint,
            o->constraint_name ? o->constraint_name : usual, &job->constraint, err);
    }
    job->options.constraint = job->options.constraint_name = NULL; /* were the caller's */
    if (status == HN_OK) {
        *out = job;
        return HN_OK;
    }
    hn_job_drop(job);
    return status;
}

uint64_t hn_job_number(const hn_job *job) {
    return job->number;
}

void hn_job_release(hn_job *job) {
    if (job && atomic_fetch_sub(&job->holds, 1) == 1)
        hn_free(job);
}

void hn_job_cancel(hn_job *job) {
    if (atomic_load(&job->ended) || atomic_exchange(&job->cancelled, true))
        return;
    hn_engine *engine = job->engine;
    pthread_mutex_lock(&engine->lock);
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->lock);
}

static hn_job_result result_of(const hn_job *job, hn_status status, const char *message,
                               hn_finish finish) {
    const hn_writer *w = &job->writer;
    const bool answers = job->begun && !hn_job_embeds(job);
    hn_job_result result = {.status = status,
                            .message = message,
                            .finish = answers && w->over ? w->finish : finish,
                            .stop = -1,
                            .n_prompt = job->options.n_prompt,
                            .n_cached = job->n_cached,
                            .times = job->times,
                            .text = "",
                            .embedding = job->embedding,
                            .n_embd = job->embedding ? job->engine->model->arch.n_embd : 0};
    if (!answers)
        return result;
    result.stop = w->stop;
    result.n_generated = w->n_drawn;
    result.n_drafted = w->n_drafted;
    result.n_accepted = w->n_accepted;
    result.log_prob = w->log_prob;
    result.times.first_token = w->first_ns;
    result.text = hn_buf_text(&w->bytes);
    result.n_bytes = w->bytes.size;
    result.ids = w->text.data + w->n_prompt;
    result.n_ids = (int)w->text.size - w->n_prompt;
    return result;
}

void hn_job_end(hn_engine *engine, hn_job *job, hn_status status, const char *message,
                hn_finish finish) {
    job->times.ended = hn_clock_ns();
    const hn_job_result result = result_of(job, status, message, finish);
    pthread_mutex_lock(&engine->lock);
    if (status == HN_OK)
        engine->counts.finished[result.finish]++;
    else
        engine->counts.failed++;
    pthread_mutex_unlock(&engine->lock);
    job->options.events.done(job->options.events.context, &result);
    empty_job(job);
    atomic_store(&job->ended, true);
    hn_job_release(job);
    pthread_mutex_lock(&engine->lock);
    if (--engine->n_jobs == 0)
        pthread_cond_broadcast(&engine->idle);
    pthread_mutex_unlock(&engine->lock);
}
