/* A model on this machine as a teacher: questions answered side by side by an engine, each as
 * hn_generate would alone. What a question has in common with one before it (instructions, the
 * prompt of another sample) isn't computed again. */
#include "teacher/teacher.h"

#include "base/buf.h"
#include "base/mem.h"
#include "engine/engine.h"

#include <string.h>

struct local;

typedef struct question {
    struct local *local;
    enum { FREE, ASKED, ANSWERED } state;
    hn_teacher_reply reply; /* whole when ANSWERED */
} question;

typedef struct local {
    hn_teacher teacher;
    hn_model *model;
    const hn_adapter *adapter;
    hn_engine *engine;
    int n_ctx;           /* positions of all questions together */
    question *questions; /* (parallel) */
    hn_status status;    /* of the first answer that failed, which ends the work */
    hn_error why;
} local;

static void local_free(hn_teacher *teacher) {
    local *l = (local *)teacher;
    hn_engine_free(l->engine);
    for (int i = 0; l->questions && i < teacher->parallel; i++)
        hn_teacher_reply_done(&l->questions[i].reply);
    hn_free(l->questions);
    hn_free(l);
}

static double number_of(const json_t *request, const char *key, double otherwise) {
    const json_t *value = json_object_get(request, key);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

/* The first question in this state, or NULL. */
static question *find(const local *l, int state) {
    for (int i = 0; i < l->teacher.parallel; i++)
        if ((int)l->questions[i].state == state)
            return &l->questions[i];
    return NULL;
}

static hn_status take_answer(question *q, const hn_job_result *said, hn_error *err) {
    const hn_tokenizer *tokenizer = q->local->model->ckpt.tokenizer;
    hn_buf text = {0};
    if (said->status != HN_OK)
        return hn_fail(err, said->status, "%s", said->message);
    hn_status status = hn_decode(tokenizer, said->ids, (size_t)said->n_ids, false, &text, err);
    if (status == HN_OK)
        status = hn_buf_check(&text, err);
    if (status == HN_OK) {
        if (strlen(hn_buf_text(&text)) != text.size)
            snprintf(q->reply.problem, sizeof q->reply.problem, "the answer holds a NUL character");
        q->reply.cut = said->finish == HN_FINISH_LENGTH;
        q->reply.n_answer = said->n_ids;
        q->reply.content = hn_buf_take(&text);
        status = q->reply.content ? HN_OK : hn_fail_no_memory(err, 1);
    }
    hn_buf_done(&text);
    return status;
}

static void answer_done(void *context, const hn_job_result *said) {
    question *q = context;
    local *l = q->local;
    hn_error why;
    const hn_status status = take_answer(q, said, &why);
    q->state = ANSWERED;
    if (status != HN_OK && l->status == HN_OK) {
        l->status = status;
        l->why = why;
    }
}

static hn_status submit(question *q, const json_t *request, const hn_ids *prompt, int max_tokens,
                        hn_error *err) {
    hn_job_options job = hn_job_options_default();
    job.prompt = prompt->data;
    job.n_prompt = (int)prompt->size;
    job.max_tokens = max_tokens;
    job.adapter = q->local->adapter;
    job.sampling.temperature = (float)number_of(request, "temperature", 0);
    job.sampling.top_p = (float)number_of(request, "top_p", 1);
    job.sampling.seed = (uint64_t)json_integer_value(json_object_get(request, "seed"));
    job.events = (hn_job_events){.context = q, .done = answer_done};
    HN_TRY(hn_engine_submit(q->local->engine, &job, NULL, err));
    q->state = ASKED;
    return HN_OK;
}

/* Asks, unless the question can't be: then its reply says why. */
static hn_status ask(question *q, const json_t *request, hn_ids *prompt, hn_error *err) {
    const local *l = q->local;
    hn_error why = {0};
    const hn_status status =
        hn_chat_encode(l->model, json_object_get(request, "messages"), NULL, true, prompt, &why);
    if (status != HN_OK && status != HN_BAD_INPUT)
        return hn_fail(err, status, "%s", why.message);
    const int64_t left = l->n_ctx - (int64_t)prompt->size;
    int64_t max_tokens = (int64_t)number_of(request, "max_tokens", 0);
    if (max_tokens <= 0)
        max_tokens = left;
    q->reply.n_prompt = (int64_t)prompt->size;
    q->state = ANSWERED;
    if (status != HN_OK)
        snprintf(q->reply.problem, sizeof q->reply.problem, "%s", why.message);
    else if (max_tokens < 1 || max_tokens > left)
        snprintf(q->reply.problem, sizeof q->reply.problem,
                 "%zu tokens and the answer don't fit the context of %d", prompt->size, l->n_ctx);
    else if (!prompt->size)
        snprintf(q->reply.problem, sizeof q->reply.problem,
                 "the chat template makes nothing of it");
    else
        return submit(q, request, prompt, (int)max_tokens, err);
    return HN_OK;
}

static hn_status local_ask(hn_teacher *teacher, size_t tag, const json_t *request, hn_error *err) {
    local *l = (local *)teacher;
    question *q = find(l, FREE);
    hn_ids prompt = {0};
    if (!q)
        return hn_fail(err, HN_FAILED, "more than %d questions under way", teacher->parallel);
    q->reply = (hn_teacher_reply){.tag = tag};
    const hn_status status = ask(q, request, &prompt, err);
    hn_ids_done(&prompt);
    return status;
}

static hn_status local_next(hn_teacher *teacher, const hn_progress *progress,
                            hn_teacher_reply *reply, hn_error *err) {
    local *l = (local *)teacher;
    for (;;) {
        if (hn_progress_cancelled(progress))
            return hn_fail(err, HN_CANCELLED,
                           "stopped; what has come stays, and the same command goes on from it");
        if (l->status != HN_OK)
            return hn_fail(err, l->status, "%s", l->why.message);
        question *q = find(l, ANSWERED);
        if (q) {
            *reply = q->reply;
            q->reply = (hn_teacher_reply){0};
            q->state = FREE;
            return HN_OK;
        }
        if (!hn_engine_advance(l->engine))
            return hn_fail(err, HN_FAILED, "no question is under way");
    }
}

hn_status hn_teacher_open_local(hn_teacher **out, hn_model *model, const hn_adapter *adapter,
                                int parallel, int n_ctx, hn_error *err) {
    const hn_engine_options options = {
        .stepped = true, .n_slots = parallel, .n_positions = n_ctx, .n_context = n_ctx};
    hn_status status = HN_OK;
    local *l = hn_calloc(1, sizeof *l);
    if (!l)
        return hn_fail_no_memory(err, sizeof *l);
    l->teacher = (hn_teacher){
        .parallel = parallel, .ask = local_ask, .next = local_next, .free = local_free};
    l->model = model;
    l->adapter = adapter;
    l->n_ctx = n_ctx;
    l->questions = hn_calloc((size_t)parallel, sizeof *l->questions);
    if (!l->questions)
        HN_GO(hn_fail_no_memory(err, (size_t)parallel * sizeof *l->questions));
    for (int i = 0; i < parallel; i++)
        l->questions[i].local = l;
    HN_GO(hn_engine_new(&l->engine, model, &options, err));
    *out = &l->teacher;
done:
    if (status != HN_OK)
        local_free(&l->teacher);
    return status;
}
