/* A model on this machine as a teacher: one question at a time, answered by model/generate.h. */
#include "teacher/teacher.h"

#include "base/mem.h"
#include "model/generate.h"

#include <string.h>

typedef struct local {
    hn_teacher teacher;
    hn_model *model;
    const hn_adapter *adapter;
    hn_kv *kv;
    int n_ctx;
    size_t tag;
    json_t *request; /* NULL = nothing is asked */
} local;

static void local_free(hn_teacher *teacher) {
    local *l = (local *)teacher;
    hn_kv_free(l->kv);
    json_decref(l->request);
    hn_free(l);
}

static hn_status local_ask(hn_teacher *teacher, size_t tag, const json_t *request, hn_error *err) {
    local *l = (local *)teacher;
    if (l->request)
        return hn_fail(err, HN_FAILED, "a local teacher takes one question at a time");
    l->request = json_deep_copy(request);
    l->tag = tag;
    return l->request ? HN_OK : hn_fail_no_memory(err, 1);
}

static double number_of(const json_t *request, const char *key, double otherwise) {
    const json_t *value = json_object_get(request, key);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

static hn_status answer(local *l, const hn_ids *prompt, const hn_progress *progress,
                        hn_teacher_reply *reply, hn_error *err) {
    hn_generation generation;
    hn_generate_options options = {.sampling = hn_sampling_default(),
                                   .max_tokens = (int)number_of(l->request, "max_tokens", 0),
                                   .adapter = l->adapter,
                                   .cancel = progress ? progress->cancel : NULL};
    options.sampling.temperature = (float)number_of(l->request, "temperature", 0);
    options.sampling.top_p = (float)number_of(l->request, "top_p", 1);
    options.sampling.seed = (uint64_t)json_integer_value(json_object_get(l->request, "seed"));
    HN_TRY(hn_generate(l->model, l->kv, 0, prompt->data, (int)prompt->size, &options, &generation,
                       err));
    hn_status status = HN_OK;
    if (generation.finish == HN_FINISH_CANCELLED) {
        status = hn_fail(err, HN_CANCELLED,
                         "stopped; what has come stays, and the same command goes on from it");
    } else if (strlen(generation.text) != generation.n_bytes) {
        snprintf(reply->problem, sizeof reply->problem, "the answer holds a NUL character");
    } else {
        reply->content = generation.text;
        generation.text = NULL;
        reply->cut = generation.finish == HN_FINISH_LENGTH;
        reply->n_prompt = generation.n_prompt;
        reply->n_answer = (int64_t)generation.ids.size;
    }
    hn_generation_done(&generation);
    return status;
}

static hn_status local_next(hn_teacher *teacher, const hn_progress *progress,
                            hn_teacher_reply *reply, hn_error *err) {
    local *l = (local *)teacher;
    hn_teacher_reply said = {.tag = l->tag};
    hn_ids prompt = {0};
    hn_status status;
    HN_GO(hn_chat_encode(l->model, json_object_get(l->request, "messages"), NULL, true, &prompt,
                         err));
    int64_t wanted = (int64_t)prompt.size + (int64_t)number_of(l->request, "max_tokens", 0);
    if (wanted > l->n_ctx)
        snprintf(said.problem, sizeof said.problem,
                 "%zu tokens and the answer don't fit the context of %d", prompt.size, l->n_ctx);
    else
        HN_GO(answer(l, &prompt, progress, &said, err));
    *reply = said;
done:
    hn_ids_done(&prompt);
    json_decref(l->request);
    l->request = NULL;
    return status;
}

hn_status hn_teacher_open_local(hn_teacher **out, hn_model *model, const hn_adapter *adapter,
                                int n_ctx, hn_error *err) {
    local *l = hn_calloc(1, sizeof *l);
    if (!l)
        return hn_fail_no_memory(err, sizeof *l);
    l->teacher =
        (hn_teacher){.parallel = 1, .ask = local_ask, .next = local_next, .free = local_free};
    l->model = model;
    l->adapter = adapter;
    l->n_ctx = n_ctx;
    hn_status status = hn_kv_new(&l->kv, model, 1, n_ctx, err);
    if (status != HN_OK)
        hn_free(l);
    else
        *out = &l->teacher;
    return status;
}
